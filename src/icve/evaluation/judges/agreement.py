"""How far judges agree with each other, and each with itself."""

from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from icve.evaluation.statistics.agreement import cohen_kappa, krippendorff_alpha

Ratings = Mapping[Hashable, float]
"""Scores by what was scored: a case id, or a pair of editor and case id."""

Level = Literal["nominal", "ordinal", "interval"]


@dataclass(frozen=True)
class Agreement:
    """Of judges about one figure.

    Attributes:
        alpha: Krippendorff's, 1 for judges that always agree, 0 for chance; nan where nothing can be said.
        kappa: Cohen's with quadratic weights, of exactly two judges; None of more. It differs from alpha in taking
            each judge's own habit of scoring high or low for granted.
        judges: whose scores these are.
        n: things that at least two of them scored.
    """

    alpha: float
    kappa: float | None
    judges: tuple[str, ...]
    n: int


def between(ratings: Mapping[str, Ratings], level: Level = "ordinal") -> Agreement:
    """The agreement of judges, from their scores by name.

    Args:
        level: "nominal" for yes-no figures; "ordinal" for marks, whose steps need not be equal.
    """
    table = as_table(list(ratings.values()))
    n = int(((~np.isnan(table)).sum(axis=0) > 1).sum())
    kappa = cohen_kappa(table[0], table[1], "quadratic") if len(table) == 2 and n else None
    return Agreement(krippendorff_alpha(table, level) if n else float("nan"), kappa, tuple(ratings), n)


def among_votes(votes: Sequence[Sequence[float]], level: Level = "ordinal") -> float:
    """Krippendorff's alpha of one judge's own votes: near 0, it draws lots.

    Args:
        votes: (things, votes), each as long as it happens to be.
    """
    longest = max((len(one) for one in votes), default=0)
    if longest < 2:
        return float("nan")
    table = np.full((longest, len(votes)), np.nan)
    for column, one in enumerate(votes):
        table[: len(one), column] = one
    return krippendorff_alpha(table, level)


def by_figure(columns: Mapping[str, Ratings]) -> dict[str, dict[str, Ratings]]:
    """Columns named FIGURE@JUDGE, sorted to judges by figure; others are left out."""
    sorted_: dict[str, dict[str, Ratings]] = {}
    for name, ratings in columns.items():
        figure, at, judge = name.rpartition("@")
        if at:
            sorted_.setdefault(figure, {})[judge] = ratings
    return sorted_


def as_table(ratings: Sequence[Ratings]) -> np.ndarray:
    """(judges, things), nan where one was not scored."""
    things = list(dict.fromkeys(thing for one in ratings for thing in one))
    return np.array([[one.get(thing, np.nan) for thing in things] for one in ratings], np.float64).reshape(
        len(ratings), len(things)
    )
