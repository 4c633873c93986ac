"""Losses that are not finite: the step is skipped and told; many in a row end the run, its last checkpoint kept."""

import shutil

from safetensors.torch import load_file, save_file
from tests.training.failures.run_files import NAN, WEIGHTS, assert_good, checkpoints, rows

from icve.training.flow_matching import InContextFlowMatching


def test_a_loss_that_is_not_finite_ends_it(refused, folder, tmp_path):
    shutil.copytree(folder / "start", tmp_path / "nan")
    file = tmp_path / "nan/transformer" / WEIGHTS
    tensors = load_file(file)
    tensors["proj_out.weight"][0, 0] = NAN
    save_file(tensors, file, {"format": "pt"})
    sentence = refused(start=str(tmp_path / "nan"), max_skipped=3)
    assert sentence == (
        "The loss or its gradient was not finite in 3 steps in a row (step 3): lower optimizer.lr, or train with "
        "precision: fp32; the last checkpoint is kept."
    )


def test_a_run_that_diverges_keeps_its_last_checkpoint(refused, train, tmp_path, monkeypatch):
    """From the sixth step on all losses are NaN, and checkpoints from there on would take the place of others."""
    original = InContextFlowMatching.loss

    def loss(self, batch, share):
        result = original(self, batch, share)
        return (
            result
            if batch.step < 5
            else type(result)(result.total * NAN, {n: (s * NAN, k) for n, (s, k) in result.sums.items()})
        )

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(InContextFlowMatching, "loss", loss)
        assert "not finite in 4 steps in a row (step 9)" in refused(steps=12, max_skipped=4, checkpoint={"every": 2})
    assert checkpoints(run) == ["step-00000002", "step-00000004"]
    assert_good(run, 4)
    assert train(steps=12)[0] == 0
    assert [row["step"] for row in rows(run)] == list(range(1, 13))


def test_a_step_that_is_not_finite_is_skipped_and_told(train, tmp_path, monkeypatch):
    original = InContextFlowMatching.loss

    def loss(self, batch, share):
        result = original(self, batch, share)
        return type(result)(result.total * (NAN if batch.step == 2 else 1), result.sums)

    monkeypatch.setattr(InContextFlowMatching, "loss", loss)
    code, errors = train()
    assert code == 0
    (line,) = [line for line in errors.splitlines() if line.startswith("skipped: ")]
    assert line == "skipped: step 3, its loss or gradient was not finite."
    assert [row["skipped"] for row in rows(tmp_path / "run")] == [0, 0, 1, 0, 0, 0]


def test_a_learning_rate_far_too_high(refused, tmp_path):
    optimizer = {"lr": 1e30, "warmup": 0, "ema": 0}
    assert "lower optimizer.lr" in refused(steps=20, optimizer=optimizer, precision="fp32", max_skipped=3)
    assert not [name for name in checkpoints(tmp_path / "run") if name.endswith(".tmp")]
