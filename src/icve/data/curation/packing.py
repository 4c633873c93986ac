"""Writes the set: the clips of the pairs that are kept, in the order of the list of sources.

The same parcels and decisions make the same bytes, so a run that was stopped here goes over everything again, and only
counts what is in shards that are closed.
"""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from icve.data.buckets import Bucket
from icve.data.curation.parcels import Parcels, StoredParcel
from icve.data.curation.records import Clip, Pair
from icve.data.curation.selecting import Selected
from icve.data.shard_layout import MEDIA, PAIRS, media_suffix
from icve.data.shard_tar import TarShard, member_bytes
from icve.video.files import write_errors

PREFIX = "curated"
PAIRS_IN_FILE = 100_000

CLIP_COLUMNS = pa.schema(
    [
        ("content", pa.string()),  # BLAKE2b of the source's bytes
        ("scene", pa.int32()),
        ("start", pa.float64()),  # seconds from the source's first frame
        ("end", pa.float64()),
        ("source_frames", pa.list_(pa.int32())),  # the numbers of the source's frames
        ("motion", pa.float64()),
        ("scores", pa.string()),  # JSON
    ]
)
PAIR_COLUMNS = pa.schema(
    [
        ("original_instruction", pa.string()),
        ("method", pa.string()),
        ("source", pa.string()),
        ("scene", pa.int32()),
        *((f"{clip}_{edge}", pa.float64()) for clip in ("source", "target") for edge in ("start", "end")),
        ("motion_source", pa.float64()),
        ("motion_target", pa.float64()),
        ("change_flow", pa.float64()),
        ("change_colour", pa.float64()),
        ("change_embedding", pa.float64()),
        ("scores", pa.string()),  # JSON
        ("source_caption", pa.string()),
        ("target_caption", pa.string()),
    ]
)
ALL_PAIR_COLUMNS = pa.schema([*PAIRS, *PAIR_COLUMNS])
ALL_CLIP_COLUMNS = pa.schema([*MEDIA, *CLIP_COLUMNS])


def pack(
    folder: Path, parcels: Parcels, selected: Iterable[Selected], shard_bytes: int, progress: Callable[[int], Any]
) -> None:
    """Writes media shards, and then the pairs.

    Args:
        folder: of the set.
        parcels: of the run.
        selected: the pairs that are kept, in the order of the list of sources.
        shard_bytes: a shard that reaches this is closed.
        progress: called with 1 for each pair.

    Raises:
        InputError: the disk is full, or a parcel is damaged.
    """
    media: dict[str, _Shards] = {}
    pairs = _PairFiles(folder / "pairs")
    parcel: StoredParcel | None = None
    written: set[str] = set()
    try:
        for each in selected:
            if parcel is None or parcel.source.number != each.number:
                parcel, written = parcels.read(each.number), set()
            pair = parcel.pairs[each.place]
            clips = {clip.id: clip for clip in parcel.clips}
            for name in (pair.source, pair.target):
                clip = clips[name]
                if name not in written:
                    if clip.bucket not in media:
                        media[clip.bucket] = _Shards(folder, Bucket.parse(clip.bucket), shard_bytes)
                    media[clip.bucket].add(parcel, clip)
                    written.add(name)
            pairs.add(_row(parcel, pair, clips[pair.source], clips[pair.target], each))
            progress(1)
        for shards in media.values():
            shards.close()
        pairs.close()
    finally:
        for shards in media.values():
            shards.discard()
        pairs.discard()


class _Shards:
    """A bucket's media shards, one after the other; those that are closed already are only counted."""

    def __init__(self, folder: Path, bucket: Bucket, shard_bytes: int) -> None:
        self.folder, self.bucket, self.shard_bytes = folder / "media" / str(bucket), bucket, shard_bytes
        self.number = -1
        self._next()

    def _next(self) -> None:
        self.number += 1
        self.size = 0
        name = f"{PREFIX}-{self.number:06d}"
        done = (self.folder / f"{name}.parquet").exists()
        self.shard = None if done else TarShard(self.folder, name, ALL_CLIP_COLUMNS)

    def add(self, parcel: StoredParcel, clip: Clip) -> None:
        member = clip.id + media_suffix(self.bucket)
        self.size += member_bytes(member, parcel.places[clip.id][1])
        if self.shard is not None:
            self.shard.add(
                member,
                parcel.clip_bytes(clip.id),
                clip_id=clip.id,
                frames=self.bucket.frames,
                height=self.bucket.height,
                width=self.bucket.width,
                fps=clip.fps,
                caption=None,
                source=parcel.source.uri,
                content=parcel.content,
                scene=clip.scene,
                start=clip.start,
                end=clip.end,
                source_frames=list(clip.frames),
                motion=clip.motion,
                scores=json.dumps(clip.scores, sort_keys=True),
            )
        if self.size >= self.shard_bytes:
            self._finish()
            self._next()

    def _finish(self) -> None:
        if self.shard is not None:
            self.shard.close()
            self.shard = None

    def close(self) -> None:
        if self.size:
            self._finish()

    def discard(self) -> None:
        if self.shard is not None:
            self.shard.discard()


class _PairFiles:
    """Parquet files of pairs: hidden until all are written, since a pair counts only when its clips do."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.files: list[Path] = []
        self.rows: list[dict[str, Any]] = []

    def add(self, row: dict[str, Any]) -> None:
        self.rows.append(row)
        if len(self.rows) == PAIRS_IN_FILE:
            self._write()

    def _write(self) -> None:
        path = self.folder / f".{PREFIX}-{len(self.files):06d}.parquet.part"
        with write_errors(path):
            self.folder.mkdir(parents=True, exist_ok=True)
            self.files.append(path)
            pq.write_table(pa.Table.from_pylist(self.rows, ALL_PAIR_COLUMNS), path, compression="zstd")
        self.rows = []

    def close(self) -> None:
        if self.rows or not self.files:
            self._write()
        for path in self.files:
            path.replace(path.with_name(path.name.removeprefix(".").removesuffix(".part")))
        self.files = []

    def discard(self) -> None:
        for path in self.files:
            path.unlink(missing_ok=True)


def _row(parcel: StoredParcel, pair: Pair, source: Clip, target: Clip, selected: Selected) -> dict[str, Any]:
    instruction = selected.instruction
    return {
        "pair_id": pair.id,
        "source_clip": source.id,
        "target_clip": target.id,
        "instruction": instruction.text,
        "type": instruction.type,
        "bucket": source.bucket,
        "original_instruction": selected.original,
        "method": instruction.method,
        "source": parcel.source.uri,
        "scene": pair.scene,
        "source_start": source.start,
        "source_end": source.end,
        "target_start": target.start,
        "target_end": target.end,
        "motion_source": source.motion,
        "motion_target": target.motion,
        "change_flow": pair.change_flow,
        "change_colour": pair.change_colour,
        "change_embedding": pair.change_embedding,
        "scores": json.dumps(instruction.scores, sort_keys=True),
        "source_caption": instruction.source_caption,
        "target_caption": instruction.target_caption,
    }
