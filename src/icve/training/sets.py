"""The sets that a config names, for training and held out."""

from collections.abc import Sequence
from typing import Literal

from icve.data.buckets import Bucket
from icve.data.loader import Loader
from icve.data.mixing import BucketPlan
from icve.data.samples import PairSet
from icve.data.shards import ShardSet
from icve.data.stills_set import StillsSet
from icve.data.world_set import WorldSet
from icve.errors import InputError
from icve.training.config import BucketConfig, DataConfig, RunConfig, ShardSetConfig, WorldSetConfig
from icve.training.parallel import Layout

HELD_OUT_BATCH = 8  # samples of a held-out batch over all ranks, at most: nothing is differentiated


def make_sets(
    data: DataConfig, seed: int, part: Literal["train", "held_out"], *, embedded: bool, names_cell: int | None = None
) -> list[tuple[PairSet, float]]:
    """The sets of a config with their weights.

    Args:
        part: "held_out" leaves out sets that hold nothing out.
        embedded: read shards' text embeddings, not their text.
        names_cell: see `WorldSet`.
    """
    buckets = list(dict.fromkeys(b.size for b in data.buckets))
    sets: list[tuple[PairSet, float]] = []
    for number, config in enumerate(data.sets):
        if isinstance(config, WorldSetConfig):
            world = WorldSet(
                f"world-{number}",
                buckets,
                pairs=config.pairs,
                seed=seed + number,
                operations=config.operations,
                full_share=config.full_share,
                names_cell=names_cell,
                part=part,
            )
            sets.append((world, config.weight))
        elif isinstance(config, ShardSetConfig):
            if part == "train" or config.hold_out:
                sets.append((_shard_set(config, part, embedded), config.weight))
        elif part == "train":
            sets.append((StillsSet(f"stills-{number}", buckets, seed + number), config.weight))
    return sets


def _shard_set(config: ShardSetConfig, part: Literal["train", "held_out"], embedded: bool) -> ShardSet:
    return ShardSet(
        config.path,
        kind=config.pairs,
        text="embedded" if embedded else "raw",
        hold_out=config.hold_out,
        part=part,
        limit=config.limit if part == "train" else None,
    )


def make_loader(config: RunConfig, sets: Sequence[tuple[PairSet, float]], layout: Layout) -> Loader:
    """The loader of a run's training batches, this rank's share of them."""
    plans = [BucketPlan(b.size, b.batch, b.weight, b.start, b.stop) for b in config.data.buckets]
    return Loader(
        sets,
        plans,
        seed=config.seed,
        rank=layout.data_rank,
        ranks=layout.data_ranks,
        workers=config.data.workers,
    )


def held_out_loader(
    sets: Sequence[tuple[PairSet, float]], buckets: Sequence[BucketConfig], samples: int, layout: Layout
) -> tuple[Loader, int]:
    """A loader of held-out batches and the steps that make `samples`, spread over the buckets that the sets have."""
    held: set[Bucket] = {b for s, _ in sets for b in s.buckets if s.size(b) != 0}
    sizes = [b for b in dict.fromkeys(b.size for b in buckets) if b in held]
    if not sizes:
        raise InputError("validation has no samples: set `hold_out` of a set of shards, or validation.every: 0.")
    batch = min(HELD_OUT_BATCH, min(b.batch for b in buckets))
    batch = max(layout.data_ranks, batch - batch % layout.data_ranks)
    steps = max(len(sizes), -(-samples // batch))
    # each bucket in its own stretch of steps
    edges = [round(i * steps / len(sizes)) for i in range(len(sizes) + 1)]
    plans = [BucketPlan(b, batch, 1.0, edges[i], edges[i + 1]) for i, b in enumerate(sizes)]
    return Loader(sets, plans, seed=0, rank=layout.data_rank, ranks=layout.data_ranks), steps
