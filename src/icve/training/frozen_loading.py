"""Loads a transformer as a frozen base, tensor by tensor: the whole model is never in memory in its own precision."""

import json
from functools import partial
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import nn

from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.models.options import TYPE_EMBEDDING
from icve.pipelines.models import load_or_explain
from icve.training.frozen import CpuMemory, FrozenLinear, Storage, block_linears

WEIGHTS = "diffusion_pytorch_model.safetensors"


def load_frozen(
    folder: Path,
    *,
    storage: Storage | None,
    offload: bool,
    device: torch.device,
    dtype: torch.dtype,
    **options: Any,
) -> InContextHunyuanVideoTransformer3DModel:
    """The transformer in `folder`, as `store_frozen` would leave it, with one tensor in memory beside.

    Args:
        folder: a model's `transformer` folder in diffusers' layout.
        storage, offload, device, dtype: see `store_frozen`.
        options: `SOURCE_OPTIONS` other than the folder's own.

    Raises:
        InputError: the folder's files are missing, broken, or do not hold exactly the model's tensors.
    """
    config = load_or_explain(folder, lambda: InContextHunyuanVideoTransformer3DModel.load_config(folder))
    with torch.device("meta"):
        transformer = InContextHunyuanVideoTransformer3DModel.from_config({**config, **options})
    shapes = {name: parameter.shape for name, parameter in transformer.named_parameters()}
    for name, linear in block_linears(transformer).items():
        transformer.set_submodule(name, FrozenLinear(linear, device, dtype))
    memory = CpuMemory(device) if offload else None
    missing = set(shapes)
    for file in _files(folder):
        with load_or_explain(file, partial(safe_open, file, "pt")) as tensors:
            for name in tensors.keys():  # noqa: SIM118 - it is no dictionary
                if name not in missing:
                    raise InputError(f"The checkpoint {folder} has the unknown tensor {name}: it is another model's.")
                tensor = load_or_explain(file, partial(tensors.get_tensor, name))
                if tensor.shape != shapes[name]:
                    raise InputError(f"The checkpoint {folder} has the wrong shape for {name}: it is another model's.")
                missing.remove(name)
                module, leaf = _place(transformer, name)
                if isinstance(module, FrozenLinear) and leaf == "weight":
                    module.hold(tensor, storage, memory)
                else:
                    value = tensor.to(device, dtype, copy=True)
                    module.register_parameter(leaf, nn.Parameter(value, requires_grad=False))
    if TYPE_EMBEDDING in missing and options.get("type_embedding"):
        missing.remove(TYPE_EMBEDDING)  # new, and zero in a new model
        module, leaf = _place(transformer, TYPE_EMBEDDING)
        value = torch.zeros(shapes[TYPE_EMBEDDING], device=device, dtype=dtype)
        module.register_parameter(leaf, nn.Parameter(value, requires_grad=False))
    if missing:
        raise InputError(f"The checkpoint {folder} has no tensor {min(missing)}: it is incomplete; copy it again.")
    return transformer.eval()


def _files(folder: Path) -> list[Path]:
    """The checkpoint's files: one, or the shards that its index names."""
    index = folder / f"{WEIGHTS}.index.json"
    if not index.is_file():
        return [folder / WEIGHTS]
    names = load_or_explain(index, lambda: sorted(set(json.loads(index.read_text())["weight_map"].values())))
    for name in names:
        if Path(name).name != name:
            raise InputError(f"{index} names the file {name!r} outside of its folder: copy the model again.")
    return [folder / name for name in names]


def _place(transformer: nn.Module, name: str) -> tuple[nn.Module, str]:
    module, _, leaf = name.rpartition(".")
    return transformer.get_submodule(module), leaf
