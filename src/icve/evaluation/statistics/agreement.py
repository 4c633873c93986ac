"""How far judges agree beyond chance: Krippendorff's alpha and Cohen's kappa."""

from collections.abc import Sequence
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

Array = np.ndarray
Level = Literal["nominal", "ordinal", "interval"]
Weights = Literal["none", "linear", "quadratic"]


def krippendorff_alpha(ratings: Sequence[Sequence[float]] | ArrayLike, level: Level = "nominal") -> float:
    """Krippendorff's alpha of `ratings` (raters, units), nan where a rater gave none.

    1 - observed / expected disagreement, from the coincidence matrix (Krippendorff 2011, "Computing Krippendorff's
    Alpha-Reliability"). Units with one rating tell nothing and are left out.

    Args:
        level: of measurement: "nominal" (equal or not), "ordinal" (ranks), "interval" (squared differences).

    Returns:
        1: they always agree, 0: as chance would have it, below: they contradict each other. nan where no unit has two
        ratings, or where all ratings are the same and nothing can be said.
    """
    table = np.asarray(ratings, np.float64)
    if table.ndim != 2:
        raise ValueError(f"expected ratings (raters, units), got shape {table.shape}")
    values, places = np.unique(table[~np.isnan(table)], return_inverse=True)
    units = np.nonzero(~np.isnan(table))[1]
    counts = np.zeros((table.shape[1], len(values)))  # how often a unit was given a value
    np.add.at(counts, (units, places), 1)
    raters = counts.sum(axis=1)
    counts, raters = counts[raters > 1], raters[raters > 1]
    # Every ordered pair of ratings within a unit, weighted so that each rating counts once.
    weighted = counts / (raters[:, None] - 1)
    coincidences = weighted.T @ counts - np.diag(weighted.sum(axis=0))
    totals = coincidences.sum(axis=1)
    n = totals.sum()
    distances = _distances(values, totals, level)
    expected = totals @ distances @ totals
    if expected == 0:
        return float("nan")
    return float(1 - (n - 1) * (coincidences * distances).sum() / expected)


def _distances(values: Array, totals: Array, level: Level) -> Array:
    """The squared distance between any two of `values` (V,), given how often each occurs: (V, V)."""
    if level == "nominal":
        return 1.0 - np.eye(len(values))
    if level == "interval":
        return (values[:, None] - values[None]) ** 2
    # The ratings between two ranks, their own counted half: a difference of mid-ranks.
    middle = np.cumsum(totals) - totals / 2
    return (middle[:, None] - middle[None]) ** 2


def cohen_kappa(
    first: Sequence[float] | ArrayLike, second: Sequence[float] | ArrayLike, weights: Weights = "none"
) -> float:
    """Cohen's kappa of two raters' categories (N,); pairs with a nan are left out.

    1 - observed / expected disagreement (Cohen 1960), weighted (Cohen 1968) by the difference of the two values
    ("linear") or its square ("quadratic").

    Returns:
        1: they always agree, 0: as chance would have it. nan where both gave one and the same value to everything.
    """
    a, b = np.asarray(first, np.float64), np.asarray(second, np.float64)
    if a.shape != b.shape or a.ndim != 1:
        raise ValueError(f"expected two raters' values of the same cases, got shapes {a.shape} and {b.shape}")
    known = ~(np.isnan(a) | np.isnan(b))
    values, places = np.unique(np.concatenate([a[known], b[known]]), return_inverse=True)
    confusion = np.zeros((len(values), len(values)))
    np.add.at(confusion, (places[: known.sum()], places[known.sum() :]), 1)
    steps = np.abs(np.subtract.outer(values, values))
    distances = {"none": np.sign(steps), "linear": steps, "quadratic": steps**2}[weights]
    expected = confusion.sum(axis=1) @ distances @ confusion.sum(axis=0)
    if expected == 0:
        return float("nan")
    return float(1 - confusion.sum() * (confusion * distances).sum() / expected)
