"""`icve ablate` on a tiny grid: real sets, trainings, verdicts and a table."""

import json
import os
import signal
import subprocess
import sys
import threading
import time
from contextlib import suppress
from pathlib import Path

import pytest
import yaml

from icve import cli
from icve.errors import InputError
from icve.evaluation.ablation.config import load_ablation
from icve.evaluation.ablation.plan import plan, runs_in_order

MODEL = {"heads": 1, "head_dim": 32, "rope_axes_dim": [8, 12, 12], "dual_blocks": 1, "single_blocks": 1}
TINY = {
    "title": "Tiny",
    "seeds": [0, 1],
    "sets": {"paired": {"pairs": 8, "seed": 2, "size": "1x32x32", "operations": ["recolour"]}},
    "training": {
        "optimizer": {"lr": 1e-3, "ema": 0.9},
        "checkpoint": {"every": 2, "keep": 1},
        "log": {"every": 1, "tensorboard": False},
        "data": {
            "sets": [{"kind": "shards", "path": "{sets}/paired"}],
            "buckets": [{"size": "1x32x32", "batch": 4}],
        },
    },
    "stages": {
        "base": {
            "start": "mini",
            "model": MODEL | {"sizes": [[1, 32, 32]], "sampling_steps": 2},
            "steps": 2,
            "data.sets.0.pairs": "captions",
        },
        "pairs": {"steps": 2},
    },
    "one_seed": ["base"],
    "vary": {"pairs": [4, 8]},
    "arms": {
        "once": ["base", {"pairs": {"data.sets.0.limit": "$pairs"}}],
        "twice": ["base", "pairs", {"pairs": {"data.sets.0.limit": "$pairs"}}],
    },
    "compare": [["twice", "once"]],
    "evaluation": {"samples": 4, "operations": ["recolour"]},
}


SHIPPED = sorted(path for path in (Path(__file__).parents[3] / "configs/ablations").glob("*.yaml"))


def write(folder: Path, **changes) -> Path:
    file = folder / "tiny.yaml"
    file.write_text(yaml.safe_dump(TINY | changes, sort_keys=False))
    return file


def start(command: list[str]) -> subprocess.Popen:
    return subprocess.Popen(
        [sys.executable, "-m", "icve.cli", *command],
        stderr=subprocess.DEVNULL,
        start_new_session=True,
        # a suite that a shell runs in the background ignores it, and so would the command
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def test_equal_runs_are_planned_once(tmp_path):
    cells = plan(load_ablation(write(tmp_path)))
    runs = runs_in_order(cells)
    assert len(cells) == 8
    # the base, the first stage of each seed, and for each seed and limit one run of each arm
    assert len(runs) == 1 + 2 + 8
    assert all(runs.index(run.parent) < i for i, run in enumerate(runs) if run.parent)
    limits = [cell.run.values["data"]["sets"][0]["limit"] for cell in cells]
    assert limits == [4, 4, 8, 8] * 2
    more = plan(load_ablation(write(tmp_path), ["training.optimizer.lr=2e-3"]))
    assert not {cell.run.name for cell in cells} & {cell.run.name for cell in more}
    faster = plan(load_ablation(write(tmp_path), ["training.parallel.compile=true", "training.checkpoint.every=7"]))
    assert [cell.run.name for cell in cells] == [cell.run.name for cell in faster]  # how a run is done is no part of it


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.stem != "world"], ids=lambda path: path.stem)
def test_shipped_ablations_are_whole(path, tmp_path):
    config = load_ablation(path)
    runs = runs_in_order(plan(config))
    assert len(config.seeds) >= 3
    assert config.compare
    for run in runs:
        assert run.config(tmp_path / "runs", tmp_path / "sets").steps == run.steps


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"arms": {"a": ["bas"]}}, "there is no stage 'bas'"),
        ({"arms": {"a": []}, "compare": []}, "no stages"),
        ({"compare": [["once", "thrice"]]}, "'thrice', which is no arm"),
        ({"vary": {"a": [1], "b": [2]}}, "one name"),
        ({"seeds": [1, 1]}, "twice"),
        ({"evaluation": {"split": "core2"}}, "split"),
        ({"sedes": [1]}, "did you mean seeds"),
    ],
)
def test_what_is_no_ablation_is_refused(tmp_path, change, sentence):
    with pytest.raises(InputError, match=sentence):
        plan(load_ablation(write(tmp_path, **change)))


def test_a_file_goes_on_from_another_that_goes_on_from_a_third(tmp_path):
    write(tmp_path)
    (tmp_path / "middle.yaml").write_text("extends: tiny.yaml\nseeds: [3]\ntitle: Middle\n")
    (tmp_path / "top.yaml").write_text("extends: middle.yaml\ntitle: Top\n")
    config = load_ablation(tmp_path / "top.yaml")
    assert (config.title, config.seeds, list(config.arms)) == ("Top", [3], ["once", "twice"])
    (tmp_path / "tiny.yaml").write_text("extends: top.yaml")
    with pytest.raises(InputError, match="extends itself"):
        load_ablation(tmp_path / "top.yaml")


def test_a_stage_that_is_no_training_is_refused_before_any_work(tmp_path, capsys):
    stages = TINY["stages"] | {"pairs": {"steps": 2, "stepps": 2}}
    assert cli.main(["ablate", str(write(tmp_path, stages=stages)), "-o", str(tmp_path / "out"), "--dry-run"]) == 2
    assert "did you mean" in capsys.readouterr().err


def test_an_ablation_from_the_command_line_stopped_and_gone_on_with(tmp_path, capsys):
    config, out = (
        write(
            tmp_path, seeds=[0], vary={}, arms={"once": ["base", "pairs"], "none": ["base"]}, compare=[["once", "none"]]
        ),
        tmp_path / "out",
    )
    command = ["ablate", str(config), "-o", str(out), "--jobs", "1"]
    process = start(command)
    while not list(out.glob("runs/*/checkpoints/*")) and process.poll() is None:
        time.sleep(0.05)
    os.kill(process.pid, signal.SIGTERM)
    assert process.wait(120) == 130
    assert not (out / "tiny.json").exists()

    assert cli.main(command) == 0
    table = capsys.readouterr().out
    assert "once minus none" in table
    written = (out / "tiny.json").read_text()
    assert "NaN" not in written  # one seed has no interval, and NaN is no JSON
    summary = json.loads(written)
    assert [(row["arm"], len(row["success"]["by_seed"])) for row in summary["arms"]] == [("once", 1), ("none", 1)]
    assert len(list(out.glob("runs/*"))) == 2
    page = (out / "tiny.html").read_text()
    assert page.count("<svg") >= 4  # success, preservation, the loss of both stages
    assert page.count("<img") == 4  # source, true edit, both arms
    assert "http" not in page.replace("http-equiv", "")
    verdicts = {file: file.stat().st_mtime_ns for file in out.glob("judged/*.json")}
    assert len(verdicts) == 2

    assert cli.main(command) == 0
    assert capsys.readouterr().out == table
    assert verdicts == {file: file.stat().st_mtime_ns for file in out.glob("judged/*.json")}


def test_a_run_that_fails_lets_the_others_save(tmp_path, capsys):
    long = {"steps": 10**6, "checkpoint.every": 10**6}
    arms = {"fails": [{"base": long | {"optimizer.lr": 2e-3}}], "long": [{"base": long}]}
    config, out = write(tmp_path, seeds=[0], vary={}, arms=arms, compare=[]), tmp_path / "out"
    fails, other = (out / "runs" / cell.run.name for cell in plan(load_ablation(config)))
    ablation_ends = threading.Event()

    def fail_when_both_train() -> None:
        logs = [run / "log.jsonl" for run in (fails, other)]
        while not all(log.is_file() for log in logs) and not ablation_ends.wait(0.05):
            pass
        while not logs[0].is_dir() and not ablation_ends.is_set():  # the run may write a new file in between
            with suppress(OSError):
                logs[0].rename(tmp_path / "log-so-far")
                logs[0].mkdir()

    failure = threading.Thread(target=fail_when_both_train)
    failure.start()
    try:
        assert cli.main(["ablate", str(config), "-o", str(out), "--jobs", "2"]) == cli.EXIT_REFUSED
    finally:
        ablation_ends.set()
        failure.join()
    assert f"{fails / 'log.jsonl'} cannot be written" in capsys.readouterr().err
    assert not list(fails.glob("checkpoints/step-*"))
    assert len(list(other.glob("checkpoints/step-*"))) == 1  # made when it was stopped


def test_an_editor_is_not_judged_to_the_end_when_stopped(tmp_path):
    config, out = (
        write(
            tmp_path,
            seeds=[0],
            vary={},
            arms={"none": ["base"], "once": ["base", {"pairs": {"steps": 2}}]},
            compare=[],
            evaluation={"samples": 20_000, "operations": ["recolour"]},
        ),
        tmp_path / "out",
    )
    process = start(["ablate", str(config), "-o", str(out), "--jobs", "1"])
    while not list(out.glob("runs/*/model/training.json")) and process.poll() is None:
        time.sleep(0.05)
    time.sleep(3)  # it is judged next
    os.kill(process.pid, signal.SIGINT)
    assert process.wait(60) == 130
    assert not list(out.glob("judged/*"))
