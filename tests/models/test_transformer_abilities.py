"""What diffusers offers a transformer works on ours: each ability is used, and its effect measured."""

import re
from collections.abc import Iterator
from typing import Any

import pytest
import torch
from diffusers.hooks import FirstBlockCacheConfig, apply_group_offloading
from diffusers.hooks.layerwise_casting import DEFAULT_SKIP_MODULES_PATTERN
from diffusers.models.attention_dispatch import AttentionBackendName, _AttentionBackendRegistry
from peft import LoraConfig
from peft.utils import get_peft_model_state_dict
from torch.utils._python_dispatch import TorchDispatchMode

from icve.models import InContextHunyuanVideoTransformer3DModel
from tests.models.samples import inputs, run, transformer

SOURCE_ATTENTION = pytest.mark.parametrize("source_attention", ["full", "self"])


@SOURCE_ATTENTION
def test_gradient_checkpointing_gives_the_same_gradients(source_attention: str):
    model, gradients = transformer(source_attention=source_attention), []
    for _ in range(2):
        model.zero_grad()
        model(**inputs(lengths=(4, 7))).sample.square().mean().backward()
        gradients.append({name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None})
        model.enable_gradient_checkpointing()
    plain, checkpointed = gradients
    assert len(plain) == len(list(model.parameters()))
    for name in plain:
        torch.testing.assert_close(checkpointed[name], plain[name], msg=name)


@SOURCE_ATTENTION
def test_blocks_compile_without_graph_break(source_attention: str):
    model, arguments = transformer(source_attention=source_attention), inputs(lengths=(4, 7))
    expected = run(model, arguments)
    torch.compiler.reset()
    model.compile_repeated_blocks(fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(run(model, arguments), expected, rtol=0, atol=1e-5)
    if source_attention == "self":
        source = (arguments["source_hidden_states"], arguments["pooled_projections"], arguments["guidance"])
        with torch.no_grad():
            source_cache = model.encode_source(*source)
        output = run(model, arguments | {"source_hidden_states": None, "source_cache": source_cache})
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


def test_blocks_compile_to_machine_code():
    model = transformer(num_layers=0, num_single_layers=1)
    expected = run(model, inputs())
    torch.compiler.reset()
    model.compile_repeated_blocks(fullgraph=True)
    torch.testing.assert_close(run(model, inputs()), expected, rtol=0, atol=1e-4)


def first_block_outputs(model: InContextHunyuanVideoTransformer3DModel, steps: list[dict]) -> list[torch.Tensor]:
    """What the first block adds to target and context at each step: (B, S + S + L, D)."""
    residuals = []

    def record(_: Any, given: tuple, output: tuple) -> None:
        residuals.append(torch.cat([output[0] - given[0], output[1] - given[1]], dim=1))

    handle = model.transformer_blocks[0].register_forward_hook(record)
    for step in steps:
        run(model, step)
    handle.remove()
    return residuals


def test_first_block_cache_judges_by_the_target():
    """A change that the target's tokens show, and that source and text would dilute, is seen at its true size."""
    model, arguments = transformer(), inputs()
    steps = [arguments, arguments | {"hidden_states": arguments["hidden_states"] * 0.7}]
    first, second = first_block_outputs(model, steps)
    target = slice(0, 12)
    change = (second - first)[:, target].abs().mean() / first[:, target].abs().mean()
    diluted = (second - first).abs().mean() / first.abs().mean()
    assert diluted < 0.9 * change

    for threshold, computed in ((0.95 * change, 2), (1.05 * change, 1)):
        calls: list[int] = []
        # A hook on a part of the last block: the cache replaces the blocks' own forward.
        handle = model.single_transformer_blocks[-1].proj_mlp.register_forward_hook(lambda *_, c=calls: c.append(1))
        model.enable_cache(FirstBlockCacheConfig(threshold=float(threshold)))
        with model.cache_context("cond"):
            outputs = [run(model, step) for step in steps]
        model.disable_cache()
        handle.remove()
        assert len(calls) == computed
        assert torch.equal(outputs[1], run(model, steps[1])) == (computed == 2)


@SOURCE_ATTENTION
@pytest.mark.parametrize("offload_type", ["block_level", "leaf_level"])
def test_group_offload(source_attention: str, offload_type: str):
    model, arguments = transformer(source_attention=source_attention), inputs()
    expected = run(model, arguments)
    cpu = torch.device("cpu")
    # `enable_group_offload` itself asks for an accelerator; this is what it calls.
    apply_group_offloading(
        model, onload_device=cpu, offload_device=cpu, offload_type=offload_type, num_blocks_per_group=1
    )
    assert torch.equal(run(model, arguments), expected)
    if source_attention == "self":
        source = (arguments["source_hidden_states"], arguments["pooled_projections"], arguments["guidance"])
        with torch.no_grad():
            source_cache = model.encode_source(*source)
        output = run(model, arguments | {"source_hidden_states": None, "source_cache": source_cache})
        torch.testing.assert_close(output, expected, rtol=0, atol=1e-5)


def test_layerwise_casting_stores_the_blocks_small():
    model = transformer()
    rounded = transformer()
    skipped = (*DEFAULT_SKIP_MODULES_PATTERN, *model._skip_layerwise_casting_patterns)
    for name, module in rounded.named_modules():
        if isinstance(module, torch.nn.Linear) and not any(re.search(pattern, name) for pattern in skipped):
            for parameter in module.parameters():
                parameter.data = parameter.data.to(torch.float8_e4m3fn).float()
    model.enable_layerwise_casting(storage_dtype=torch.float8_e4m3fn, compute_dtype=torch.float32)
    assert model.single_transformer_blocks[0].attn.to_q.weight.dtype == torch.float8_e4m3fn
    torch.testing.assert_close(run(model, inputs()), run(rounded, inputs()))


def test_lora_is_trained_saved_loaded_scaled_and_removed():
    model = transformer()
    base = run(model, inputs())
    modules = ["attn.to_q", "attn.to_k", "attn.to_v", "attn.add_q_proj", "proj_mlp", "proj_out"]
    model.add_adapter(LoraConfig(r=2, lora_alpha=4, target_modules=modules), adapter_name="style")
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    assert 0 < sum(p.numel() for p in trained) < 0.2 * sum(p.numel() for p in model.parameters())
    optimizer = torch.optim.SGD(trained, lr=1.0)
    for _ in range(2):
        optimizer.zero_grad()
        model(**inputs()).sample.square().mean().backward()
        optimizer.step()
    tuned = run(model, inputs())
    assert (tuned - base).abs().max() > 1e-3
    assert torch.equal(run(model, inputs() | {"attention_kwargs": {"scale": 0.0}}), base)

    lora = {
        f"transformer.{name}": t.clone() for name, t in get_peft_model_state_dict(model, adapter_name="style").items()
    }
    model.delete_adapters("style")
    assert torch.equal(run(model, inputs()), base)

    other = transformer()
    other.load_lora_adapter(lora, adapter_name="loaded", network_alphas=None)
    other.set_adapters("loaded", 2.0)  # alpha 4 over rank 2, which a bare state dict does not tell
    torch.testing.assert_close(run(other, inputs()), tuned, rtol=0, atol=1e-5)
    other.unload_lora()
    assert torch.equal(run(other, inputs()), base)


class Operators(TorchDispatchMode):
    """Records the names of the operators that run."""

    def __init__(self) -> None:
        super().__init__()
        self.names: set[str] = set()

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        self.names.add(str(function))
        return function(*args, **(kwargs or {}))


@pytest.fixture
def _default_backend() -> Iterator[None]:
    yield
    _AttentionBackendRegistry.set_active_backend(AttentionBackendName.NATIVE)  # `set_attention_backend` is global


def attention_operators(model: InContextHunyuanVideoTransformer3DModel) -> set[str]:
    """Which of softmax and torch's fused kernel run in the blocks, in a training step in bfloat16."""
    arguments = {name: value.bfloat16() if value.is_floating_point() else value for name, value in inputs().items()}
    with Operators() as operators:
        model(**arguments)
    return {kind for kind in ("_softmax", "flash_attention_for_cpu") if any(kind in n for n in operators.names)}


@pytest.mark.usefixtures("_default_backend")
def test_attention_backend_is_the_users_choice():
    model = transformer(num_refiner_layers=0).bfloat16()
    assert attention_operators(model) == {"_softmax"}, "the faster one in training on CPU"
    model.set_attention_backend("native")
    assert attention_operators(model) == {"flash_attention_for_cpu"}
    model.set_attention_backend("_native_math")
    assert "flash_attention_for_cpu" not in attention_operators(model)
    model.reset_attention_backend()
    assert attention_operators(model) == {"_softmax"}


def test_bfloat16_training_follows_float32():
    gradients = []
    for dtype in (torch.float32, torch.bfloat16):
        model = transformer().to(dtype)
        arguments = {name: value.to(dtype) if value.is_floating_point() else value for name, value in inputs().items()}
        model(**arguments).sample.float().square().mean().backward()
        gradients.append(torch.cat([p.grad.float().flatten() for p in model.parameters()]))
    assert torch.nn.functional.cosine_similarity(*gradients, dim=0) > 0.98
