"""Configs: every shipped one loads, and a mistake is one sentence."""

from pathlib import Path

import pytest

from icve.errors import InputError
from icve.training.config import EditorConfig, load_config

CONFIGS = sorted((Path(__file__).parents[2] / "configs").rglob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda p: p.stem)
def test_shipped_configs_load(path):
    assert load_config(path).total_steps > 0


def test_overrides_are_yaml_and_dotted():
    path = next(p for p in CONFIGS if p.stem == "base_t2v")
    config = load_config(path, ["lr=1e-4", "model.heads=2", "phases=[{steps: 1, batch: 2, frames: 5}]"])
    assert isinstance(config, EditorConfig)
    assert (config.lr, config.model.heads, config.phases[0].frames) == (1e-4, 2, 5)


@pytest.mark.parametrize(
    ("overrides", "sentence"),
    [
        (["learning_rate=1"], "no key learning_rate"),
        (["chekpoint_every=1"], "did you mean checkpoint_every"),
        (["lr=fast"], "lr"),
        (["lr"], "write key=value"),
        (["kind=car"], "kind must be one of"),
        (["lr.x=1"], "lr is a value"),
    ],
)
def test_mistakes(overrides, sentence):
    with pytest.raises(InputError, match=sentence):
        load_config(CONFIGS[0], overrides)


def test_unreadable(tmp_path):
    with pytest.raises(InputError, match="cannot be read"):
        load_config(tmp_path / "none.yaml")
    broken = tmp_path / "broken.yaml"
    broken.write_text("a: [")
    with pytest.raises(InputError, match="cannot be read"):
        load_config(broken)
