"""How far each set has been read: which sample comes next, and the state of that for a checkpoint."""

from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from icve.data.buckets import Bucket
from icve.data.samples import PairSet
from icve.errors import InputError


class Place(NamedTuple):
    """The samples of one bucket in one set, the set by its number."""

    set: int
    bucket: Bucket


Drawn = dict[Place, int]
"""How many samples each place has handed out, over all its epochs."""


class Order:
    """The order in which sets hand out their samples: each one exactly once an epoch, each epoch in an order of its
    own. An endless set hands out 0, 1, 2, …"""

    def __init__(self, sets: Sequence[PairSet], buckets: Sequence[Bucket], seed: int) -> None:
        self.sets = sets
        self.seed = seed
        self.sizes: dict[Place, int | None] = {
            Place(i, bucket): each.size(bucket)
            for i, each in enumerate(sets)
            for bucket in dict.fromkeys(buckets)
            if bucket in each.buckets
        }
        self._permutations: dict[Place, tuple[int, np.ndarray]] = {}  # of the current epoch alone: sets are large

    def number(self, place: Place, drawn: int) -> int:
        """The sample that a place hands out after `drawn` others."""
        size = self.sizes[place]
        if size is None:
            return drawn
        epoch, position = divmod(drawn, size)
        if place not in self._permutations or self._permutations[place][0] != epoch:
            self._permutations[place] = epoch, self.sets[place.set].order(place.bucket, self.seed, epoch)
        return int(self._permutations[place][1][position])

    def state(self, drawn: Mapping[Place, int]) -> dict[str, Any]:
        """Epoch and position of each set's buckets, as JSON."""
        state: dict[str, Any] = {each.name: {} for each in self.sets}
        for place, size in self.sizes.items():
            epoch, position = divmod(drawn[place], size) if size else (0, drawn[place])
            entry = {"epoch": epoch, "position": position, "size": size}
            state[self.sets[place.set].name][str(place.bucket)] = entry
        return state

    def drawn(self, state: Mapping[str, Any]) -> Drawn:
        """The reverse of `state`; what it does not know starts at 0.

        Raises:
            InputError: a set has another size than the state's, so its order is another one.
        """
        drawn: Drawn = {}
        for place, size in self.sizes.items():
            name = self.sets[place.set].name
            entry = state.get(name, {}).get(str(place.bucket), {"epoch": 0, "position": 0, "size": size})
            if entry["size"] != size:
                raise InputError(
                    f"set {name} has {_count(size)} samples of {place.bucket} but had {_count(entry['size'])} when the "
                    "checkpoint was written: restore it, or give the new one another name, to start it from its "
                    "beginning."
                )
            drawn[place] = entry["epoch"] * (size or 0) + entry["position"]
        return drawn


def _count(size: int | None) -> str:
    return "endless" if size is None else str(size)
