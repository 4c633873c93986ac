"""The procedural world as an endless set: every number is a new sample, of any size, and pixels with known truth."""

from collections.abc import Mapping, Sequence
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from icve.data.buckets import Bucket
from icve.data.samples import Sample
from icve.data.world import FULL, Scene, generator, render, sample_edit, unpaired
from icve.data.world.language import caption
from icve.data.world.names import name_tokens
from icve.data.world.stills import sample_scene_with_look
from icve.errors import InputError

FRAMES_PER_LATENT = 4  # of HunyuanVideo's autoencoder, which a bucket's 4n + 1 frames follow
MOVING = ("camera", "timed")  # operations that a single frame cannot show
STREAMS = {"train": 5, "held_out": 9}  # the last word of a sample's seed; never 0, which numpy pads seeds with


class WorldSet:
    """World samples that training may see: never a held-out combination, never an unseen wording.

    Args:
        buckets: the sizes that will be asked for; the world draws any.
        pairs: "paired" (only what the instruction names changes), "unpaired" (two moments of one scene, not aligned)
            or "text_to_video" (captions, no source).
        seed: other seeds give other samples.
        operations: weight of each operation of `icve.data.world.FULL`; unused for text_to_video.
        full_share: share of scenes of the "full" split, 0..1; the others are "core".
        names_cell: pixels of a token's side: adds the labels "target_names" and "source_names" of `name_tokens`.
        part: "train", or "held_out": samples of the same kind that training does not see, for validation.

    Raises:
        InputError: an unknown operation, none that a bucket can show, or a bucket that is no multiple of the cell.
    """

    def __init__(
        self,
        name: str,
        buckets: Sequence[Bucket],
        *,
        pairs: Literal["paired", "unpaired", "text_to_video"],
        seed: int = 0,
        operations: Mapping[str, float] | None = None,
        full_share: float = 0.0,
        names_cell: int | None = None,
        part: Literal["train", "held_out"] = "train",
    ) -> None:
        self.name = name
        self.buckets = tuple(buckets)
        self.pairs = pairs
        self.seed = seed
        self.operations = dict(operations or {})
        self.full_share = full_share
        self.names_cell = names_cell
        self.part = part
        for operation in self.operations:
            if operation not in FULL:
                raise InputError(f"set {name}: there is no operation {operation!r}; use some of {', '.join(FULL)}.")
        for bucket in self.buckets:
            if pairs != "text_to_video" and sum(self._weights(bucket).values()) <= 0:
                raise InputError(f"set {name}: no operation with a weight suits {bucket}; add one to `operations`.")
            if names_cell and (bucket.height % names_cell or bucket.width % names_cell):
                raise InputError(f"set {name}: the sides of {bucket} must be multiples of {names_cell}.")

    def size(self, bucket: Bucket) -> int | None:  # noqa: ARG002 - of the protocol
        """None: endless."""
        return None

    def order(self, bucket: Bucket, seed: int, epoch: int) -> np.ndarray:  # noqa: ARG002
        """Not asked of an endless set: its numbers are used as they come."""
        raise TypeError(f"{self.name} is endless")

    def load(self, bucket: Bucket, number: int) -> Sample:
        """Draw one sample: uint8 (F, H, W, 3) clips."""
        seed = (self.seed, *bucket, number, STREAMS[self.part])
        split = "full" if generator(*seed, 8).random() < self.full_share else "core"
        source: Scene | None = None
        if self.pairs == "text_to_video":
            rng = generator(*seed)
            target = sample_scene_with_look(rng, split)
            text = caption(rng, target)
        else:
            edit = sample_edit(seed, split=split, operation=self._operation(bucket, seed))
            if self.pairs == "unpaired":
                edit = unpaired(edit, seed)
            source, target, text = edit.source, edit.target, edit.instruction
        labels = {"target_names": self._names(target, bucket)} if self.names_cell else {}
        if self.names_cell and source is not None:
            labels["source_names"] = self._names(source, bucket)
        return Sample(
            id=f"{self.name}/{bucket}/{number}",
            target=render(target, *bucket),
            source=None if source is None else render(source, *bucket),
            text=text,
            labels=labels,
        )

    def _weights(self, bucket: Bucket) -> dict[str, float]:
        return {k: w for k, w in self.operations.items() if bucket.frames > 1 or k not in MOVING}

    def _operation(self, bucket: Bucket, seed: tuple[int, ...]) -> str:
        weights = self._weights(bucket)
        total = sum(weights.values())
        return str(generator(*seed, 6).choice(list(weights), p=[w / total for w in weights.values()]))

    def _names(self, scene: Scene, bucket: Bucket) -> Tensor:
        assert self.names_cell
        latent_frames = 1 + (bucket.frames - 1) // FRAMES_PER_LATENT
        return torch.from_numpy(name_tokens(scene, latent_frames, bucket.height, bucket.width, self.names_cell))
