"""Wilson intervals, against published values."""

import pytest

from icve.evaluation.statistics.wilson import wilson


@pytest.mark.parametrize(
    ("successes", "n", "interval"),
    # Newcombe (1998), Statistics in Medicine 17, table I, method 3
    [(81, 263, (0.2553, 0.3662)), (15, 148, (0.0624, 0.1605)), (0, 20, (0.0, 0.1611)), (1, 29, (0.0061, 0.1718))],
)
def test_published_values(successes, n, interval):
    assert wilson(successes, n) == pytest.approx(interval, abs=5e-5)


def test_mirrored_and_empty():
    low, high = wilson(3, 17)
    assert wilson(14, 17) == pytest.approx((1 - high, 1 - low))
    assert wilson(0, 0) == (0.0, 1.0)
