"""Instructions for pairs of clips: each clip is described, then both descriptions and all frames make an instruction.

The endpoint is asked by an event loop in a thread of its own; the caller just iterates.
"""

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Self

from icve.data.curation.records import Instruction
from icve.data.curation.vlm.answers import Answers, Spent
from icve.data.curation.vlm.asking import Asker, Content, Unanswered
from icve.data.curation.vlm.client import Client
from icve.data.curation.vlm.config import VlmConfig
from icve.data.curation.vlm.health import Health
from icve.data.curation.vlm.images import data_urls
from icve.data.curation.vlm.questions import Part, Question
from icve.data.curation.vlm.records import PairFrames, Refused, Usage
from icve.data.curation.vlm.schema import Description, Edit

AHEAD = 4  # pairs taken from the input for each request at a time, so that a slow one does not hold the others up
LOADERS = 4  # threads that load frames
LEAVING = 5.0  # seconds


class VlmInstructor:
    """Writes instructions; a context manager.

    Attributes:
        usage: what this instructor has asked so far.
    """

    def __init__(self, config: VlmConfig, answers: Path) -> None:
        """
        Args:
            config: of the endpoint.
            answers: the file in which every answer is kept; one process uses it at a time.

        Raises:
            InputError: the key's environment variable is not set, its proxies cannot be used, or the file cannot.
        """
        self.config = config
        self.usage = Usage()
        self._client = Client(config, config.api_key())
        self._answers = Answers(answers)
        self._loaders = ThreadPoolExecutor(LOADERS, thread_name_prefix="vlm-frames")
        self._tasks: set[asyncio.Task[Instruction | Refused]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="vlm", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._loaders.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join(
            LEAVING
        )  # no task is left soon, but a name server that does not answer holds the loop's end up
        self._answers.close()

    def spent(self) -> Spent:
        """What all kept answers took, those of earlier runs too; call it when no run is under way."""
        return self._answers.spent()

    def run(self, pairs: Iterable[PairFrames]) -> Iterator[tuple[str, Instruction | Refused]]:
        """(pair_id, result) of each pair, in the pairs' order.

        Pairs are taken from the iterable as they are needed, a bounded number ahead of the results, in the caller's
        thread. A clip that is in several pairs is described once. One run at a time.

        Raises:
            InputError: the endpoint is down, refuses the key, or takes nothing. What was answered is kept: the same
                run later asks only the rest. Results that came before are void where they are `Refused` with the
                kind "no answer" or "rejected by the endpoint"; the next run tries these again.
            Exception: whatever a pair's `load` raises.
        """
        waiting: deque[tuple[str, Future[Instruction | Refused]]] = deque()
        try:
            for pair in pairs:
                waiting.append((pair.pair_id, asyncio.run_coroutine_threadsafe(self._pair(pair), self._loop)))
                while waiting and (len(waiting) >= AHEAD * self.config.concurrency or waiting[0][1].done()):
                    yield self._next(waiting)
            while waiting:
                yield self._next(waiting)
        finally:
            for _, future in waiting:
                future.cancel()

    def _next(self, waiting: deque[tuple[str, Future[Instruction | Refused]]]) -> tuple[str, Instruction | Refused]:
        pair_id, future = waiting[0]
        try:
            result = future.result()
        except concurrent.futures.CancelledError:
            if self._health.fatal is not None:
                raise self._health.fatal from None
            raise
        waiting.popleft()
        return pair_id, result

    def _serve(self) -> None:
        """The thread's life."""
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._slots = asyncio.Semaphore(self.config.concurrency)  # pairs whose frames may be in memory
        self._health = Health(self.config, self._cancel)
        async with self._client:
            self._asker = Asker(self.config, self._client, self._answers, self._health, self.usage)
            self._ready.set()
            await self._end.wait()
            self._cancel()
            await asyncio.gather(*self._tasks, *self._asker.asking.values(), return_exceptions=True)

    def _cancel(self) -> None:
        for task in {*self._tasks, *self._asker.asking.values()} - {asyncio.current_task()}:
            task.cancel()

    async def _pair(self, pair: PairFrames) -> Instruction | Refused:
        if self._health.fatal is not None:
            raise self._health.fatal
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with self._health.under_way():
                async with self._slots:
                    result = await self._instruction(pair)
                if isinstance(result, Unanswered):
                    result = await self._verdict(result)
                return result
        finally:
            self._tasks.discard(task)

    async def _instruction(self, pair: PairFrames) -> Instruction | Refused | Unanswered:
        frames, ask = PairImages(pair, self.config, self._loaders), self._asker.ask
        questions, keys = self._asker.questions, (pair.source_key, pair.target_key)
        descriptions = [questions.description(key) for key in keys]
        outcomes = await asyncio.gather(
            *(ask(question, frames.content(question, [side])) for side, question in enumerate(descriptions))
        )
        captions = []
        for outcome in outcomes:
            if isinstance(outcome, Refused | Unanswered):
                return outcome
            assert isinstance(outcome, Description)
            captions.append(outcome.description)
        question = questions.edit(*keys, (captions[0], captions[1]))
        edit = await ask(question, frames.content(question, [0, 1]))
        if isinstance(edit, Refused | Unanswered):
            return edit
        assert isinstance(edit, Edit)
        return Instruction(edit.instruction, edit.type, captions[0], captions[1], method=questions.method)

    async def _verdict(self, unanswered: Unanswered) -> Refused:
        """What becomes of a pair whose question was not answered."""
        others_answered = await self._health.verdict()
        if unanswered.trouble.down and not others_answered:
            self._health.blame(unanswered.trouble)
        if self._health.fatal is not None:
            raise self._health.fatal
        return self._asker.refuse(unanswered, keep=self._health.answers > 0)


class PairImages:
    """A pair's frames as they are sent, loaded when a question first needs them."""

    def __init__(self, pair: PairFrames, config: VlmConfig, loaders: ThreadPoolExecutor) -> None:
        self.pair, self.config, self.loaders = pair, config, loaders
        self.loading: asyncio.Future[list[list[str]]] | None = None

    def content(self, question: Question, sides: list[int]) -> Content:
        """Makes the question's message, about the source (0), the target (1) or both."""

        async def make() -> list[Part]:
            if self.loading is None:
                self.loading = asyncio.get_running_loop().run_in_executor(self.loaders, self._load)
            clips = await self.loading
            return question.content([clips[side] for side in sides])

        return make

    def _load(self) -> list[list[str]]:
        config = self.config
        return [data_urls(frames, config.frames, config.image_side, config.jpeg_quality) for frames in self.pair.load()]
