"""Intervals for editors that were trained with several seeds and judged on the same samples."""

from dataclasses import dataclass

import numpy as np
from scipy.stats import t as student_t

Array = np.ndarray


@dataclass(frozen=True)
class Estimate:
    """A mean over seeds and samples with its 95% interval; nan bounds where there is one seed only."""

    mean: float
    low: float
    high: float
    by_seed: tuple[float, ...]


def estimate(values: Array, confidence: float = 0.95) -> Estimate:
    """The mean of `values` (seeds, samples), and an interval for it over new seeds and new samples.

    Seeds and samples are crossed: every seed's editor is judged on the same samples, so neither the seeds' means nor
    the samples' means are independent. The variance of the grand mean is at most the sum of its two parts, that of
    the seeds' means by the number of seeds and that of the samples' means by the number of samples (the part that
    they share is counted twice, so the interval errs on the wide side). The quantile is Student's with seeds - 1
    degrees of freedom, since the seeds are the few. For a difference of two arms give the differences.

    Args:
        values: nan where a sample has no value (preservation of a camera move); such samples are left out.
    """
    values = values[:, ~np.isnan(values).any(axis=0)]
    seeds, samples = values.shape
    if samples == 0:
        return Estimate(float("nan"), float("nan"), float("nan"), (float("nan"),) * seeds)
    mean = float(values.mean())
    by_seed = values.mean(axis=1)
    if seeds < 2 or samples < 2:
        return Estimate(mean, float("nan"), float("nan"), tuple(by_seed.tolist()))
    variance = by_seed.var(ddof=1) / seeds + values.mean(axis=0).var(ddof=1) / samples
    half = float(student_t.ppf((1 + confidence) / 2, seeds - 1) * np.sqrt(variance))
    return Estimate(mean, mean - half, mean + half, tuple(by_seed.tolist()))
