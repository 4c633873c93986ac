"""Which of two edits is better, asked in both orders: a judge that looks at the order gives itself away."""

import asyncio
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Annotated, Literal

import numpy as np

from icve.evaluation.cases import Case
from icve.evaluation.judges.judge import Judge
from icve.evaluation.judges.messages import Shown, answer
from icve.evaluation.judges.rubric import Ask, LowerWord, Reasoned, instruction, words
from icve.evaluation.scorers import MissingError
from icve.evaluation.statistics import Interval, bootstrap_interval
from icve.evaluation.statistics.agreement import cohen_kappa
from icve.vlm.asking import Unanswered
from icve.vlm.records import Refused
from icve.vlm.service import Job

Choice = Literal["a", "b", "tie"]
POINTS = {"a": 1.0, "tie": 0.5, "b": 0.0}  # for editor A


class Verdict(Reasoned):
    """The answer."""

    better: Annotated[str, LowerWord, words("first", "second", "tie")]


@dataclass(frozen=True)
class Round:
    """One case as two editors, A and B, edited it."""

    case: Case
    a: Path
    b: Path


@dataclass(frozen=True)
class Outcome:
    """What the judge chose, by vote.

    Attributes:
        forward: with A shown first.
        swapped: with B shown first.
    """

    forward: tuple[Choice, ...]
    swapped: tuple[Choice, ...]

    @property
    def points(self) -> float:
        """For A, from 0 to 1; a tie counts half."""
        return float(np.mean([POINTS[choice] for choice in self.forward + self.swapped]))


def compare(judge: Judge, rounds: Iterable[Round]) -> Iterator[tuple[Round, Outcome | MissingError]]:
    """Each round with what the judge chose, or why there is nothing; asked many at a time, in the rounds' order.

    Rounds whose two files are the same are asked like any other: a fair judge says "tie", and choices of the first
    are as many as of the second.

    Raises:
        InputError: the endpoint is in trouble; what was answered is kept, and the same call later asks the rest.
    """
    service = judge.open()
    listed = list(rounds)
    for number, result in service.each((str(n), _job(judge, one)) for n, one in enumerate(listed)):
        one = listed[int(number)]
        yield one, MissingError(result.reason) if isinstance(result, Refused) else result


def _job(judge: Judge, one: Round) -> Job[Outcome]:
    return partial(_ask, judge, one)


async def _ask(judge: Judge, one: Round) -> Outcome | Refused | Unanswered:
    service, config = judge.open(), judge.config
    ask = Ask("pairwise", Verdict, instruction(one.case))
    orders = [
        Shown(one.case.source, *pair, config=config, loaders=service.loaders)
        for pair in ((one.a, one.b), (one.b, one.a))
    ]
    try:
        answers = await asyncio.gather(
            *(answer(service, config, ask, shown, vote) for shown in orders for vote in range(config.votes))
        )
    except MissingError as error:
        return Refused("unreadable clip", str(error))
    forward: list[Choice] = []
    swapped: list[Choice] = []
    for number, given in enumerate(answers):
        if isinstance(given, Refused | Unanswered):
            return given
        assert isinstance(given, Verdict)
        was_swapped = number >= config.votes
        (swapped if was_swapped else forward).append(chosen(given.better, was_swapped))
    return Outcome(tuple(forward), tuple(swapped))


def chosen(better: str, swapped: bool) -> Choice:
    """Whom "first" or "second" means."""
    if better == "tie":
        return "tie"
    return "a" if (better == "first") != swapped else "b"


@dataclass(frozen=True)
class Summary:
    """A judge's comparison of two editors.

    Attributes:
        win_rate: of A over the cases, ties half, both orders counted, with its 95% bootstrap interval.
        consistent: the share of answers that stay when the order is swapped. 1 is best; a judge that draws lots
            between the two reaches 1/2, one that always names the first 0.
        kappa: Cohen's, of the answers in one order and in the other: what of the consistency is not chance. 0 for a
            judge that looks at the order or draws lots; nan where every answer is the same editor.
        first: the share of answers that name the first shown, of those that name one; 1/2 is fair.
        ties: the share of answers that name none.
        n: cases.
    """

    win_rate: Interval
    consistent: float
    kappa: float
    first: float
    ties: float
    n: int


def summarise(outcomes: Sequence[Outcome]) -> Summary:
    """The figures of a comparison; shares are nan where there is nothing to divide by."""
    forward = [choice for outcome in outcomes for choice in outcome.forward]
    swapped = [choice for outcome in outcomes for choice in outcome.swapped]
    named = [choice == "a" for choice in forward if choice != "tie"]
    named += [choice == "b" for choice in swapped if choice != "tie"]
    return Summary(
        win_rate=bootstrap_interval([outcome.points for outcome in outcomes]),
        consistent=_share([one == other for one, other in zip(forward, swapped, strict=True)]),
        kappa=cohen_kappa([POINTS[c] for c in forward], [POINTS[c] for c in swapped]) if forward else float("nan"),
        first=_share(named),
        ties=_share([choice == "tie" for choice in forward + swapped]),
        n=len(outcomes),
    )


def _share(values: Sequence[bool]) -> float:
    return float(np.mean(values)) if values else float("nan")
