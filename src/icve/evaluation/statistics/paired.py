"""Two editors on the same cases: their difference, whether it may be chance, and how often which is better."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from icve.evaluation.statistics.bootstrap import MAX_RESAMPLED, RESAMPLES, Interval, Method, bootstrap_interval
from icve.evaluation.statistics.wilson import wilson

Scores = Sequence[float] | ArrayLike


@dataclass(frozen=True)
class Comparison:
    """`difference` is the mean of first minus second; `p` is two-sided, nan where there are fewer than 2 pairs."""

    difference: Interval
    p: float


@dataclass(frozen=True)
class WinRate:
    """How often the first is better. `rate` counts a tie as half, with its Wilson interval; nan without a pair."""

    rate: float
    low: float
    high: float
    wins: int
    ties: int
    losses: int


def paired_comparison(
    first: Scores,
    second: Scores,
    *,
    method: Method = "bca",
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Comparison:
    """First minus second, case by case: the mean with its bootstrap interval over cases, and a permutation test.

    p is that of a sign-flip test (Fisher 1935): were the two alike, each case's difference could as well have the
    other sign. Exact where 2^N ≤ `resamples`, else of that many random flips, counting the observed one too (so that
    p is never 0; Phipson & Smyth 2010).

    Args:
        first, second: (N,) scores of the same cases in the same order; pairs with a nan are left out.
        method, confidence, resamples, seed: as for `bootstrap_interval`.
    """
    from scipy.stats import permutation_test

    a, b = _pairs(first, second)
    difference = a - b
    interval = bootstrap_interval(difference, method=method, confidence=confidence, resamples=resamples, seed=seed)
    if interval.n < 2:
        return Comparison(interval, np.nan)
    test = permutation_test(
        (difference,),
        np.mean,
        permutation_type="samples",
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, MAX_RESAMPLED // interval.n),
        rng=np.random.default_rng(seed),
    )
    return Comparison(interval, float(test.pvalue))


def win_rate(
    first: Scores, second: Scores, *, better: Literal["higher", "lower"] = "higher", margin: float = 0.0
) -> WinRate:
    """How often `first` (N,) beats `second` (N,); at most `margin` apart is a tie, pairs with a nan are left out."""
    a, b = _pairs(first, second)
    gain = a - b if better == "higher" else b - a
    wins, losses, n = int((gain > margin).sum()), int((gain < -margin).sum()), len(gain)
    ties = n - wins - losses
    score = wins + ties / 2
    low, high = wilson(score, n)
    return WinRate(score / n if n else np.nan, low, high, wins, ties, losses)


def _pairs(first: Scores, second: Scores) -> tuple[np.ndarray, np.ndarray]:
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"expected scores of the same cases, got shapes {a.shape} and {b.shape}")
    known = ~(np.isnan(a) | np.isnan(b))
    return a[known], b[known]
