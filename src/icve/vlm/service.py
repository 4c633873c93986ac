"""The endpoint asked by an event loop in a thread of its own; the caller just iterates, or calls from its threads."""

import asyncio
import concurrent.futures
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

from icve.errors import InputError
from icve.vlm.answers import Answers, Spent
from icve.vlm.asking import Asker, Unanswered
from icve.vlm.client import Client
from icve.vlm.config import VlmConfig
from icve.vlm.health import Health
from icve.vlm.records import Refused, Usage

AHEAD = 4  # jobs taken from the input for each request at a time, so that a slow one does not hold the others up
LOADERS = 4  # threads that load frames
LEAVING = 5.0  # seconds

Result = TypeVar("Result")
Job = Callable[[], Coroutine[Any, Any, Result | Refused | Unanswered]]
"""Asks one or more questions by `Service.asker` and makes a result of their answers."""


class Service:
    """Does jobs that ask one endpoint; a context manager.

    Attributes:
        usage: what has been asked so far.
        asker: what jobs ask.
        loaders: threads in which jobs load frames.
    """

    asker: Asker

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
        self.loaders = ThreadPoolExecutor(LOADERS, thread_name_prefix="vlm-frames")
        self._client = Client(config, config.api_key())
        self._answers = Answers(answers)
        self._tasks: set[asyncio.Task[Any]] = set()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._serve, name="vlm", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.loaders.shutdown(wait=False, cancel_futures=True)
        self._loop.call_soon_threadsafe(self._end.set)
        # No task is left soon, but a name server that does not answer holds the loop's end up.
        self._thread.join(LEAVING)
        self._answers.close()

    @property
    def fatal(self) -> InputError | None:
        """Why no job can be done any more, or None: the endpoint is down, refuses the key, or takes nothing."""
        return self._health.fatal

    def spent(self) -> Spent:
        """What all kept answers took, those of earlier runs too; call it when no job is under way."""
        return self._answers.spent()

    def do(self, job: Job[Result]) -> Result | Refused:
        """The result of one job; may be called from several threads at a time.

        Raises:
            InputError: as `each`.
        """
        return self._result(self._submit(job))

    def each(self, jobs: Iterable[tuple[str, Job[Result]]]) -> Iterator[tuple[str, Result | Refused]]:
        """(name, result) of each job, in the jobs' order.

        Jobs are taken from the iterable as they are needed, a bounded number ahead of the results, in the caller's
        thread. What several of them ask alike is asked once. One run at a time.

        Raises:
            InputError: the endpoint is down, refuses the key, or takes nothing. What was answered is kept: the same
                run later asks only the rest. Results that came before are void where they are `Refused` with the
                kind "no answer" or "rejected by the endpoint"; the next run tries these again.
            Exception: whatever a job raises.
        """
        waiting: deque[tuple[str, Future[Result | Refused]]] = deque()
        try:
            for name, job in jobs:
                waiting.append((name, self._submit(job)))
                while waiting and (len(waiting) >= AHEAD * self.config.concurrency or waiting[0][1].done()):
                    yield self._next(waiting)
            while waiting:
                yield self._next(waiting)
        finally:
            for _, future in waiting:
                future.cancel()

    def _submit(self, job: Job[Result]) -> "Future[Result | Refused]":
        return asyncio.run_coroutine_threadsafe(self._do(job), self._loop)

    def _next(self, waiting: deque[tuple[str, "Future[Result | Refused]"]]) -> tuple[str, Result | Refused]:
        name, future = waiting[0]
        result = self._result(future)
        waiting.popleft()
        return name, result

    def _result(self, future: "Future[Result | Refused]") -> Result | Refused:
        try:
            return future.result()
        except concurrent.futures.CancelledError:
            if self._health.fatal is not None:
                raise self._health.fatal from None
            raise
        except KeyboardInterrupt:
            future.cancel()
            raise

    def _serve(self) -> None:
        """The thread's life."""
        asyncio.run(self._main())

    async def _main(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._end = asyncio.Event()
        self._slots = asyncio.Semaphore(self.config.concurrency)  # jobs whose frames may be in memory
        self._health = Health(self.config, self._cancel)
        async with self._client:
            self.asker = Asker(self.config, self._client, self._answers, self._health, self.usage)
            self._ready.set()
            await self._end.wait()
            self._cancel()
            await asyncio.gather(*self._tasks, *self.asker.asking.values(), return_exceptions=True)

    def _cancel(self) -> None:
        for task in {*self._tasks, *self.asker.asking.values()} - {asyncio.current_task()}:
            task.cancel()

    async def _do(self, job: Job[Result]) -> Result | Refused:
        if self._health.fatal is not None:
            raise self._health.fatal
        task = asyncio.current_task()
        assert task is not None
        self._tasks.add(task)
        try:
            with self._health.under_way():
                async with self._slots:
                    result = await job()
                if isinstance(result, Unanswered):
                    return await self._verdict(result)
                return result
        finally:
            self._tasks.discard(task)

    async def _verdict(self, unanswered: Unanswered) -> Refused:
        """What becomes of a job whose question was not answered."""
        others_answered = await self._health.verdict()
        if unanswered.trouble.down and not others_answered:
            self._health.blame(unanswered.trouble)
        if self._health.fatal is not None:
            raise self._health.fatal
        return self.asker.refuse(unanswered, keep=self._health.answers > 0)
