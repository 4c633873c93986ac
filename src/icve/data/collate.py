"""Samples to batches: reads one rank's share of a step, and puts zeros in the place of what cannot be read."""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from icve.data.buckets import Bucket
from icve.data.samples import BadSampleError, Batch, PairSet, Sample, TextEmbedding
from icve.errors import InputError

STAND_INS = 16  # samples tried for the form of a batch of which none can be read


@dataclass(frozen=True)
class Share:
    """What one rank reads for one step: for each slot the number of a set and of its sample."""

    step: int
    bucket: Bucket
    slots: list[int]
    samples: list[tuple[int, int]]


@dataclass(frozen=True)
class Parcel:
    """A batch on its way between processes, its text embeddings in two tensors: each tensor sent is an open file."""

    batch: Batch
    lengths: list[int]
    states: Tensor | None = None
    pooled: Tensor | None = None

    @classmethod
    def pack(cls, batch: Batch) -> "Parcel":
        """Join the embeddings."""
        if batch.text_embeddings is None:
            return cls(batch, [])
        states = [e.states for e in batch.text_embeddings]
        pooled = torch.stack([e.pooled for e in batch.text_embeddings])
        return cls(replace(batch, text_embeddings=None), [len(s) for s in states], torch.cat(states), pooled)

    def unpack(self) -> Batch:
        """The batch that was packed."""
        if self.states is None or self.pooled is None:
            return self.batch
        pairs = zip(self.states.split(self.lengths), self.pooled, strict=True)
        return replace(self.batch, text_embeddings=[TextEmbedding(*pair) for pair in pairs])


def read_batch(sets: Sequence[PairSet], share: Share) -> Batch:
    """Load a share's samples and stack them.

    A sample that cannot be read is zeros, not valid, with an empty text, and what was wrong is in `problems`.

    Raises:
        InputError: the samples differ in form (pixels and latents, with and without a source, …), or nothing in a
            set can be read.
    """
    samples: list[Sample | None] = []
    problems: list[str] = []
    for index, number in share.samples:
        try:
            samples.append(_load(sets[index], share.bucket, number))
        except BadSampleError as error:
            samples.append(None)
            problems.append(str(error))
    good = [(index, sample) for (index, _), sample in zip(share.samples, samples, strict=True) if sample]
    if good:
        _check_alike([(sets[index].name, sample) for index, sample in good], share.bucket)
        like = good[0][1]
    else:
        index, number = share.samples[0]
        like = _stand_in(sets[index], share.bucket, number, problems[0])
    rows = [
        sample or _zeros(like, f"{sets[index].name}/{share.bucket}/{number}")
        for (index, number), sample in zip(share.samples, samples, strict=True)
    ]
    return Batch(
        step=share.step,
        bucket=share.bucket,
        slots=share.slots,
        ids=[row.id for row in rows],
        texts=[row.text for row in rows],
        target=_stack([row.target for row in rows]),
        source=None if like.source is None else _stack([row.source for row in rows if row.source is not None]),
        valid=torch.tensor([sample is not None for sample in samples]),
        text_embeddings=None if like.text_embedding is None else [e for row in rows if (e := row.text_embedding)],
        labels={name: torch.stack([row.labels[name] for row in rows]) for name in like.labels},
        problems=problems,
    )


def _load(each: PairSet, bucket: Bucket, number: int) -> Sample:
    """A sample with its clips as tensors."""
    sample = each.load(bucket, number)
    source = None if sample.source is None else torch.as_tensor(sample.source)
    return replace(sample, target=torch.as_tensor(sample.target), source=source)


def _stack(clips: Sequence[Tensor]) -> Tensor:
    """Stacks clips; latents that were encoded in different precisions become float32."""
    same = len({clip.dtype for clip in clips}) == 1
    return torch.stack([clip if same else clip.float() for clip in clips])


def _zeros(like: Sample, name: str) -> Sample:
    zero = torch.zeros_like
    embedding = like.text_embedding
    return Sample(
        id=name,
        target=zero(like.target),
        source=None if like.source is None else zero(like.source),
        text="",
        text_embedding=embedding and TextEmbedding(zero(embedding.states[:1]), zero(embedding.pooled)),
        labels={label: zero(tensor) for label, tensor in like.labels.items()},
    )


def _stand_in(each: PairSet, bucket: Bucket, number: int, problem: str) -> Sample:
    """A sample of the set, for its form alone, as shapes must be equal on all ranks. Those tried lie all over the set,
    because what cannot be read lies together, in a shard."""
    size = each.size(bucket)
    for i in range(1, STAND_INS + 1):
        try:
            return _load(each, bucket, number + i if size is None else (number + i * size // STAND_INS) % size)
        except BadSampleError:
            continue
    raise InputError(f"set {each.name}: its {bucket} samples cannot be read ({problem}): mend the set or leave it out.")


def _check_alike(samples: Sequence[tuple[str, Sample]], bucket: Bucket) -> None:
    first_name, first = samples[0]
    expected = _form(first)
    for name, sample in samples[1:]:
        for one, other in zip(expected, _form(sample), strict=True):
            if one == other:
                continue
            if name == first_name:
                raise InputError(
                    f"set {name} has {one} (sample {first.id}) and {other} (sample {sample.id}) in {bucket}: "
                    "make two sets of it."
                )
            raise InputError(
                f"sets {first_name} and {name} cannot share batches of {bucket}: {first_name} has {one}, {name} has "
                f"{other}; prepare both alike, or use one of them."
            )


def _form(sample: Sample) -> tuple[str, ...]:
    """What samples of one batch must agree in, in words."""
    embedding = sample.text_embedding
    return (
        "pixels" if sample.target.dtype == torch.uint8 else "latents",
        "no sources" if sample.source is None else "sources",
        f"targets of shape {tuple(sample.target.shape)}",
        "no sources" if sample.source is None else f"sources of shape {tuple(sample.source.shape)}",
        "raw texts" if embedding is None else "embedded texts",
        "" if embedding is None else f"text states of width {embedding.states.shape[-1]}",
        "" if embedding is None else f"pooled texts of width {len(embedding.pooled)}",
        f"the labels {sorted(sample.labels)}" if sample.labels else "no labels",
    )
