"""A judge: one model with its answers, and the scorers that it makes with rubrics."""

import asyncio
import contextlib
import hashlib
import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from icve.errors import InputError
from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.judges.config import JudgeConfig
from icve.evaluation.judges.messages import Shown, answer
from icve.evaluation.judges.rubric import Rubric, prompt
from icve.evaluation.scorers import Figure, MissingError, Scores
from icve.vlm.asking import Unanswered
from icve.vlm.questions import body
from icve.vlm.records import Refused, Usage
from icve.vlm.service import Job, Result, Service

Vote = tuple[Mapping[str, float], tuple[str, ...]]
"""The figures of one vote, and the reasons that the judge gave."""


class Judge:
    """One model and the file of its answers, opened when first needed and shared by all its scorers.

    Attributes:
        config: of the judge.
        answers: the SQLite file in which every answer is kept; a rerun asks only what is not there.
    """

    def __init__(self, config: JudgeConfig, answers: Path) -> None:
        self.config, self.answers = config, answers
        self._service: Service | None = None
        self._lock = threading.Lock()

    @property
    def name(self) -> str:
        """Of the judge."""
        return self.config.name

    @property
    def usage(self) -> Usage:
        """What it was asked so far, with tokens and cost."""
        return Usage() if self._service is None else self._service.usage

    def open(self) -> Service:
        """The service that asks; of several threads the first one opens it.

        Raises:
            InputError: the key's environment variable is not set, or the file of answers cannot be used.
        """
        with self._lock:
            if self._service is None:
                self._service = Service(self.config, self.answers).__enter__()
            return self._service

    def close(self) -> None:
        """Ends what is under way; what was answered is kept."""
        with self._lock:
            if self._service is not None:
                self._service.__exit__(None, None, None)
                self._service = None

    @property
    def trouble(self) -> str | None:
        """Why nothing more can be asked in this run, or None."""
        fatal = None if self._service is None else self._service.fatal
        return None if fatal is None else str(fatal)

    def do(self, job: Job[Result]) -> Result:
        """The result of a job; may be called from several threads at a time.

        Raises:
            MissingError: there is no usable answer, a clip cannot be read, or the endpoint is in trouble.
            InputError: the file of answers cannot be written.
        """
        service = self.open()
        try:
            result = service.do(job)
        except InputError as error:
            if self.trouble is None:
                raise
            raise MissingError(str(error)) from None
        if isinstance(result, Refused):
            raise MissingError(result.reason)
        return result

    def version(self, prompts: Sequence[str], revision: int) -> str:
        """A digest of all that answers depend on besides the clips."""
        config = self.config
        parts = [
            [prompt(name).version for name in prompts],
            revision,
            [config.frames, config.image_side, config.jpeg_quality, config.votes],
            body(config, [], 0),
        ]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()[:16]


class JudgeScorer:
    """A `Scorer` that asks one judge by one rubric; `score` may be called from `at_once` threads at a time."""

    heavy = True

    def __init__(self, judge: Judge, rubric: Rubric) -> None:
        self.judge, self.rubric = judge, rubric
        self.name = f"{rubric.name}@{judge.name}"
        self.version = judge.version(rubric.prompts, rubric.revision)
        self.figures = tuple(replace(figure, name=self._named(figure.name)) for figure in rubric.figures)
        self.at_once = judge.config.concurrency

    @property
    def main(self) -> Figure:
        """The figure that must tell the true edit from the unedited source."""
        return next(figure for figure in self.figures if figure.name == self._named(self.rubric.main))

    def load(self) -> None:
        """See `Scorer`."""
        try:
            self.judge.open()
        except InputError as error:
            raise MissingError(str(error)) from None

    def score(self, case: Case, clips: Clips) -> Scores:
        """The mean of all votes' figures, and the reasons that were given; see `Scorer`."""
        votes = self._votes(case, clips)
        names = dict.fromkeys(name for figures, _ in votes for name in figures)
        means = {}
        for name in names:
            values = [figures[name] for figures, _ in votes if name in figures]
            means[self._named(name)] = sum(values) / len(values)
        each = [{self._named(name): value for name, value in figures.items()} for figures, _ in votes]
        said = [reason for _, reasons in votes for reason in reasons if reason]
        return Scores(means, said, each if self.judge.config.votes > 1 else ())

    def _named(self, figure: str) -> str:
        return f"{figure}@{self.judge.name}"

    def _votes(self, case: Case, clips: Clips) -> list[Vote]:
        asks = self.rubric.asks(case)
        config = self.judge.config

        async def job() -> list[Vote] | Refused | Unanswered:
            service = self.judge.open()
            shown = Shown(case.source, clips.edited_path, config=config, loaders=service.loaders)
            outcomes = await asyncio.gather(
                *(answer(service, config, ask, shown, vote) for vote in range(config.votes) for ask in asks)
            )
            votes: list[Vote] = []
            refused: Refused | None = None
            for vote in range(config.votes):
                answers = outcomes[vote * len(asks) : (vote + 1) * len(asks)]
                for given in answers:
                    if isinstance(given, Unanswered):
                        return given  # later there may be an answer, and a mean of fewer votes would hide that
                    refused = given if isinstance(given, Refused) else refused
                if not any(isinstance(given, Refused) for given in answers):
                    votes.append((self.rubric.score(case, answers), tuple(map(_reason, answers))))
            return votes or refused or Refused("no vote", "The judge gave no vote.")

        return self.judge.do(job)


def _reason(answer: Any) -> str:
    return str(getattr(answer, "reason", ""))


@contextlib.contextmanager
def open_judges(configs: Sequence[JudgeConfig], folder: Path) -> Iterator[list[Judge]]:
    """Judges that keep their answers in FOLDER/<name>.sqlite, closed at the end. The folder is made when needed."""
    judges = [Judge(config, folder / f"{config.name}.sqlite") for config in configs]
    try:
        yield judges
    finally:
        for judge in judges:
            judge.close()


def usage_of(judges: Sequence[Judge]) -> dict[str, dict[str, Any]]:
    """What each judge was asked in this run, by its name: requests, cached answers, retries, tokens and cost."""
    return {judge.name: asdict(judge.usage) for judge in judges}
