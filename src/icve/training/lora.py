"""Which weights learn: all of them, low-rank adapters on a frozen base, or chosen layers."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import Any

from peft import LoraConfig
from torch import nn

from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.pipelines.adapters import ADAPTER

LORA_TARGETS = (
    "*transformer_blocks.*.attn.*",
    "transformer_blocks.*.ff.*",
    "transformer_blocks.*.ff_context.*",
    "single_transformer_blocks.*.proj_mlp",
    "single_transformer_blocks.*.proj_out",
)
"""Attention and MLP of both kinds of block. The modulation (AdaLN, `*norm*.linear`) is left out: a quarter of the
13B's weights, it sees the timestep and the pooled text only, once a sample."""


@dataclass(frozen=True)
class Full:
    """Every weight of the transformer learns."""


@dataclass(frozen=True)
class Lora:
    """Low-rank adapters learn: W x + alpha / rank * B A x; B starts at zero.

    `targets` are patterns (`fnmatch`) of the names of linear layers, as `transformer.named_modules()` has them.
    """

    rank: int = 32
    alpha: float = 32.0
    targets: Sequence[str] = LORA_TARGETS


@dataclass(frozen=True)
class Layers:
    """The parameters whose names match one of `patterns` (`fnmatch`) learn, such as `*attn*`."""

    patterns: Sequence[str]


def choose_trainable(transformer: InContextHunyuanVideoTransformer3DModel, what: Full | Lora | Layers) -> int:
    """Let `what` learn and freeze the rest; returns the number of trainable numbers.

    `Lora` adds the adapter "default" through PEFT, its parameters in the dtype of the layer that they are on (the
    optimizer keeps fp32 masters of bf16 ones). A transformer that carries that adapter already, because its folder is
    an adapter's, is trained on.
    A model without single-stream blocks has a few weights in its last block that nothing reads (the text stream's):
    they, and adapters on them, stay as they are.

    Raises:
        InputError: a pattern matches nothing, or the transformer carries another adapter.
    """
    adapted = _adapted(transformer)
    transformer.requires_grad_(False)
    if isinstance(what, Lora):
        _add_lora(transformer, what, adapted)
    elif adapted:
        raise InputError(
            "the model to start from is an adapter: train it with train.what: lora, or start from its base."
        )
    elif isinstance(what, Layers):
        names = _matching("layers", what.patterns, [name for name, _ in transformer.named_parameters()])
        for name in names:
            transformer.get_parameter(name).requires_grad_(True)
    else:
        transformer.requires_grad_(True)
    return sum(parameter.numel() for parameter in transformer.parameters() if parameter.requires_grad)


def _add_lora(transformer: InContextHunyuanVideoTransformer3DModel, lora: Lora, adapted: set[str]) -> None:
    linears = [name.removesuffix(".base_layer") for name, m in transformer.named_modules() if isinstance(m, nn.Linear)]
    targets = _matching("lora.targets", lora.targets, [name for name in linears if ".lora_" not in name])
    if not adapted:
        config = LoraConfig(r=lora.rank, lora_alpha=_whole(lora.alpha), target_modules=targets, lora_dropout=0.0)
        transformer.add_adapter(config, ADAPTER)
        return
    config = transformer.peft_config[ADAPTER]
    if (config.r, config.lora_alpha) != (lora.rank, lora.alpha) or adapted != set(targets):
        raise InputError(
            f"the model to start from is an adapter of rank {config.r} and alpha {config.lora_alpha:g} on "
            f"{len(adapted)} layers, and train.lora asks for rank {lora.rank} and alpha {lora.alpha:g} on "
            f"{len(targets)}: give the same, or start from its base."
        )
    for name, parameter in transformer.named_parameters():
        parameter.requires_grad_(".lora_" in name)


def _adapted(transformer: nn.Module) -> set[str]:
    """Names of the layers that carry an adapter."""
    return {name.removesuffix(".lora_A") for name, _ in transformer.named_modules() if name.endswith(".lora_A")}


def _matching(key: str, patterns: Sequence[str], names: Iterable[str]) -> list[str]:
    names = list(names)
    for pattern in patterns:
        if not any(fnmatchcase(name, pattern) for name in names):
            raise InputError(f"train.{key}: {pattern!r} matches nothing in the model; `*.attn.to_q` would be a match.")
    return [name for name in names if any(fnmatchcase(name, pattern) for pattern in patterns)]


def _whole(number: float) -> Any:
    """An integer where it is one: PEFT declares alpha so, and the adapter's file keeps the type."""
    return int(number) if number == int(number) else number
