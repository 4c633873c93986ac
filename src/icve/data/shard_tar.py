"""One shard: a tar file and its Parquet index, written so that both are whole or do not count."""

import os
import tarfile
import zlib
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from icve.video.files import replacing, write_errors

BLOCK = 512  # tar's unit


class TarShard:
    """A shard being written: members go to a hidden file; `close` gives it its name, and then writes the index.

    The bytes depend on the members alone: no times, owners or rights.
    """

    def __init__(self, folder: Path, name: str, schema: pa.Schema) -> None:
        """`schema` is the index's; its first column is named in `add`, as are all but offset, size and crc32."""
        self.path, self.index = folder / f"{name}.tar", folder / f"{name}.parquet"
        self.partial = partial_name(folder, name)
        self.schema = schema
        self.rows: list[dict[str, Any]] = []
        self.size = 0
        with write_errors(self.path):
            folder.mkdir(parents=True, exist_ok=True)
            self.file = self.partial.open("wb")

    def add(self, member: str, data: bytes, **row: Any) -> None:
        """Appends a member and its row of the index.

        Raises:
            InputError: the disk is full.
        """
        head = _header(member, len(data))
        with write_errors(self.path):
            self.file.write(head)
            self.file.write(data)
            self.file.write(bytes(-len(data) % BLOCK))
        place = {"offset": self.size + len(head), "size": len(data), "crc32": zlib.crc32(data)}
        self.size += member_bytes(member, len(data))
        self.rows.append(row | place)

    def close(self) -> None:
        """Makes the shard count. Can be called again where it was interrupted, as `add` may have been before."""
        with write_errors(self.path):
            if not self.file.closed:
                self.file.seek(self.size)  # drops what an interrupted `add` has left
                self.file.truncate()
                self.file.write(bytes(2 * BLOCK))  # tar's end
                self.file.flush()
                os.fsync(self.file.fileno())
                self.file.close()
            if self.partial.exists():
                self.partial.replace(self.path)
            write_parquet(self.index, pa.Table.from_pylist(self.rows, self.schema))

    def discard(self) -> None:
        """Removes what was written."""
        with suppress(OSError):  # the disk may be full
            self.file.close()
        self.partial.unlink(missing_ok=True)


def _header(member: str, size: int) -> bytes:
    header = tarfile.TarInfo(member)
    header.size = size
    return header.tobuf(tarfile.PAX_FORMAT)


def member_bytes(member: str, size: int) -> int:
    """How much a member of `size` bytes adds to a shard."""
    return len(_header(member, size)) + size + -size % BLOCK


def write_parquet(path: Path, table: pa.Table) -> None:
    """Writes a Parquet file beside its place and renames it."""
    with write_errors(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial:
            pq.write_table(table, partial, compression="zstd")
            with partial.open("rb") as file:
                os.fsync(file.fileno())


def partial_name(folder: Path, name: str) -> Path:
    """Where a shard is while it is written."""
    return folder / f".{name}.tar.part"


def next_number(folder: Path, prefix: str) -> int:
    """The number of a writer's next shard in a folder: one more than those that count."""
    names = (file.stem.removeprefix(f"{prefix}-") for file in folder.glob(f"{prefix}-*.parquet"))
    return 1 + max((int(name) for name in names if name.isascii() and name.isdigit()), default=-1)
