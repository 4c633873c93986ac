"""What is to be curated: files, folders, globs, lists and addresses of object stores, as one list on disk.

The list may have a million lines, so it is written and read as a stream. Its order is that of the command line; folders
and globs are sorted by name.
"""

import csv
import errno
import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import Any

from icve.data.curation.measuring import UnusableFileError
from icve.data.curation.records import Source
from icve.errors import InputError
from icve.video.files import replacing, write_errors

SUFFIXES = frozenset(
    [
        ".mp4",
        ".mov",
        ".mkv",
        ".webm",
        ".avi",
        ".m4v",
        ".mpg",
        ".mpeg",
        ".ts",
        ".mts",
        ".m2ts",
        ".flv",
        ".wmv",
        ".asf",
        ".ogv",
        ".gif",
        ".ivf",
        ".mxf",
        ".nut",
        ".dv",
        ".3gp",
        ".h264",
        ".hevc",
    ]
)
LISTS = (".csv", ".tsv", ".parquet")
COLUMNS = ("path", "video", "file", "url", "uri", "source")  # of a list, the first that it has
CAPTION = "caption"
CHUNK = 2**20


def write_sources(videos: Sequence[str], path: Path) -> int:
    """Writes the list of sources as JSON lines; returns how many there are.

    Args:
        videos: files, folders, globs, CSV or Parquet lists, addresses such as s3://bucket/folder/*.mp4.
        path: of the list.

    Raises:
        InputError: one of them names nothing, a list has no column of paths, or there are no videos at all.
    """
    count = 0
    with write_errors(path), replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
        for video in videos:
            for uri, caption in _expand(video):
                file.write(json.dumps([uri, caption], ensure_ascii=False) + "\n")
                count += 1
    if not count:
        path.unlink()
        raise InputError(f"{', '.join(videos)} holds no videos; name files, folders, globs or lists of them.")
    return count


def read_sources(path: Path) -> Iterator[Source]:
    """The list's sources, in order."""
    with path.open(encoding="utf-8") as file:
        for number, line in enumerate(file):
            uri, caption = json.loads(line)
            yield Source(number, uri, caption)


def digest(path: Path) -> str:
    """A fingerprint of a list of sources."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def is_remote(uri: str) -> bool:
    """Whether it is an address that fsspec is to read."""
    return "://" in uri


def _expand(video: str) -> Iterator[tuple[str, str | None]]:
    if is_remote(video):
        yield from _expand_remote(video)
        return
    path = Path(video)
    if path.is_dir():
        yield from ((str(file), None) for file in _walk(path))
    elif path.suffix.lower() in LISTS and path.is_file():
        yield from _read_list(path)
    elif path.exists():
        yield str(path), None
    elif any(character in video for character in "*?["):
        found = [file for file in _glob(path) if file.is_file()]
        if not found:
            raise InputError(f"{video} matches no file; check the pattern.")
        yield from ((str(file), None) for file in found)
    else:
        raise InputError(f"{video} does not exist; check the name.")


def _walk(folder: Path) -> Iterator[Path]:
    """The videos below a folder, sorted; links to folders are not followed, and what begins with a dot is left out."""
    with os.scandir(folder) as entries:
        found = sorted(entries, key=lambda entry: entry.name)
    for entry in found:
        if entry.name.startswith("."):
            continue
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(Path(entry.path))
        elif Path(entry.name).suffix.lower() in SUFFIXES:
            yield Path(entry.path)


def _glob(path: Path) -> list[Path]:
    fixed = Path(path.anchor) if path.is_absolute() else Path()
    return sorted(fixed.glob(str(path.relative_to(fixed) if path.is_absolute() else path)))


def _read_list(path: Path) -> Iterator[tuple[str, str | None]]:
    """The rows of a CSV or Parquet list; relative paths are relative to the list's folder."""
    rows = _parquet_rows(path) if path.suffix.lower() == ".parquet" else _csv_rows(path)
    for uri, caption in rows:
        yield (uri if is_remote(uri) or Path(uri).is_absolute() else str(path.parent / uri)), caption


def _csv_rows(path: Path) -> Iterator[tuple[str, str | None]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file, delimiter="\t" if path.suffix.lower() == ".tsv" else ",")
            column = _column(path, list(reader.fieldnames or ()))
            for row in reader:
                if row[column]:
                    yield row[column], row.get(CAPTION) or None
    except (UnicodeDecodeError, csv.Error, OSError) as error:
        raise InputError(f"{path} cannot be read as a list ({error}); write CSV in UTF-8.") from error


def _parquet_rows(path: Path) -> Iterator[tuple[str, str | None]]:
    import pyarrow.parquet as pq
    from pyarrow import ArrowException

    try:
        with pq.ParquetFile(path) as file:
            column = _column(path, file.schema_arrow.names)
            columns = [column, *({CAPTION} & set(file.schema_arrow.names))]
            for batch in file.iter_batches(columns=columns):
                for row in batch.to_pylist():
                    if row[column]:
                        yield str(row[column]), row.get(CAPTION) or None
    except (ArrowException, OSError) as error:
        raise InputError(f"{path} cannot be read as Parquet; make the list again.") from error


def _column(path: Path, names: list[str]) -> str:
    for column in COLUMNS:
        if column in names:
            return column
    raise InputError(f"{path} has no column of paths; name one of its columns {', '.join(COLUMNS)}.")


def _expand_remote(address: str) -> Iterator[tuple[str, str | None]]:
    import fsspec

    if PurePosixPath(address).suffix.lower() in SUFFIXES and not any(character in address for character in "*?["):
        yield address, None  # many servers can be read from, and not listed
        return
    try:
        store, path = fsspec.core.url_to_fs(address)
        found = sorted(store.glob(path)) if any(c in path for c in "*?[") else sorted(store.find(path))
    except (ValueError, ImportError, OSError) as error:
        raise InputError(f"{address} cannot be listed ({error}); check the address.") from error
    names = [name for name in found if PurePosixPath(name).suffix.lower() in SUFFIXES]
    if not names:
        raise InputError(f"{address} holds no videos; check the address.")
    yield from ((store.unstrip_protocol(name), None) for name in names)


@contextmanager
def local_copy(source: Source, folder: Path, limit: int) -> Iterator[Path]:
    """The path of a source's file; one from an object store is copied into `folder` until the context ends.

    Its sidecar, where it has one, is copied with it.

    Raises:
        UnusableFileError: it cannot be fetched, or has more than `limit` bytes.
    """
    if not is_remote(source.uri):
        yield Path(source.uri)
        return
    suffix = PurePosixPath(source.uri).suffix.lower()
    path = folder / f"{source.number:09d}{suffix if suffix in SUFFIXES else '.video'}"
    sidecar = path.with_suffix(".json")
    folder.mkdir(parents=True, exist_ok=True)
    try:
        _fetch(source.uri, path, limit)
        yield path
    finally:
        path.unlink(missing_ok=True)
        sidecar.unlink(missing_ok=True)


def _fetch(uri: str, path: Path, limit: int) -> None:
    import fsspec

    def copy(address: str, to: Path) -> None:
        store: Any
        store, name = fsspec.core.url_to_fs(address)
        with store.open(name, "rb") as remote, to.open("wb") as local:
            shutil.copyfileobj(_Limited(remote, limit, address), local, CHUNK)

    try:
        copy(uri, path)
    except (OSError, ValueError, ImportError) as error:
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
            raise InputError(f"{path.parent} has no room for {uri}; free space or choose another folder.") from error
        raise UnusableFileError(f"{uri} cannot be fetched ({type(error).__name__}).") from error
    sidecar = str(PurePosixPath(uri.partition("://")[2]).with_suffix(".json"))
    try:
        copy(f"{uri.partition('://')[0]}://{sidecar}", path.with_suffix(".json"))
    except (OSError, ValueError, ImportError, UnusableFileError):
        path.with_suffix(".json").unlink(missing_ok=True)


class _Limited:
    """A file that refuses to give more than a number of bytes."""

    def __init__(self, file: Any, limit: int, address: str) -> None:
        self.file, self.left, self.address = file, limit, address

    def read(self, size: int = -1, /) -> bytes:
        data = self.file.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise UnusableFileError(f"{self.address} is larger than read.max_bytes.")
        return data
