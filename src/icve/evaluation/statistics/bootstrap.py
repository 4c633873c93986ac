"""Bootstrap intervals of a mean: SciPy's, with an answer where SciPy has none."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Method = Literal["bca", "percentile"]
RESAMPLES = 9999
MAX_RESAMPLED = 1 << 24  # values held at once: 128 MiB


@dataclass(frozen=True)
class Interval:
    """A mean with its confidence interval; `low` and `high` are nan where `n` is below 2, `mean` too where it is 0."""

    mean: float
    low: float
    high: float
    n: int


def bootstrap_interval(
    values: Sequence[float] | ArrayLike,
    *,
    method: Method = "bca",
    confidence: float = 0.95,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    """The mean of `values` (N,) with its bootstrap interval.

    Args:
        values: one for each case; nan (missing) is left out.
        method: "bca", bias-corrected and accelerated (Efron 1987), or "percentile" (Efron 1979).
        resamples: drawn with replacement, each of N values.
        seed: of the resamples.
    """
    from scipy.stats import bootstrap

    array = np.asarray(values, np.float64)
    array = array[~np.isnan(array)]
    n = len(array)
    if n < 2:
        return Interval(float(array[0]) if n else np.nan, np.nan, np.nan, n)
    mean = float(array.mean())
    if np.ptp(array) == 0:  # every resample is the same: SciPy's BCa would divide by zero
        return Interval(mean, mean, mean, n)
    interval = bootstrap(
        (array,),
        np.mean,
        vectorized=True,
        n_resamples=resamples,
        batch=max(1, MAX_RESAMPLED // n),
        confidence_level=confidence,
        method="BCa" if method == "bca" else "percentile",
        rng=np.random.default_rng(seed),
    ).confidence_interval
    return Interval(mean, float(interval.low), float(interval.high), n)
