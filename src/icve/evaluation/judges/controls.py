"""Clips whose place is known, put before a judge: the unedited source, which must lose to the true edit."""

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

import numpy as np

from icve.errors import InputError
from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.judges.judge import JudgeScorer
from icve.evaluation.scorers import MissingError
from icve.evaluation.statistics import Interval, bootstrap_interval


@dataclass(frozen=True)
class Control:
    """One case's main figure for the unedited source and for the true edit; None where it is missing."""

    case: str
    source: float | None
    target: float | None


@dataclass(frozen=True)
class Controls:
    """What a judge makes of clips whose place is known.

    Attributes:
        figure: the one that is compared.
        source, target: its mean for unedited sources and for true edits, with 95% bootstrap intervals.
        ranked: the share of cases where the true edit is placed above the source, equal ones half. 1 is right, and
            an interval that holds 1/2 says that the judge does not see the edit.
    """

    figure: str
    source: Interval
    target: Interval
    ranked: Interval


def ask_controls(scorer: JudgeScorer, cases: Sequence[Case]) -> Iterator[Control]:
    """Scores each case's source, and its target where there is one, as if they were edits, in the cases' order.

    A judge is never told; what it answers is kept like any other answer.

    Raises:
        InputError: the endpoint is in trouble; what was answered is kept.
    """

    def one(case: Case) -> Control:
        main = scorer.main.name
        found: list[float | None] = []
        for path in (case.source, case.target):
            try:
                found.append(None if path is None else scorer.score(case, Clips(case, path)).get(main))
            except MissingError:
                if scorer.judge.trouble is not None:
                    raise InputError(scorer.judge.trouble) from None
                found.append(None)
        return Control(case.id, *found)

    with ThreadPoolExecutor(scorer.at_once) as pool:
        yield from pool.map(one, cases)


def summarise(scorer: JudgeScorer, controls: Sequence[Control]) -> Controls:
    """The figures of all controls."""
    both = [(c.source, c.target) for c in controls if c.source is not None and c.target is not None]
    return Controls(
        figure=scorer.main.name,
        source=bootstrap_interval([c.source for c in controls if c.source is not None]),
        target=bootstrap_interval([c.target for c in controls if c.target is not None]),
        ranked=bootstrap_interval([(1 + np.sign(target - source)) / 2 for source, target in both]),
    )
