"""What a step draws: its bucket, and the set of each sample of its batch. Pure functions of the seed and the step."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icve.data.buckets import Bucket

BUCKET, SETS = 1, 2  # the last word of a draw's seed; never 0, which numpy pads seeds with


@dataclass(frozen=True)
class BucketPlan:
    """When a bucket is used, and how much.

    Attributes:
        batch: samples of a step over all ranks.
        weight: a step draws its bucket among the active ones by weight.
        first_step, last_step: active in steps first_step <= step < last_step, so that stills can come before clips;
            to the end where `last_step` is None.
    """

    bucket: Bucket
    batch: int
    weight: float = 1.0
    first_step: int = 0
    last_step: int | None = None

    def active(self, step: int) -> bool:
        """Whether a step may draw it."""
        return self.weight > 0 and self.first_step <= step and (self.last_step is None or step < self.last_step)


def draw_plan(plans: Sequence[BucketPlan], seed: int, step: int) -> BucketPlan:
    """The one that a step uses, by weight."""
    rng = np.random.default_rng((seed, step, BUCKET))
    return plans[_choose(rng, [plan.weight for plan in plans], 1)[0]]


def draw_sets(weights: Sequence[float], count: int, seed: int, step: int) -> list[int]:
    """For each slot of a step's batch the number of its set, by weight."""
    return _choose(np.random.default_rng((seed, step, SETS)), weights, count)


def _choose(rng: np.random.Generator, weights: Sequence[float], count: int) -> list[int]:
    shares = np.array(weights, float)
    return [int(i) for i in rng.choice(len(shares), count, p=shares / shares.sum())]
