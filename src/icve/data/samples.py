"""What travels from data to training: buckets, samples, batches, and the sets that samples come from."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
from torch import Tensor

from icve.data.buckets import Bucket


class BadSampleError(Exception):
    """A sample that cannot be read; the message is one sentence that names it. Training skips and counts it."""


@dataclass(frozen=True)
class TextEmbedding:
    """A prompt as the text encoders give it: `states` (L, D), no padding, and `pooled` (P,)."""

    states: Tensor
    pooled: Tensor


@dataclass(frozen=True)
class Sample:
    """One training example of a bucket.

    `target` and `source` are clips, uint8 (F, H, W, 3) pixels or float scaled latents (C, T, h, w), both of one kind;
    `source` is None for text-to-video. `text` is the instruction or caption; `text_embedding` its embedding, where it
    was made in advance. `labels` are further per-sample tensors that an auxiliary loss reads.
    """

    id: str
    target: np.ndarray | Tensor
    source: np.ndarray | Tensor | None
    text: str
    text_embedding: TextEmbedding | None = None
    labels: dict[str, Tensor] = field(default_factory=dict)


class PairSet(Protocol):
    """Numbered samples by bucket. Sets go to worker processes, so they must be picklable and open files late."""

    name: str

    @property
    def buckets(self) -> Sequence[Bucket]:
        """The buckets that it has samples of."""
        ...

    def size(self, bucket: Bucket) -> int | None:
        """The number of samples of a bucket; None for an endless set, whose every number is a new sample."""
        ...

    def order(self, bucket: Bucket, seed: int, epoch: int) -> np.ndarray:
        """A permutation of range(size), a function of its arguments alone: the order of one epoch."""
        ...

    def load(self, bucket: Bucket, number: int) -> Sample:
        """Read one sample.

        Raises:
            BadSampleError: it cannot be read.
        """
        ...


@dataclass
class Batch:
    """One rank's share of one step: B samples of one bucket.

    Attributes:
        step: the training step that it is for.
        bucket: the size of its clips.
        slots: each sample's number in the whole step's batch over all ranks; noise is drawn by it, so that a step
            does not depend on the number of ranks.
        ids, texts: one each.
        target, source: (B, F, H, W, 3) uint8 or (B, C, T, h, w) float; `source` None for text-to-video.
        text_embeddings: one each, or None where texts are still to be encoded.
        labels: stacked `Sample.labels`.
        valid: (B,) bool; false where a sample could not be read, and its tensors are zeros.
        problems: what was wrong with those.
        state: the loader's state after this batch, for a checkpoint.
    """

    step: int
    bucket: Bucket
    slots: list[int]
    ids: list[str]
    texts: list[str]
    target: Tensor
    source: Tensor | None
    valid: Tensor
    text_embeddings: list[TextEmbedding] | None = None
    labels: dict[str, Tensor] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    state: dict[str, Any] = field(default_factory=dict)

    def rows(self, start: int, stop: int) -> "Batch":
        """Samples start to stop, as a batch of its own (a micro-batch)."""
        part = slice(start, stop)
        return Batch(
            self.step,
            self.bucket,
            self.slots[part],
            self.ids[part],
            self.texts[part],
            self.target[part],
            None if self.source is None else self.source[part],
            self.valid[part],
            None if self.text_embeddings is None else self.text_embeddings[part],
            {name: label[part] for name, label in self.labels.items()},
            self.problems,
            self.state,
        )
