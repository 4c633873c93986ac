"""Writes a set in the shard format: clips, pairs, resumable, several processes at once."""

import fcntl
import json
from contextlib import ExitStack, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pyarrow import ArrowException

from icve.data.buckets import Bucket
from icve.data.shard_layout import (
    FORMAT,
    MEDIA,
    PAIRS,
    QUARANTINE_FILE,
    SET_FILE,
    SHARD_BYTES,
    VERSION,
    check_bucket,
    check_description,
    check_id,
    media_suffix,
    write_once,
)
from icve.data.shard_media import MAX_RATE, decode_clip, encode_clip
from icve.data.shard_tar import TarShard, next_number, write_parquet
from icve.errors import InputError
from icve.video.files import write_errors


class ShardWriter:
    """A context manager that adds clips and pairs to a set on a local disk; the set is made if it is missing.

    What counts is what is in shards that are closed: when they reach `shard_bytes`, at `flush`, and at the end (also
    by an exception or Ctrl-C). A process that is killed loses the open shards, and can add their clips again. Pairs
    are written when their clips are.

    Ids that the set had before are skipped, so a program that adds everything again goes on where it was stopped.
    """

    def __init__(
        self,
        folder: str | Path,
        *,
        name: str,
        licence: str,
        source: str = "",
        prefix: str = "shard",
        shard_bytes: int = SHARD_BYTES,
        quality: int = 14,
        lossless: bool = False,
    ) -> None:
        """
        Args:
            folder: the set.
            name, licence, source: what it is called, what allows its use, where it comes from. A set that exists
                must have the same.
            prefix: of the names of this writer's shards; processes that write at once need different ones.
            shard_bytes: a shard that reaches this is closed.
            quality: of videos, H.264's constant rate factor, 0 (best) to 51.
            lossless: store every pixel exactly; 5 to 10 times the size.

        Raises:
            InputError: the folder holds something else or cannot be written, or the prefix is in use.
        """
        self.folder, self.prefix, self.shard_bytes = Path(folder), prefix, shard_bytes
        self.quality, self.lossless = quality, lossless
        check_id("writer", prefix)
        self.stack = ExitStack()
        with write_errors(self.folder):
            self.folder.mkdir(parents=True, exist_ok=True)
            if not (self.folder / SET_FILE).exists() and any(self.folder.glob("[!.]*")):
                raise InputError(f"{self.folder} is not a set, and not empty; choose a new folder.")
            wanted = {"name": name, "licence": licence, "source": source}
            set_file = self.folder / SET_FILE
            found = write_once(set_file, {"format": FORMAT, "version": VERSION, **wanted})
        check_description(str(set_file), found)
        for key, value in wanted.items():
            if found[key] != value:
                raise InputError(f"{set_file} has {key} {found[key]!r}, not {value!r}; write to another folder.")
        self._lock()
        for part in self.folder.glob(f"media/*/.{prefix}-*.tar.part"):
            part.unlink()  # of a process that was killed: this one holds the lock
        self._clips: dict[str, Bucket] = {}
        self._pairs: set[str] = set()
        self._seen: set[Path] = set()
        self._refresh()
        self._added: set[tuple[str, str]] = set()
        self._shards: dict[Bucket, TarShard] = {}
        self._open_clips: set[str] = set()
        self._waiting: list[dict[str, Any]] = []

    def _lock(self) -> None:
        file = self.stack.enter_context((self.folder / f".{self.prefix}.lock").open("w"))
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
        except BlockingIOError:
            self.stack.close()
            raise InputError(
                f"Another process writes to {self.folder} with the prefix {self.prefix!r}; give each its own."
            ) from None

    def _refresh(self) -> None:
        """Learns the ids in indices that have come up since the last time."""
        for index in sorted(self.folder.glob("media/*/[!.]*.parquet")):
            if index not in self._seen:
                bucket = Bucket.parse(index.parent.name)
                self._clips.update(dict.fromkeys(_column(index, "clip_id"), bucket))
                self._seen.add(index)
        for index in sorted(self.folder.glob("pairs/[!.]*.parquet")):
            if index not in self._seen:
                self._pairs.update(_column(index, "pair_id"))
                self._seen.add(index)

    def has_clip(self, clip_id: str) -> bool:
        """Whether the set holds this clip, or this writer was given it."""
        return clip_id in self._clips

    def has_pair(self, pair_id: str) -> bool:
        """Whether the set holds this pair, or this writer was given it."""
        return pair_id in self._pairs

    def add_clip(
        self, clip_id: str, frames: np.ndarray, *, fps: float, caption: str | None = None, source: str | None = None
    ) -> bool:
        """Adds a clip.

        Args:
            clip_id: 1 to 200 of A-Za-z0-9._-, unique in the set.
            frames: (F, H, W, 3) uint8 RGB; F is 1 (an image) or 4n + 1, H and W are multiples of 16.
            fps: frames a second.
            caption: what it shows, where that is known: text-to-video training reads it.
            source: where it comes from, for the record.

        Returns:
            False if the set held this clip before this writer was opened; then nothing is done.

        Raises:
            InputError: one of these cannot be used, this writer was given the id before, or the disk is full.
        """
        if frames.ndim != 4 or frames.shape[3] != 3 or frames.dtype != np.uint8:
            raise InputError(
                f"The clip {clip_id!r} is {frames.dtype} {frames.shape}; give uint8 (frames, height, width, 3)."
            )
        bucket = Bucket(*frames.shape[:3])
        if not self._is_new_clip(clip_id, bucket, fps):
            return False
        data = encode_clip(frames, fps, quality=self.quality, lossless=self.lossless)
        self._store(clip_id, data, bucket, fps, caption, source)
        return True

    def add_encoded_clip(
        self,
        clip_id: str,
        data: bytes,
        *,
        bucket: Bucket,
        fps: float,
        caption: str | None = None,
        source: str | None = None,
    ) -> bool:
        """As `add_clip`, with the bytes of an MP4 file (for one frame, PNG), stored as they are.

        They are decoded once, and refused with an `InputError` if that fails or they are not of the bucket's size.
        """
        if not self._is_new_clip(clip_id, bucket, fps):
            return False
        try:
            decode_clip(data, bucket)
        except ValueError as error:
            raise InputError(f"The clip {clip_id!r} cannot be stored: {error}; leave it out.") from error
        self._store(clip_id, data, bucket, fps, caption, source)
        return True

    def _is_new_clip(self, clip_id: str, bucket: Bucket, fps: float) -> bool:
        check_id("clip", clip_id)
        check_bucket(bucket)
        if not 0 < fps <= MAX_RATE:
            raise InputError(f"The clip {clip_id!r} has {fps} frames a second; give a number up to {MAX_RATE}.")
        return self._is_new("clip", clip_id, self.has_clip(clip_id))

    def _is_new(self, what: str, name: str, known: bool) -> bool:
        if (what, name) in self._added:
            raise InputError(f"The {what} {name!r} was added twice; give each {what} its own id.")
        return not known

    def _store(
        self, clip_id: str, data: bytes, bucket: Bucket, fps: float, caption: str | None, source: str | None
    ) -> None:
        shard = self._shards.get(bucket)
        if shard is None:
            folder = self.folder / "media" / str(bucket)
            shard = TarShard(folder, f"{self.prefix}-{next_number(folder, self.prefix):06d}", MEDIA)
            self._shards[bucket] = shard
        shard.add(
            clip_id + media_suffix(bucket),
            data,
            clip_id=clip_id,
            frames=bucket.frames,
            height=bucket.height,
            width=bucket.width,
            fps=float(fps),
            caption=caption,
            source=source,
        )
        self._clips[clip_id] = bucket
        self._added.add(("clip", clip_id))
        self._open_clips.add(clip_id)
        if shard.size >= self.shard_bytes:
            self._close_shard(bucket)
            self._write_pairs()

    def add_pair(
        self,
        pair_id: str,
        source_clip: str | None,
        target_clip: str,
        instruction: str,
        type: str,  # noqa: A002 - the column's name
        **extra: str | float | bool | None,
    ) -> bool:
        """Adds a pair of two clips that were added before.

        Args:
            pair_id: as a clip's id, unique among the set's pairs.
            source_clip, target_clip: clip ids, both of one size; no source means text-to-video.
            instruction: what turns the source into the target.
            type: the kind of edit, such as "remove".
            extra: further columns.

        Returns:
            False if the set held this pair before this writer was opened; then nothing is done.

        Raises:
            InputError: one of these cannot be used, or this writer was given the id before.
        """
        check_id("pair", pair_id)
        if not self._is_new("pair", pair_id, self.has_pair(pair_id)):
            return False
        buckets = {self._bucket(pair_id, clip) for clip in (source_clip, target_clip) if clip is not None}
        if len(buckets) > 1:
            sizes = " and ".join(sorted(map(str, buckets)))
            raise InputError(f"The pair {pair_id!r} has clips of two sizes, {sizes}; bring both to one.")
        if clash := sorted(set(extra) & set(PAIRS.names)):
            raise InputError(f"The pair {pair_id!r} has {clash[0]!r} twice; give the extra column another name.")
        row = [pair_id, source_clip, target_clip, instruction, type, str(buckets.pop())]
        self._waiting.append(dict(zip(PAIRS.names, row, strict=True)) | extra)
        self._pairs.add(pair_id)
        self._added.add(("pair", pair_id))
        return True

    def _bucket(self, pair_id: str, clip_id: str) -> Bucket:
        if clip_id not in self._clips:
            self._refresh()  # another process may have written it
        if clip_id not in self._clips:
            raise InputError(f"The pair {pair_id!r} names the clip {clip_id!r}, which is not in the set; add it first.")
        return self._clips[clip_id]

    def quarantine(self, source: str, reason: str) -> None:
        """Notes in quarantine.jsonl what could not be used, and why."""
        append_quarantine(self.folder, source=source, reason=reason)

    def flush(self) -> None:
        """Closes the open shards and writes all pairs: what was added until now counts."""
        for bucket in list(self._shards):
            self._close_shard(bucket)
        self._write_pairs()

    def _close_shard(self, bucket: Bucket) -> None:
        shard = self._shards[bucket]
        shard.close()
        del self._shards[bucket]
        self._seen.add(shard.index)
        self._open_clips.difference_update(row["clip_id"] for row in shard.rows)

    def _write_pairs(self) -> None:
        ready = [p for p in self._waiting if self._open_clips.isdisjoint((p["source_clip"], p["target_clip"]))]
        if not ready:
            return
        extra = sorted({column for pair in ready for column in pair} - set(PAIRS.names))
        columns = [pa.array([pair.get(column) for pair in ready]) for column in extra]
        table = pa.Table.from_pylist(ready, PAIRS)
        for column, values in zip(extra, columns, strict=True):
            table = table.append_column(column, values)
        folder = self.folder / "pairs"
        path = folder / f"{self.prefix}-{next_number(folder, self.prefix):06d}.parquet"
        write_parquet(path, table)
        self._seen.add(path)
        done = {pair["pair_id"] for pair in ready}
        self._waiting = [pair for pair in self._waiting if pair["pair_id"] not in done]

    def close(self) -> None:
        """`flush`, and lets other writers have the prefix."""
        with self.stack:
            self.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is None:
            self.close()
            return
        with self.stack, suppress(InputError):  # a full disk, perhaps: the first error is the one to show
            self.flush()
        for shard in self._shards.values():
            shard.discard()


def append_quarantine(folder: Path, **entry: str) -> None:
    """Adds a line to a set's quarantine.jsonl; whole lines, also when several processes write."""
    path = folder / QUARANTINE_FILE
    with write_errors(path), path.open("ab", buffering=0) as file:
        file.write((json.dumps(entry, ensure_ascii=False) + "\n").encode())


def _column(index: Path, name: str) -> list[str]:
    try:
        return pq.read_table(index, columns=[name])[name].to_pylist()
    except (ArrowException, OSError, KeyError) as error:
        raise InputError(f"{index} is damaged: it cannot be read as an index; copy it again or remove it.") from error
