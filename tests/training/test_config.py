"""Configs: every shipped one loads, and a mistake is one sentence."""

import json
from pathlib import Path

import pytest
import torch
import yaml

from icve.data.buckets import Bucket
from icve.errors import InputError
from icve.pipelines.models import multiplies_bfloat16_faster
from icve.training.config import EditorConfig
from icve.training.config_file import load_config

ROOT = Path(__file__).parents[2] / "configs"
CONFIGS = sorted(path for path in ROOT.rglob("*.yaml") if path.parent.name not in ("curation", "ablations"))
BASE = ROOT / "mini" / "base_t2v.yaml"


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: f"{p.parent.name}-{p.stem}")
def test_shipped_configs_load_and_have_what_every_run_has(path):
    config = load_config(path)
    assert config.steps > 0
    assert {"output", "steps", "seed", "precision", "checkpoint"} <= set(yaml.safe_load(path.read_text()))


def test_overrides_are_yaml_and_dotted():
    overrides = [
        "optimizer.lr=1e-4",
        "model.heads=2",
        "data.buckets=[{size: 5x32x32, batch: 2}]",
        "data.sets.0.weight=2",
    ]
    config = load_config(BASE, overrides)
    assert isinstance(config, EditorConfig)
    assert (config.optimizer.lr, config.model.heads) == (1e-4, 2)
    assert config.data.buckets[0].size == Bucket(5, 32, 32)
    assert config.data.sets[0].weight == 2


@pytest.mark.skipif(torch.cuda.is_available(), reason="a GPU computes in bf16")
def test_auto_is_fp32_on_a_cpu_without_bf16_products(monkeypatch):
    monkeypatch.setattr(torch.cpu, "_is_avx512_bf16_supported", lambda: False)
    multiplies_bfloat16_faster.cache_clear()
    assert load_config(BASE, ["precision=auto"]).precision == "fp32"
    monkeypatch.undo()
    multiplies_bfloat16_faster.cache_clear()
    kept = {load_config(BASE, ["precision=auto"]).precision for _ in range(3)}
    assert kept == {"bf16" if multiplies_bfloat16_faster() else "fp32"}  # tried once a process


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["learning_rate=1"], "no key learning_rate"),
        (["optimizer.warm_up=1"], "no key optimizer.warm_up; did you mean warmup?"),
        (["chekpoint.every=1"], "did you mean checkpoint?"),
        (["data.sets.0.ful_share=1"], "ful_share; did you mean full_share?"),
        (["optimizer.lr=fast"], "optimizer.lr"),
        (["optimizer.lr"], "write key=value"),
        (["steps=[1"], "not a YAML value"),
        (["kind=car"], "kind must be one of"),
        (["steps.x=1"], "steps is a value"),
        (["data.sets.7.weight=1"], "7 is not a place in a list of 1"),
        (["data.buckets.0.size=33x480"], "data.buckets.0.size"),
        (["train.what=layers"], "`layers` are given exactly when"),
        (["train.base.storage=fp8"], "set what: lora"),
        (["flow.timesteps.kind=normal"], "flow.timesteps"),
    ],
)
def test_mistakes(overrides, sentence):
    with pytest.raises(InputError, match=sentence):
        load_config(BASE, overrides)


def test_unreadable(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(InputError, match="cannot be read"):
        load_config(broken)


@pytest.mark.parametrize("begun", ["bf16", "fp32"])
def test_a_run_goes_on_in_the_precision_it_began_in(begun, tmp_path):
    """The trial that settles "auto" may come out otherwise at another time."""
    run = tmp_path / "run"
    run.mkdir()
    chosen = load_config(BASE, [f"output={run}"]).precision
    (run / "config.json").write_text(json.dumps({"precision": begun}))
    assert load_config(BASE, [f"output={run}"]).precision == chosen, "there is nothing to go on from"
    (run / "checkpoints").mkdir()
    assert load_config(BASE, [f"output={run}"]).precision == begun
    other = "fp32" if begun == "bf16" else "bf16"
    assert load_config(BASE, [f"output={run}", f"precision={other}"]).precision == other
    for damaged in ("", "[]", "{}", '{"precision": "fp8"}'):
        (run / "config.json").write_text(damaged)
        assert load_config(BASE, [f"output={run}"]).precision == chosen
