"""Intervals for editors that were trained with several seeds and judged on the same samples."""

from dataclasses import dataclass, replace

import numpy as np
from scipy.stats import t as student_t

from icve.evaluation.statistics.wilson import wilson

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


def rate(values: Array) -> Estimate:
    """`estimate` for values that are 0 or 1: within 0 and 1, and no narrower than Wilson's interval of as many samples
    at this mean, which holds where every seed has the same and the variance says nothing (at 0% and at 100%)."""
    result = estimate(values)
    if np.isnan(result.low):
        return result
    samples = values.shape[1]
    low, high = wilson(round(result.mean * samples), samples)
    return replace(result, low=max(0.0, min(result.low, low)), high=min(1.0, max(result.high, high)))
