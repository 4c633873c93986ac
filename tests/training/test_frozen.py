"""The frozen base in 8 bits: how exact it is, that gradients are those of the weights it stands for, what it holds."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file
from tests import tiny
from tests.training.test_lora import velocity
from torch import nn

from icve.errors import InputError
from icve.training.frozen import FrozenLinear, block_linears, dequantise, quantise, store_frozen
from icve.training.frozen_loading import WEIGHTS, load_frozen
from icve.training.lora import Lora, choose_trainable
from icve.training.optimizer import MasterOptimizer

CPU = torch.device("cpu")
STORAGES = ["fp8", "int8"]


def store(transformer, storage, offload=False, dtype=torch.float32):
    store_frozen(transformer, storage=storage, offload=offload, device=CPU, dtype=dtype)
    return transformer


def frozen(transformer) -> dict[str, FrozenLinear]:
    return {name: module for name, module in transformer.named_modules() if isinstance(module, FrozenLinear)}


@pytest.mark.parametrize(("storage", "error"), [("fp8", 0.0265), ("int8", 0.0085)])
def test_error_of_a_matrix(storage, error):
    torch.manual_seed(0)
    weight = torch.randn(256, 3072) * torch.logspace(-6, 2, 256)[:, None]  # rows of any size
    weight[7] = 0
    stored, scale = quantise(weight, storage, torch.bfloat16)
    assert stored.element_size() == 1
    assert scale.shape == (256, 1)
    exact = dequantise(stored, scale, CPU, torch.float32)
    relative = (exact - weight).norm(dim=1)[weight.norm(dim=1) > 0] / weight.norm(dim=1)[weight.norm(dim=1) > 0]
    assert relative.mean() == pytest.approx(error, rel=0.03)
    assert relative.max() < 1.3 * error
    assert exact[7].abs().max() == 0
    rounded = dequantise(stored, scale, CPU, torch.bfloat16)
    assert torch.equal(rounded, exact.to(torch.bfloat16))  # the scale is a bf16 number: one rounding only


@pytest.mark.parametrize(("storage", "error"), [("fp8", 0.02), ("int8", 0.01), (None, 0.0)])
def test_error_of_the_model(storage, error):
    with torch.no_grad():
        exact = velocity(tiny.transformer().to(torch.bfloat16)).float()
        stored = velocity(store(tiny.transformer(), storage, dtype=torch.bfloat16)).float()
    relative = (stored - exact).norm() / exact.norm()
    assert relative <= error
    if storage:
        assert relative > 0.0005  # it is quantised


@pytest.mark.parametrize("storage", STORAGES)
@pytest.mark.parametrize("offload", [False, True])
@pytest.mark.parametrize("checkpointing", [False, True])
def test_gradients_are_those_of_the_weights_that_it_stands_for(storage, offload, checkpointing):
    """Of the input, through every frozen layer, and of the adapters, stored before or after they are added."""
    gradients = []
    for stored in (True, False):
        transformer = tiny.transformer()
        reference = store(tiny.transformer(), storage)
        if stored and offload:
            transformer = store(transformer, storage, offload)
        elif not stored:
            for name, linear in block_linears(transformer).items():
                linear.weight.data = reference.get_submodule(name).weight
        torch.manual_seed(1)
        choose_trainable(transformer, Lora(rank=4, alpha=4))
        for name, parameter in transformer.named_parameters():
            if ".lora_" in name:
                nn.init.normal_(parameter, std=0.1)
        if stored and not offload:
            store(transformer, storage)
        assert len(frozen(transformer)) == (len(block_linears(reference)) + len(frozen(reference)) if stored else 0)
        transformer.train()
        if checkpointing:
            transformer.enable_gradient_checkpointing()
        velocity(transformer).square().sum().backward()
        gradients.append({n: p.grad for n, p in transformer.named_parameters() if p.requires_grad})
    assert gradients[0].keys() == gradients[1].keys()
    for name, gradient in gradients[0].items():
        assert gradient.abs().max() > 0
        assert torch.allclose(gradient, gradients[1][name], rtol=1e-5, atol=1e-5 * gradient.abs().max().item()), name


def test_bytes():
    """A byte a number; no parameter and no buffer; and nothing kept for backward in the compute dtype."""
    transformer = tiny.transformer().to(torch.bfloat16)
    numbers = {name: linear.weight.numel() for name, linear in block_linears(transformer).items()}
    whole = sum(p.nbytes for p in transformer.parameters())
    store(transformer, "fp8", dtype=torch.bfloat16)
    assert {name: layer.stored.nbytes for name, layer in frozen(transformer).items()} == numbers
    assert sum(p.nbytes for p in transformer.parameters()) == whole - 2 * sum(numbers.values())
    assert not any(name.endswith("stored") for name in transformer.state_dict())
    choose_trainable(transformer, Lora(rank=3, alpha=3))
    kept = []
    with torch.autograd.graph.saved_tensors_hooks(lambda x: kept.append(x) or x, lambda x: x):
        velocity(transformer)
    whole_matrices = [w for layer in frozen(transformer).values() for w in (layer.weight, layer.weight.T)]
    assert {x.data_ptr() for x in kept} & {layer.stored.data_ptr() for layer in frozen(transformer).values()}
    assert not [
        x for x in kept for w in whole_matrices if x.dtype == w.dtype and x.shape == w.shape and torch.equal(x, w)
    ]


def test_moving_and_casting_leave_the_stored_weights_alone():
    transformer = store(tiny.transformer(), "fp8", offload=True)
    before = {name: layer.stored.clone() for name, layer in frozen(transformer).items()}
    nn.Module.to(transformer, torch.float64)
    assert all(torch.equal(layer.stored, before[name]) for name, layer in frozen(transformer).items())
    assert transformer.transformer_blocks[0].attn.to_q.bias.dtype == torch.float64


def test_training_lowers_the_loss():
    torch.manual_seed(0)
    transformer = store(tiny.transformer(), "fp8", offload=True, dtype=torch.bfloat16)
    choose_trainable(transformer, Lora(rank=8, alpha=16))
    transformer.train()
    transformer.enable_gradient_checkpointing()
    optimizer = MasterOptimizer({"transformer": transformer}, kind="adamw", weight_decay=0.0)
    target = torch.randn(1, 16, 2, 8, 8)
    losses = []
    for _ in range(30):
        loss = (velocity(transformer).float() - target).square().mean()
        loss.backward()
        optimizer.step(1e-2, clip=1.0)
        losses.append(loss.item())
    assert losses[-1] < 0.75 * losses[0]


@pytest.fixture
def folder(tmp_path):
    """A transformer's folder of several files."""
    tiny.transformer().save_pretrained(tmp_path / "transformer", max_shard_size="100KB")
    return tmp_path / "transformer"


@pytest.mark.parametrize("storage", [*STORAGES, None])
def test_loading_tensor_by_tensor_gives_the_same(folder, storage):
    loaded = load_frozen(folder, storage=storage, offload=True, device=CPU, dtype=torch.bfloat16)
    stored = store(tiny.transformer(), storage, dtype=torch.bfloat16)
    assert len(list(folder.glob("*.safetensors"))) > 2
    assert not any(p.requires_grad for p in loaded.parameters())
    with torch.no_grad():
        assert torch.equal(velocity(loaded), velocity(stored))
    assert choose_trainable(loaded, Lora(rank=2, alpha=2)) > 0
    velocity(loaded).float().sum().backward()


def test_loading_with_other_options(folder):
    loaded = load_frozen(
        folder,
        storage="fp8",
        offload=False,
        device=CPU,
        dtype=torch.float32,
        source_attention="self",
        type_embedding=True,
    )
    assert loaded.can_cache_source
    assert loaded.type_embedder.weight.abs().max() == 0


def test_a_checkpoint_that_is_not_the_models(tmp_path):
    def load():
        return load_frozen(tmp_path / "t", storage="fp8", offload=False, device=CPU, dtype=torch.float32)

    tiny.transformer().save_pretrained(tmp_path / "t")
    file = tmp_path / "t" / WEIGHTS
    tensors = load_file(file)
    name = "single_transformer_blocks.1.proj_mlp.weight"
    save_file({key: value for key, value in tensors.items() if key != name}, file)
    with pytest.raises(InputError, match=f"has no tensor {name}"):
        load()
    save_file(tensors | {"another.weight": torch.zeros(1)}, file)
    with pytest.raises(InputError, match=r"unknown tensor another\.weight"):
        load()
    save_file(tensors | {name: torch.zeros(2, 2)}, file)
    with pytest.raises(InputError, match=f"wrong shape for {name}"):
        load()
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(InputError, match="cannot be loaded"):
        load()
    index = {"weight_map": dict.fromkeys(tensors, "../elsewhere.safetensors")}
    (tmp_path / "t" / f"{WEIGHTS}.index.json").write_text(json.dumps(index))
    with pytest.raises(InputError, match="outside of its folder"):
        load()
