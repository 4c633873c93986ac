"""A disk that is full, or cannot be written, is one sentence and exit code 2; no checkpoint is lost."""

import resource
import time
from pathlib import Path

import pytest
from tests.training.failures.run_files import assert_good, checkpoints, rows, weights

from icve.training.checkpoint import Checkpointer
from icve.training.flow_matching import InContextFlowMatching

REMEDY = (
    "make that possible and run the same command, which goes on from the last checkpoint, or give another output "
    "folder."
)


@pytest.fixture
def fill_disk(monkeypatch):
    """From when a step's checkpoint is written, files of more than 30 kB cannot be, or of a few rows more
    than `file` has; `free` ends that, within the test: pytest itself may write to a file that is longer."""
    original = InContextFlowMatching.loss

    def full_after(checkpoint, file=None):
        def loss(self, batch, share):
            if batch.step == int(checkpoint.name[-8:]):
                wait_for(checkpoint)
                limit_files(30_000 if file is None else file.stat().st_size + 1500)
            return original(self, batch, share)

        monkeypatch.setattr(InContextFlowMatching, "loss", loss)

    def free():
        monkeypatch.setattr(InContextFlowMatching, "loss", original)
        limit_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])

    full_after.free = free
    yield full_after
    free()


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.001)


def limit_files(size: int) -> None:
    """Let this process write files of at most so many bytes, as a full disk would."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_disk_that_is_full_at_a_checkpoint(train, refused, fill_disk, tmp_path):
    assert train(output=str(tmp_path / "whole"))[0] == 0
    run = tmp_path / "run"
    fill_disk(run / "checkpoints/step-00000002")
    sentence = refused(checkpoint={"every": 2})
    fill_disk.free()
    assert sentence == (
        f"The checkpoint of step 4 could not be written to {run / 'checkpoints'} (File too large): make room there "
        "and run the same command, which goes on from the last checkpoint before it."
    )
    assert checkpoints(run) == ["step-00000002"]
    assert_good(run, 2)
    assert train()[0] == 0
    assert weights(run) == weights(tmp_path / "whole")
    assert [row["loss"] for row in rows(run)] == [row["loss"] for row in rows(tmp_path / "whole")]


def test_a_disk_that_is_full_when_the_model_is_written(train, refused, fill_disk, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        wait = Checkpointer.wait

        def then_full(self):
            wait(self)
            if (run / "checkpoints/step-00000006").exists():
                limit_files(30_000)

        patch.setattr(Checkpointer, "wait", then_full)
        sentence = refused()
        fill_disk.free()
    assert sentence.startswith(f"{run / 'model'} cannot be written (")
    assert "File too large" in sentence
    assert sentence.endswith(f"): {REMEDY}")
    assert sorted(path.name for path in run.iterdir()) == [".lock", "checkpoints", "config.json", "log.jsonl"]
    assert_good(run, 6)
    assert train()[0] == 0
    assert weights(run)


@pytest.mark.parametrize("tensorboard", [False, True])
def test_a_disk_that_is_full_for_the_log(refused, fill_disk, tmp_path, tensorboard):
    run = tmp_path / "run"
    fill_disk(run / "checkpoints/step-00000012", run / "log.jsonl")
    log = {"every": 1, "tensorboard": tensorboard}
    sentence = refused(checkpoint={"every": 12}, log=log, steps=24)
    fill_disk.free()
    file = run / ("tensorboard" if tensorboard else "log.jsonl")
    assert sentence == f"{file} cannot be written (File too large): {REMEDY}"
    assert_good(run, 12)


def test_an_output_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("")
    output = tmp_path / "file/run"
    assert refused(output=str(output)) == f"{output} cannot be written (Not a directory): {REMEDY}"
    assert "cannot be written" in refused(output=str(tmp_path / "file"))
