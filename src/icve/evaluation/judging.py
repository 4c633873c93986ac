"""Whether judges can be believed: their agreement with each other, and signs that one of them does not look."""

import math
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Any

from icve.evaluation.cases import Case
from icve.evaluation.edits import Edits
from icve.evaluation.judges import Judge, pairwise
from icve.evaluation.judges.agreement import Agreement, Level, Ratings, between, by_figure
from icve.evaluation.judges.signs import signs, spread
from icve.evaluation.results import Results


@dataclass(frozen=True)
class Judging:
    """Of judges in an evaluation: `agreements` by figure, of two judges or more, what each said of two editors shown
    side by side, and `signs` against any of them."""

    agreements: dict[str, Agreement]
    duels: list["Duel"]
    signs: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For summary.json."""
        agreements = {figure: asdict(agreement) for figure, agreement in self.agreements.items()}
        duels = [asdict(duel) for duel in self.duels]
        return without_nan({"agreement": agreements, "pairwise": duels, "signs": self.signs})


@dataclass(frozen=True)
class Duel:
    """What one judge chose between two editors, each case in both orders; `missing` cases got no answer."""

    judge: str
    first: str
    second: str
    summary: pairwise.Summary
    missing: int


def duel(judges: Sequence[Judge], cases: Sequence[Case], editors: Sequence[Edits]) -> Iterator[Duel]:
    """Shows each judge every two editors' clips of a case, beside the source and in both orders.

    Raises:
        InputError: an endpoint is in trouble; what was answered is kept.
    """
    for judge, (a, b) in product(judges, combinations(editors, 2)):
        rounds = [
            pairwise.Round(case, a.files[case.id], b.files[case.id])
            for case in cases
            if case.id in a.files and case.id in b.files
        ]
        chosen = [given for _, given in pairwise.compare(judge, rounds) if isinstance(given, pairwise.Outcome)]
        yield Duel(judge.name, a.name, b.name, pairwise.summarise(chosen), len(cases) - len(chosen))


def judging(results: Results, duels: Sequence[Duel] = ()) -> Judging:
    """What the scores of judges (figures named FIGURE@JUDGE), and their choices, say about the judges."""
    columns: dict[str, Ratings] = {
        name: {
            (editor, case): value
            for editor in results.editors
            for case, value in results.values.get((editor, name), {}).items()
        }
        for name in results.figures
    }
    agreements, found = {}, []
    for figure, ratings in by_figure(columns).items():
        level: Level = "nominal" if all(results.is_rate(f"{figure}@{judge}") for judge in ratings) else "ordinal"
        if len(ratings) > 1:
            agreements[figure] = between(ratings, level)
        for judge, scores in ratings.items():
            said = signs(judge, spread=spread(list(scores.values())), agreement=agreements.get(figure))
            found += [f"{figure}: {sentence}" for sentence in said]
    for one in duels:
        found += signs(one.judge, pairwise=one.summary)
    return Judging(agreements, list(duels), found)


def without_nan(value: Any) -> Any:
    """JSON values with None for what is not known (nan)."""
    if isinstance(value, dict):
        return {key: without_nan(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inside) for inside in value]
    return None if isinstance(value, float) and math.isnan(value) else value
