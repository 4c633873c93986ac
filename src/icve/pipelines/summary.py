"""What a model is made of and its settings, from its folder's small files and headers: no weight is loaded."""

import inspect
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from safetensors import SafetensorError, safe_open

from icve.errors import InputError
from icve.pipelines.edit import HUNYUAN_PIPELINE, InContextVideoEditPipeline
from icve.pipelines.models import COMPONENTS, HUNYUAN_LICENCE, LORA_FILE, SETTINGS, open_folder


@dataclass(frozen=True)
class Component:
    """One part of a model: `parameters` counts numbers, 0 where it has no weights."""

    name: str
    class_name: str
    parameters: int
    config: dict[str, Any]


@dataclass(frozen=True)
class ModelSummary:
    """A model folder's `components` and `settings`: the pipeline's defaults, overridden by the model's index.

    Of an adapter, `folder` is its base's, `adapter` its own, and it counts as the component "adapter".
    """

    folder: Path
    components: list[Component]
    settings: dict[str, Any]
    adapter: Path | None = None

    @property
    def parameters(self) -> int:
        return sum(component.parameters for component in self.components)


def summarise(folder: Path) -> ModelSummary:
    """Reads the model in `folder`; raises `InputError` for files that are missing or cannot be read."""
    files = open_folder(folder, (InContextVideoEditPipeline.__name__, HUNYUAN_PIPELINE))
    folder, index = files.folder, files.index
    defaults = inspect.signature(InContextVideoEditPipeline.__init__).parameters
    settings = {name: index.get(name, defaults[name].default) for name in SETTINGS}
    if index["_class_name"] == HUNYUAN_PIPELINE:
        settings["licence"] = settings["licence"] or HUNYUAN_LICENCE
    components = []
    for name in sorted(COMPONENTS):
        path = folder / name
        if not path.is_dir():
            raise InputError(f"The model {folder} has no {name}: the folder {path} is missing.")
        declared = index.get(name)
        class_name = declared[1] if isinstance(declared, list) else COMPONENTS[name].__name__
        components.append(Component(name, class_name, _parameters(path), _config(path)))
    if files.adapter is not None:
        components.append(Component("adapter", "LoRA", _parameters(files.adapter, LORA_FILE), {}))
    return ModelSummary(folder, components, settings, files.adapter)


def _parameters(path: Path, pattern: str = "*.safetensors") -> int:
    total = 0
    for file in path.glob(pattern):
        try:
            with safe_open(file, "np") as tensors:
                total += sum(math.prod(tensors.get_slice(key).get_shape()) for key in tensors.keys())  # noqa: SIM118
        except (OSError, SafetensorError) as error:
            raise InputError(f"{file} is not a readable safetensors file ({error}); copy it again.") from error
    return total


def _config(path: Path) -> dict[str, Any]:
    file = path / "config.json"
    if not file.is_file():
        return {}
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError as error:
        raise InputError(f"{file} is not JSON ({error}); copy it again.") from error
