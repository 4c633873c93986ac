"""Original checkpoints become ours: exactly, or with the name of what is wrong."""

import json
import re

import pytest
import torch
from safetensors import safe_open

from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel, convert_reference_state_dict
from icve.models.conversion import reference_config, reference_layout
from tests.models.samples import CONFIG, GOLDEN, golden_state_dict

SOME_NAMES = [*list(golden_state_dict())[::6], "img_in.proj.weight", "double_blocks.0.img_attn_q_norm.weight"]


def test_shapes_decide_the_config():
    config, _ = convert_reference_state_dict(golden_state_dict())
    with safe_open(GOLDEN / "icve_reference_cfgdistill.safetensors", framework="pt") as file:
        reference = json.loads(file.metadata()["config"])
    assert config["num_attention_heads"] == reference["heads_num"]
    assert config["num_attention_heads"] * config["attention_head_dim"] == reference["hidden_size"]
    assert [config["patch_size_t"], config["patch_size"], config["patch_size"]] == reference["patch_size"]
    assert config["num_layers"] == reference["mm_double_blocks_depth"]
    assert config["num_single_layers"] == reference["mm_single_blocks_depth"]
    assert config["text_embed_dim"] == reference["text_states_dim"]
    assert config["pooled_projection_dim"] == reference["text_states_dim_2"]
    assert list(config["rope_axes_dim"]) == reference["rope_dim_list"]
    assert config["guidance_embeds"] is True


@pytest.mark.parametrize(
    "change",
    [
        {"num_attention_heads": 3, "mlp_ratio": 3.0, "out_channels": 8, "rope_axes_dim": (8, 4, 4)},
        {"guidance_embeds": False, "patch_size": 1, "num_refiner_layers": 2, "rope_axes_dim": (8, 4, 4)},
        {"num_layers": 0, "patch_size_t": 2, "rope_axes_dim": (8, 4, 4)},
        {"num_single_layers": 0, "in_channels": 4, "out_channels": 4, "rope_axes_dim": (8, 4, 4)},
    ],
)
def test_every_config_is_read_back(change: dict):
    expected = CONFIG | change
    layout = reference_layout(expected)
    shapes = {
        name: torch.Size([sum(shape[0] for shape in targets.values()), *next(iter(targets.values()))[1:]])
        for name, targets in layout.items()
    }
    config = reference_config(shapes)
    assert {name: config[name] for name in expected} == expected
    with torch.device("meta"):
        model = InContextHunyuanVideoTransformer3DModel(**config)
    converted = {name: shape for targets in layout.values() for name, shape in targets.items()}
    assert converted == {name: tensor.shape for name, tensor in model.state_dict().items()}


def test_hunyuanvideos_own_shapes_give_its_own_config():
    with torch.device("meta"):
        defaults = InContextHunyuanVideoTransformer3DModel(num_layers=1, num_single_layers=1).config
    shapes = {
        name: torch.Size([sum(shape[0] for shape in targets.values()), *next(iter(targets.values()))[1:]])
        for name, targets in reference_layout({"num_layers": 1, "num_single_layers": 1}).items()
    }
    config = reference_config(shapes)
    assert config == {name: defaults[name] for name in config}


@pytest.mark.parametrize("wrapper", ["module", "ema"])
def test_wrapped_state_dict(wrapper: str):
    bare = convert_reference_state_dict(golden_state_dict())
    wrapped = convert_reference_state_dict({wrapper: golden_state_dict(), "step": 3})
    assert wrapped[0] == bare[0]
    assert all(torch.equal(wrapped[1][name], tensor) for name, tensor in bare[1].items())


@pytest.mark.parametrize("name", SOME_NAMES)
def test_a_missing_tensor_is_named(name: str):
    state_dict = golden_state_dict()
    del state_dict[name]
    with pytest.raises(InputError, match=re.escape(repr(name))):
        convert_reference_state_dict(state_dict)


@pytest.mark.parametrize("name", SOME_NAMES)
def test_a_wrong_shape_is_refused(name: str):
    state_dict = golden_state_dict()
    state_dict[name] = state_dict[name][:-1]
    with pytest.raises(InputError, match=r"shape|dimensions|divide"):
        convert_reference_state_dict(state_dict)


@pytest.mark.parametrize("name", ["single_blocks.0.scale", "double_blocks.900000000.img_mod.linear.weight", "x"])
def test_an_unknown_tensor_is_named(name: str):
    with pytest.raises(InputError, match=r"900000000|double_blocks\.2" if "9" in name else name):
        convert_reference_state_dict(golden_state_dict() | {name: torch.zeros(1)})


def test_what_is_no_tensor_is_named():
    with pytest.raises(InputError, match="epoch"):
        convert_reference_state_dict(golden_state_dict() | {"epoch": 3})
