"""Confidence intervals for success rates."""

import math

Z_95 = 1.959964  # the normal distribution's 97.5% quantile


def wilson(successes: float, n: int) -> tuple[float, float]:
    """The 95% Wilson score interval of a success rate (Wilson 1927), honest at 0%, at 100% and for small n.

    Args:
        successes: of `n` tries; a half where ties count so.

    Returns:
        (low, high), fractions of 1; (0, 1) when n is 0.
    """
    if n == 0:
        return 0.0, 1.0
    rate, z2 = successes / n, Z_95**2
    centre = (rate + z2 / (2 * n)) / (1 + z2 / n)
    half = Z_95 / (1 + z2 / n) * math.sqrt(rate * (1 - rate) / n + z2 / (4 * n * n))
    return max(0.0, centre - half), min(1.0, centre + half)
