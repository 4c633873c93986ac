"""Operations of a step against torch's own count."""

import pytest
import torch
from tests import tiny
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from icve.training.flops import peak_flops, step_flops
from icve.training.frozen import store_frozen
from icve.training.lora import Full, Layers, Lora, choose_trainable


@pytest.mark.parametrize("source_attention", ["full", "self", None])
@pytest.mark.parametrize("checkpointing", ["none", "full"])
@pytest.mark.parametrize(
    ("what", "stored"),
    [
        (Full(), False),
        (Lora(4, 4), True),
        (Lora(4, 4, ("transformer_blocks.*.ff.*",)), False),
        (Layers(("single_transformer_blocks.1.*",)), False),
    ],
)
def test_counts_what_torch_counts(source_attention, checkpointing, what, stored):
    """None: a text-to-video step, without a source."""
    transformer = tiny.transformer(source_attention=source_attention or "full", num_single_layers=3).train()
    choose_trainable(transformer, what)
    if stored:
        store_frozen(transformer, storage="int8", offload=False, device=torch.device("cpu"), dtype=torch.float32)
    if checkpointing == "full":
        transformer.enable_gradient_checkpointing()
    latents = torch.randn(2, 16, 3, 16, 16)
    with sdpa_kernel(SDPBackend.MATH), FlopCounterMode(display=False) as counter:
        velocity = transformer(
            hidden_states=latents,
            source_hidden_states=latents if source_attention else None,
            timestep=torch.ones(2),
            encoder_hidden_states=torch.randn(2, 17, tiny.TEXT_WIDTH),
            encoder_attention_mask=torch.ones(2, 17),
            pooled_projections=torch.randn(2, tiny.POOLED_WIDTH),
            guidance=torch.ones(2),
            return_dict=False,
        )[0]
        forward = counter.get_total_flops()
        velocity.sum().backward()
    source = source_attention is not None
    counted = step_flops(
        transformer, tokens=3 * 64, text_tokens=17, batch=2, source=source, checkpointing=checkpointing
    )
    assert counted.forward == pytest.approx(forward, rel=1e-6)
    assert counted.hardware == pytest.approx(counter.get_total_flops(), rel=0.01)
    assert (counted.recompute > 0) == (checkpointing == "full")


def test_of_a_model_without_weights():
    """The 13B at 33 frames of 480p: 2 operations a multiply-add, backward twice the forward, attention on top."""
    with torch.device("meta"):
        transformer = tiny.InContextHunyuanVideoTransformer3DModel()
    flops = step_flops(transformer, tokens=14040, text_tokens=256)
    assert flops.backward == pytest.approx(2 * flops.forward, rel=0.01)
    attention = 60 * 4 * (2 * 14040 + 256) ** 2 * 3072
    dual, single = 20 * 113e6 * 2 * 28080, 40 * 113e6 * 2 * 28336  # 12 width^2 numbers a block and stream
    assert flops.forward == pytest.approx(attention + dual + single, rel=0.03)
    shared = step_flops(transformer, tokens=14040 // 2, text_tokens=256)
    assert shared.forward < 0.5 * flops.forward
    choose_trainable(transformer, Full())
    frozen = step_flops(transformer.requires_grad_(False), tokens=14040, text_tokens=256)
    assert frozen.backward == 0


def test_peak_of_this_cpu():
    assert 1e9 < peak_flops(torch.device("cpu")) < 1e14


@pytest.mark.parametrize(
    ("name", "peak"),
    [("NVIDIA H100 80GB HBM3", 989.4e12), ("NVIDIA H100 PCIe", 756e12), ("NVIDIA GeForce RTX 4090", 165.2e12),
     ("NVIDIA A100-SXM4-80GB", 312e12), ("NVIDIA A10G", 70e12), ("NVIDIA H200", 989.4e12), ("NVIDIA H20", 148e12)],
)  # fmt: skip
def test_peaks_by_the_drivers_names(name, peak, monkeypatch):
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda _: name)
    assert peak_flops(torch.device("cuda")) == peak
