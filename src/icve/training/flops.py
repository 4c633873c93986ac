"""The floating-point operations of a training step, and what a device can do in a second: together, its use (MFU).

Counted are products of matrices, two operations a multiply-add, as `torch.utils.flop_counter` does; norms, activations
and the like are left out.
"""

import re
import time
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.pipelines.models import device_and_dtype
from icve.training.parallel import Checkpointing

# Dense bf16 with fp32 accumulation, from the makers' data sheets (which often give the doubled figure of 2:4 sparse
# matrices). Words of the device's name -> operations a second; the first match counts.
PEAKS = {
    "B200": 2.25e15,  # NVIDIA HGX B200
    "H200": 989.4e12,  # NVIDIA H200 SXM
    "H100 PCIe": 756e12,  # NVIDIA H100 data sheet
    "H100 NVL": 835e12,  # ibid.
    "H100": 989.4e12,  # ibid., SXM
    "H800": 989.4e12,
    "H20": 148e12,
    "A100": 312e12,  # NVIDIA A100 data sheet
    "A800": 312e12,
    "L40S": 362e12,  # NVIDIA L40S data sheet
    "L40": 181e12,  # NVIDIA L40 data sheet
    "L4": 121e12,  # NVIDIA L4 data sheet
    "A40": 149.7e12,  # NVIDIA A40 data sheet
    "A10G": 70e12,  # AWS G5
    "A10": 125e12,  # NVIDIA A10 data sheet
    "RTX 6000 Ada": 364e12,  # NVIDIA RTX 6000 Ada data sheet
    "RTX A6000": 154.8e12,  # NVIDIA RTX A6000 data sheet
    "RTX 5090": 209.5e12,  # NVIDIA RTX Blackwell GPU architecture paper
    "RTX 4090": 165.2e12,  # NVIDIA Ada GPU architecture paper
    "RTX 3090": 71e12,  # NVIDIA Ampere GA102 paper
    "MI300X": 1307.4e12,  # AMD Instinct MI300X data sheet
}
MEASURE_SECONDS = 0.2
MEASURE_SIZE = 1024


@dataclass(frozen=True)
class StepFlops:
    """Operations of one forward and backward; `recompute` are those of activation checkpointing.

    `model` is what the step needs however it is run: MFU is `model` / seconds / `peak_flops`.
    """

    forward: float
    backward: float
    recompute: float

    @property
    def model(self) -> float:
        """Without what is computed again."""
        return self.forward + self.backward

    @property
    def hardware(self) -> float:
        """All that is computed."""
        return self.model + self.recompute


def step_flops(
    transformer: InContextHunyuanVideoTransformer3DModel,
    *,
    tokens: int,
    text_tokens: int,
    batch: int = 1,
    source: bool = True,
    checkpointing: Checkpointing = "none",
) -> StepFlops:
    """Operations of a step, of the weights that learn now: call it after `choose_trainable`.

    Frozen weights need no gradient, and nothing before the first one that learns has any backward.

    Args:
        transformer: with weights or on the meta device.
        tokens: of a target clip; divide by the Ulysses degree for one rank's share.
        text_tokens: of a prompt.
        batch: samples.
        source: whether there is a source of as many tokens.
    """
    in_context = source and transformer.config.source_entry == "context"
    walk = _Walk(transformer, tokens, tokens if in_context else 0, text_tokens)
    walk.run()
    recompute = {"none": 0.0, "full": walk.blocks, "selective": walk.blocks - walk.attention}[checkpointing]
    return StepFlops(batch * walk.forward, batch * walk.backward, batch * recompute)


class _Walk:
    """Goes through the model as its forward does, and adds up the products of one sample."""

    def __init__(
        self, transformer: InContextHunyuanVideoTransformer3DModel, target: int, source: int, text: int
    ) -> None:
        self.transformer = transformer
        self.modules: dict[str, Any] = dict(transformer.named_modules())
        self.target, self.source, self.text = target, source, text
        self.forward = self.backward = 0.0
        # forward of the blocks that are computed again (those with a backward), and of attention in them
        self.blocks = self.attention = 0.0

    def run(self) -> None:
        target, source, text = self.target, self.source, self.text
        video = self._embed(target + source)
        # the clean branch has a modulation of its own where its timestep is not the target's
        branches = 2 if source and self.transformer.config.source_timestep == "zero" else 1
        modulation = self.linears("time_text_embed", self._linears("time_text_embed."), branches, False)
        words = self._refine(text)
        for i, block in enumerate(self.transformer.transformer_blocks):
            before = self.forward
            name = f"transformer_blocks.{i}"
            asked = (target, 0) if block.last else (target + source, text)  # the last block computes the target only
            video |= self.linear(f"{name}.norm1.linear", 1 + (source > 0), modulation)
            words |= self.linear(f"{name}.norm1_context.linear", 1, modulation)
            learns = video | words
            learns |= self.linears(f"{name}.attn", ("to_k", "to_v"), target + source, video)
            learns |= self.linears(f"{name}.attn", ("add_k_proj", "add_v_proj"), text, words)
            learns |= self.linear(f"{name}.attn.to_q", asked[0], video)
            learns |= self.linear(f"{name}.attn.add_q_proj", asked[1], words)
            self.attend(block.last, learns)
            video = self.linears(name, ("attn.to_out.0", "ff.net.0.proj", "ff.net.2"), asked[0], learns) | learns
            parts = ("attn.to_add_out", "ff_context.net.0.proj", "ff_context.net.2")
            words = self.linears(name, parts, asked[1], learns) | learns
            self.blocks += (self.forward - before) * (video | words)
        learns = video | words
        for i, block in enumerate(self.transformer.single_transformer_blocks):
            before = self.forward
            name = f"single_transformer_blocks.{i}"
            everything = target + source + text
            asked_all = target if block.last else everything
            learns |= self.linear(f"{name}.norm.linear", 2 + (source > 0), modulation)
            inputs = learns
            learns |= self.linears(f"{name}.attn", ("to_k", "to_v"), everything, inputs)
            learns |= self.linear(f"{name}.attn.to_q", asked_all, inputs)
            self.attend(block.last, learns)
            learns |= self.linear(f"{name}.proj_mlp", asked_all, inputs)
            learns |= self.linear(f"{name}.proj_out", asked_all, learns)
            self.blocks += (self.forward - before) * learns
        learns |= self.linear("norm_out.linear", 1, modulation)
        self.linear("proj_out", target, learns)

    def linear(self, name: str, tokens: int, learns: bool = False) -> bool:
        """Add a layer's products; `learns` and the answer: whether its input, and its output, have a gradient."""
        module = self.modules[name]
        work = 2.0 * module.in_features * module.out_features * tokens
        self.forward += work
        base = getattr(module, "base_layer", module)
        weight = base._parameters.get("weight")  # a stored one is none, and would be dequantised to be looked at
        trained = weight is not None and weight.requires_grad
        self.backward += work * (learns + trained)
        if base is not module:
            for adapter in module.active_adapters:
                down, up = module.lora_A[adapter], module.lora_B[adapter]
                first, second = (2.0 * m.in_features * m.out_features * tokens for m in (down, up))
                trained |= up.weight.requires_grad
                self.forward += first + second
                self.backward += first * (learns + trained) + second * 2 * (learns | trained)
        return learns | trained

    def linears(self, stem: str, names: Iterable[str], tokens: int, learns: bool) -> bool:
        """Several of them; of one after the other, a later one has a gradient where an earlier one has."""
        result = False
        for name in names:
            result |= self.linear(f"{stem}.{name}", tokens, learns)
        return result

    def attend(self, last: bool, learns: bool) -> None:
        """The products of queries, keys and values."""
        target, source, text = self.target, self.source, self.text
        everything = target + source + text
        if last:
            pairs = target * everything
        elif self.transformer.config.source_attention == "self":
            pairs = source * source + (target + text) * everything
        else:
            pairs = everything * everything
        self._products(pairs, learns)

    def _products(self, pairs: int, learns: bool) -> None:
        config = self.transformer.config
        work = 4.0 * pairs * config.num_attention_heads * config.attention_head_dim
        self.forward += work
        self.attention += work * learns
        self.backward += 2 * work * learns

    def _embed(self, tokens: int) -> bool:
        """The patch embedding, whose input has no gradient."""
        weight: Tensor = self.modules["x_embedder.proj"].weight
        work = 2.0 * weight.numel() * tokens
        self.forward += work
        self.backward += work * weight.requires_grad
        return bool(weight.requires_grad)

    def _refine(self, text: int) -> bool:
        """The text's own small transformer."""
        stem = "context_embedder."
        embedder = f"{stem}time_text_embed"
        words = self.linears(embedder, self._linears(f"{embedder}."), 1, False)
        words |= self.linear(f"{stem}proj_in", text)
        attention = self.attention
        for i in range(len(self.modules[f"{stem}token_refiner.refiner_blocks"])):
            block = f"{stem}token_refiner.refiner_blocks.{i}"
            words |= self.linear(f"{block}.norm_out.linear", 1, words)
            words |= self.linears(f"{block}.attn", ("to_q", "to_k", "to_v"), text, words)
            self._products(text * text, words)
            words |= self.linears(block, ("attn.to_out.0", "ff.net.0.proj", "ff.net.2"), text, words)
        self.attention = attention
        return words

    def _linears(self, prefix: str) -> list[str]:
        """Names of the layers under a prefix, without it."""
        layers = (name for name, module in self.modules.items() if isinstance(module, nn.Linear))
        return [name.removeprefix(prefix) for name in layers if name.startswith(prefix)]


def peak_flops(device: torch.device) -> float:
    """Dense bf16 operations a second: of a GPU in `PEAKS` what its data sheet says, of other devices what a product of
    matrices reaches in `MEASURE_SECONDS` (in fp32 on a CPU without bf16 products, where nothing is trained in bf16)."""
    if device.type == "cuda":
        name = torch.cuda.get_device_name(device)
        for words, peak in PEAKS.items():
            if re.search(rf"\b{words}\b", name):
                return peak
    return _measure(device)


def _measure(device: torch.device) -> float:
    dtype = device_and_dtype()[1] if device.type == "cpu" else torch.bfloat16
    matrix = torch.randn(MEASURE_SIZE, MEASURE_SIZE, device=device, dtype=dtype)
    matrix @ matrix  # the first one sets up
    products, start, seconds = 0, time.perf_counter(), 0.0
    while seconds < MEASURE_SECONDS:
        float((matrix @ matrix)[0, 0])  # waits for the device
        products += 1
        seconds = time.perf_counter() - start
    return products * 2.0 * MEASURE_SIZE**3 / seconds
