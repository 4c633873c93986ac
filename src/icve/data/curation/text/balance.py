"""Balancing the types of edits: the most pairs whose mix is the wanted one, chosen without regard to their order.

Two passes in constant memory: the first counts, the second asks of each pair whether it is kept. A pair's lot is a hash
of its name, and those with the smallest hashes of a type are kept: the same ones in whatever order, in whatever parts.
"""

import hashlib
from collections import Counter
from collections.abc import Mapping
from fractions import Fraction

import numpy as np
from pydantic import BaseModel, ConfigDict, Field, field_validator

from icve.data.pairs.base import TYPES

BINS = 2**16  # of hashes, for each type: 0.5 MiB


class BalanceConfig(BaseModel):
    """The wanted mix of types."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    target: dict[str, float] | None = Field(
        default=None,
        description="share of each type, relative to the others named: {add: 2, camera: 1}. 0 drops a type; types that "
        "are not named are kept whole; null keeps all",
    )
    slack: float = Field(
        default=0.0,
        ge=0,
        allow_inf_nan=False,
        description="a type may exceed its share by this fraction, so that a rare one costs less",
    )

    @field_validator("target")
    @classmethod
    def _check_target(cls, target: dict[str, float] | None) -> dict[str, float] | None:
        for name, share in (target or {}).items():
            if name not in TYPES:
                raise ValueError(f"{name!r} is no type of edit; use some of {', '.join(TYPES)}")
            if not 0 <= share < float("inf"):
                raise ValueError(f"the share of {name} is {share}; use 0 or more")
        return target


def keep_counts(counts: Mapping[str, int], target: Mapping[str, float] | None, slack: float = 0.0) -> dict[str, int]:
    """How many pairs of each type to keep.

    Of the types that are named and have pairs, the largest total in which no type has more than (1 + slack) times its
    share; without slack, this is exactly the mix, rounded down, and the rarest type sets the total. Shares are relative
    to the types that have pairs: one without any costs the others nothing.

    Args:
        counts: pairs there are, by type.
        target: relative shares, at least 0; as `BalanceConfig.target`.
        slack: at least 0.

    Returns:
        One number for each key of `counts`, at most its count.
    """
    if target is None:
        return dict(counts)
    # Decimal shares as they were written, so that 3 of 10 at 0.3 are 3 and not 2.
    shares = {name: Fraction(str(share)) for name, share in target.items() if share > 0 and counts.get(name, 0) > 0}
    whole = sum(shares.values())
    most = {name: (1 + Fraction(str(slack))) * share / whole for name, share in shares.items()}
    total = _largest_total(counts, most)
    kept = {name: min(counts[name], int(share * total)) for name, share in most.items()}
    return {name: kept.get(name, 0 if name in target else count) for name, count in counts.items()}


def _largest_total(counts: Mapping[str, int], most: Mapping[str, Fraction]) -> Fraction:
    """The largest total that types can fill: each with all that it has, and at most its share of the total.

    What they can fill, less the total, grows at first and then falls, in straight pieces that meet where a type has
    given all: the answer is where it falls to nothing.
    """
    given, open_shares = 0, sum(most.values(), Fraction())
    for name in sorted(most, key=lambda name: counts[name] / most[name]):
        exhausted = counts[name] / most[name]
        if open_shares < 1 and Fraction(given) / (1 - open_shares) <= exhausted:
            break
        given, open_shares = given + counts[name], open_shares - most[name]
    return Fraction(given) / (1 - open_shares) if most else Fraction()


class Balancer:
    """Which pairs are kept.

    `count` each pair, then `prepare`, then ask `keep`.

    Attributes:
        counts: pairs by type, after `count`.
        kept: those of them for which `keep` is true, after `prepare`: `keep_counts`, or fewer where the limit falls
            between two hashes of one bin; never more, and short by one in `BINS` of a type's pairs on average.
    """

    def __init__(self, config: BalanceConfig, seed: int) -> None:
        """
        Args:
            seed: another one draws other pairs.
        """
        self.config, self.seed = config, seed
        self.counts: Counter[str] = Counter()
        self.kept: dict[str, int] = {}
        self._bins: dict[str, np.ndarray] = {}
        self._limits: dict[str, int] | None = None

    def count(self, pair_id: str, edit_type: str) -> None:
        """Takes note of a pair; each is counted once."""
        self.counts[edit_type] += 1
        if self.config.target is not None:
            if edit_type not in self._bins:
                self._bins[edit_type] = np.zeros(BINS, np.int64)
            self._bins[edit_type][self._bin(pair_id)] += 1

    def prepare(self) -> None:
        """Decides, once all pairs are counted."""
        self.kept = keep_counts(self.counts, self.config.target, self.config.slack)
        self._limits = {}
        for name, bins in self._bins.items():
            limit = int(np.searchsorted(np.cumsum(bins), self.kept[name], side="right"))
            self._limits[name] = limit
            self.kept[name] = int(bins[:limit].sum())

    def keep(self, pair_id: str, edit_type: str) -> bool:
        """Whether a pair that was counted is kept.

        Raises:
            RuntimeError: before `prepare`.
        """
        if self._limits is None:
            raise RuntimeError("Balancer.keep before Balancer.prepare")
        return self.config.target is None or self._bin(pair_id) < self._limits[edit_type]

    def _bin(self, pair_id: str) -> int:
        key = f"{self.seed}\0{pair_id}".encode("utf-8", "surrogatepass")
        return int.from_bytes(hashlib.blake2b(key, digest_size=8).digest()) * BINS >> 64
