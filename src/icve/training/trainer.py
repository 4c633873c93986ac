"""The training loop: one method, loader and optimizer, any number of ranks, stopped and gone on with at any step."""

import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from icve.data.loader import Loader
from icve.data.samples import Batch
from icve.errors import InputError
from icve.training import parallel
from icve.training.checkpoint import Checkpointer
from icve.training.config import RunConfig
from icve.training.log import Log
from icve.training.method import Loss, Method
from icve.training.optimizer import MasterOptimizer, learning_rate
from icve.training.parallel import Layout
from icve.training.run_folder import RunFolder


class Callback(Protocol):
    """Something done between steps, by all ranks together."""

    def __call__(self, trainer: "Trainer", step: int) -> None:
        """`step` steps are done; the weights are the trained ones."""
        ...


class Stop:
    """SIGTERM and Ctrl-C ask for an end after the step; the second one ends at once."""

    def __init__(self) -> None:
        self.asked = False
        for number in (signal.SIGTERM, signal.SIGINT):
            signal.signal(number, self._ask)

    def _ask(self, *_: Any) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True


class Trainer:
    """A run from its first step, or from its last checkpoint, to its last step.

    Args:
        modules: name to module, as they are trained: sharded, compiled.
        callbacks: called after every step.
    """

    def __init__(
        self,
        config: RunConfig,
        method: Method,
        modules: Mapping[str, nn.Module],
        optimizer: MasterOptimizer,
        loader: Loader,
        layout: Layout,
        folder: RunFolder,
        log: Log,
        callbacks: Sequence[Callback] = (),
    ) -> None:
        self.config = config
        self.method = method
        self.modules = modules
        self.optimizer = optimizer
        self.loader = loader
        self.layout = layout
        self.folder = folder
        self.log = log
        self.callbacks = callbacks
        self.checkpoints = Checkpointer(folder.path / "checkpoints", keep=config.checkpoint.keep)
        self.first_step = 0
        self.samples = 0
        self.bad = 0
        self.skipped_in_a_row = 0
        self.seconds = 0.0
        for bucket in config.data.buckets:
            parts(bucket.batch // layout.data_ranks, config.accumulate)  # what cannot be cut is refused now
        self._resume()

    def _resume(self) -> None:
        latest = self.checkpoints.latest()
        if latest is None:
            self.folder.forget_after(0)
            return
        tensors = self.optimizer.state_tensors()
        self.checkpoints.load(latest, tensors)
        self.optimizer.load_state_tensors(tensors)
        extra = self.checkpoints.read_extra(latest)
        self.first_step, self.samples, self.bad = extra["step"], extra["samples"], extra["bad"]
        self.seconds = extra["seconds"]
        self.loader.load_state_dict(extra["loader"])
        self.folder.forget_after(self.first_step)

    def run(self) -> bool:
        """Train; whether the last step is done (False: it was asked to stop, and has saved)."""
        try:
            return self._run()
        except BaseException:
            with suppress(BaseException):  # the error that ended the run is the one to report
                self.checkpoints.wait()  # what is being written is good, and the ranks part after this
            raise

    def _run(self) -> bool:
        stop = Stop()
        total = self.config.steps
        batches = self.loader.batches(self.first_step, total - self.first_step)
        self.log.start(self.first_step, total)
        step = self.first_step
        due = False
        clock = time.perf_counter()
        for step, batch, waited in _timed(batches, self.first_step):
            figures, stopping = self._step(step, batch, stop.asked)
            now = time.perf_counter()
            self.seconds += now - clock
            figures |= {"seconds": now - clock, "waited": waited}
            clock = now
            self.log.step(step + 1, batch, figures, samples=self.samples, bad=self.bad, seconds=self.seconds)
            for callback in self.callbacks:
                callback(self, step + 1)
            self.checkpoints.poll()
            due = due or (step + 1) % self.config.checkpoint.every == 0
            # a row of skipped steps must not push out checkpoints from before what made them so
            if stopping or step + 1 == total or (due and not self.skipped_in_a_row):
                self.save(step + 1)
                due = False
            clock += time.perf_counter() - now  # validation and saving are no training time
            if stopping and step + 1 < total:
                self.checkpoints.wait()
                self.log.close()
                if self.layout.rank == 0:
                    print(
                        f"stopped after step {step + 1}, saved in {self.folder.path}; the same command goes on",
                        file=sys.stderr,
                    )
                return False
        self.checkpoints.wait()
        self.log.close()
        return True

    def _step(self, step: int, batch: Batch, stop_asked: bool) -> tuple[dict[str, float], bool]:
        """One step: forward and backward by parts, update. What to log, and whether any rank was asked to stop."""
        c = self.config
        losses = []
        for start, end, last in parts(len(batch.slots), c.accumulate):
            parallel.micro_batch(self.modules, last)
            loss = self.method.loss(batch.rows(start, end), len(batch.slots))
            loss.total.backward()
            self.optimizer.accumulate()
            losses.append(loss)
        rate = learning_rate(step, c.steps, c.optimizer.lr, c.optimizer.warmup, c.optimizer.schedule, c.optimizer.final)
        result = self.optimizer.step(rate, clip=c.optimizer.clip)
        figures, bad, samples, stopping = self._reduce(losses, batch, stop_asked)
        self.samples += samples
        self._count_bad(bad, batch)
        self._count_skipped(result.skipped, step)
        return figures | {"norm": result.norm, "lr": rate, "skipped": float(result.skipped)}, stopping

    def _reduce(
        self, losses: Sequence[Loss], batch: Batch, stop_asked: bool
    ) -> tuple[dict[str, float], int, int, bool]:
        """Figures over all ranks by one small all-reduce, the step's only wait for the device."""
        names = list(losses[0].sums)
        table = torch.stack([_pair(loss.sums[name]) for loss in losses for name in names])
        sums = table.view(len(losses), len(names), 2).sum(0).flatten().tolist()
        bad = int((~batch.valid).sum())
        values = parallel.reduce_sum(self.layout, [*sums, bad, len(batch.slots), stop_asked])
        *sums, bad_sum, samples, stopping = values
        figures = {n: s / k for n, s, k in zip(names, sums[::2], sums[1::2], strict=True) if k}
        # ranks of one Ulysses group count the same samples
        ulysses = self.layout.ulysses
        return figures, round(bad_sum / ulysses), round(samples / ulysses), stopping > 0

    def _count_bad(self, bad: int, batch: Batch) -> None:
        self.bad += bad
        if self.layout.rank % self.layout.ulysses == 0:  # the other ranks of its group have read the same
            for problem in batch.problems:
                print(f"skipped: {problem}", file=sys.stderr)
        limit = self.config.data.max_bad
        if bad and self.bad > limit * max(self.samples, 1000):
            problem = batch.problems[0] if batch.problems else "see above"
            raise InputError(
                f"{self.bad} of {self.samples} samples could not be read, more than data.max_bad: {limit} allows "
                f"({problem}); mend the data, or raise data.max_bad."
            )

    def _count_skipped(self, skipped: bool, step: int) -> None:
        self.skipped_in_a_row = self.skipped_in_a_row + 1 if skipped else 0
        if skipped:
            self.log.note(f"skipped: step {step + 1}, its loss or gradient was not finite.")
        if self.skipped_in_a_row >= self.config.max_skipped:
            raise InputError(
                f"The loss or its gradient was not finite in {self.skipped_in_a_row} steps in a row (step {step + 1}): "
                "lower optimizer.lr, or train with precision: fp32; the last checkpoint is kept."
            )

    def save(self, step: int) -> None:
        """Begin to write a checkpoint: `step` steps are done."""
        extra = {
            "step": step,
            "samples": self.samples,
            "bad": self.bad,
            "seconds": self.seconds,
            "loader": self.loader.state_dict(),
        }
        self.checkpoints.save(step, self.optimizer.state_tensors(), extra)

    def with_averages(self, act: Callable[[], None]) -> None:
        """Do something with the averaged weights in the modules, which are what is saved."""
        self.optimizer.load_averages()
        try:
            with torch.no_grad():
                act()
        finally:
            parallel.reshard(self.modules)
            self.optimizer.load_masters()


def parts(samples: int, accumulate: int) -> list[tuple[int, int, bool]]:
    """(start, stop, last) of a share's micro-batches, of equal size but perhaps the last.

    Raises:
        InputError: there are more parts than samples.
    """
    if accumulate > samples:
        raise InputError(f"accumulate: {accumulate} cannot cut a rank's {samples} samples; lower it or raise batch.")
    size = -(-samples // accumulate)
    starts = range(0, samples, size)
    return [(start, min(start + size, samples), start + size >= samples) for start in starts]


def _timed(batches: Iterator[Batch], first_step: int) -> Iterator[tuple[int, Batch, float]]:
    """Step, batch, and the seconds waited for it."""
    step = first_step
    while True:
        start = time.perf_counter()
        batch = next(batches, None)
        if batch is None:
            return
        yield step, batch, time.perf_counter() - start
        step += 1


def _pair(sums: tuple[Tensor, Tensor | float]) -> Tensor:
    total, number = sums
    return torch.stack([total, torch.as_tensor(number, dtype=total.dtype, device=total.device)])
