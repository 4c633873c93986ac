"""Bootstrap intervals equal SciPy's, cover the truth as often as they say, and survive degenerate scores."""

import math

import numpy as np
import pytest
import scipy.stats

from icve.evaluation.statistics import bootstrap_interval


@pytest.mark.parametrize("method", ["bca", "percentile"])
def test_equals_scipy(method):
    values = np.random.default_rng(3).gamma(2.0, size=40)
    ours = bootstrap_interval(values, method=method, resamples=2000, seed=5)
    theirs = scipy.stats.bootstrap(
        (values,), np.mean, n_resamples=2000, method=method, rng=np.random.default_rng(5)
    ).confidence_interval
    assert (ours.low, ours.high) == pytest.approx((theirs.low, theirs.high), abs=1e-12)
    assert ours.mean == pytest.approx(values.mean())
    assert ours == bootstrap_interval(values, method=method, resamples=2000, seed=5)


def test_percentile_by_hand():
    """The same resamples, drawn and counted here."""
    values = np.random.default_rng(0).normal(size=25)
    rows = np.random.default_rng(9).integers(0, 25, (4000, 25))
    low, high = np.percentile(values[rows].mean(axis=1), [2.5, 97.5])
    ours = bootstrap_interval(values, method="percentile", resamples=4000, seed=9)
    assert (ours.low, ours.high) == pytest.approx((low, high), abs=1e-4)


def test_coverage():
    rng = np.random.default_rng(1)
    intervals = [bootstrap_interval(rng.exponential(size=40), resamples=500, seed=i) for i in range(200)]
    covered = sum(i.low <= 1 <= i.high for i in intervals)
    assert 175 <= covered <= 199  # 95% of 200, less what so few skewed values cost


def test_degenerate():
    alike = bootstrap_interval([2.0] * 5)
    assert (alike.mean, alike.low, alike.high, alike.n) == (2, 2, 2, 5)
    one = bootstrap_interval([4.0, math.nan])
    assert (one.mean, one.n) == (4, 1)
    assert math.isnan(one.low)
    assert bootstrap_interval([]).n == 0
