"""The memory of a training step, estimated before any weight is loaded.

Weights, gradients and optimizer state are arithmetic. Activations are not modelled but measured: the real forward and
backward of a shallower model run once on fake tensors, which have shapes and lifetimes and no data; the largest total
of what is alive at once, and what each further block adds, is what a device needs. That takes seconds, at any size.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any, Literal

import torch
from torch import Tensor, nn

from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.training.alive import Alive
from icve.training.eight_bit import takes_eight_bits
from icve.training.frozen import Storage, block_linears, store_frozen
from icve.training.lora import LORA_TARGETS, Full, Layers, Lora, choose_trainable
from icve.training.optimizer import OptimizerName
from icve.training.parallel import Checkpointing, Layout, Precision, apply

# Dual and single blocks of the model that is run. With activation checkpointing each kind's own peak must be passed
# when the other blocks' inputs wait, which takes as many of them as a block's peak differs between the two.
SHALLOW = (3, 6)
ALONE = Layout(0, 1, 1, 1, 1, torch.device("cpu"))


@dataclass(frozen=True)
class Plan:
    """What decides the memory of a rank.

    Attributes:
        config: the transformer's (`transformer.config`, or its config.json).
        what: the weights that learn.
        optimizer: its kind.
        precision: of what the transformer computes.
        averages: whether averaged weights (EMA) are kept.
        checkpointing: of activations.
        storage, offload: of a frozen base, see `frozen.py`; both unset: as other weights.
        replicate, shard, ulysses: the grid of ranks, see `parallel.py`.
        compute: "cuda" or "cpu": short sequences go through another attention on a CPU.
    """

    config: Mapping[str, Any]
    what: Full | Lora | Layers = field(default_factory=Full)
    optimizer: OptimizerName = "adamw"
    precision: Precision = "bf16"
    averages: bool = True
    checkpointing: Checkpointing = "none"
    storage: Storage | None = None
    offload: bool = False
    replicate: int = 1
    shard: int = 1
    ulysses: int = 1
    compute: Literal["cuda", "cpu"] = "cuda"


@dataclass(frozen=True)
class MemoryEstimate:
    """Bytes of one rank, by part: `device` on the GPU, `host` (pinned) beside it.

    Not in it: what CUDA itself takes (about half a GB), and memory lost to fragments.
    """

    device: dict[str, int]
    host: dict[str, int]

    @property
    def total(self) -> int:
        """Of the device."""
        return sum(self.device.values())

    def __str__(self) -> str:
        rows = [(name, size, "") for name, size in self.device.items() if size]
        rows += [
            ("all on the device", self.total, ""),
            *((name, size, "in CPU memory") for name, size in self.host.items()),
        ]
        return "\n".join(f"{name:32}{size / 1e9:8.2f} GB  {note}".rstrip() for name, size, note in rows)


def estimate(
    plan: Plan, *, tokens: int, text_tokens: int, batch: int, source: bool = True, resident: int = 0
) -> MemoryEstimate:
    """The memory of a step.

    Args:
        tokens: of a target clip, all ranks together: latent frames x height / 16 x width / 16 for HunyuanVideo.
        text_tokens: of a prompt.
        batch: samples of one micro-batch.
        source: whether there is a source of as many tokens.
        resident: bytes of components beside the transformer on the device (autoencoder, text encoders).
    """
    model = _on_meta(plan)
    stored = {id(linear.weight): linear for linear in block_linears(model).values()} if _is_stored(plan) else {}
    parameters = [p for p in model.parameters() if id(p) not in stored]
    trained = [p for p in parameters if p.requires_grad]
    # With several ranks, and in fp32, a trained parameter is its own master; else it is bf16, with a copy in fp32.
    several, parts = plan.replicate * plan.shard * plan.ulysses > 1, plan.shard * plan.ulysses
    own_master = several or plan.precision == "fp32"
    learning = sum(p.numel() for p in trained)
    frozen = sum(p.numel() for p in parameters) - learning
    device = {
        "weights": ((4 if own_master else 2) * learning + _width(plan) * frozen) // parts,
        "fp32 masters": 0 if own_master else 4 * learning,
        # the masters' in fp32, and the bf16 ones of the backward that is going on
        "gradients": (4 if own_master else 6) * learning // parts,
        f"optimizer state ({plan.optimizer})": sum(map(_state(plan.optimizer), trained)) // parts,
        "averaged weights": 4 * learning // parts if plan.averages else 0,
        "gathered blocks": _gathered(model, set(stored), _width(plan)) if several else 0,
    }
    host: dict[str, int] = {}
    if stored:
        size = sum(_stored_bytes(linear, plan) for linear in stored.values())
        (host if plan.offload else device)["frozen base"] = size
        # One stored matrix on its way; the dequantised one is among the activations.
        device["frozen base, one matrix"] = max(_stored_bytes(x, plan) for x in stored.values()) if plan.offload else 0
    device["activations"] = _activations(plan, tokens // plan.ulysses, text_tokens, batch, source)
    device["other components"] = resident
    return MemoryEstimate(device, host)


def _is_stored(plan: Plan) -> bool:
    return plan.storage is not None or plan.offload


def _stored_bytes(linear: nn.Linear, plan: Plan) -> int:
    return (1 if plan.storage else _width(plan)) * linear.weight.numel()


def _width(plan: Plan) -> int:
    return 2 if plan.precision == "bf16" else 4


def _state(kind: OptimizerName) -> Any:
    """Parameter to bytes of its state: AdamW has two numbers of 4 bytes each, or 1, Muon one for a matrix."""

    def size(parameter: Tensor) -> int:
        each = 8
        if kind == "muon" and parameter.ndim > 1:
            each = 4
        elif kind == "adamw8bit" and takes_eight_bits(parameter):
            each = 2
        return each * parameter.numel()

    return size


def _gathered(model: nn.Module, stored: set[int], width: int) -> int:
    """FSDP2 gathers two blocks, the one that runs and the next, and holds one's whole gradients."""
    blocks = [*model.transformer_blocks, *model.single_transformer_blocks]
    sizes = [sum(p.numel() for p in block.parameters() if id(p) not in stored) for block in blocks]
    learning = [sum(p.numel() for p in block.parameters() if p.requires_grad) for block in blocks]
    return width * (2 * max(sizes) + max(learning))


def _on_meta(plan: Plan) -> InContextHunyuanVideoTransformer3DModel:
    with torch.device("meta"):
        model = InContextHunyuanVideoTransformer3DModel.from_config(dict(plan.config))
        choose_trainable(model, plan.what)
    return model


def _activations(plan: Plan, tokens: int, text_tokens: int, batch: int, source: bool) -> int:
    """Bytes alive at once in forward and backward, without parameters and their gradients.

    The most are alive early in backward, when the last blocks run and all others' saved tensors wait: so a block more
    adds what it leaves behind in forward, once the model is `SHALLOW`.
    """
    if isinstance(plan.what, Layers) or (isinstance(plan.what, Lora) and tuple(plan.what.targets) != LORA_TARGETS):
        return _run(plan, tokens, text_tokens, batch, source)[0]  # patterns may name blocks of the whole depth
    config = _on_meta(plan).config
    depths = (config.num_layers, config.num_single_layers)
    shallow = tuple(map(min, depths, SHALLOW))
    plan = replace(plan, config={**config, "num_layers": shallow[0], "num_single_layers": shallow[1]})
    most, after_block = _run(plan, tokens, text_tokens, batch, source)
    ends = (shallow[0] if shallow[1] else shallow[0] - 1, sum(shallow) - 1)  # the model's very last block adds less
    for depth, ran, end in zip(depths, shallow, ends, strict=True):
        if depth > ran:
            most += (depth - ran) * (after_block[end - 1] - after_block[end - 2])
    return most


def _run(plan: Plan, tokens: int, text_tokens: int, batch: int, source: bool) -> tuple[int, list[int]]:
    """The most bytes alive in a step, and how many are after each block's forward."""
    model = _on_meta(plan)
    dtype = torch.bfloat16 if plan.precision == "bf16" else torch.float32
    config = model.config
    alive = Alive(ones=text_tokens)
    after_block: list[int] = []
    with _fake_tensors():
        for module in model.modules():
            for name, parameter in list(module.named_parameters(recurse=False)):
                value = torch.empty(parameter.shape, dtype=dtype)
                module.register_parameter(name, nn.Parameter(value, requires_grad=parameter.requires_grad))
        if _is_stored(plan):
            store_frozen(model, storage=plan.storage, offload=False, device=torch.device("cpu"), dtype=dtype)
        if plan.compute != "cpu":
            model.set_attention_backend("native")
        apply({"transformer": model}, ALONE, precision=plan.precision, checkpointing=plan.checkpointing)
        model.train()
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.register_post_accumulate_grad_hook(_forget_gradient)
        for block in (*model.transformer_blocks, *model.single_transformer_blocks):
            block.register_forward_hook(lambda *_: after_block.append(alive.now))
        p = config.patch_size
        shape = (batch, config.in_channels, config.patch_size_t, p, p * tokens)
        with alive:
            target = torch.empty(shape)
            velocity = model(
                hidden_states=target.to(dtype),
                source_hidden_states=target.to(dtype) if source else None,
                timestep=torch.empty(batch),
                encoder_hidden_states=torch.empty(batch, text_tokens, config.text_embed_dim, dtype=dtype),
                encoder_attention_mask=torch.empty(batch, text_tokens, dtype=torch.bool),
                pooled_projections=torch.empty(batch, config.pooled_projection_dim, dtype=dtype),
                guidance=torch.empty(batch) if config.guidance_embeds else None,
                return_dict=False,
            )[0]
            (velocity.float() - target).square().mean().backward()
    return alive.most, after_block


def _forget_gradient(parameter: Tensor) -> None:
    parameter.grad = None


@contextmanager
def _fake_tensors() -> Iterator[None]:
    from torch._subclasses.fake_tensor import FakeTensorMode

    with FakeTensorMode():
        yield
