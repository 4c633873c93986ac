"""A set in the shard format as numbered samples: indices in memory, clips read when they are asked for."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from torch import Tensor

from icve.data.buckets import Bucket
from icve.data.samples import BadSampleError, Sample, TextEmbedding
from icve.data.shard_index import Members, SetFiles, first_rows, rows_of, strings
from icve.data.shard_layout import ENCODER_FILE, LATENTS, LOCATION, MEDIA, PAIRS, TEXT, text_key
from icve.data.shard_members import quarantined_clips, read_clip, read_tensors
from icve.errors import InputError


@dataclass
class Clips:
    """One bucket's clips; `latents` are members of their own, `latent_row` is a clip's there or -1."""

    ids: pa.LargeStringArray
    captions: pa.LargeStringArray | None
    media: Members
    latents: Members
    latent_row: np.ndarray


@dataclass
class Samples:
    """One bucket's samples; `target` and `source` are rows of its clips, -1 where the clip is missing."""

    ids: pa.LargeStringArray
    texts: pa.LargeStringArray
    target: np.ndarray
    target_ids: pa.LargeStringArray
    source: np.ndarray | None = None
    source_ids: pa.LargeStringArray | None = None

    def part(self, chosen: np.ndarray) -> "Samples":
        """The samples at which `chosen` is true."""
        mask = pa.array(chosen)
        source = None if self.source is None else self.source[chosen]
        source_ids = None if self.source_ids is None else self.source_ids.filter(mask)
        ids, texts, target_ids = (array.filter(mask) for array in (self.ids, self.texts, self.target_ids))
        return Samples(ids, texts, self.target[chosen], target_ids, source, source_ids)


class ShardSet:
    """The samples of a set, a `PairSet`. See docs/format.md for the set, `icve.data.samples` for the rest.

    About 300 bytes a pair are held in memory, no files; the object may be pickled.

    Attributes:
        name, licence, source: what set.json says.
        latent_encoder, text_encoder: what latents/encoder.json and text/encoder.json say, or None.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        kind: Literal["pairs", "captions"] = "pairs",
        text: Literal["raw", "embedded"] = "raw",
        clips: Literal["auto", "latents", "media"] = "auto",
        hold_out: float = 0.0,
        part: Literal["train", "held_out"] = "train",
        limit: int | None = None,
        shuffle_shards: int = 16,
    ) -> None:
        """
        Args:
            path: a folder, or an address that fsspec knows.
            kind: "pairs" are those with a source; "captions" are for text-to-video: clips with a caption, then pairs
                without a source.
            text: "embedded" adds the embeddings that `icve data encode` made.
            clips: "auto" serves a bucket's latents where all its clips have them (or are quarantined), else its media.
            hold_out: the share of samples, chosen by a hash of their ids, that is kept out of "train" and is
                "held_out", the two values of `part`.
            limit: so many samples of the part at most, over all buckets, chosen by a hash of their ids: those of a
                small limit are among those of a larger one.
            shuffle_shards: how many shards `order` mixes at a time.

        Raises:
            InputError: there is no such set, an index is damaged, or it has no samples of this kind.
        """
        self.files = SetFiles(str(path))
        description = self.files.description()
        self.name, self.licence, self.source = (description[key] for key in ("name", "licence", "source"))
        self.text, self.shuffle_shards = text, shuffle_shards
        self.latent_encoder = self._encoder("latents", "channels", "temporal_compression", "spatial_compression")
        self.text_encoder = self._encoder("text", "width", "pooled_width", "max_length")
        self._clips = {bucket: self._read_clips(bucket, kind) for bucket in self.files.buckets("media")}
        samples = self._read_pairs(kind)
        if kind == "captions":
            samples = self._with_captions(samples)
        if hold_out:
            samples = {b: s.part(held_out(s.ids, hold_out) == (part == "held_out")) for b, s in samples.items()}
        if limit is not None:
            samples = first_by_hash(samples, limit)
        self._samples = {bucket: samples[bucket] for bucket in sorted(samples) if len(samples[bucket].ids)}
        if not self._samples:
            missing = "pairs with a source clip" if kind == "pairs" else "clips with a caption"
            which = f" in the part {part!r}" if hold_out else ""
            raise InputError(f"The set {path} has no {missing}{which}; choose another set, kind or part.")
        self._latents = {bucket: self._use_latents(bucket, clips) for bucket in self._samples}
        if text == "embedded":
            self._read_texts()

    def _encoder(self, folder: str, *sizes: str) -> dict[str, Any] | None:
        file = f"{folder}/{ENCODER_FILE}"
        encoder = self.files.json(file)
        if encoder is not None:
            for key in sizes:
                if not isinstance(encoder.get(key), int) or not 0 < encoder[key] < 2**20:
                    raise InputError(f'{self.files.path}/{file} is damaged: "{key}" is no size; copy it again.')
        return encoder

    def _read_clips(self, bucket: Bucket, kind: str) -> Clips:
        folder = f"media/{bucket}"
        columns = ["clip_id", *LOCATION.names, *(["caption"] if kind == "captions" else [])]
        media = list(self.files.tables(folder, MEDIA, columns))
        ids = strings([table for _, table in media], "clip_id")
        captions = strings([table for _, table in media], "caption") if kind == "captions" else None
        folder_latents = f"latents/{bucket}"
        latents = []
        if self.latent_encoder is not None:
            latents = list(self.files.tables(folder_latents, LATENTS, ["clip_id", *LOCATION.names]))
        row = rows_of(ids, strings([table for _, table in latents], "clip_id"))
        return Clips(ids, captions, Members.of(folder, media), Members.of(folder_latents, latents), row)

    def _read_pairs(self, kind: str) -> dict[Bucket, Samples]:
        columns = ["pair_id", "source_clip", "target_clip", "instruction", "bucket"]
        tables = [table for _, table in self.files.tables("pairs", PAIRS, columns)]
        if not tables:
            return {}
        table = pa.table({name: strings(tables, name) for name in columns})
        table = table.take(first_rows(table["pair_id"].combine_chunks()))
        table = table.filter(table["source_clip"].is_valid() if kind == "pairs" else table["source_clip"].is_null())
        samples = {}
        for name in table["bucket"].unique().to_pylist():
            bucket = self.files.bucket(name, f"{self.files.path}/pairs")
            rows = pc.equal(table["bucket"], name)
            ids, source, target, texts, _ = (column.combine_chunks() for column in table.filter(rows).columns)
            known = self._clips[bucket].ids if bucket in self._clips else pa.array([], pa.large_string())
            samples[bucket] = Samples(ids, texts, rows_of(target, known), target)
            if kind == "pairs":
                samples[bucket].source, samples[bucket].source_ids = rows_of(source, known), source
        return samples

    def _with_captions(self, pairs: dict[Bucket, Samples]) -> dict[Bucket, Samples]:
        samples = dict(pairs)
        for bucket, clips in self._clips.items():
            assert clips.captions is not None
            rows = first_rows(clips.ids)
            rows = rows[clips.captions.is_valid().to_numpy(zero_copy_only=False)[rows]]
            ids, texts, target = clips.ids.take(rows), clips.captions.take(rows), rows.astype(np.int32)
            if (more := pairs.get(bucket)) is not None:
                samples[bucket] = Samples(
                    pa.concat_arrays([ids, more.ids]),
                    pa.concat_arrays([texts, more.texts]),
                    np.concatenate([target, more.target]),
                    pa.concat_arrays([ids, more.target_ids]),
                )
            else:
                samples[bucket] = Samples(ids, texts, target, ids)
        return samples

    def _use_latents(self, bucket: Bucket, clips: str) -> bool:
        index, samples = self._clips.get(bucket), self._samples[bucket]
        encoded = index is not None and bool((index.latent_row >= 0).any())
        if clips == "latents" and not encoded:
            raise InputError(f"The set {self.files.path} has no latents of {bucket}; make them with icve data encode.")
        if clips != "auto" or not encoded or index is None:
            return clips == "latents"
        used = samples.target if samples.source is None else np.concatenate([samples.target, samples.source])
        used = np.unique(used[used >= 0])
        lacking = set(index.ids.take(used[index.latent_row[used] < 0]).to_pylist())
        return not lacking or lacking <= quarantined_clips(self.files)

    def _read_texts(self) -> None:
        if self.text_encoder is None:
            raise InputError(f"The set {self.files.path} has no text embeddings; make them with icve data encode.")
        tables = list(self.files.tables("text", TEXT, ["text_key", *LOCATION.names]))
        self._texts = Members.of("text", tables)
        keys = strings([table for _, table in tables], "text_key").to_numpy(zero_copy_only=False).astype("S32")
        self._text_rows = np.argsort(keys, kind="stable")
        self._text_keys = keys[self._text_rows]

    @property
    def buckets(self) -> Sequence[Bucket]:
        """The buckets that it has samples of."""
        return list(self._samples)

    def size(self, bucket: Bucket) -> int:
        """The number of samples of a bucket."""
        return len(self._samples[bucket].ids)

    def serves_latents(self, bucket: Bucket) -> bool:
        """Whether samples of a bucket are latents; if not, they are pixels."""
        return self._latents[bucket]

    def order(self, bucket: Bucket, seed: int, epoch: int) -> np.ndarray:
        """The order of one epoch: shards shuffled, and samples within groups of `shuffle_shards` shards, so that
        reads stay within a few files at a time. A permutation of range(size), by the arguments alone."""
        rng = np.random.default_rng([seed, epoch, *bucket])
        clips, target = self._clips.get(bucket), self._samples[bucket].target
        if clips is None or not len(clips.ids):
            return np.arange(len(target))
        shards = len(clips.media.shards)
        group = (rng.permutation(shards) // self.shuffle_shards)[clips.media.shard[target]]
        return np.lexsort((rng.random(len(target)), group))

    def load(self, bucket: Bucket, number: int) -> Sample:
        """Read one sample: latents where `serves_latents(bucket)`, else pixels.

        Raises:
            BadSampleError: it cannot be read.
        """
        samples = self._samples[bucket]
        text = samples.texts[number].as_py()
        source = None
        if samples.source is not None and samples.source_ids is not None:
            source = self._clip(bucket, int(samples.source[number]), samples.source_ids[number].as_py())
        return Sample(
            id=samples.ids[number].as_py(),
            target=self._clip(bucket, int(samples.target[number]), samples.target_ids[number].as_py()),
            source=source,
            text=text,
            text_embedding=self.text_embedding(text) if self.text == "embedded" else None,
        )

    def _clip(self, bucket: Bucket, row: int, clip_id: str) -> np.ndarray | Tensor:
        if row < 0:
            raise BadSampleError(f"The clip {clip_id} is in no index of {self.files.path}/media/{bucket}.")
        clips = self._clips[bucket]
        if not self._latents[bucket]:
            return read_clip(self.files, clips.media, row, clip_id, bucket)
        if clips.latent_row[row] < 0:
            raise BadSampleError(f"The clip {clip_id} has no latents in {self.files.path}/latents/{bucket}.")
        encoder = self.latent_encoder
        assert encoder is not None
        side = encoder["spatial_compression"]
        time = 1 + (bucket.frames - 1) // encoder["temporal_compression"]
        shape = (encoder["channels"], time, bucket.height // side, bucket.width // side)
        return read_tensors(self.files, clips.latents, int(clips.latent_row[row]), clip_id, latents=shape)["latents"]

    def text_embedding(self, text: str) -> TextEmbedding:
        """The embedding of a text of the set; that of "", for text dropout, is always there.

        Raises:
            BadSampleError: it cannot be read, or the text was not embedded.
        """
        encoder = self.text_encoder
        assert self.text == "embedded"
        assert encoder is not None
        key = text_key(text)
        place = int(np.searchsorted(self._text_keys, key.encode()))
        if place == len(self._text_keys) or self._text_keys[place] != key.encode():
            raise BadSampleError(
                f"The text {text!r:.80} has no embedding in {self.files.path}/text; run icve data encode again."
            )
        row = int(self._text_rows[place])
        shapes = {"states": (encoder["max_length"], encoder["width"]), "pooled": (encoder["pooled_width"],)}
        tensors = read_tensors(self.files, self._texts, row, key, **shapes)
        return TextEmbedding(tensors["states"], tensors["pooled"])


def held_out(ids: pa.LargeStringArray, share: float) -> np.ndarray:
    """Which ids are held out, (N,) bool: always the same, whatever else is in the set."""
    return _hashes(ids, b"") < np.uint64(min(round(share * 2**64), 2**64 - 1))


def first_by_hash(samples: dict[Bucket, Samples], count: int) -> dict[Bucket, Samples]:
    """The `count` samples, over all buckets, whose ids come first by a hash (another one than `held_out`'s)."""
    hashes = {bucket: _hashes(each.ids, b"limit") for bucket, each in samples.items()}
    every = np.sort(np.concatenate(list(hashes.values())))
    if count >= len(every):
        return samples
    return {bucket: each.part(hashes[bucket] < every[count]) for bucket, each in samples.items()}


def _hashes(ids: pa.LargeStringArray, salt: bytes) -> np.ndarray:
    digests = (hashlib.blake2b(name.encode(), digest_size=8, salt=salt).digest() for name in ids.to_pylist())
    return np.fromiter((int.from_bytes(each, "big") for each in digests), np.uint64, len(ids))
