"""Training that is killed at random moments and goes on each time ends as if nothing had happened.

With as many kills as one likes, as a command that says when they came and whether the weights are the same:

    python -m tests.training.test_killed --kills 20 --workers 2
"""

import argparse
import contextlib
import json
import multiprocessing
import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import psutil
import pytest
import yaml
from tests import tiny
from tests.data.shard_samples import write_set

from icve.data.buckets import Bucket
from icve.data.encode import encode_clips, encode_texts
from icve.training.config import EditorConfig
from icve.training.editor import train_editor
from icve.training.flow_matching import InContextFlowMatching

BUCKETS = {Bucket(1, 32, 32): 4, Bucket(5, 32, 32): 2}  # with the samples of a step
PAIRS = 7  # of each bucket: epochs end inside of batches
EVERY = 3  # steps from checkpoint to checkpoint
START = 0.2  # share of the kills that come before the first step
POLL = 0.0005  # seconds
LIMIT = 120  # seconds that anything may take

_context = multiprocessing.get_context("forkserver")
_context.set_forkserver_preload(["icve.training.editor", "icve.data.encode", "tests.tiny", "pytest", "psutil", "yaml"])


@dataclass
class Case:
    """A model and a set on disk, and how they are trained."""

    folder: Path
    steps: int

    @classmethod
    def make(cls, folder: Path, steps: int) -> "Case":
        """Write them: latents and text embeddings, several shards a bucket."""
        tiny.save_tiny_model(folder / "start")
        write_set(folder / "set", PAIRS, tuple(BUCKETS), shard_bytes=2**14)
        pipe = tiny.pipeline()
        encode_texts(folder / "set", pipe, "tiny", progress=lambda _: None)
        encode_clips(folder / "set", pipe, "tiny", progress=lambda _: None)
        return cls(folder, steps)

    def output(self, name: str) -> Path:
        """Where a run writes."""
        return self.folder / name

    def config(self, name: str, workers: int = 0) -> dict[str, Any]:
        """A run's config, as YAML has it."""
        return {
            "kind": "editor",
            "output": str(self.output(name)),
            "start": str(self.folder / "start"),
            "steps": self.steps,
            "precision": "fp32",  # "auto" is a trial of speed, which each of the runs would make for itself
            "data": {
                "sets": [{"kind": "shards", "path": str(self.folder / "set")}],
                "buckets": [{"size": str(bucket), "batch": batch} for bucket, batch in BUCKETS.items()],
                "workers": workers,
            },
            "optimizer": {"lr": 1e-3, "warmup": 5, "ema": 0.9},
            "checkpoint": {"every": EVERY, "keep": 2},
            "log": {"every": 1, "tensorboard": False},
        }

    def record(self, name: str) -> Path:
        """Where a run's samples are written down, beside its folder."""
        return self.folder / f"{name}.jsonl"

    def samples(self, name: str) -> dict[int, tuple[str, list[str]]]:
        """Bucket and sample ids by step; a step that was done again counts as it was done last."""
        rows = [json.loads(line) for line in self.record(name).read_text().splitlines()]
        return {row["step"]: (row["bucket"], row["ids"]) for row in rows}

    def weights(self, name: str) -> dict[str, bytes]:
        """The bytes of the files of weights in a run's result."""
        model = self.output(name) / "model"
        return {str(file.relative_to(model)): file.read_bytes() for file in model.rglob("*.safetensors")}

    def losses(self, name: str) -> list[tuple[int, float]]:
        """Step and loss of each row of a run's log."""
        rows = map(json.loads, (self.output(name) / "log.jsonl").read_text().splitlines())
        return [(row["step"], row["loss"]) for row in rows]


def train(config: dict[str, Any], record: Path) -> None:
    """A run in this process, which writes down what each step is trained on."""
    import torch

    torch.set_num_threads(1)
    os.dup2(os.open(record.with_suffix(".err"), os.O_WRONLY | os.O_CREAT | os.O_APPEND), sys.stderr.fileno())
    file = os.open(record, os.O_WRONLY | os.O_CREAT | os.O_APPEND)
    original = InContextFlowMatching.loss

    def loss(self, batch, share):
        row = {"step": batch.step, "bucket": str(batch.bucket), "ids": batch.ids}
        os.write(file, (json.dumps(row) + "\n").encode())
        return original(self, batch, share)

    InContextFlowMatching.loss = loss
    train_editor(EditorConfig.model_validate(config))


class Process:
    """A run in a process of its own, or what goes on of it."""

    def __init__(self, case: Case, name: str, workers: int) -> None:
        self.record = case.record(name)
        self.written = self._size()
        self.process = _context.Process(target=train, args=(case.config(name, workers), self.record))
        self.process.start()

    def _size(self) -> int:
        return self.record.stat().st_size if self.record.exists() else 0

    def wait(self, until, limit: float = LIMIT) -> bool:
        """Wait until a condition holds, the run has ended (False) or `limit` is over (False)."""
        end = time.monotonic() + limit
        while not until():
            if time.monotonic() > end or self.process.exitcode is not None:
                return False
            time.sleep(POLL)
        return True

    def first_step(self) -> bool:
        """Wait until a step is being done."""
        return self.wait(lambda: self._size() > self.written)

    def sleep(self, seconds: float) -> None:
        """Let it train."""
        self.wait(lambda: False, seconds)

    def kill(self) -> bool:
        """SIGKILL; False when it had ended already, as it should. Its workers must not outlive it."""
        children = []
        with contextlib.suppress(psutil.NoSuchProcess):
            children = psutil.Process(self.process.pid).children(recursive=True)
        self.process.kill()
        self.process.join(LIMIT)
        left = psutil.wait_procs(children, timeout=LIMIT)[1]  # a server that still imports sees it then
        assert not left, f"{left} were left by a killed run"
        assert self.process.exitcode in (0, -signal.SIGKILL), self.errors()
        return self.process.exitcode != 0

    def end(self) -> None:
        """Wait for the run's end."""
        self.process.join(LIMIT)
        assert self.process.exitcode == 0, self.errors()

    def errors(self) -> str:
        """The last that the run has said."""
        return self.record.with_suffix(".err").read_text()[-3000:]


def undisturbed(case: Case, name: str) -> tuple[float, float]:
    """A run that nothing happens to; seconds until its first step and from there on."""
    clock = time.monotonic()
    process = Process(case, name, workers=0)
    assert process.first_step()
    started = time.monotonic()
    process.end()
    return started - clock, time.monotonic() - started


def disturbed(case: Case, name: str, kills: int, workers: int, seconds: tuple[float, float], seed: int) -> list[str]:
    """A run that is killed so many times; says what was going on at each.

    Args:
        seconds: of the undisturbed run.
    """
    draw = random.Random(seed)
    start, rest = seconds
    output, moments = case.output(name), []
    while len(moments) < kills:
        process = Process(case, name, workers)
        kind = "model" if len(moments) == kills - 1 else draw.choice(["time", "time", "checkpoint"])
        if kind == "time" and draw.random() < START:
            process.sleep(draw.uniform(0, start))
        else:
            process.first_step()
            process.sleep(0 if kind == "model" else draw.uniform(0, 1.2 * rest / kills))
        if kind == "checkpoint":
            process.wait(lambda: any((output / "checkpoints").glob("*.tmp")))
            process.sleep(draw.uniform(0, 0.02))
        elif kind == "model":
            process.wait((output / "model.tmp").exists)
        if not process.kill():
            moments.append("it had ended")
            break
        done = sorted(folder.name for folder in (output / "checkpoints").glob("step-*") if folder.suffix != ".tmp")
        writing = [path.name for path in (*output.glob("checkpoints/*.tmp"), *output.glob("*.tmp"))]
        moments.append(f"last checkpoint {done[-1:]}" + (f", writing {writing}" if writing else ""))
    Process(case, name, workers).end()
    return moments


def check(case: Case, name: str, reference: str, recorded: bool = True) -> None:
    """Compare a run with an undisturbed one, to the last bit, and, where they were written down, count its samples."""
    weights = case.weights(reference)
    assert any(file.startswith("transformer/") for file in weights)
    assert weights != {file: (case.folder / "start" / file).read_bytes() for file in weights}  # it was trained
    assert case.weights(name) == weights
    assert case.losses(name) == case.losses(reference)
    assert [step for step, _ in case.losses(name)] == list(range(1, case.steps + 1))
    if recorded:
        assert case.samples(name) == case.samples(reference)
        check_epochs(case, name)


def check_epochs(case: Case, name: str) -> None:
    """Every sample exactly once an epoch, and no two epochs in one order."""
    samples = case.samples(name)
    assert sorted(samples) == list(range(case.steps))
    ids = defaultdict(list)
    for _, (bucket, more) in sorted(samples.items()):
        ids[bucket] += more
    assert set(ids) == {str(bucket) for bucket in BUCKETS}
    for number, bucket in enumerate(BUCKETS):
        every = {f"p{100 * number + i}" for i in range(PAIRS)}
        epochs = [ids[str(bucket)][i : i + PAIRS] for i in range(0, len(ids[str(bucket)]), PAIRS)]
        assert len(epochs) > 3
        assert all(sorted(epoch) == sorted(every) for epoch in epochs[:-1])
        assert len(set(epochs[-1])) == len(epochs[-1])
        assert set(epochs[-1]) <= every
        assert len({tuple(epoch) for epoch in epochs}) > 1


@pytest.fixture(scope="module")
def case(tmp_path_factory):
    """A case with its undisturbed run "whole"."""
    return Case.make(tmp_path_factory.mktemp("killed"), steps=36)


@pytest.fixture(scope="module")
def seconds(case):
    """Of the undisturbed run "whole"."""
    return undisturbed(case, "whole")


@pytest.mark.parametrize(("workers", "kills"), [(0, 5), (2, 2)])
def test_a_run_killed_at_random_moments_ends_like_one_that_was_not(case, seconds, workers, kills):
    name = f"killed-{workers}"
    moments = disturbed(case, name, kills, workers, seconds, seed=workers)
    print(*moments, sep="\n")
    check(case, name, "whole")


def test_a_stopped_command_saves_and_goes_on(case, seconds, tmp_path):  # noqa: ARG001 - the run "whole" is there
    """SIGTERM, then the same command and Ctrl-C, then to the end."""
    config = tmp_path / "config.yaml"
    config.write_text(yaml.safe_dump(case.config("stopped", workers=1) | {"checkpoint": {"every": 1000}}))
    first = stop(case, config, signal.SIGTERM)
    second = stop(case, config, signal.SIGINT)
    assert 0 < first < second < case.steps
    Process(case, "stopped", workers=0).end()
    check(case, "stopped", "whole", recorded=False)


def stop(case: Case, config: Path, number: signal.Signals) -> int:
    """Start the command and, after a step, send a signal to all its processes, as terminals and schedulers do; the
    step after which it was saved."""
    log, checkpoints = case.output("stopped") / "log.jsonl", case.output("stopped") / "checkpoints"
    before = len(log.read_text()) if log.exists() else 0
    command = [sys.executable, "-m", "icve.cli", "train", str(config), "--threads", "1"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, start_new_session=True) as process:
        end = time.monotonic() + LIMIT
        while (len(log.read_text()) if log.exists() else 0) <= before and process.poll() is None:
            assert time.monotonic() < end
            time.sleep(POLL)
        os.killpg(process.pid, number)
        errors = process.communicate(timeout=LIMIT)[1]
    assert process.returncode == 0, errors
    assert "Traceback" not in errors
    newest = max(checkpoints.iterdir())
    step = int(newest.name.removeprefix("step-"))
    assert f"stopped after step {step}, saved in {case.output('stopped')}; the same command goes on" in errors
    assert case.losses("stopped")[-1][0] == step
    return step


def main() -> None:
    """Many kills."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--workers", type=int, default=0)
    parser.add_argument("--steps", type=int, default=150)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        case = Case.make(Path(folder), args.steps)
        seconds = undisturbed(case, "whole")
        print(f"undisturbed: {seconds[0]:.1f} s to the first step, {seconds[1]:.1f} s for {args.steps} steps")
        moments = disturbed(case, "killed", args.kills, args.workers, seconds, args.seed)
        print(*(f"kill {i}: {moment}" for i, moment in enumerate(moments, 1)), sep="\n")
        check(case, "killed", "whole")
        files = len(case.weights("whole"))
        print(f"{len(moments)} kills survived; {files} files of weights identical; every sample once an epoch")


if __name__ == "__main__":
    main()
