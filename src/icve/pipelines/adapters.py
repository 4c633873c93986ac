"""Adapter folders: a LoRA and the name of the model that it was trained on.

    FOLDER/model_index.json                    {"_class_name": …, "base": …, "source": {…}, and the pipeline's settings}
    FOLDER/pytorch_lora_weights.safetensors    the adapter, in diffusers' format

`base` is a bundled model's name, a hub id, or a path: absolute, or beginning with "." and relative to FOLDER.
`source` holds the transformer's `SOURCE_OPTIONS`, where they are not the base's own.
"""

import json
import os
import tempfile
from collections.abc import Mapping
from importlib.metadata import version
from pathlib import Path
from typing import Any

from diffusers.loaders import HunyuanVideoLoraLoaderMixin
from diffusers.training_utils import _collate_lora_metadata
from peft import get_peft_model_state_dict
from torch import Tensor, nn

from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel, with_options
from icve.models.transformer import SOURCE_OPTIONS
from icve.pipelines.models import LORA_FILE, MODEL_INDEX, ModelFiles, load_or_explain

ADAPTER = "default"
"""The adapter's name in the transformer: PEFT's own default."""


def save_adapter(
    transformer: InContextHunyuanVideoTransformer3DModel,
    settings: Mapping[str, Any],
    folder: Path,
    base: str | Path,
    weights: Mapping[str, Tensor] | None = None,
) -> None:
    """Write the transformer's adapter as a folder that `icve edit --model` takes.

    Args:
        transformer: carries the adapter "default" (`icve.training.lora` adds it).
        settings: the pipeline's own defaults, what `pipe.config` holds of `pipelines.models.SETTINGS`.
        folder: made when it is missing; its index is written last.
        base: what the transformer was loaded from: a bundled model's name, a hub id, or a model folder, which is
            written relative to `folder`, so that both can be moved together.
        weights: parameter name to tensor, when not the model's own are to be saved (averages, or shards that were
            gathered); names that are not the adapter's are left out.

    Raises:
        InputError: `base` is an adapter folder itself.
    """
    base_index = Path(base) / MODEL_INDEX
    if base_index.is_file() and "base" in json.loads(base_index.read_text(encoding="utf-8")):
        raise InputError(f"The base {base} is an adapter itself: give the model that it was trained on.")
    tensors = dict(transformer.named_parameters()) if weights is None else dict(weights)
    lora = get_peft_model_state_dict(
        transformer, {name: tensor for name, tensor in tensors.items() if ".lora_" in name}, adapter_name=ADAPTER
    )
    index = {
        "_class_name": "InContextVideoEditPipeline",
        "_diffusers_version": version("diffusers"),
        "base": _reference(base, folder),
        "source": {name: transformer.config[name] for name in SOURCE_OPTIONS},
        **settings,
    }
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix=".") as beside:
        HunyuanVideoLoraLoaderMixin.save_lora_weights(
            beside,
            transformer_lora_layers={name: tensor.detach().to("cpu").contiguous() for name, tensor in lora.items()},
            weight_name=LORA_FILE,
            **_collate_lora_metadata({"transformer": transformer}),
        )
        (Path(beside) / MODEL_INDEX).write_text(json.dumps(index, indent=2) + "\n", encoding="utf-8")
        for name in (LORA_FILE, MODEL_INDEX):
            (Path(beside) / name).replace(folder / name)


def with_adapter(
    transformer: InContextHunyuanVideoTransformer3DModel, files: ModelFiles
) -> InContextHunyuanVideoTransformer3DModel:
    """The base's transformer with the adapter of `files`, active and in the transformer's dtype; as it is when `files`
    is no adapter.

    Raises:
        InputError: the adapter's file is missing, broken, or made for another model.
    """
    if files.adapter is None:
        return transformer
    options = {
        name: value for name, value in files.index.get("source", {}).items() if transformer.config[name] != value
    }
    if options:
        transformer = load_or_explain(files.adapter / MODEL_INDEX, lambda: with_options(transformer, **options))
    path = files.adapter / LORA_FILE
    if not path.is_file():
        raise InputError(f"The adapter {files.adapter} has no {LORA_FILE}: copy it again.")
    tensors, metadata = load_or_explain(
        path,
        lambda: HunyuanVideoLoraLoaderMixin.lora_state_dict(
            files.adapter, weight_name=LORA_FILE, use_safetensors=True, local_files_only=True, return_lora_metadata=True
        ),
    )
    _check(tensors, transformer, path)
    dtype = transformer.dtype
    load_or_explain(
        path,
        lambda: transformer.load_lora_adapter(tensors, adapter_name=ADAPTER, metadata=metadata, low_cpu_mem_usage=True),
    )
    for name, parameter in transformer.named_parameters():
        if ".lora_" in name:
            parameter.data = parameter.data.to(dtype)
    return transformer


def _check(tensors: Mapping[str, Tensor], transformer: nn.Module, path: Path) -> None:
    """PEFT only warns of a tensor that fits nowhere, or of one that is missing."""
    linears = {name: module for name, module in transformer.named_modules() if isinstance(module, nn.Linear)}
    for key, tensor in tensors.items():
        name, _, part = key.removeprefix("transformer.").rpartition(".lora_")
        linear = linears.get(name)
        if linear is None or part not in ("A.weight", "B.weight"):
            raise InputError(f"The adapter {path} has the unknown tensor {key}: it belongs to another base.")
        fits = (tensor.shape[-1] == linear.in_features) if part[0] == "A" else (len(tensor) == linear.out_features)
        if not fits:
            raise InputError(f"The adapter {path} has the wrong shape for {key}: it belongs to another base.")
        other = f"transformer.{name}.lora_{'B' if part[0] == 'A' else 'A'}.weight"
        if other not in tensors:
            raise InputError(f"The adapter {path} has no tensor {other}: copy it again.")


def _reference(base: str | Path, folder: Path) -> str:
    """How the index names the base."""
    if not (Path(base) / MODEL_INDEX).is_file():
        return str(base)  # a bundled model or a hub id
    relative = Path(os.path.relpath(Path(base).resolve(), folder.resolve())).as_posix()
    return relative if relative.startswith(".") else f"./{relative}"
