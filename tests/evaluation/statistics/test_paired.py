"""Paired comparison against SciPy and by hand; win rates with ties."""

import itertools
import math

import numpy as np
import pytest
import scipy.stats

from icve.evaluation.statistics import paired_comparison, win_rate

# Darwin's maize: height of cross- minus self-fertilised plants, in eighths of an inch (Fisher 1935, The Design of
# Experiments, table 3); Fisher counted 863 of 2^15 sign patterns with a sum at least as high, 1726 on both sides.
DARWIN = np.array([49, -67, 8, 16, 6, 23, 28, 41, 14, 29, 56, 24, 75, 60, -48.0])


def test_fishers_own_example():
    result = paired_comparison(DARWIN, np.zeros(15), resamples=2**15, method="percentile")
    assert result.p == pytest.approx(1726 / 2**15, abs=1e-9)
    assert result.difference.mean == pytest.approx(314 / 15)


def test_exact_by_hand():
    first, second = [3.0, 1.0, 4.0, 1.5, 5.0], [2.0, 1.5, 2.5, 1.0, 2.0]
    difference = np.subtract(first, second)
    flips = np.array(list(itertools.product([1, -1], repeat=5)))
    means = (flips * difference).mean(axis=1)
    expected = 2 * (means >= difference.mean() - 1e-12).mean()
    assert paired_comparison(first, second).p == pytest.approx(expected)


def test_random_flips_equal_scipy():
    rng = np.random.default_rng(2)
    first, second = rng.normal(0.3, 1, 60), rng.normal(0, 1, 60)
    ours = paired_comparison(first, second, resamples=3000, seed=4)
    theirs = scipy.stats.permutation_test(
        (first - second,),
        lambda d, axis=-1: d.mean(axis=axis),
        permutation_type="samples",
        vectorized=True,
        n_resamples=3000,
        rng=np.random.default_rng(4),
    )
    assert ours.p == pytest.approx(theirs.pvalue, abs=1e-12)
    assert ours.p == pytest.approx(scipy.stats.ttest_rel(first, second).pvalue, abs=0.02)


def test_missing_scores_leave_the_pair_out():
    full = paired_comparison([1.0, 2.0, 4.0], [0.5, 2.5, 2.0])
    holed = paired_comparison([1.0, math.nan, 2.0, 4.0], [0.5, 3.0, 2.5, 2.0])
    assert holed == full
    assert math.isnan(paired_comparison([1.0], [0.0]).p)
    with pytest.raises(ValueError, match="same cases"):
        paired_comparison([1.0, 2.0], [1.0])


def test_win_rate():
    first, second = [1, 2, 3, 4, math.nan], [1, 1, 4, 2, 0]
    result = win_rate(first, second)
    assert (result.rate, result.wins, result.ties, result.losses) == (0.625, 2, 1, 1)
    assert result.low < 0.625 < result.high
    lower = win_rate(first, second, better="lower")
    assert (lower.rate, lower.wins, lower.losses) == (0.375, 1, 2)
    assert (lower.low, lower.high) == pytest.approx((1 - result.high, 1 - result.low))
    assert win_rate(first, second, margin=1).wins == 1
    assert math.isnan(win_rate([], []).rate)
