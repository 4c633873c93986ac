"""Reads a set's indices and members, from a local folder or any store that fsspec knows; trusts nothing it reads.

Nothing is held open: each read is one byte range of one file, so sets can be handed to other processes.
"""

import os
import zlib
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from icve.data.buckets import Bucket
from icve.data.samples import BadSampleError
from icve.data.shard_layout import ID_PATTERN, NULLABLE, SET_FILE, check_bucket, check_description, parse_json
from icve.errors import InputError

MAX_JSON = 2**20
READERS = 16  # indices read at once: what object stores need, where each takes 50 ms


@dataclass
class SetFiles:
    """The files of a set, by paths relative to it. Picklable; each process opens its own connection."""

    path: str
    _open: tuple[int, Any, str] | None = None

    def _root(self) -> tuple[Any, str]:
        if self._open is None or self._open[0] != os.getpid():
            try:
                filesystem, root = fsspec.core.url_to_fs(self.path)
            except (ValueError, ImportError) as error:
                raise InputError(f"The set {self.path} cannot be opened: {error}.") from error
            self._open = os.getpid(), filesystem, root.rstrip("/")
        return self._open[1], self._open[2]

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path, "_open": None}

    def names(self, folder: str) -> list[str]:
        """The names in a folder that are not hidden, in order; none where there is no such folder."""
        filesystem, root = self._root()
        try:
            found = filesystem.ls(f"{root}/{folder}", detail=False)
        except (FileNotFoundError, NotADirectoryError):
            return []
        names = {name.rstrip("/").rsplit("/", 1)[-1] for name in found}
        return sorted(name for name in names if not name.startswith("."))

    def size(self, file: str) -> int:
        """A file's bytes; `FileNotFoundError` where there is none."""
        filesystem, root = self._root()
        return int(filesystem.size(f"{root}/{file}"))

    def read(self, file: str, start: int | None = None, end: int | None = None) -> bytes:
        """Bytes start to end of a file, fewer where it ends before; `OSError` where it cannot be read."""
        filesystem, root = self._root()
        return filesystem.cat_file(f"{root}/{file}", start, end)

    def json(self, file: str) -> dict[str, Any] | None:
        """The object in a small JSON file; None where there is no such file.

        Raises:
            InputError: it is damaged.
        """
        try:
            return parse_json(f"{self.path}/{file}", self.read(file, 0, MAX_JSON))
        except FileNotFoundError:
            return None

    def description(self) -> dict[str, Any]:
        """What set.json says.

        Raises:
            InputError: this is not a set.
        """
        try:
            description = self.json(SET_FILE)
        except OSError as error:
            raise InputError(f"{self.path}/{SET_FILE} cannot be read ({error}); check the path.") from error
        if description is None:
            raise InputError(f"{self.path} is not a set: it has no {SET_FILE}; name the folder that holds one.")
        check_description(f"{self.path}/{SET_FILE}", description)
        return description

    def buckets(self, folder: str) -> list[Bucket]:
        """The buckets that have a folder in `folder`."""
        buckets = []
        for name in self.names(folder):
            if name.endswith(".json"):
                continue
            buckets.append(self.bucket(name, f"{self.path}/{folder}/{name}"))
        return sorted(buckets)

    def bucket(self, name: str, where: str) -> Bucket:
        """The bucket of that name, read at `where`, or an `InputError`."""
        try:
            bucket = Bucket.parse(name)
            check_bucket(bucket)
        except ValueError as error:
            raise InputError(f"{where} names no clip size that is possible ({name!r:.60}); remove it.") from error
        return bucket

    def tables(self, folder: str, schema: pa.Schema, columns: Sequence[str]) -> Iterator[tuple[str, pa.Table]]:
        """(shard's name, its index) of a folder's shards, in the order of names; see `table`."""
        names = [name.removesuffix(".parquet") for name in self.names(folder) if name.endswith(".parquet")]
        with ThreadPoolExecutor(READERS) as pool:
            tables = pool.map(lambda name: self.table(f"{folder}/{name}.parquet", schema, columns), names)
            yield from zip(names, tables, strict=True)

    def table(self, file: str, schema: pa.Schema, columns: Sequence[str]) -> pa.Table:
        """An index's `columns`, of the types in `schema`.

        Raises:
            InputError: it is damaged.
        """
        wanted = pa.schema([schema.field(column) for column in columns])
        where = f"{self.path}/{file}"
        try:
            data = pa.BufferReader(self.read(file))
            table = pq.read_table(data, columns=wanted.names, use_threads=False).select(wanted.names).cast(wanted)
            table.validate(full=True)
        except (OSError, KeyError, ValueError, pa.ArrowException) as error:
            raise InputError(f"{where} is damaged: it is no index with the right columns; copy it again.") from error
        for name in wanted.names:
            if name not in NULLABLE and table[name].null_count:
                raise InputError(f"{where} is damaged: {name} is missing in some rows; copy it again.")
            if name.endswith(("_id", "_clip")):
                fits = pc.all(pc.match_substring_regex(table[name], f"^{ID_PATTERN}$")).as_py()
                if fits is False:
                    raise InputError(f"{where} holds an id that is none; ids are 1 to 200 of A-Za-z0-9._-.")
        return table


@dataclass
class Members:
    """Where members of tar files are: row i is `size[i]` bytes at `offset[i]` of `folder/shards[shard[i]].tar`."""

    folder: str
    shards: list[str]
    shard: np.ndarray
    offset: np.ndarray
    size: np.ndarray
    crc32: np.ndarray

    @classmethod
    def of(cls, folder: str, tables: list[tuple[str, pa.Table]]) -> "Members":
        """From the indices of a folder."""
        lengths = [len(table) for _, table in tables]

        def column(name: str, dtype: type) -> np.ndarray:
            parts = [table[name].to_numpy().astype(dtype) for _, table in tables]
            return np.concatenate([np.empty(0, dtype), *parts])

        return cls(
            folder,
            [name for name, _ in tables],
            np.repeat(np.arange(len(tables), dtype=np.int32), lengths),
            column("offset", np.int64),
            column("size", np.int64),
            column("crc32", np.uint32),
        )

    def tar(self, row: int) -> str:
        """The file that a member is in."""
        return f"{self.folder}/{self.shards[self.shard[row]]}.tar"

    def read(self, files: SetFiles, row: int, what: str, limit: int) -> bytes:
        """A member's bytes.

        Args:
            what: names it in the error.
            limit: the most bytes that it may have.

        Raises:
            BadSampleError: it cannot be read whole and unchanged.
        """
        where = f"{what} in {files.path}/{self.tar(row)}"
        start, size = int(self.offset[row]), int(self.size[row])
        if start < 0 or not 0 < size <= limit:
            raise BadSampleError(f"{where} has an impossible place in the index: {size} bytes at {start}.")
        try:
            data = files.read(self.tar(row), start, start + size)
        except (OSError, ValueError) as error:
            reason = getattr(error, "strerror", None) or type(error).__name__
            raise BadSampleError(f"{where} cannot be read ({reason}).") from error
        if len(data) < size:
            raise BadSampleError(f"{where} is cut off: the file ends before it does.")
        if zlib.crc32(data) != self.crc32[row]:
            raise BadSampleError(f"{where} is damaged: its checksum is wrong.")
        return data


def first_rows(values: pa.Array) -> np.ndarray:
    """The rows at which each distinct value comes first."""
    rows = pc.index_in(values, value_set=values).to_numpy(zero_copy_only=False)
    return np.flatnonzero(rows == np.arange(len(values)))


def rows_of(values: pa.Array, among: pa.Array) -> np.ndarray:
    """For each value its first row among others, int32; -1 where it is not, or null."""
    found = pc.index_in(values, value_set=among, skip_nulls=True)
    return found.fill_null(-1).to_numpy(zero_copy_only=False).astype(np.int32)


def strings(tables: list[pa.Table], name: str) -> pa.LargeStringArray:
    """A column of all tables as one array (large: together they may hold more than 2 GB)."""
    chunks = [chunk.cast(pa.large_string()) for table in tables for chunk in table[name].chunks]
    return pa.concat_arrays(chunks) if chunks else pa.array([], pa.large_string())
