"""Batches for training: sets mixed by weight, buckets drawn by step, the same samples whatever the ranks and workers.

What a whole step reads, over all ranks, is a function of the seed, the step and how far each set has been read. Each
rank works that out for itself and reads its own share, here or in worker processes.
"""

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

import torch
from torch.utils.data import DataLoader, Dataset

from icve.data.collate import Parcel, Share, read_batch
from icve.data.mixing import BucketPlan, draw_plan, draw_sets
from icve.data.order import Drawn, Order, Place
from icve.data.samples import Batch, PairSet
from icve.data.workers import worker_died, worker_options
from icve.errors import InputError


@dataclass(frozen=True)
class BucketRow:
    """What a run reads of one bucket: samples by set (None where endless), and the share of all steps that draw it."""

    plan: BucketPlan
    samples: dict[str, int | None]
    share: float


class Loader:
    """Reads training batches; its state belongs into the checkpoint.

    Args:
        sets: each with its mixing weight. A slot of a batch draws its set among those that have the step's bucket.
        buckets: a step draws among those that are active and have samples.
        seed: of all draws and orders.
        rank, ranks: this process reads slots rank * batch / ranks up to (rank + 1) * batch / ranks.
        workers: processes that read ahead; 0 reads in this one, when a batch is asked for.
        prefetch: batches that each worker reads ahead.

    Raises:
        InputError: two sets of one name, or a batch that the ranks cannot share equally.
    """

    def __init__(
        self,
        sets: Sequence[tuple[PairSet, float]],
        buckets: Sequence[BucketPlan],
        *,
        seed: int,
        rank: int = 0,
        ranks: int = 1,
        workers: int = 0,
        prefetch: int = 2,
    ) -> None:
        self.sets = [each for each, _ in sets]
        self.weights = [weight for _, weight in sets]
        self.plans = list(buckets)
        self.seed, self.rank, self.ranks = seed, rank, ranks
        self.workers, self.prefetch = workers, prefetch
        names = [each.name for each in self.sets]
        for name in names:
            if names.count(name) > 1:
                raise InputError(f"two sets are called {name}: give each its own name.")
        for plan in self.plans:
            if plan.batch % ranks:
                raise InputError(
                    f"a batch of {plan.batch} ({plan.bucket}) cannot be shared by {ranks} ranks: give a multiple."
                )
        self._order = Order(self.sets, [plan.bucket for plan in self.plans], seed)
        self._drawn = self._order.drawn({})

    def state_dict(self) -> dict[str, Any]:
        """Epoch and position of each set's buckets after the last batch handed out, as JSON. It fits any number of
        ranks, any batch size and any number of workers."""
        return self._order.state(self._drawn)

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on from a state. Sets and buckets that it does not know start at their beginning.

        Raises:
            InputError: a set has another size than it had.
        """
        self._drawn = self._order.drawn(state)

    def batches(self, first_step: int, steps: int) -> Iterator[Batch]:
        """This rank's batches of steps first_step, first_step + 1, …, from the current state on.

        Raises:
            InputError: a step has no bucket with samples, samples of one batch differ in form, or a worker died.
        """
        self._check_steps(first_step, steps)
        pending: deque[tuple[int, Drawn]] = deque()  # what was planned ahead is not yet drawn

        def shares() -> Iterator[Share]:
            drawn = dict(self._drawn)
            for step in range(first_step, first_step + steps):
                share = self._share(step, drawn)
                pending.append((step, dict(drawn)))
                yield share

        for parcel in self._parcels(shares()):
            if parcel is None:
                raise InputError(
                    f"step {pending[0][0]}: one of the loader's {self.workers} `workers` processes died, often for "
                    "lack of memory or of shared memory: use fewer, or 0 to see what it was reading."
                )
            if isinstance(parcel, InputError):
                raise parcel
            batch = parcel.unpack()
            _, self._drawn = pending.popleft()
            batch.state = self.state_dict()
            yield batch

    def describe(self, steps: int) -> list[BucketRow]:
        """What steps 0 to `steps` of a run read, a row for each of the buckets."""
        shares = [0.0] * len(self.plans)
        edges = self._edges(0, steps)
        for start, stop in zip(edges, [*edges[1:], steps], strict=True):
            active = self._active(start)
            total = sum(plan.weight for plan in active)
            for i, plan in enumerate(self.plans):
                if plan in active:
                    shares[i] += plan.weight / total * (stop - start) / steps
        return [
            BucketRow(
                plan,
                {self.sets[p.set].name: size for p, size in self._order.sizes.items() if p.bucket == plan.bucket},
                share,
            )
            for plan, share in zip(self.plans, shares, strict=True)
        ]

    def _sources(self, plan: BucketPlan) -> list[int]:
        """Numbers of the sets that have samples of the bucket."""
        sizes = self._order.sizes
        return [i for i, weight in enumerate(self.weights) if weight > 0 and sizes.get(Place(i, plan.bucket), 0) != 0]

    def _active(self, step: int) -> list[BucketPlan]:
        return [plan for plan in self.plans if plan.active(step) and self._sources(plan)]

    def _edges(self, first_step: int, steps: int) -> list[int]:
        """The steps from which on other buckets are active."""
        edges = {first_step, *(p.first_step for p in self.plans), *(p.last_step or 0 for p in self.plans)}
        return sorted(step for step in edges if first_step <= step < first_step + steps)

    def _check_steps(self, first_step: int, steps: int) -> None:
        for step in self._edges(first_step, steps):
            if not self._active(step):
                active = ", ".join(str(plan.bucket) for plan in self.plans if plan.active(step)) or "none"
                raise InputError(
                    f"step {step}: no set has samples of the buckets that are active then ({active}): change the "
                    "buckets or their steps, or add a set."
                )

    def _share(self, step: int, drawn: Drawn) -> Share:
        """Draw the whole step's samples, count them in `drawn`, and return this rank's."""
        plan = draw_plan(self._active(step), self.seed, step)
        sources = self._sources(plan)
        samples = []
        for i in draw_sets([self.weights[i] for i in sources], plan.batch, self.seed, step):
            place = Place(sources[i], plan.bucket)
            samples.append((place.set, self._order.number(place, drawn[place])))
            drawn[place] += 1
        part = plan.batch // self.ranks
        slots = list(range(self.rank * part, (self.rank + 1) * part))
        return Share(step, plan.bucket, slots, [samples[slot] for slot in slots])

    def _parcels(self, shares: Iterator[Share]) -> Iterator[Parcel | InputError | None]:
        """What is read for each share, in order; None, and no more, where a worker died."""
        modules = {__name__, *(type(each).__module__ for each in self.sets)}
        here: AbstractContextManager[dict[str, Any]] = nullcontext({})
        with worker_options(self.prefetch, modules) if self.workers else here as options:
            parcels = iter(
                DataLoader(
                    _Reader(self.sets),
                    batch_size=None,
                    sampler=shares,
                    num_workers=self.workers,
                    collate_fn=_same,
                    generator=torch.Generator(),  # or it would draw from the global one, which belongs to the training
                    **options,
                )
            )
            while True:
                try:
                    parcel = next(parcels)
                except StopIteration:
                    return
                except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:
                    if not (self.workers and worker_died(error)):
                        raise
                    break
                yield parcel
        yield None


class _Reader(Dataset):
    """Reads shares, in this process or in a worker."""

    def __init__(self, sets: Sequence[PairSet]) -> None:
        self.sets = sets

    def __getitem__(self, share: Share) -> Parcel | InputError:
        try:
            return Parcel.pack(read_batch(self.sets, share))
        except InputError as error:  # as a value: torch would put a worker's traceback into its message
            return error


def _same(parcel: Parcel | InputError) -> Parcel | InputError:
    return parcel
