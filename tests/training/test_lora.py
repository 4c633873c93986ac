"""What learns and what does not: adapters where they belong, chosen layers, and patterns that match nothing."""

import pytest
import torch
from tests import tiny
from torch import nn

from icve.errors import InputError
from icve.training.lora import Full, Layers, Lora, choose_trainable


def learning(transformer) -> set[str]:
    return {name for name, parameter in transformer.named_parameters() if parameter.requires_grad}


def adapted(transformer) -> set[str]:
    return {name.removesuffix(".lora_A") for name, _ in transformer.named_modules() if name.endswith(".lora_A")}


def velocity(transformer, seed: int = 0) -> torch.Tensor:
    g = torch.Generator().manual_seed(seed)
    dtype = transformer.dtype
    target, source = torch.randn(2, 1, 16, 2, 8, 8, generator=g).to(dtype)
    return transformer(
        hidden_states=target,
        source_hidden_states=source,
        timestep=torch.tensor([500.0]),
        encoder_hidden_states=torch.randn(1, 7, tiny.TEXT_WIDTH, generator=g).to(dtype),
        encoder_attention_mask=torch.ones(1, 7),
        pooled_projections=torch.randn(1, tiny.POOLED_WIDTH, generator=g).to(dtype),
        guidance=torch.tensor([1000.0]),
        return_dict=False,
    )[0]


def test_adapters_are_on_attention_and_mlp_of_both_kinds_of_block_and_nothing_else_learns():
    transformer = tiny.transformer()
    before = velocity(transformer)
    count = choose_trainable(transformer, Lora(rank=4, alpha=8))
    attention = {"attn.to_q", "attn.to_k", "attn.to_v"}
    dual = attention | {"attn.to_out.0", "attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj", "attn.to_add_out"}
    dual |= {f"{stream}.net.{layer}" for stream in ("ff", "ff_context") for layer in ("0.proj", "2")}
    single = attention | {"proj_mlp", "proj_out"}
    expected = {f"transformer_blocks.{i}.{name}" for i in range(2) for name in dual}
    expected |= {f"single_transformer_blocks.{i}.{name}" for i in range(2) for name in single}
    assert adapted(transformer) == expected
    assert learning(transformer) == {f"{n}.lora_{part}.default.weight" for n in expected for part in "AB"}
    assert count == sum(p.numel() for p in transformer.parameters() if p.requires_grad)
    assert torch.equal(velocity(transformer), before)  # B is zero
    layer = transformer.transformer_blocks[0].attn.to_q
    nn.init.ones_(layer.lora_B["default"].weight)
    x = torch.randn(3, 32)
    difference = layer(x) - layer.base_layer(x)
    expected_difference = 8 / 4 * x @ layer.lora_A["default"].weight.T @ torch.ones(4, 32)
    assert torch.allclose(difference, expected_difference, atol=1e-5)


def test_every_adapter_gets_a_gradient():
    """The last block computes the target only; its adapters still all matter."""
    transformer = tiny.transformer()
    choose_trainable(transformer, Lora(rank=4, alpha=4))
    for name, parameter in transformer.named_parameters():
        if ".lora_B" in name:
            nn.init.normal_(parameter, std=0.1)
    velocity(transformer).square().mean().backward()
    assert all(p.grad.abs().max() > 0 for p in transformer.parameters() if p.requires_grad)


def test_targets_are_patterns():
    transformer = tiny.transformer()
    choose_trainable(transformer, Lora(rank=2, alpha=2, targets=("*.norm*.linear", "single_transformer_blocks.1.*")))
    names = adapted(transformer)
    assert "transformer_blocks.1.norm1_context.linear" in names
    assert "single_transformer_blocks.1.proj_out" in names
    assert not any(name.startswith(("single_transformer_blocks.0.attn", "transformer_blocks.0.attn")) for name in names)
    with pytest.raises(InputError, match=r"train.lora.targets: '\*.to_kv' matches nothing"):
        choose_trainable(tiny.transformer(), Lora(targets=("*.to_q", "*.to_kv")))


def test_layers_and_full():
    transformer = tiny.transformer()
    count = choose_trainable(transformer, Layers(("transformer_blocks.1.attn.*", "proj_out.bias")))
    names = {name for name, _ in transformer.named_parameters()}
    expected = {name for name in names if name.startswith("transformer_blocks.1.attn.")} | {"proj_out.bias"}
    assert learning(transformer) == expected
    assert count == sum(transformer.get_parameter(name).numel() for name in expected)
    choose_trainable(transformer, Full())
    assert learning(transformer) == names
    with pytest.raises(InputError, match=r"train.layers: 'blocks\.\*' matches nothing"):
        choose_trainable(transformer, Layers(("blocks.*",)))


def test_adapters_take_the_dtype_of_their_layer():
    transformer = tiny.transformer().to(torch.bfloat16)
    choose_trainable(transformer, Lora(rank=2, alpha=2))
    assert {parameter.dtype for parameter in transformer.parameters()} == {torch.bfloat16}


def test_an_adapter_that_is_there_is_trained_on():
    transformer = tiny.transformer()
    first = choose_trainable(transformer, Lora(rank=4, alpha=8))
    names = learning(transformer)
    transformer.requires_grad_(False)
    assert choose_trainable(transformer, Lora(rank=4, alpha=8)) == first
    assert learning(transformer) == names
    with pytest.raises(InputError, match=r"rank 4 and alpha 8 on 34 layers, and train.lora asks for rank 2"):
        choose_trainable(transformer, Lora(rank=2, alpha=8))
    with pytest.raises(InputError, match="start from its base"):
        choose_trainable(transformer, Full())
