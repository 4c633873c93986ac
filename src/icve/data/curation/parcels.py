"""What came of each source, on disk until the set is packed: one parcel a source, which is its done-marker too.

A parcel is NUMBER.json, and NUMBER.media with the bytes of its clips. The JSON is written last and by renaming, so a
source is either done or not begun.
"""

import json
import os
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

from icve.data.curation.records import Clip, Instruction, Pair, Parcel, Source, StageCount
from icve.errors import InputError
from icve.video.files import replacing, write_errors

FOLDER_SIZE = 1000  # parcels of one folder


class Parcels:
    """The parcels of a run, below one folder."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def path(self, number: int) -> Path:
        """The file that says that a source is done."""
        return self.folder / f"{number // FOLDER_SIZE:06d}" / f"{number:09d}.json"

    def done(self, count: int) -> bytearray:
        """One byte for each source, 1 for those that are done. Takes seconds for a million."""
        marks = bytearray(count)
        if not self.folder.is_dir():
            return marks
        for group in os.scandir(self.folder):
            if not group.name.isdecimal():
                continue
            for file in os.scandir(group.path):
                name, dot, suffix = file.name.partition(".")
                if dot and suffix == "json" and name.isdecimal() and int(name) < count:
                    marks[int(name)] = 1
        return marks

    def write(self, parcel: Parcel) -> None:
        """Writes a source's parcel.

        Raises:
            InputError: the disk is full.
        """
        path = self.path(parcel.source.number)
        record: dict[str, Any] = asdict(parcel)
        record["media"] = [[name, len(data)] for name, data in parcel.media.items()]
        with write_errors(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            if parcel.media:
                with replacing(path.with_suffix(".media")) as partial, partial.open("wb") as file:
                    file.writelines(parcel.media.values())
                    file.flush()
                    os.fsync(file.fileno())
            with replacing(path) as partial, partial.open("w", encoding="utf-8") as file:
                json.dump(record, file, ensure_ascii=False)
                file.flush()
                os.fsync(file.fileno())

    def read(self, number: int) -> "StoredParcel":
        """A source's parcel.

        Raises:
            InputError: it is missing or damaged.
        """
        path = self.path(number)
        try:
            return StoredParcel(path, json.loads(path.read_bytes()))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise InputError(f"{path} is missing or damaged; remove it and run the same command again.") from error

    def all(self, count: int) -> Iterator["StoredParcel"]:
        """The parcels of sources 0 to `count` - 1, in order."""
        return map(self.read, range(count))


class StoredParcel(Parcel):
    """A parcel whose media are still on the disk: `media` is empty, `clip_bytes` reads one clip."""

    def __init__(self, path: Path, record: dict[str, Any]) -> None:
        media = record.pop("media")
        super().__init__(
            source=Source(**record["source"]),
            content=record["content"],
            quarantined=record["quarantined"],
            stages=[StageCount(**stage) for stage in record["stages"]],
            clips=[Clip(**clip | {"frames": tuple(clip["frames"])}) for clip in record["clips"]],
            pairs=[_pair(pair) for pair in record["pairs"]],
            embeddings={int(scene): vector for scene, vector in record["embeddings"].items()},
        )
        self.file = path.with_suffix(".media")
        self.places: dict[str, tuple[int, int]] = {}
        offset = 0
        for name, size in media:
            self.places[name] = offset, size
            offset += size

    def clip_bytes(self, clip_id: str) -> bytes:
        """The bytes of a clip's file.

        Raises:
            InputError: the parcel is damaged.
        """
        offset, size = self.places[clip_id]
        try:
            with self.file.open("rb") as file:
                file.seek(offset)
                data = file.read(size)
        except OSError:
            data = b""
        if len(data) != size:
            marker = self.file.with_suffix(".json")
            raise InputError(f"{self.file} is missing or damaged; remove {marker} and run the same command again.")
        return data


def _pair(record: dict[str, Any]) -> Pair:
    instruction = record.pop("instruction")
    return Pair(**record, instruction=Instruction(**instruction) if instruction else None)
