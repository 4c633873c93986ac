"""Whether judges can be believed: their agreement with each other, and signs that one of them does not look."""

import math
from dataclasses import dataclass

from icve.evaluation.judges.agreement import Agreement, Level, Ratings, between, by_figure
from icve.evaluation.judges.signs import signs, spread
from icve.evaluation.results import Results


@dataclass(frozen=True)
class Judging:
    """Of judges in an evaluation: `agreements` by figure, of two judges or more, and `signs` against any of them."""

    agreements: dict[str, Agreement]
    signs: list[str]

    def as_dict(self) -> dict[str, object]:
        """For summary.json."""
        rows = {
            figure: {
                "judges": list(agreement.judges),
                "n": agreement.n,
                "alpha": None if math.isnan(agreement.alpha) else agreement.alpha,
                "kappa": None if agreement.kappa is None or math.isnan(agreement.kappa) else agreement.kappa,
            }
            for figure, agreement in self.agreements.items()
        }
        return {"agreement": rows, "signs": self.signs}


def judging(results: Results) -> Judging:
    """What the scores of judges (figures named FIGURE@JUDGE) say about the judges."""
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
    return Judging(agreements, found)
