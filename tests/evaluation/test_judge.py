"""The exact judge: right edits pass, everything else fails, and an evaluation can be interrupted."""

import json

import numpy as np
import pytest

from icve.cli import main
from icve.data.world import render
from icve.evaluation.intervals import wilson
from icve.evaluation.loop import evaluate_edits, held_out_edit, summarise
from icve.evaluation.world import judge
from tests.evaluation.selfcheck import degrade, differs, edits, wrong_targets


@pytest.mark.parametrize("split", ["core", "full"])
def test_true_targets_pass_and_all_else_fails(split):
    degraded, cases = 0, 36
    wrong = accepted = 0
    for i, edit in edits(split, cases, seed=11):
        source, target = render(edit.source), render(edit.target)
        assert judge(edit, source, target).success, (edit.instruction, judge(edit, source, target).reasons)
        assert not judge(edit, source, source).success, edit.instruction
        degraded += judge(edit, source, degrade(target, i)).success
        for _, scene in list(wrong_targets(edit, i))[i % 2 :: 3]:
            clip = render(scene)
            if differs(clip, target):
                wrong += 1
                accepted += judge(edit, source, clip).success
    assert degraded >= cases - 1
    assert wrong > 60
    assert accepted <= 0.02 * wrong  # a blur of few edges, a second small thing: what a soft decoder does too


def test_preservation_is_the_psnr_outside_the_edit():
    edit = held_out_edit(1)
    assert edit.operation == "remove"
    source, target = render(edit.source), render(edit.target)
    assert judge(edit, source, target).preservation_psnr == pytest.approx(100)
    noise = np.random.default_rng(0).normal(0, 255 / 10**1.5, target.shape)  # 30 dB
    noisy = judge(edit, source, target.astype(np.float32) / 255 + noise.astype(np.float32) / 255)
    assert noisy.preservation_psnr == pytest.approx(30, abs=0.3)


def test_an_oracle_scores_all_and_a_copier_nothing():
    samples = [held_out_edit(i) for i in range(12)]
    by_instruction = {edit.instruction: render(edit.target) for edit in samples}
    oracle = evaluate_edits(samples, lambda _, texts, __: [by_instruction[t] for t in texts], batch=5)
    summary = summarise([sample.row() for sample in oracle])
    assert summary["success"]["mean"] == 1.0
    assert summary["success"]["n"] == 12
    assert set(summary["operations"]) == {"add", "remove", "replace", "recolour", "background", "look"}
    copies = summarise([sample.row() for sample in evaluate_edits(samples, lambda clips, _, __: clips)])
    assert copies["success"]["mean"] == 0.0


def test_wilson_interval_is_the_published_one():
    low, high = wilson(8, 10)  # Brown, Cai and DasGupta 2001: centre (x + z²/2) / (n + z²)
    assert (low, high) == (pytest.approx(0.4902, abs=1e-4), pytest.approx(0.9433, abs=1e-4))
    assert wilson(0, 5)[0] == pytest.approx(0)
    assert wilson(5, 5)[1] == pytest.approx(1)


def test_command_resumes_and_refuses_other_settings(tiny_model, tmp_path, capsys):
    command = ["evaluate", "world", "--model", str(tiny_model), "--steps", "1", "-o", str(tmp_path / "out"), "--limit"]
    assert main([*command, "2"]) == 0
    first = (tmp_path / "out/samples.jsonl").read_text()
    assert main([*command, "3"]) == 0
    rows = [json.loads(line) for line in (tmp_path / "out/samples.jsonl").read_text().splitlines()]
    assert (tmp_path / "out/samples.jsonl").read_text().startswith(first)
    assert [row["index"] for row in rows] == [0, 1, 2]
    summary = json.loads((tmp_path / "out/summary.json").read_text())
    assert summary["success"]["n"] == 3
    low, high = summary["success"]["interval"]
    assert low - 1e-9 <= summary["success"]["mean"] <= high
    assert (tmp_path / "out/sheet.png").stat().st_size > 1000
    assert main([*command, "3", "--steps", "2"]) == 2
    assert "another" in capsys.readouterr().err
