"""Saving and loading: what comes back is the same model, and nothing less than a whole model is loaded."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import torch
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from safetensors.torch import load_file, save_file

from icve import InContextVideoEditPipeline
from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.pipelines import models
from icve.pipelines.edit import REFERENCE_NEGATIVE_PROMPT
from tests import tiny

PROMPT = "Make the square red 🙂"


def load(model, **options):
    pipe = InContextVideoEditPipeline.from_pretrained(model, **options)
    pipe.set_progress_bar_config(disable=True)
    return pipe


def edit(pipe, **options):
    options = {"generator": torch.Generator().manual_seed(0), "num_inference_steps": 3} | options
    return pipe(tiny.video(), PROMPT, **options).videos


@pytest.fixture
def copy(tiny_model, tmp_path):
    """A copy of the tiny model that a test may break."""
    return Path(shutil.copytree(tiny_model, tmp_path / "model"))


def test_saved_and_reloaded_gives_identical_output_and_defaults(tmp_path):
    pipe = InContextVideoEditPipeline(
        **tiny.pipeline(source_attention="self").components,
        prompt_template="Edit: {}",
        prompt_crop_start=3,
        negative_prompt="bad",
        num_inference_steps=2,
        guidance_scale=3.0,
        embedded_guidance_scale=2.0,
        text_layer_skip=1,
        max_text_length=20,
        sizes=[[9, 64, 64]],
        licence="A licence of its own.",
    )
    pipe.set_progress_bar_config(disable=True)
    pipe.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert np.array_equal(edit(pipe, num_inference_steps=None), edit(again, num_inference_steps=None))
    settings = {key: getattr(again.config, key) for key in models.SETTINGS}
    assert settings == {key: getattr(pipe.config, key) for key in models.SETTINGS}
    assert settings["guidance_scale"] == 3.0
    assert again.transformer.config.source_attention == "self"
    assert again.scheduler.config.shift == 7.0


def test_defaults_are_the_references():
    config = InContextVideoEditPipeline(**tiny.pipeline().components).config
    assert {key: config[key] for key in models.SETTINGS} == {
        "prompt_template": "{}",
        "prompt_crop_start": 0,
        "negative_prompt": REFERENCE_NEGATIVE_PROMPT,
        "num_inference_steps": 50,
        "guidance_scale": 6.0,
        "embedded_guidance_scale": 1.0,
        "text_layer_skip": 2,
        "max_text_length": 256,
        "sizes": [[61, 768, 480], [61, 480, 768]],
        "licence": None,
    }


def test_a_hunyuan_folder_loads_with_the_references_text_settings(tiny_model, tiny_hunyuan_model):
    hunyuan = load(tiny_hunyuan_model)
    assert isinstance(hunyuan.transformer, InContextHunyuanVideoTransformer3DModel)
    assert hunyuan.config.prompt_template == "{}"
    assert hunyuan.config.num_inference_steps == 50
    assert "European Union" in hunyuan.config.licence
    assert np.array_equal(edit(hunyuan), edit(load(tiny_model)))


def test_a_converted_transformer_replaces_the_models_own(tiny_hunyuan_model, tmp_path):
    torch.manual_seed(99)
    converted = InContextHunyuanVideoTransformer3DModel.from_config(tiny.transformer().config)
    converted.save_pretrained(tmp_path)
    shutil.copytree(tiny_hunyuan_model, tmp_path / "base", ignore=shutil.ignore_patterns("transformer"))
    pipe = load(tmp_path / "base", transformer=InContextHunyuanVideoTransformer3DModel.from_pretrained(tmp_path))
    assert np.abs(edit(pipe) - edit(load(tiny_hunyuan_model))).mean() > 0.01


def test_the_licence_is_shown_once(copy, capsys):
    index = json.loads((copy / "model_index.json").read_text())
    sentence = "A licence that no other test shows."
    (copy / "model_index.json").write_text(json.dumps(index | {"licence": sentence}))
    load(copy)
    load(copy)
    assert capsys.readouterr().err.count(sentence) == 1


def test_dtypes_are_one_or_one_a_component(tiny_model):
    pipe = load(tiny_model, torch_dtype=torch.bfloat16)
    assert {pipe.transformer.dtype, pipe.vae.dtype, pipe.text_encoder.dtype} == {torch.bfloat16}
    pipe = load(tiny_model, torch_dtype={"transformer": torch.bfloat16, "default": torch.float16})
    assert (pipe.transformer.dtype, pipe.vae.dtype) == (torch.bfloat16, torch.float16)
    assert load(tiny_model, guidance_scale=2.0).config.guidance_scale == 2.0


def test_lora_loads_changes_and_unloads(tiny_model, tmp_path):
    pipe = load(tiny_model)
    before = edit(pipe)
    torch.manual_seed(0)
    trained = tiny.transformer()
    trained.add_adapter(LoraConfig(r=4, target_modules=["to_q", "to_v"], init_lora_weights=False))
    layers = get_peft_model_state_dict(trained)
    InContextVideoEditPipeline.save_lora_weights(tmp_path, transformer_lora_layers=layers)
    pipe.load_lora_weights(tmp_path, adapter_name="style")
    with_lora = edit(pipe)
    assert np.abs(with_lora - before).mean() > 1e-3
    pipe.set_adapters("style", 0.0)
    assert np.abs(edit(pipe) - before).max() < 1e-6
    pipe.unload_lora_weights()
    assert np.array_equal(edit(pipe), before)


def drop(tensors):
    del tensors[sorted(tensors)[3]]


def reshape(tensors):
    tensors[sorted(tensors)[3]] = torch.zeros(3, 2)


def add_block(tensors):
    tensors[f"{min(tensors).split('.')[0]}.99.weight"] = torch.zeros(3)


@pytest.mark.parametrize("part", ["transformer", "vae", "text_encoder", "text_encoder_2"])
@pytest.mark.parametrize("change", [drop, reshape, add_block])
def test_a_wrong_tensor_is_named(copy, part, change):
    file = next((copy / part).glob("*.safetensors"))
    tensors = load_file(file)
    good = dict(tensors)
    change(tensors)
    save_file(tensors, file, {"format": "pt"})
    changed = [key for key in good | tensors if good.get(key) is not tensors.get(key)]
    with pytest.raises(InputError) as error:
        load(copy)
    assert changed[0] in str(error.value)
    assert "\n" not in str(error.value)


def test_a_text_encoder_may_bring_its_output_layer(copy):
    file = copy / "text_encoder" / "model.safetensors"
    save_file(load_file(file) | {"lm_head.weight": torch.zeros(4, 32)}, file, {"format": "pt"})
    load(copy)


@pytest.mark.parametrize(
    ("file", "content", "message"),
    [
        ("vae/diffusion_pytorch_model.safetensors", None, "no file named"),
        ("vae/diffusion_pytorch_model.safetensors", b"half a file", "vae cannot be loaded"),
        ("transformer/config.json", b"{", "transformer cannot be loaded"),
        ("tokenizer/tokenizer.json", b"{}", "tokenizer cannot be loaded"),
        ("model_index.json", b"[1", "model_index.json cannot be loaded"),
        ("model_index.json", b'{"_class_name": "StableDiffusionPipeline"}', "_class_name must be"),
    ],
)
def test_a_broken_file_is_one_sentence(copy, file, content, message):
    (copy / file).unlink() if content is None else (copy / file).write_bytes(content)
    with pytest.raises(InputError, match=message):
        load(copy)


def test_a_setting_of_the_wrong_type_is_named(copy):
    index = json.loads((copy / "model_index.json").read_text())
    (copy / "model_index.json").write_text(json.dumps(index | {"num_inference_steps": "many"}))
    with pytest.raises(InputError, match="num_inference_steps = 'many'"):
        load(copy)


def test_a_missing_component_is_named(copy):
    shutil.rmtree(copy / "text_encoder_2")
    with pytest.raises(InputError, match="no text_encoder_2"):
        load(copy)


@pytest.mark.parametrize("name", ["nonsense", "", "a/b/c", "/nowhere/at/all", "https://example.org/model"])
def test_an_unknown_model_names_the_choices(name):
    with pytest.raises(InputError, match=r"Unknown model .* Hugging Face id"):
        load(name)


def test_a_folder_that_is_no_model_says_so(tmp_path):
    with pytest.raises(InputError, match=r"has no model_index\.json"):
        load(tmp_path)


def test_a_hub_model_that_is_not_there_is_one_sentence(tmp_path):
    with pytest.raises(InputError, match="nobody/nothing cannot be downloaded"):
        load("nobody/nothing", cache_dir=tmp_path, local_files_only=True)


def test_a_bundled_model_is_found_by_name(tiny_model, tmp_path, monkeypatch):
    shutil.copytree(tiny_model, tmp_path / "mini")
    monkeypatch.setattr(models, "BUNDLED_MODELS", tmp_path)
    assert models.resolve_model("mini") == tmp_path / "mini"
    assert models.resolve_model("owner/name") == "owner/name"
    assert np.isfinite(edit(load("mini"))).all()
    with pytest.raises(InputError, match=r"bundled model \(mini\)"):
        models.resolve_model("maxi")


def test_unknown_arguments_are_refused(tiny_model):
    with pytest.raises(TypeError, match="guidance_scal"):
        load(tiny_model, guidance_scal=1.0)
