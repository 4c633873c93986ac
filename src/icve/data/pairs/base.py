"""What every public paired set is read as: pairs of video files with an instruction, one after the other.

An adapter reads its set's own metadata and says where a row's two files may lie; everything that is the same for all
sets (checking paths, naming pairs, reporting rows that cannot be used) is here.
"""

import hashlib
import re
from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar

from icve.data.pairs.metadata import BadRow, csv_header, csv_rows, json_fields, json_rows
from icve.errors import InputError

TYPES = ("add", "remove", "replace", "attribute", "action", "background", "camera", "style", "none")

# Leading verbs that leave no doubt about the type, for sets that do not give one.
VERBS = {
    "add": "add",
    "insert": "add",
    "remove": "remove",
    "delete": "remove",
    "erase": "remove",
    "replace": "replace",
    "swap": "replace",
}


@dataclass(frozen=True)
class RawPair:
    """One edit of a set: two video files that exist inside the set's folder.

    Attributes:
        id: names the pair for good: a function of the set, its row's paths and its instruction.
        source, target: the video before and after the edit.
        type: one of `TYPES`.
        place: where it stands in the metadata, as `BadRow.row`.
        extra: what else the set says of the pair, as text; "type" is the set's own word for the type.
    """

    id: str
    place: str
    source: Path
    target: Path
    instruction: str
    type: str
    extra: dict[str, str]


@dataclass(frozen=True)
class Row:
    """A row of a set's metadata, as an adapter hands it to `PublicSet.pairs`.

    Attributes:
        place: as `BadRow.row`.
        source, target: where the file may lie, relative to the set's folder; the first that exists is taken. The first
            of all is part of the pair's id, so it must not depend on what is on the disk.
        type: the set's own word, "" where it has none.
    """

    place: str
    source: list[str]
    target: list[str]
    instruction: str
    type: str = ""
    extra: dict[str, str] = field(default_factory=dict)


class UnsafePathError(Exception):
    """A path of the metadata that leads out of the set's folder."""


class PublicSet(ABC):
    """A published set of paired videos. Subclasses say how it is laid out.

    Attributes:
        name: what the command line calls it.
        title, url: its authors' name for it and where they publish it.
        licence: one sentence.
        layout: one sentence that says what must lie in the folder.
        fields: of a row that are needed, under the set's own names.
        delimiter: of the metadata's CSV files; None for JSON lists.
        types: the set's own words for a type, each with one of `TYPES`. Of a pair with another word, or with none, the
            type is that which the instruction's first verb gives away.
    """

    name: ClassVar[str]
    title: ClassVar[str]
    url: ClassVar[str]
    licence: ClassVar[str]
    layout: ClassVar[str]
    fields: ClassVar[tuple[str, ...]]
    delimiter: ClassVar[str | None] = None
    types: ClassVar[dict[str, str]] = {}

    @abstractmethod
    def metadata(self, folder: Path) -> list[Path]:
        """The set's metadata files in the folder, in the order they are read; empty where it is not this set."""

    @abstractmethod
    def row(self, metadata: Path, place: str, values: dict[str, str]) -> Row:
        """One row of a metadata file."""

    def has_fields(self, metadata: Path) -> bool:
        """Whether the file is metadata of this set: its rows have the set's fields."""
        names = json_fields(metadata) if self.delimiter is None else csv_header(metadata, self.delimiter)
        return set(self.fields) <= set(names)

    def rows(self, metadata: Path) -> Iterator[Row | BadRow]:
        """The rows of one metadata file, read as a stream."""
        read = json_rows(metadata, self.fields)
        if self.delimiter is not None:
            read = csv_rows(metadata, self.fields, self.delimiter)
        for item in read:
            yield item if isinstance(item, BadRow) else self.row(metadata, *item)

    def detect(self, folder: Path) -> bool:
        """Whether the folder holds this set in its published layout."""
        return folder.is_dir() and bool(self.metadata(folder))

    def pairs(self, folder: Path) -> Iterator[RawPair | BadRow]:
        """Every row of the set, as a pair or as the reason why it is none.

        Raises:
            InputError: the folder does not hold the set.
        """
        if not self.detect(folder):
            raise InputError(f"{folder} does not hold {self.title} as it is published; {self.layout}")
        root = folder.resolve()
        for metadata in self.metadata(folder):
            for row in self.rows(metadata):
                yield row if isinstance(row, BadRow) else self._pair(root, row)

    def _pair(self, root: Path, row: Row) -> RawPair | BadRow:
        instruction = " ".join(row.instruction.split())
        if not instruction:
            return BadRow(row.place, "no instruction", "The row has no instruction.")
        files = []
        for candidates in (row.source, row.target):
            try:
                path = find(root, candidates)
            except UnsafePathError:
                return BadRow(row.place, "unsafe path", f"{candidates[0]!r} leads out of the set's folder.")
            if path is None:
                return BadRow(row.place, "missing video", f"The video {candidates[0]} is not there; unpack it.")
            files.append(path)
        if files[0] == files[1]:
            return BadRow(row.place, "same video", f"Source and edit are one file, {row.target[0]}.")
        extra = dict(row.extra) | ({"type": row.type} if row.type else {})
        kind = self.types.get(row.type) or guess_type(instruction)
        name = digest(self.name, row.source[0], row.target[0], instruction)
        return RawPair(f"{self.name}-{name}", row.place, files[0], files[1], instruction, kind, extra)


def find(root: Path, candidates: list[str]) -> Path | None:
    """The first of the relative paths that is a file in `root` (resolved), or None.

    Raises:
        UnsafePathError: a path is absolute, climbs with "..", or is a link to outside.
    """
    for candidate in candidates:
        relative = Path(candidate)
        if relative.is_absolute() or ".." in relative.parts:
            raise UnsafePathError(candidate)
        path = root / relative
        if is_file(path):
            if not path.resolve().is_relative_to(root):
                raise UnsafePathError(candidate)
            return path
    return None


def is_file(path: Path) -> bool:
    """Whether the path is a file; a name that the system refuses (too long) is none."""
    try:
        return path.is_file()
    except OSError:
        return False


def guess_type(instruction: str) -> str:
    """The type that an instruction's first word gives away, or "none"."""
    first = re.match(r"[A-Za-z]+", instruction)
    return VERBS.get(first.group().lower(), "none") if first else "none"


def digest(*parts: str) -> str:
    """20 hexadecimal digits (80 bits: no two of 10 million pairs meet by chance) that name the parts."""
    return hashlib.blake2b("\0".join(parts).encode("utf-8", "surrogatepass"), digest_size=10).hexdigest()
