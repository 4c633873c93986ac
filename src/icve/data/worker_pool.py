"""Runs jobs in processes that may die or hang: a job that does so costs that job, not the run.

`concurrent.futures` gives up the whole pool when one process dies, and cannot stop a job that hangs.
"""

import multiprocessing
import resource
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

import cv2
import psutil

from icve.errors import InputError

READY = "ready"
START_SECONDS = 120  # the first one waits for the server's imports
DEATHS = 2  # a process may also die of the machine's troubles, so the first time is not held against the job

Key = TypeVar("Key")
Job = TypeVar("Job")
Result = TypeVar("Result")

Ask = Callable[[Any], Any]  # sends a question to the pool's own process, and returns its answer


@dataclass(frozen=True)
class Failure:
    """Why a job has no result: `kind` in few words, `reason` in one sentence."""

    kind: str
    reason: str


@dataclass(frozen=True)
class Question:
    """What a worker asks; anything else that it sends is a result."""

    content: Any


@dataclass
class Worker:
    process: Any
    pipe: Connection
    key: Any = None
    job: Any = None
    deaths: int = 0  # that the job has had already
    deadline: float = float("inf")


class WorkerPool(Generic[Key, Job, Result]):
    """Processes that do one kind of job; a context manager, at whose end none is left."""

    def __init__(
        self,
        processes: int,
        do: Callable[[Job, Ask], Result],
        *,
        seconds: float,
        name: Callable[[Job], str],
        answer: Callable[[Any], Any] | None = None,
        memory: int | None = None,
    ) -> None:
        """
        Args:
            processes: how many.
            do: does a job; a function of a module, called in the processes. Its exceptions end the run: what is
                wrong with a job's input is a result.
            seconds: how long one job may take.
            name: how sentences about a job call it.
            answer: answers what `do` asks, in this process.
            memory: bytes that a process may take on top of what it has when it starts; more is a MemoryError there.
        """
        self.size, self.do, self.seconds, self.name, self.answer, self.memory = (
            processes,
            do,
            seconds,
            name,
            answer,
            memory,
        )
        # A server that has imported everything forks workers in milliseconds, and has no threads that could hang them.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([do.__module__])
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            self._end(worker)
        self.workers = []

    def run(self, jobs: Iterable[tuple[Key, Job]]) -> Iterator[tuple[Key, Result | Failure]]:
        """(key, result) of each job, as they become ready. Jobs are taken from the iterable as workers become free."""
        pending = iter(jobs)
        again: deque[tuple[Key, Job, int]] = deque()
        while True:
            while len(self._busy()) < self.size:
                if again:
                    self._start(*again.popleft())
                elif new := next(pending, None):
                    self._start(*new, 0)
                else:
                    break
            busy = self._busy()
            if not busy:
                return
            for worker in self._ready(busy):
                key, job = worker.key, worker.job
                result: Result | Failure | None
                try:
                    result = self._receive(worker)
                except (EOFError, OSError):
                    self._discard(worker)
                    if worker.deaths + 1 < DEATHS:
                        again.append((key, job, worker.deaths + 1))
                        continue
                    result = Failure("crash", f"Reading {self.name(job)} crashed the decoder.")
                if result is not None:
                    worker.job = None
                    yield key, result
            for worker in self._busy():
                if time.monotonic() > worker.deadline:
                    key, job = worker.key, worker.job
                    self._discard(worker)
                    reason = f"Reading {self.name(job)} took longer than {self.seconds:g} seconds."
                    yield key, Failure("too slow", reason)

    def _busy(self) -> list[Worker]:
        return [worker for worker in self.workers if worker.job is not None]

    def _ready(self, busy: list[Worker]) -> list[Worker]:
        rest = max(0.0, min(worker.deadline for worker in busy) - time.monotonic())
        ready = wait([worker.pipe for worker in busy], timeout=rest + 0.01)
        return [worker for worker in busy if worker.pipe in ready]

    def _start(self, key: Key, job: Job, deaths: int) -> None:
        worker = next((w for w in self.workers if w.job is None and w.process.is_alive()), None) or self._new_worker()
        worker.key, worker.job, worker.deaths = key, job, deaths
        worker.deadline = time.monotonic() + self.seconds
        with suppress(OSError):  # it died just now; reading from it will say so
            worker.pipe.send(job)

    def _new_worker(self) -> Worker:
        here, there = self.context.Pipe()
        process = self.context.Process(target=work, args=(there, self.do, self.memory), daemon=True)
        process.start()
        there.close()  # so that the pipe ends when the worker does
        # One that cannot even start is no fault of a job's.
        if not here.poll(START_SECONDS) or not _says_ready(here):
            process.kill()
            raise InputError(
                'A worker process cannot be started; in a script, call this below `if __name__ == "__main__":`.'
            )
        worker = Worker(process, here)
        self.workers.append(worker)
        return worker

    def _receive(self, worker: Worker) -> Result | None:
        """A worker's result, or None where it only asked something."""
        message = worker.pipe.recv()
        if isinstance(message, Question):
            assert self.answer is not None
            worker.pipe.send(self.answer(message.content))
            return None
        if isinstance(message, BaseException):
            raise message
        return message

    def _discard(self, worker: Worker) -> None:
        self._end(worker)
        self.workers.remove(worker)

    @staticmethod
    def _end(worker: Worker) -> None:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def _says_ready(pipe: Connection) -> bool:
    try:
        return pipe.recv() == READY
    except (EOFError, OSError):
        return False


def work(pipe: Connection, do: Callable[[Any, Ask], Any], memory: int | None) -> None:
    """A worker's life: jobs come in, results go out, until the pool is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the pool ends its workers
    cv2.setNumThreads(1)  # there are as many workers as the user wants cores busy
    if memory is not None:
        limit = psutil.Process().memory_info().vms + memory
        resource.setrlimit(resource.RLIMIT_AS, (limit, limit))

    pipe.send(READY)

    def ask(question: Any) -> Any:
        pipe.send(Question(question))
        return pipe.recv()

    # The pool's end is closed when it is gone: nobody is left to tell.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job = pipe.recv()
            try:
                message = do(job, ask)
            except Exception as error:
                message = error
            pipe.send(message)
