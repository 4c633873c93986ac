"""Folders of a LoRA and the name of its base: what is saved edits as what was trained, wherever it is loaded."""

import json
import shutil

import numpy as np
import pytest
import torch
from diffusers import DiffusionPipeline
from safetensors.torch import load_file, save_file
from torch import nn

from icve import InContextVideoEditPipeline, cli
from icve.errors import InputError
from icve.models import with_options
from icve.pipelines.adapters import save_adapter
from icve.pipelines.models import LORA_FILE, MODEL_INDEX, SETTINGS
from icve.training.frozen import FrozenLinear
from icve.training.frozen_loading import load_frozen
from icve.training.lora import Lora, choose_trainable
from tests import tiny


def trained(base, **options) -> InContextVideoEditPipeline:
    """A pipeline on `base` with an adapter that changes what it does, as training would leave it."""
    pipe = InContextVideoEditPipeline.from_pretrained(base)
    if options:
        pipe.transformer = with_options(pipe.transformer, **options)
    torch.manual_seed(0)
    choose_trainable(pipe.transformer, Lora(rank=4, alpha=8))
    for name, parameter in pipe.transformer.named_parameters():
        if ".lora_B" in name:
            nn.init.normal_(parameter, std=0.3)
    return pipe


def save(pipe, folder, base, **arguments) -> None:
    save_adapter(pipe.transformer, {name: pipe.config[name] for name in SETTINGS}, folder, base, **arguments)


def edit(pipe) -> np.ndarray:
    pipe.set_progress_bar_config(disable=True)
    generator = torch.Generator().manual_seed(0)
    return pipe(tiny.video(), "make it red", num_inference_steps=2, generator=generator, output_type="latent").videos


@pytest.fixture(scope="module")
def saved(tiny_model, tmp_path_factory):
    """A trained pipeline and its folder, beside its base: these can be copied together."""
    root = tmp_path_factory.mktemp("runs")
    shutil.copytree(tiny_model, root / "base")
    pipe = trained(root / "base")
    save(pipe, root / "adapter", root / "base")
    return pipe, root


def test_the_folder_edits_as_the_trained_pipeline(saved):
    pipe, root = saved
    assert {path.name for path in (root / "adapter").iterdir()} == {MODEL_INDEX, LORA_FILE}
    assert (root / "adapter" / LORA_FILE).stat().st_size < 0.5 * sum(
        path.stat().st_size for path in (root / "base" / "transformer").iterdir()
    )
    loaded = InContextVideoEditPipeline.from_pretrained(root / "adapter")
    assert torch.equal(edit(loaded), edit(pipe))
    base = InContextVideoEditPipeline.from_pretrained(root / "base")
    assert not torch.allclose(edit(base), edit(pipe), atol=0.1)
    loaded.disable_lora()  # active, not fused
    assert torch.equal(edit(loaded), edit(base))


def test_diffusers_takes_its_file(saved):
    pipe, root = saved
    base = InContextVideoEditPipeline.from_pretrained(root / "base")
    base.load_lora_weights(root / "adapter", weight_name=LORA_FILE)
    assert isinstance(base, DiffusionPipeline)
    assert torch.equal(edit(base), edit(pipe))


def test_base_and_adapter_can_be_moved_together_and_a_missing_base_is_named(saved, tmp_path):
    pipe, root = saved
    shutil.copytree(root, tmp_path / "moved")
    loaded = InContextVideoEditPipeline.from_pretrained(tmp_path / "moved" / "adapter")
    assert torch.equal(edit(loaded), edit(pipe))
    assert str(root) not in (root / "adapter" / MODEL_INDEX).read_text()
    shutil.rmtree(tmp_path / "moved" / "base")
    with pytest.raises(InputError, match=r"The base model .*moved/base of the adapter .* is missing: put it there"):
        InContextVideoEditPipeline.from_pretrained(tmp_path / "moved" / "adapter")


def test_other_weights_than_the_models_own_can_be_saved(saved, tmp_path):
    """Averages, or shards that were gathered: by parameter name, among others."""
    pipe, root = saved
    weights = {name: 0.5 * tensor.detach() for name, tensor in pipe.transformer.named_parameters()}
    save(pipe, tmp_path / "halved", root / "base", weights=weights)
    whole, halved = load_file(root / "adapter" / LORA_FILE), load_file(tmp_path / "halved" / LORA_FILE)
    assert whole.keys() == halved.keys()
    assert all(torch.equal(0.5 * tensor, halved[name]) for name, tensor in whole.items())


def test_dtype_and_settings(saved, tmp_path):
    pipe, root = saved
    settings = {name: pipe.config[name] for name in SETTINGS} | {"num_inference_steps": 7, "licence": "Mine."}
    save_adapter(pipe.transformer, settings, tmp_path / "adapter", root / "base")
    loaded = InContextVideoEditPipeline.from_pretrained(tmp_path / "adapter", torch_dtype=torch.bfloat16)
    assert {parameter.dtype for parameter in loaded.transformer.parameters()} == {torch.bfloat16}
    assert loaded.config.num_inference_steps == 7
    assert loaded.config.licence == "Mine."


def test_the_sources_options_are_the_adapters(saved, tmp_path):
    _, root = saved
    pipe = trained(root / "base", source_attention="self", source_positions="shifted")
    save(pipe, tmp_path / "adapter", root / "base")
    loaded = InContextVideoEditPipeline.from_pretrained(tmp_path / "adapter")
    assert loaded.transformer.config.source_attention == "self"
    assert torch.equal(edit(loaded), edit(pipe))


def test_on_a_hunyuan_folder(tiny_hunyuan_model, tmp_path):
    pipe = trained(tiny_hunyuan_model)
    save(pipe, tmp_path / "adapter", tiny_hunyuan_model)
    loaded = InContextVideoEditPipeline.from_pretrained(tmp_path / "adapter")
    assert "European Union" in loaded.config.licence
    assert torch.equal(edit(loaded), edit(pipe))


def test_on_the_bundled_model(tmp_path):
    pipe = trained("mini")
    save(pipe, tmp_path / "adapter", "mini")
    assert json.loads((tmp_path / "adapter" / MODEL_INDEX).read_text())["base"] == "mini"
    loaded = InContextVideoEditPipeline.from_pretrained(tmp_path / "adapter")
    weights = dict(pipe.transformer.named_parameters())
    assert all(torch.equal(weights[name], tensor) for name, tensor in loaded.transformer.named_parameters())


def test_on_a_stored_base_it_is_trained_on(saved):
    """A second run that starts from an adapter's folder, its base in 8 bits."""
    pipe, root = saved
    device = torch.device("cpu")
    transformer = load_frozen(
        root / "base" / "transformer", storage="int8", offload=True, device=device, dtype=torch.float32
    )
    loaded = InContextVideoEditPipeline.from_pretrained(root / "adapter", transformer=transformer)
    assert choose_trainable(loaded.transformer, Lora(rank=4, alpha=8)) > 0
    assert any(isinstance(module, FrozenLinear) for module in loaded.transformer.modules())
    difference = edit(loaded) - edit(pipe)
    assert 0 < difference.norm() / edit(pipe).norm() < 0.05


def test_info_and_edit_take_it(saved, tmp_path, capsys):
    pipe, root = saved
    assert cli.main(["info", str(root / "adapter"), "--json"]) == 0
    shown = json.loads(capsys.readouterr().out)
    (row,) = [row for row in shown["components"] if row["name"] == "adapter"]
    adapter = sum(p.numel() for name, p in pipe.transformer.named_parameters() if ".lora_" in name)
    assert row == {"name": "adapter", "class": "LoRA", "parameters": adapter}
    assert shown["folder"] == str(root / "adapter")
    assert shown["base"] == str(root / "base")
    assert cli.main(["info", str(root / "adapter")]) == 0
    assert f"a LoRA on the base {root / 'base'}" in capsys.readouterr().out
    command = ["edit", "examples/world.mp4", "make it red", "-o", str(tmp_path / "out.mp4")]
    assert cli.main([*command, "--model", str(root / "adapter"), "--frames", "0:5", "--steps", "1"]) == 0
    assert (tmp_path / "out.mp4").stat().st_size > 0


def test_an_adapter_is_no_base(saved, tmp_path):
    pipe, root = saved
    with pytest.raises(InputError, match="is an adapter itself"):
        save(pipe, tmp_path / "adapter", root / "adapter")
    assert not (tmp_path / "adapter").exists()
    save(pipe, tmp_path / "adapter", root / "base")
    change(tmp_path / "adapter", base=str(root / "adapter"))
    with pytest.raises(InputError, match="is an adapter itself: name the model under it"):
        InContextVideoEditPipeline.from_pretrained(tmp_path / "adapter")


def change(folder, **values) -> None:
    index = json.loads((folder / MODEL_INDEX).read_text())
    (folder / MODEL_INDEX).write_text(json.dumps(index | values))


def test_broken_folders(saved, tmp_path):
    _, root = saved
    folder = tmp_path / "adapter"
    shutil.copytree(root / "adapter", folder)
    change(folder, base=str(root / "base"))
    whole = (folder / LORA_FILE).read_bytes()

    def refused(match: str) -> None:
        with pytest.raises(InputError, match=match) as error:
            InContextVideoEditPipeline.from_pretrained(folder)
        assert str(error.value).count("\n") == 0

    tensors = load_file(folder / LORA_FILE)
    key = "transformer.transformer_blocks.0.attn.to_q.lora_A.weight"
    save_file({name: tensor for name, tensor in tensors.items() if name != key}, folder / LORA_FILE)
    refused("has no tensor transformer.transformer_blocks.0.attn.to_q.lora_A.weight")
    save_file(tensors | {key: torch.zeros(4, 5)}, folder / LORA_FILE)
    refused("wrong shape")
    save_file({name.replace("blocks.0", "blocks.7"): t for name, t in tensors.items()}, folder / LORA_FILE)
    refused("unknown tensor .* another base")
    (folder / LORA_FILE).write_bytes(whole[:500])
    refused("cannot be loaded")
    (folder / LORA_FILE).unlink()
    refused(f"has no {LORA_FILE}")
    (folder / LORA_FILE).write_bytes(whole)
    change(folder, base=7)
    refused("base = 7, which has the wrong type")
    change(folder, base="no/such-model", source={})
    with pytest.raises(InputError, match="no/such-model cannot be downloaded"):
        InContextVideoEditPipeline.from_pretrained(folder, local_files_only=True)
    change(folder, base=str(root / "base"), source={"source_attention": "sideways"})
    refused("source_attention")
