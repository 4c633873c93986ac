"""Where a model comes from and what must hold when it is loaded.

diffusers and transformers only warn about a tensor that a checkpoint lacks and go on with random weights;
here that, like any other unusable file, is an `InputError` that names the tensor. Components are built from
the classes that this package names, whatever a model's own files ask for, and weights are read from
safetensors only.
"""

import json
import re
import sys
from collections.abc import Callable, Collection
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from time import perf_counter
from types import NoneType
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler
from huggingface_hub import snapshot_download
from transformers import AutoTokenizer, CLIPTextModel, LlamaModel, PreTrainedModel, PreTrainedTokenizerFast

from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel

BUNDLED_MODELS = Path(__file__).parents[1] / "assets"
MODEL_INDEX = "model_index.json"
LORA_FILE = "pytorch_lora_weights.safetensors"
# https://huggingface.co/tencent/HunyuanVideo, LICENSE
HUNYUAN_LICENCE = (
    "HunyuanVideo weights: Tencent Hunyuan Community License, which excludes the European Union, the United "
    "Kingdom and South Korea."
)
COMPONENTS: dict[str, Any] = {
    "scheduler": FlowMatchEulerDiscreteScheduler,
    "text_encoder": LlamaModel,
    "text_encoder_2": CLIPTextModel,
    "tokenizer": AutoTokenizer,
    "tokenizer_2": AutoTokenizer,
    "transformer": InContextHunyuanVideoTransformer3DModel,
    "vae": AutoencoderKLHunyuanVideo,
}
# the types of the pipeline's own entries in model_index.json
SETTINGS: dict[str, Any] = {
    "prompt_template": str,
    "prompt_crop_start": int,
    "negative_prompt": str,
    "num_inference_steps": int,
    "guidance_scale": (int, float),
    "embedded_guidance_scale": (int, float),
    "text_layer_skip": int,
    "max_text_length": int,
    "sizes": list,
    "licence": (str, NoneType),
}
# of an adapter's folder, see adapters.py
ADAPTER_ENTRIES: dict[str, Any] = {"base": str, "source": dict}
_HUB_ID = re.compile(r"[\w.-]+/[\w.-]+")


def resolve_model(name: str | Path) -> Path | str:
    """The folder of a bundled model (`mini`) or of `name` itself, or `name` when it has the form of a hub id.

    Raises `InputError`, naming the choices, for anything else.
    """
    if (BUNDLED_MODELS / name / MODEL_INDEX).is_file():
        return BUNDLED_MODELS / name
    folder = Path(name)
    if name and folder.is_dir():
        if not (folder / MODEL_INDEX).is_file():
            raise InputError(f"The folder {folder} is not a model: it has no {MODEL_INDEX}.")
        return folder
    if not folder.exists() and _HUB_ID.fullmatch(str(name)):
        return str(name)
    bundled = ", ".join(sorted(index.parent.name for index in BUNDLED_MODELS.glob(f"*/{MODEL_INDEX}")))
    raise InputError(
        f"Unknown model {str(name)!r}: give a bundled model ({bundled or 'none is installed'}), "
        "a model folder, or a Hugging Face id such as hunyuanvideo-community/HunyuanVideo."
    )


def fetch_model(name: str | Path, skip: Collection[str], **hub: Any) -> Path:
    """The local folder of a model, downloaded when it is a hub id; components in `skip` are left there.

    `hub` are arguments of `huggingface_hub.snapshot_download`: `revision`, `cache_dir`, `token`,
    `local_files_only`.
    Raises `InputError` for an unknown model or when it cannot be downloaded.
    """
    model = resolve_model(name)
    if isinstance(model, Path):
        return model
    files = [MODEL_INDEX, LORA_FILE] + [
        f"{part}/*.{ext}" for part in COMPONENTS if part not in skip for ext in ("json", "txt", "safetensors")
    ]
    try:
        return Path(snapshot_download(model, allow_patterns=files, **hub))
    except (OSError, ValueError, RuntimeError) as error:
        raise InputError(
            f"The model {model} cannot be downloaded: {_first_sentence(error)}; check the name and the "
            "connection, or give a model folder."
        ) from error


def read_index(folder: Path, pipelines: tuple[str, ...]) -> dict[str, Any]:
    """The model's `model_index.json`: of one of the classes `pipelines`, with well-typed `SETTINGS`."""
    path = folder / MODEL_INDEX
    index = load_or_explain(path, lambda: json.loads(path.read_text(encoding="utf-8")))
    if not isinstance(index, dict) or index.get("_class_name") not in pipelines:
        raise InputError(f"{path} does not describe a model of this kind: its _class_name must be {pipelines}.")
    for key, types in (SETTINGS | ADAPTER_ENTRIES).items():
        if key in index and not isinstance(index[key], types):
            raise InputError(f"{path} has {key} = {index[key]!r}, which has the wrong type.")
    return index


@dataclass(frozen=True)
class ModelFiles:
    """A model on disk: the `folder` of its components, what its `index` says, and, where it is an adapter on that
    model, the `adapter`'s folder (`index` is then the base's, overridden by the adapter's)."""

    folder: Path
    index: dict[str, Any]
    adapter: Path | None = None


def open_folder(folder: Path, pipelines: tuple[str, ...], skip: Collection[str] = (), **hub: Any) -> ModelFiles:
    """A model's folder, and that of its base when it is an adapter folder; a base on the hub is fetched.

    Raises `InputError` when the folder, or the base, is none or cannot be had, or when the base is an adapter too.
    """
    index = read_index(folder, pipelines)
    if "base" not in index:
        return ModelFiles(folder, index)
    base = _base_folder(folder, index["base"], skip, **hub)
    base_index = read_index(base, pipelines)
    if "base" in base_index:
        raise InputError(f"The base {base} of the adapter {folder} is an adapter itself: name the model under it.")
    own = {key: value for key, value in index.items() if key != "_class_name"}
    return ModelFiles(base, base_index | own, folder)


def _base_folder(folder: Path, base: str, skip: Collection[str], **hub: Any) -> Path:
    if not base.startswith(".") and not Path(base).is_absolute():  # a name
        return fetch_model(base, skip, **hub)
    path = (folder / base).resolve()
    if not (path / MODEL_INDEX).is_file():
        raise InputError(
            f"The base model {path} of the adapter {folder} is missing: put it there, or write where it is as "
            f"`base` in {folder / MODEL_INDEX}."
        )
    return path


def load_component(folder: Path, name: str, dtype: torch.dtype) -> Any:
    """One of `COMPONENTS` from `folder/name`, its weights in `dtype`, complete or not at all.

    Raises `InputError` when the files are missing, broken, or do not hold exactly the model's tensors. (That
    of a text encoder may hold other parts of the model that it was taken from: Llama's output layer.)
    """
    path = folder / name
    if not path.is_dir():
        raise InputError(f"The model {folder} has no {name}: the folder {path} is missing.")
    cls = COMPONENTS[name]
    if cls is AutoTokenizer and (path / "tokenizer.json").is_file():
        # as the file says: versions of transformers 5 rebuild a byte-level Llama tokenizer without its spaces
        cls = PreTrainedTokenizerFast
    if not issubclass(cls, torch.nn.Module):
        return load_or_explain(path, lambda: cls.from_pretrained(path))
    from_transformers = issubclass(cls, PreTrainedModel)
    options = {"dtype": dtype, "ignore_mismatched_sizes": True} if from_transformers else {"torch_dtype": dtype}
    model, info = load_or_explain(
        path, lambda: cls.from_pretrained(path, output_loading_info=True, use_safetensors=True, **options)
    )
    own_parts = {part for part, _ in model.named_children()}
    problems = {
        "has no tensor": info["missing_keys"],
        "has the wrong shape for": [key for key, *_ in info["mismatched_keys"]],
        "has the unknown tensor": [
            key for key in info["unexpected_keys"] if not from_transformers or key.split(".")[0] in own_parts
        ],
    }
    for problem, keys in problems.items():
        if keys:
            others = f" (and {len(keys) - 1} more)" if len(keys) > 1 else ""
            raise InputError(f"The checkpoint {path} {problem} {min(keys)}{others}: it belongs to another model.")
    return model.eval()


def device_and_dtype() -> tuple[str, torch.dtype]:
    """Where a model runs and in which numbers: bfloat16 on a GPU and on a CPU that is faster with it, else float32."""
    if torch.cuda.is_available():
        return "cuda", torch.bfloat16
    return "cpu", torch.bfloat16 if multiplies_bfloat16_faster() else torch.float32


@cache
def multiplies_bfloat16_faster() -> bool:
    """Whether this CPU multiplies bfloat16 clearly faster than float32, tried on a product (20 ms, once a process).

    A CPU that has the instruction may still be slower with it: AVX-512 BF16 without AMX took twice float32's time on
    an Intel Xeon; with AMX it is about five times as fast.
    """
    if not torch.cpu._is_avx512_bf16_supported():
        return False
    seconds: dict[torch.dtype, list[float]] = {dtype: [] for dtype in (torch.float32, torch.bfloat16)}
    for _ in range(5):
        for dtype, tries in seconds.items():
            matrix = torch.ones(512, 512, dtype=dtype)
            begin = perf_counter()
            matrix @ matrix
            tries.append(perf_counter() - begin)
    return 1.3 * min(seconds[torch.bfloat16]) < min(seconds[torch.float32])


@cache
def show_licence(sentence: str) -> None:
    """Prints a model's licence to stderr, once a process."""
    print(sentence, file=sys.stderr)


def load_or_explain(path: Path, load: Callable[[], Any]) -> Any:
    """`load()`; whatever a broken or foreign file makes the libraries raise becomes one sentence."""
    try:
        return load()
    except Exception as error:
        raise InputError(f"{path} cannot be loaded: {_first_sentence(error)}.") from error


def _first_sentence(error: Exception) -> str:
    return str(error).strip().split("\n")[0].split(". ")[0].rstrip(".:")
