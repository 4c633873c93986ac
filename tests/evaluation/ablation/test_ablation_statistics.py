"""Intervals over seeds and samples."""

import numpy as np
import pytest
from scipy import stats

from icve.evaluation.ablation.statistics import estimate, rate


def test_where_samples_do_not_differ_it_is_students_interval_of_the_seeds():
    seeds = np.array([0.2, 0.5, 0.35])
    result = estimate(np.repeat(seeds[:, None], 40, axis=1))
    expected = stats.ttest_1samp(seeds, 0).confidence_interval(0.95)
    assert result.mean == pytest.approx(seeds.mean())
    assert (result.low, result.high) == pytest.approx(tuple(expected))
    assert result.by_seed == pytest.approx(tuple(seeds))


def test_it_holds_the_truth_at_least_as_often_as_it_says():
    rng = np.random.default_rng(0)
    held = 0
    for _ in range(600):
        seeds, samples = 0.1 * rng.normal(size=(4, 1)), 0.5 * rng.normal(size=(1, 60))
        result = estimate(0.3 + seeds + samples + 0.3 * rng.normal(size=(4, 60)))
        held += result.low <= 0.3 <= result.high
    assert held >= 0.94 * 600


def test_samples_without_a_value_are_left_out_and_one_seed_has_no_interval():
    values = np.array([[1.0, np.nan, 3.0], [2.0, 5.0, 4.0]])
    assert estimate(values).mean == 2.5
    alone = estimate(values[1:])
    assert alone.mean == pytest.approx(11 / 3)
    assert np.isnan(alone.low)
    assert np.isnan(estimate(np.full((2, 3), np.nan)).mean)


def test_a_rate_is_no_surer_than_its_samples_allow():
    nothing = rate(np.zeros((3, 50)))
    assert nothing.low == 0
    assert 0.03 < nothing.high < 0.1
    few = np.zeros((2, 10))
    few[0, :9] = 1
    assert (rate(few).low, rate(few).high) == (0, 1)
    assert np.isnan(rate(few[:1]).low)
