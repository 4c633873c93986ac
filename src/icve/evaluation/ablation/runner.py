"""Does the jobs of an ablation in a few processes, parents before children, and goes on where it was stopped."""

import contextlib
import ctypes
import hashlib
import json
import multiprocessing
import os
import signal
import sys
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from icve.errors import InputError
from icve.evaluation.ablation.config import AblationConfig
from icve.evaluation.ablation.jobs import STOP, judge_run, train_run
from icve.evaluation.ablation.plan import Run, plan, runs_in_order

POLL_SECONDS = 2.0
PR_SET_PDEATHSIG = 1  # of linux/prctl.h


@dataclass(frozen=True)
class Folders:
    """Where an ablation keeps its things. Several ablations may share one folder: equal runs are trained once."""

    output: Path

    @property
    def runs(self) -> Path:
        """Training runs."""
        return self.output / "runs"

    @property
    def sets(self) -> Path:
        """Sets of the world."""
        return self.output / "sets"

    def judged(self, config: AblationConfig, run: Run) -> Path:
        """The verdicts on a run's model."""
        spec = config.evaluation.model_dump(mode="json", exclude={"batch"})
        digest = hashlib.blake2b(json.dumps(spec, sort_keys=True).encode(), digest_size=5).hexdigest()
        return self.output / "judged" / f"{run.name}-{digest}.json"

    def log(self, run: Run) -> Path:
        """What a run prints."""
        return self.output / "logs" / f"{run.name}.txt"

    def is_trained(self, run: Run) -> bool:
        """Whether a run has its model."""
        return (self.runs / run.name / "model" / "training.json").is_file()

    def steps_done(self, run: Run) -> int:
        """Of a run, as its log says (in rows of `log.every` steps)."""
        if self.is_trained(run):
            return run.steps
        log = self.runs / run.name / "log.jsonl"
        lines = log.read_bytes().splitlines()[-1:] if log.is_file() else []
        try:
            return int(json.loads(lines[0])["step"]) if lines else 0
        except ValueError:
            return 0  # half a line


def do_runs(
    config: AblationConfig, folders: Folders, *, jobs: int, cores: int, progress: Callable[[int, str], None]
) -> bool:
    """Train and judge everything that is missing; False when it was stopped (Ctrl-C, SIGTERM) and has saved.

    Args:
        jobs: processes at a time; they share the `cores`.
        progress: called with the steps done so far, of all runs, and with what is running.

    Raises:
        InputError: a run cannot be done; the others go on to their next checkpoint and stop.
    """
    cells = sorted(plan(config), key=lambda cell: config.seeds.index(cell.seed))  # a whole seed of all arms first
    runs = runs_in_order(cells)
    to_judge = {cell.run.name: cell.run for cell in cells if not folders.judged(config, cell.run).is_file()}
    needed = {run.name for run in runs_in_order([cell for cell in cells if cell.run.name in to_judge])}
    waiting = [run for run in runs if run.name in needed and not folders.is_trained(run)]
    trained = {run.name for run in runs if folders.is_trained(run)}
    running: dict[Future[bool], Run] = {}
    stopped = False
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(jobs, mp_context=context, initializer=_stand_apart) as pool:

        def start(job: Callable[..., bool], run: Run, threads: int, *arguments: Any) -> None:
            running[pool.submit(job, *arguments, threads, folders.log(run))] = run

        try:
            while True:
                ready = [run for run in to_judge.values() if run.name in trained]  # short, and what waits on it is next
                ready += [run for run in waiting if run.parent is None or run.parent.name in trained]
                ready = [] if stopped else ready[: jobs - len(running)]
                for run in ready:
                    threads = max(1, cores // min(jobs, len(running) + len(ready)))
                    if run.name in trained:
                        del to_judge[run.name]
                        model = folders.runs / run.name / "model"
                        start(judge_run, run, threads, model, config.evaluation, folders.judged(config, run))
                    else:
                        waiting.remove(run)
                        start(train_run, run, threads, run.config(folders.runs, folders.sets))
                if not running:
                    return not stopped
                done, _ = wait(running, timeout=POLL_SECONDS, return_when=FIRST_COMPLETED)
                for future in done:
                    run = running.pop(future)
                    ended = future.result()
                    stopped = stopped or not ended
                    if ended and folders.is_trained(run):
                        trained.add(run.name)
                names = ", ".join(run.name for run in running.values())
                progress(sum(folders.steps_done(run) for run in runs), names)
        except BrokenProcessPool:
            raise InputError(
                "A process of the ablation was killed, perhaps for want of memory: lower --jobs; the same "
                "command goes on."
            ) from None
        except BaseException:
            for pid in list(pool._processes or {}):
                with contextlib.suppress(ProcessLookupError):
                    os.kill(pid, STOP)  # trainers save; the pool waits for them
            raise


def _stand_apart() -> None:
    """In a process of the pool: a Ctrl-C at the terminal is the main process's to pass on, as one STOP, since a
    trainer takes a second signal for "at once"; and where the main process is killed, its trainers save and end."""
    os.setpgrp()
    signal.signal(STOP, signal.SIG_IGN)  # between jobs
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():  # killed before this process could ask for the signal
            os._exit(1)
