"""`icve info`: what a model is, from its small files alone."""

import json
import shutil

import pytest

from icve import cli
from icve.pipelines.memory import check_memory, memory_needed
from icve.pipelines.summary import Component, ModelSummary
from tests import tiny


def describe(capsys, *args: str) -> dict:
    assert cli.main(["info", *args, "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def test_components_and_settings_are_the_models(tiny_model, capsys):
    shown = describe(capsys, str(tiny_model))
    pipe = tiny.pipeline()
    for name in ("transformer", "vae", "text_encoder", "text_encoder_2"):
        (row,) = [row for row in shown["components"] if row["name"] == name]
        module = getattr(pipe, name)
        assert row["parameters"] == sum(parameter.numel() for parameter in module.parameters())
        assert row["class"] == type(module).__name__
    assert shown["licence"] == pipe.config.licence
    assert [row["size"] for row in shown["sizes"]] == [list(size) for size in pipe.config.sizes]
    assert shown["defaults"]["num_inference_steps"] == 3
    assert shown["sizes"][0]["weights_bytes"] == 4 * shown["parameters"]


def test_a_hunyuan_folder_has_its_licence_and_the_references_settings(tiny_hunyuan_model, capsys):
    shown = describe(capsys, str(tiny_hunyuan_model))
    assert "European Union" in shown["licence"]
    assert shown["defaults"]["guidance_scale"] == 6.0
    assert [61, 768, 480] in [row["size"] for row in shown["sizes"]]


def test_for_people(tiny_model, capsys):
    assert cli.main(["info", str(tiny_model)]) == 0
    shown = capsys.readouterr().out
    assert "Random weights, free for any use." in shown
    assert "InContextHunyuanVideoTransformer3DModel" in shown
    assert "5 x 32 x 32" in shown


def test_broken_folders(tiny_model, tmp_path, capsys):
    shutil.copytree(tiny_model, tmp_path / "model")
    assert cli.main(["info", str(tmp_path)]) == 2
    (tmp_path / "model" / "vae" / "config.json").write_text("{")
    assert cli.main(["info", str(tmp_path / "model")]) == 2
    shutil.rmtree(tmp_path / "model" / "vae")
    assert cli.main(["info", str(tmp_path / "model")]) == 2
    errors = capsys.readouterr().err
    assert errors.count("icve: error: ") == errors.count("\n") == 3


def test_memory_grows_with_what_is_edited():
    vae = Component("vae", "AutoencoderKLHunyuanVideo", 10**6, {"block_out_channels": [32, 64]})
    transformer = {"num_attention_heads": 4, "attention_head_dim": 64, "patch_size": 2}
    model = ModelSummary(None, [vae, Component("transformer", "Any", 10**7, transformer)], {})
    small, large = (memory_needed(model, 9, (side, side)) for side in (64, 512))
    assert small.weights == large.weights == 44 * 10**6
    assert large.window > 10 * small.window
    assert memory_needed(model, 9, (64, 64), source=(2160, 3840)).window > small.window + 9 * 3 * 2160 * 3840
    check_memory(10, 10, (64, 64))
    with pytest.raises(ValueError, match="64x64 needs about"):
        check_memory(10**10, 10**9, (64, 64))
