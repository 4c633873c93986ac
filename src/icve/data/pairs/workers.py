"""Runs jobs in processes that may die or hang: a job that does so costs that job, not the run.

`concurrent.futures` gives up the whole pool when one process dies, and cannot stop a job that hangs.
"""

import multiprocessing
import signal
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from types import TracebackType
from typing import Any, Generic, Self, TypeVar

from av.error import FFmpegError

from icve.data.pairs.decoding import Job, PairClips, UnusablePairError, make_clips, prepare_worker

DEATHS = 2  # a process may also die of the machine's troubles, so the first time is not held against the job

Key = TypeVar("Key")


@dataclass(frozen=True)
class Failure:
    """Why a job has no result: `kind` in few words, `reason` in one sentence."""

    kind: str
    reason: str


@dataclass
class Worker:
    process: Any
    pipe: Connection
    key: Any = None
    job: Job | None = None
    deaths: int = 0  # that the job has had already
    deadline: float = float("inf")


class WorkerPool(Generic[Key]):
    """Processes that make clips; a context manager, at whose end none is left.

    Args:
        processes: how many.
        seconds: how long one job may take.
        needed: answers a worker which of some clips are to be made, see `make_clips`.
    """

    def __init__(self, processes: int, seconds: float, needed: Callable[[list[str]], set[str]]) -> None:
        self.size, self.seconds, self.needed = processes, seconds, needed
        # A server that has imported everything forks workers in milliseconds, and has no threads that could hang them.
        self.context = multiprocessing.get_context("forkserver")
        self.context.set_forkserver_preload([__name__])
        self.workers: list[Worker] = []

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for worker in self.workers:
            self._end(worker)
        self.workers = []

    def run(self, jobs: Iterable[tuple[Key, Job]]) -> Iterator[tuple[Key, PairClips | Failure]]:
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
                assert job is not None
                try:
                    result = self._receive(worker)
                except (EOFError, OSError):
                    self._discard(worker)
                    if worker.deaths + 1 < DEATHS:
                        again.append((key, job, worker.deaths + 1))
                        continue
                    result = Failure("crash", f"Reading {job.source} and {job.target} crashed the decoder.")
                if result is not None:
                    worker.job = None
                    yield key, result
            for worker in self._busy():
                if time.monotonic() > worker.deadline:
                    key, job = worker.key, worker.job
                    assert job is not None
                    self._discard(worker)
                    reason = f"Reading {job.source} and {job.target} took longer than {self.seconds:g} seconds."
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
        process = self.context.Process(target=work, args=(there,), daemon=True)
        process.start()
        there.close()  # so that the pipe ends when the worker does
        worker = Worker(process, here)
        self.workers.append(worker)
        return worker

    def _receive(self, worker: Worker) -> PairClips | Failure | None:
        """A worker's result, or None where it only asked something."""
        message = worker.pipe.recv()
        if isinstance(message, list):
            worker.pipe.send(self.needed(message))
            return None
        return message

    def _discard(self, worker: Worker) -> None:
        self._end(worker)
        self.workers.remove(worker)

    @staticmethod
    def _end(worker: Worker) -> None:
        worker.process.kill()
        worker.process.join()
        worker.pipe.close()


def work(pipe: Connection) -> None:
    """A worker's life: jobs come in, results go out, until the pool is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches the whole group; the pool ends its workers
    prepare_worker()

    def needed(ids: list[str]) -> set[str]:
        pipe.send(ids)
        return pipe.recv()

    # The pool's end is closed when it is gone: nobody is left to tell.
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            pipe.send(attempt(pipe.recv(), needed))


def attempt(job: Job, needed: Callable[[list[str]], set[str]]) -> PairClips | Failure:
    """`make_clips`, its errors as results."""
    try:
        return make_clips(job, needed)
    except UnusablePairError as error:
        return Failure(error.kind, error.reason)
    except MemoryError:
        return Failure("out of memory", f"There is not enough memory for {job.source} and {job.target}.")
    except (FFmpegError, ValueError) as error:  # a file so odd that a library below refuses it
        return Failure("unreadable video", f"{job.source} or {job.target} cannot be read ({error}).")
