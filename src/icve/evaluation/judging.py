"""Whether judges can be believed: their agreement with each other and with themselves, what they make of clips whose
place is known, and signs that one of them does not look."""

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from itertools import combinations, product
from typing import Any

from icve.evaluation.cases import Case
from icve.evaluation.edits import Edits
from icve.evaluation.judges import Judge, pairwise
from icve.evaluation.judges.agreement import Agreement, Level, Ratings, among_votes, between, by_figure
from icve.evaluation.judges.controls import Controls
from icve.evaluation.judges.signs import FEW, signs, spread
from icve.evaluation.results import Results
from icve.evaluation.scorers import Scores
from icve.evaluation.scoring import Outcome


@dataclass(frozen=True)
class Judging:
    """Of judges in an evaluation: `agreements` by figure, of two judges or more; `votes` of each with itself, by
    FIGURE@JUDGE; what each said of two editors shown side by side, and of clips whose place is known; and `signs`
    against any of them."""

    agreements: dict[str, Agreement]
    votes: Mapping[str, "Votes"]
    duels: Sequence["Duel"]
    controls: Sequence[Controls]
    signs: list[str]

    def as_dict(self) -> dict[str, Any]:
        """For summary.json."""
        agreements = {figure: asdict(agreement) for figure, agreement in self.agreements.items()}
        votes = {figure: asdict(own) for figure, own in self.votes.items()}
        duels, controls = ([asdict(one) for one in each] for each in (self.duels, self.controls))
        told = {"agreement": agreements, "votes": votes, "pairwise": duels, "controls": controls}
        return without_nan(told | {"signs": self.signs})


@dataclass(frozen=True)
class Votes:
    """Krippendorff's `alpha` of one judge's own votes about `n` clips: 1 where they are the same, 0 for lots."""

    alpha: float
    n: int


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


def own_votes(scores: Iterable[Outcome]) -> dict[str, Votes]:
    """By FIGURE@JUDGE, how far each judge that votes several times agrees with itself."""
    columns: dict[str, list[list[float]]] = {}
    for given in scores:
        if isinstance(given, Scores) and len(given.votes) > 1:
            for name in given:
                columns.setdefault(name, []).append([vote[name] for vote in given.votes if name in vote])
    return {name: Votes(among_votes(votes), len(votes)) for name, votes in columns.items()}


def judging(
    results: Results,
    *,
    votes: Mapping[str, Votes] | None = None,
    duels: Sequence[Duel] = (),
    controls: Sequence[Controls] = (),
) -> Judging:
    """What the scores of judges (figures named FIGURE@JUDGE), their votes and their choices say about the judges."""
    votes = votes or {}
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
            own = votes.get(f"{figure}@{judge}")
            said = signs(
                judge,
                spread=spread(list(scores.values())),
                votes=own.alpha if own is not None and own.n >= FEW else None,
                agreement=agreements.get(figure),
            )
            found += [f"{figure}: {sentence}" for sentence in said]
    for one in duels:
        found += signs(one.judge, pairwise=one.summary)
    for control in controls:
        found += signs(control.figure.rpartition("@")[2], controls=control)
    return Judging(agreements, votes, duels, controls, found)


def without_nan(value: Any) -> Any:
    """JSON values with None for what is not known (nan)."""
    if isinstance(value, dict):
        return {key: without_nan(inside) for key, inside in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(inside) for inside in value]
    return None if isinstance(value, float) and math.isnan(value) else value
