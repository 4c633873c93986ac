"""Conversion of checkpoint files to diffusers folders, with about one shard in memory at a time."""

import json
import pickle
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from torch import Tensor

from icve.errors import InputError
from icve.models.conversion import (
    Layout,
    check_reference_shapes,
    convert_reference_tensor,
    reference_config,
    reference_layout,
    unwrap,
)
from icve.models.transformer import InContextHunyuanVideoTransformer3DModel

_WEIGHTS = "diffusion_pytorch_model"


def convert_checkpoint_file(checkpoint: Path, folder: Path, shard_size: int) -> int:
    """Write an original checkpoint as a diffusers transformer folder.

    The folder appears under its name when it is complete. Tensors keep their dtype.

    Args:
        checkpoint: A `.safetensors` file, or a `.pt` or `.pth` of tensors only, under original keys.
        folder: Must not exist, or be empty.
        shard_size: Largest size of a weight file in bytes; a tensor that is larger has a file of its own.

    Returns:
        The number of parameters.

    Raises:
        InputError: The checkpoint cannot be read or is not such a model, or the folder is in use.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise InputError(f"{folder} exists already; remove it or name another folder.")
    tensors = open_checkpoint(checkpoint)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    config = reference_config(shapes)
    layout = reference_layout(config)
    check_reference_shapes(shapes, layout)
    shards = _plan_shards(tensors, shard_size)
    total_size = sum(tensor.nbytes for tensor in tensors.values())
    del tensors

    try:
        _write_folder(checkpoint, folder, config, layout, shards, total_size)
    except (OSError, SafetensorError) as error:
        raise InputError(f"{folder} cannot be written ({error}); free some space or name another folder.") from error
    return sum(shape.numel() for shape in shapes.values())


def _write_folder(
    checkpoint: Path, folder: Path, config: dict[str, Any], layout: Layout, shards: list[list[str]], total_size: int
) -> None:
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=f".{folder.name}-") as temporary:
        complete = Path(temporary) / folder.name
        complete.mkdir()
        with torch.device("meta"):
            InContextHunyuanVideoTransformer3DModel(**config).save_config(complete)
        weight_map = {}
        for index, names in enumerate(shards):
            file_name = f"{_WEIGHTS}-{index + 1:05d}-of-{len(shards):05d}.safetensors"
            if len(shards) == 1:
                file_name = f"{_WEIGHTS}.safetensors"
            # Opened anew for each shard: pages of a mapped file count as this process's memory until it is closed.
            tensors = open_checkpoint(checkpoint)
            shard: dict[str, Tensor] = {}
            for name in names:
                shard.update(convert_reference_tensor(name, tensors[name], layout))
            save_file(shard, complete / file_name, metadata={"format": "pt"})
            weight_map.update(dict.fromkeys(shard, file_name))
            del tensors, shard
        if len(shards) > 1:
            index_file = complete / f"{_WEIGHTS}.safetensors.index.json"
            index_file.write_text(
                json.dumps({"metadata": {"total_size": total_size}, "weight_map": weight_map}, indent=2)
            )
        complete.replace(folder)


def open_checkpoint(path: Path) -> Mapping[str, Tensor]:
    """Map a checkpoint's tensors; their data is read when it is used. Nothing in the file is executed."""
    if not path.is_file():
        raise InputError(f"{path} is not a file; give a .safetensors or .pt checkpoint.")
    if path.suffix == ".safetensors":
        try:
            return load_file(path)
        except SafetensorError as error:
            raise InputError(f"{path} is not a valid safetensors file ({error}); download it again.") from error
    if path.suffix not in (".pt", ".pth"):
        raise InputError(f"{path} must end in .safetensors, .pt or .pth.")
    try:
        state_dict = torch.load(path, map_location="cpu", mmap=True, weights_only=True)
    except (pickle.UnpicklingError, RuntimeError, EOFError) as error:
        raise InputError(
            f"{path} is not a checkpoint of tensors only that torch.save wrote; download it again."
        ) from error
    if not isinstance(state_dict, Mapping):
        raise InputError(f"{path} holds no dictionary of tensors; give an original HunyuanVideo checkpoint.")
    return unwrap(state_dict)


def _plan_shards(tensors: Mapping[str, Tensor], shard_size: int) -> list[list[str]]:
    """Fill shards in the file's order, so that it is read from front to back."""
    shards: list[list[str]] = []
    size = shard_size
    for name, tensor in tensors.items():
        if size + tensor.nbytes > shard_size:
            shards.append([])
            size = 0
        shards[-1].append(name)
        size += tensor.nbytes
    return shards
