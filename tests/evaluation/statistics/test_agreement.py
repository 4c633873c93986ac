"""Agreement of judges against published examples and torchmetrics."""

import math

import numpy as np
import pytest
import torch
from torchmetrics.functional.classification import multiclass_cohen_kappa

from icve.evaluation.statistics import cohen_kappa, krippendorff_alpha

_ = math.nan
# Krippendorff (2011), "Computing Krippendorff's Alpha-Reliability", part C: 4 observers, 12 units, missing values.
OBSERVERS = [
    [1, 2, 3, 3, 2, 1, 4, 1, 2, _, _, _],
    [1, 2, 3, 3, 2, 2, 4, 1, 2, 5, _, 3],
    [_, 3, 3, 3, 2, 3, 4, 2, 2, 5, 1, _],
    [1, 2, 3, 3, 2, 4, 4, 1, 2, 5, 1, _],
]


@pytest.mark.parametrize(("level", "alpha"), [("nominal", 0.743), ("ordinal", 0.815), ("interval", 0.849)])
def test_krippendorffs_own_example(level, alpha):
    assert krippendorff_alpha(OBSERVERS, level) == pytest.approx(alpha, abs=5e-4)


def test_binary_without_missing_data():
    # ibid., part A: 2 observers, 10 units, alpha 0.095
    first, second = [0, 1, 0, 0, 0, 0, 0, 0, 1, 0], [1, 1, 1, 0, 0, 1, 0, 0, 0, 0]
    for level in ("nominal", "ordinal", "interval"):  # with two values all three are the same
        assert krippendorff_alpha([first, second], level) == pytest.approx(0.095, abs=5e-4)


def test_judges_that_lie():
    rng = np.random.default_rng(0)
    honest = rng.integers(1, 6, 500)
    assert krippendorff_alpha([honest, honest], "ordinal") == 1
    assert abs(krippendorff_alpha([honest, rng.integers(1, 6, 500)], "ordinal")) < 0.1
    assert krippendorff_alpha([honest, np.full(500, 5)], "ordinal") < 0
    assert krippendorff_alpha([honest, 6 - honest], "interval") < -0.9
    assert math.isnan(krippendorff_alpha([[5, 5, 5], [5, 5, 5]]))
    assert math.isnan(krippendorff_alpha([[1, _], [_, 2]]))


@pytest.mark.parametrize("weights", ["none", "linear", "quadratic"])
def test_kappa_equals_torchmetrics(weights):
    rng = np.random.default_rng(1)
    first = rng.integers(0, 5, 300)
    second = np.clip(first + rng.integers(-1, 2, 300), 0, 4)
    theirs = multiclass_cohen_kappa(
        torch.tensor(first), torch.tensor(second), 5, None if weights == "none" else weights
    )
    assert cohen_kappa(first, second, weights) == pytest.approx(float(theirs), abs=1e-4)


def test_kappa_by_hand():
    # 50 applications, both yes 20, both no 15, else 5 and 10: observed 0.7, by chance 0.5
    first = [1] * 20 + [0] * 15 + [1] * 5 + [0] * 10
    second = [1] * 20 + [0] * 15 + [0] * 5 + [1] * 10
    assert cohen_kappa(first, second) == pytest.approx(0.4)
    assert cohen_kappa([*first, _], [*second, 1]) == pytest.approx(0.4)
    assert math.isnan(cohen_kappa([5, 5], [5, 5]))
