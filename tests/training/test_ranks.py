"""Training on several processes: the losses of one process however they share the work, checkpoints that any number of
them can load, and what becomes of a run when one of them is stopped or fails."""

import io
import json
import os
import re
import shutil
import signal
import socket
from collections.abc import Iterator
from contextlib import redirect_stderr
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from tests import tiny
from tests.distributed import run

from icve.errors import InputError
from icve.pipelines.edit import InContextVideoEditPipeline
from icve.training.config import EditorConfig
from icve.training.editor import train_editor
from icve.training.flow_matching import InContextFlowMatching

pytestmark = pytest.mark.timeout(900)  # the first test waits for the runs of all

STEPS, MIDDLE, CHANGE = 12, 6, 8  # and where the bucket changes
LIMIT = 1e-5  # of the difference of losses
WORLD = {"kind": "world", "pairs": "paired", "operations": {"recolour": 1, "add": 1}}
STILLS = {"size": "1x32x32", "batch": 4}
BUCKETS = [{"size": "1x32x32", "batch": 2, "stop": CHANGE}, {"size": "5x32x32", "batch": 2, "start": CHANGE}]
MINI: dict[str, Any] = {
    "kind": "editor",
    "start": "mini",
    "steps": STEPS,
    "precision": "fp32",
    "data": {"sets": [WORLD], "buckets": BUCKETS},
    "flow": {"draws": 2, "changed_weight": 4.0, "naming_weight": 0.1},
    "train": {"text_encoders": True},
    "optimizer": {"kind": "adamw", "lr": 1e-4, "warmup": 5, "ema": 0.9},
    "checkpoint": {"every": MIDDLE},
    "validation": {"every": MIDDLE, "samples": 4, "quantiles": [0.3, 0.7]},
    "log": {"every": 1, "tensorboard": False},
}
# What follows trains a model of random weights
MUON = {"optimizer": {"kind": "muon", "lr": 1e-4, "warmup": 5, "ema": 0.9}, "accumulate": 2}
MUON |= {"data": {"sets": [WORLD], "buckets": [STILLS]}}
SHORT = {"steps": 3, "validation": {"every": 2, "samples": 4, "quantiles": [0.5]}}
FULL_CHECKPOINTING = SHORT | {"parallel": {"checkpointing": "full"}}
BF16 = SHORT | {"precision": "bf16", "validation": SHORT["validation"] | {"edits": 1}}
LORA = BF16 | {"train": {"what": "lora", "lora": {"rank": 2}}}


def config(folder: Path, **values: Any) -> EditorConfig:
    return EditorConfig.model_validate(MINI | {"output": folder} | values)


def train_all(runs: dict[Path, dict[str, Any]]) -> list[bool]:
    return [train_editor(config(folder, **values)) for folder, values in runs.items()]


def copy_of_middle(run_folder: Path, folder: Path) -> Path:
    """A run's folder as it was after the checkpoint in the middle."""
    shutil.copytree(run_folder, folder, ignore=shutil.ignore_patterns("model", f"step-{STEPS:08d}"))
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Where every run of this module is: `one…` of one process, the others of two."""
    folder = tmp_path_factory.mktemp("ranks")
    start = {"start": str(tiny.save_tiny_model(folder / "start", source_attention="self", guidance_embeds=False))}
    train_all({folder / "one": {}, folder / "one muon": MUON | start, folder / "one short": SHORT | start})
    assert run(
        train_all,
        2,
        {
            folder / "shard 2": {"parallel": {"replicate": 1, "shard": 2}},
            folder / "ulysses 2": {"parallel": {"ulysses": 2}},
            folder / "replicate 2": {"parallel": {"replicate": 2, "shard": 1}},
            folder / "muon, accumulated": MUON | start | {"parallel": {"shard": 2}},
            copy_of_middle(folder / "one", folder / "1 to 2"): {},
            folder / "checkpointing": FULL_CHECKPOINTING | start,
            folder / "bf16": BF16 | start,
            folder / "lora": LORA | start,
        },
        timeout=600,
    )
    train_all({copy_of_middle(folder / "shard 2", folder / "2 to 1"): {}})
    yield folder
    shutil.rmtree(folder)


def rows(folder: Path, name: str = "log.jsonl") -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / name).read_text().splitlines()]


@pytest.mark.parametrize(
    ("run_name", "other"),
    [
        ("one", "shard 2"),
        ("one", "ulysses 2"),
        ("one", "replicate 2"),
        ("one muon", "muon, accumulated"),
        ("one", "1 to 2"),
        ("shard 2", "2 to 1"),
        ("one short", "checkpointing"),
    ],
)
def test_losses_do_not_depend_on_the_processes(folder: Path, run_name: str, other: str):
    expected, found = rows(folder / run_name), rows(folder / other)
    assert [row["step"] for row in found] == [row["step"] for row in expected]
    assert [row["samples"] for row in found] == [row["samples"] for row in expected]
    assert max(abs(a["loss"] - b["loss"]) for a, b in zip(expected, found, strict=True)) <= LIMIT
    for key in ("naming", "norm"):
        assert [row[key] for row in found] == pytest.approx([row[key] for row in expected], rel=1e-3)
    expected, found = rows(folder / run_name, "curve.jsonl"), rows(folder / other, "curve.jsonl")
    assert len(found) == len(expected) == 2
    for a, b in zip(expected, found, strict=True):
        assert b["held_out"] == pytest.approx(a["held_out"], abs=LIMIT)


def edit(model: Path) -> torch.Tensor:
    pipe = InContextVideoEditPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    return pipe(
        video=tiny.video(frames=5),
        prompt="make it red",
        num_inference_steps=1,
        generator=generator,
        output_type="latent",
    ).videos


def test_what_two_processes_have_trained_in_bf16_edits(folder: Path):
    assert list((folder / "bf16" / "samples").glob("*.png"))
    edits = {name: edit(folder / name) for name in ("start", "bf16/model")}
    difference = (edits["bf16/model"] - edits["start"]).abs().max()
    assert 0 < difference < 1  # three small steps


def test_an_adapter_that_two_processes_have_trained_loads(folder: Path):
    assert not (folder / "lora/model/transformer").exists()
    difference = (edit(folder / "lora/model") - edit(folder / "start")).abs().max()
    assert 0 < difference < 1


def alone(port: int) -> None:
    """Leave the group that the tests have made: the next run makes and ends its own, as under torchrun."""
    if dist.is_initialized():
        dist.destroy_process_group()
    os.environ |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}


def on_rank_1_at_step(step: int, act: Any) -> None:
    original = InContextFlowMatching.loss

    def loss(self: InContextFlowMatching, batch: Any, share: int) -> Any:
        if dist.get_rank() == 1 and batch.step == step:
            act()
        return original(self, batch, share)

    InContextFlowMatching.loss = loss


def stopped(folder: Path, start: dict[str, Any], ports: list[int]) -> tuple[list[bool], list[str]]:
    on_rank_1_at_step(0, lambda: signal.raise_signal(signal.SIGTERM))
    ended = []
    with redirect_stderr(io.StringIO()) as printed:
        for port in ports:
            alone(port)
            ended.append(train_editor(config(folder, **SHORT, **start)))
            assert not dist.is_initialized()
    return ended, re.findall(r"stopped after step \d|step \d/3", printed.getvalue())


def failed(folder: Path, start: dict[str, Any], ports: list[int]) -> str:
    alone(ports[0])

    def fail() -> None:
        raise InputError("the disk of rank 1 is gone")

    on_rank_1_at_step(2, fail)
    with pytest.raises(InputError) as error:
        train_editor(config(folder, **SHORT | {"checkpoint": {"every": 1}}, **start))
    return str(error.value)


@pytest.fixture
def ports() -> list[int]:
    """Two free ones."""
    with socket.socket() as one, socket.socket() as other:
        for free in (one, other):
            free.bind(("127.0.0.1", 0))
        return [free.getsockname()[1] for free in (one, other)]


def test_a_signal_to_one_process_stops_all_and_the_run_goes_on(folder: Path, tmp_path: Path, ports: list[int]):
    first, second = run(stopped, 2, tmp_path / "run", {"start": str(folder / "start")}, ports)
    assert first == ([False, True], ["step 1/3", "step 2/3", "stopped after step 2", "step 3/3"])
    assert second == ([False, True], [])
    losses = [[row["loss"] for row in rows(run)] for run in (tmp_path / "run", folder / "one short")]
    assert losses[0] == pytest.approx(losses[1], abs=LIMIT)


def test_an_error_of_one_process_ends_all_and_keeps_the_checkpoint(folder: Path, tmp_path: Path, ports: list[int]):
    messages = run(failed, 2, tmp_path / "run", {"start": str(folder / "start")}, ports, timeout=60)
    assert "another rank of the run has ended" in messages[0]
    assert messages[1] == "the disk of rank 1 is gone"
    assert [path.name for path in (tmp_path / "run/checkpoints").iterdir()][-1:] == ["step-00000002"]
