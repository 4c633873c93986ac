"""Tells an endpoint in trouble from a question in trouble: the first ends the run, the second costs one result.

Both look alike when a question has used up its retries. What decides is how the others fare. So such a question's
verdict waits until another one is answered (then it is the question's own fault), or nothing else is under way.
"""

import asyncio
import contextlib
from collections.abc import Callable, Iterator

from icve.errors import InputError
from icve.vlm.client import Trouble
from icve.vlm.config import VlmConfig

# Questions in a row that got answers, but none that could be used: a wrong model, which would go on costing money.
# A model that is wrong about every third one, after all its second chances, gets there once in 10^23.
UNUSABLE = 50


class Health:
    """What is known about one endpoint; used in the event loop's thread only."""

    def __init__(self, config: VlmConfig, stop: Callable[[], None]) -> None:
        """
        Args:
            config: of the endpoint.
            stop: called once, when the run must end; `fatal` says why.
        """
        self.config, self.stop = config, stop
        self.fatal: InputError | None = None
        self.answers = 0  # in this run, nonsense included
        self.unanswered = 0  # in a row
        self.unusable = 0  # in a row
        self.jobs = 0  # under way
        self.waiting: list[asyncio.Future[bool]] = []

    @contextlib.contextmanager
    def under_way(self) -> Iterator[None]:
        """While a job is worked on."""
        self.jobs += 1
        try:
            yield
        finally:
            self.jobs -= 1
            self._settle()

    def answered(self) -> None:
        """The endpoint has answered a question, if only with nonsense."""
        self.answers += 1
        self.unanswered = 0
        self._tell(True)

    def judged(self, reason: str | None) -> None:
        """A question's answers were usable, or never, because the last one `reason`."""
        self.unusable = 0 if reason is None else self.unusable + 1
        if self.unusable >= UNUSABLE:
            self.end(
                f"None of the last {UNUSABLE} questions to {self.config.model} at {self.config.host} got a usable "
                f"answer (the last one {reason}); choose one that writes JSON, and sees pictures if it is shown any."
            )

    def failed(self, trouble: Trouble) -> None:
        """A question has used up its retries."""
        self.unanswered += 1
        if self.unanswered >= self.config.give_up:
            self.blame(trouble)

    def blame(self, trouble: Trouble) -> None:
        """Ends the run: the endpoint is to blame."""
        self.end(
            f"The endpoint {self.config.host} {trouble.reason}; {trouble.remedy}, "
            "and run the same command again to go on."
        )

    async def verdict(self) -> bool:
        """Whether the endpoint answered another question while this one's job waited; at once where none is left."""
        future = asyncio.get_running_loop().create_future()
        self.waiting.append(future)
        self._settle()
        try:
            return await future
        finally:
            if future in self.waiting:
                self.waiting.remove(future)

    def end(self, sentence: str) -> None:
        """Ends the run with an InputError."""
        if self.fatal is None:
            self.fatal = InputError(sentence)
            self.stop()

    def _settle(self) -> None:
        if len(self.waiting) >= self.jobs:
            self._tell(False)

    def _tell(self, others_answered: bool) -> None:
        for future in self.waiting:
            if not future.done():
                future.set_result(others_answered)
        self.waiting = []
