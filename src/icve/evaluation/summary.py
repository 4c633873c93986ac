"""What the scores of an evaluation say: means by category with intervals, and editors compared case by case."""

import math
from collections import Counter
from collections.abc import Container, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import cache
from itertools import combinations
from typing import Any, TypeVar

from icve.errors import InputError
from icve.evaluation.results import Results
from icve.evaluation.statistics import bootstrap_interval, paired_comparison, wilson, win_rate

Kept = TypeVar("Kept")


@dataclass(frozen=True)
class Mean:
    """The mean of `n` values with its 95% interval; `missing` cases have none. `mean` is None where n is 0, and so are
    `low` and `high` where n says nothing about them."""

    n: int
    missing: int
    mean: float | None
    low: float | None
    high: float | None


@dataclass(frozen=True)
class Versus:
    """Two editors on the `n` cases that both have a value for.

    `win_rate`: how often `first` is better, a tie counted as half, with its interval; None where no value is better
    than another. `difference`: the mean of first minus second, with its 95% bootstrap interval; `p`: of the two-sided
    sign-flip permutation test of no difference.
    """

    first: str
    second: str
    figure: str
    n: int
    win_rate: float | None
    win_low: float | None
    win_high: float | None
    difference: float
    low: float | None
    high: float | None
    p: float | None


class Summary:
    """Figures of results, each computed once."""

    def __init__(self, results: Results) -> None:
        self.results = results
        self.mean = cache(self._mean)
        self.comparisons = cache(lambda: list(self._comparisons()))

    def _mean(self, editor: str, figure: str, category: str | None = None) -> Mean:
        """An editor's mean in one category, or in all: a success rate has Wilson's interval, the others bootstrap's."""
        values = [*self.results.column(editor, figure, category).values()]
        cases = sum(category in (None, case.category) for case in self.results.cases)
        if self.results.is_rate(figure) and values:
            mean, (low, high) = sum(values) / len(values), wilson(sum(values), len(values))
        else:
            interval = bootstrap_interval(values)
            mean, low, high = interval.mean, interval.low, interval.high
        return Mean(len(values), cases - len(values), *(known(number) for number in (mean, low, high)))

    def _comparisons(self) -> Iterator[Versus]:
        """Every two editors, by every figure that both have values of for the same cases."""
        for first, second in combinations(self.results.editors, 2):
            for name, (figure, _) in self.results.figures.items():
                mine, theirs = (self.results.column(editor, name) for editor in (first, second))
                if not (both := [case for case in mine if case in theirs]):
                    continue
                a, b = ([column[case] for case in both] for column in (mine, theirs))
                compared = paired_comparison(a, b)
                wins = None if figure.better is None else win_rate(a, b, better=figure.better)
                rate, win_low, win_high = (None, None, None) if wins is None else (wins.rate, wins.low, wins.high)
                difference = compared.difference
                low, high, p = (known(number) for number in (difference.low, difference.high, compared.p))
                yield Versus(first, second, name, len(both), rate, win_low, win_high, difference.mean, low, high, p)

    def missing(self) -> list[tuple[str, str, list[str], int]]:
        """(editor, reason, figures, cases) of what is missing, the most frequent first."""
        figures: dict[tuple[str, str, int], list[str]] = {}
        for (editor, figure), reasons in self.results.missing.items():
            for reason, count in Counter(reasons.values()).items():
                figures.setdefault((editor, reason, count), []).append(figure)
        found = [(editor, reason, names, count) for (editor, reason, count), names in figures.items()]
        return sorted(found, key=lambda row: -row[3])

    def as_dict(self) -> dict[str, Any]:
        """For summary.json."""
        results = self.results
        editors = {
            editor: {
                figure: {
                    "all": asdict(self.mean(editor, figure)),
                    "categories": {name: asdict(self.mean(editor, figure, name)) for name in results.categories},
                    "reasons": dict(Counter(results.missing.get((editor, figure), {}).values()).most_common()),
                }
                for figure in results.figures
            }
            for editor in results.editors
        }
        return {"editors": editors, "comparisons": [asdict(versus) for versus in self.comparisons()]}


def known(number: float) -> float | None:
    """None for what is not known (nan)."""
    return None if math.isnan(number) else float(number)


def join(parts: list[Results]) -> Results:
    """Results of several evaluations of the same cases as one: what was evaluated at different times is compared.

    Cases are the same where their texts and files are; others are left out, and `notes` say how many. Editors of one
    name are told apart by a number.

    Raises:
        InputError: they are of several benchmarks, or have no case in common.
    """
    if len({part.benchmark for part in parts}) > 1:
        named = ", ".join(dict.fromkeys(part.benchmark for part in parts))
        raise InputError(f"These are evaluations on several benchmarks ({named}); compare those on one.")
    contents = [{case.id: case.content for case in part.cases} for part in parts]
    shared = [case for case in parts[0].cases if all(each.get(case.id) == case.content for each in contents)]
    if not shared:
        raise InputError(
            "These evaluations have no case in common (the same id, texts and files); compare those that do."
        )
    joined = Results(parts[0].benchmark, parts[0].title, [], {}, {})
    edited: dict[str, dict[str, Any]] = {case.id: {} for case in shared}
    for part in parts:
        joined.figures |= {name: known for name, known in part.figures.items() if name not in joined.figures}
        joined.notes += [note for note in part.notes if note not in joined.notes]
        for editor in part.editors:
            name = next(n for i in range(1, 999) if (n := editor if i == 1 else f"{editor}-{i}") not in joined.settings)
            joined.settings[name] = part.settings[editor]
            for case in part.cases:
                if case.id in edited:
                    if editor in case.edited:
                        edited[case.id][name] = case.edited[editor]
                    if said := part.remarks.get((editor, case.id)):
                        joined.remarks[name, case.id] = said
            for figure in part.figures:
                place = (editor, figure)
                joined.values[name, figure] = _chosen(part.values.get(place, {}), edited)
                joined.missing[name, figure] = _chosen(part.missing.get(place, {}), edited)
    joined.cases = [replace(case, edited=edited[case.id]) for case in shared]
    if left := max(len(each) for each in contents) - len(shared):
        joined.notes.append(f"{left} cases that are not the same in all evaluations were left out.")
    return joined


def _chosen(column: Mapping[str, Kept], cases: Container[str]) -> dict[str, Kept]:
    return {case: kept for case, kept in column.items() if case in cases}
