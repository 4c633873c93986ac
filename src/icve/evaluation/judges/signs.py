"""Signs that a judge does not judge: it says the same of everything, follows the order, or draws lots.

None of these proves anything about one clip. They say whether a judge's means are worth reading.
"""

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from icve.evaluation.judges.agreement import Agreement
from icve.evaluation.judges.controls import Controls
from icve.evaluation.judges.pairwise import Summary

SAME = 0.9  # of the scores: a judge that hardly ever says anything else
CHANCE = 0.2  # an alpha or kappa below: what Landis and Koch (1977) call "slight"
BIASED = 0.7  # of the decided answers name one place
FEW = 10  # scores or cases, below which nothing is said


@dataclass(frozen=True)
class Spread:
    """How much one judge's scores of one figure vary.

    Attributes:
        n: scores.
        mean, deviation: of the scores; the deviation is the population's.
        commonest: the score that it gives most often, and `share` how often.
    """

    n: int
    mean: float
    deviation: float
    commonest: float
    share: float


def spread(scores: Sequence[float]) -> Spread:
    """The spread of some scores; all nan where there are none."""
    if not scores:
        return Spread(0, *[math.nan] * 4)
    commonest, count = Counter(scores).most_common(1)[0]
    return Spread(len(scores), float(np.mean(scores)), float(np.std(scores)), commonest, count / len(scores))


def signs(
    judge: str,
    *,
    spread: Spread | None = None,
    votes: float | None = None,
    agreement: Agreement | None = None,
    pairwise: Summary | None = None,
    controls: Controls | None = None,
) -> list[str]:
    """What is suspicious about a judge, in sentences for a reader of the report; nothing where all is well.

    Args:
        spread: of its scores of one figure.
        votes: the alpha of its own votes.
        agreement: of it with other judges.
        pairwise: its comparison of two editors.
        controls: what it makes of clips whose place is known.
    """
    found = []
    if spread is not None and spread.n >= FEW and spread.share >= SAME:
        found.append(f"{judge} gives the same score, {spread.commonest:g}, to {spread.share:.0%} of the clips.")
    if votes is not None and votes < CHANCE:
        found.append(f"{judge}'s own votes agree hardly better than chance (alpha {votes:.2f}).")
    if agreement is not None and agreement.n >= FEW and agreement.alpha < CHANCE:
        others = ", ".join(name for name in agreement.judges if name != judge)
        found.append(f"{judge} agrees with {others} hardly better than chance (alpha {agreement.alpha:.2f}).")
    if pairwise is not None and pairwise.n >= FEW:
        found += _order(judge, pairwise)
    if controls is not None and controls.ranked.n >= FEW and controls.ranked.low <= 0.5:
        found.append(
            f"{judge} does not place true edits above unedited sources by {controls.figure} "
            f"({controls.ranked.mean:.0%} of the cases, 95% interval from {controls.ranked.low:.0%})."
        )
    return found


def _order(judge: str, pairwise: Summary) -> list[str]:
    found = []
    for place, share in (("first", pairwise.first), ("second", 1 - pairwise.first)):
        if share >= BIASED:
            found.append(f"{judge} names the {place} of two shown edits in {share:.0%} of its choices.")
    if pairwise.kappa < CHANCE:
        found.append(
            f"{judge} keeps its choice in {pairwise.consistent:.0%} of the cases when the order is swapped, "
            f"hardly better than chance (kappa {pairwise.kappa:.2f})."
        )
    return found
