"""The parts of an editor that a run needs: loaded from a model's folder or new, and saved as a model's folder again."""

import json
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler
from huggingface_hub import save_torch_state_dict
from torch import Tensor, nn

from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.pipelines.adapters import with_adapter
from icve.pipelines.edit import HUNYUAN_PIPELINE, InContextVideoEditPipeline
from icve.pipelines.models import COMPONENTS, MODEL_INDEX, ModelFiles, fetch_model, load_component, open_folder
from icve.pipelines.summary import summarise
from icve.training.config import ModelConfig
from icve.training.text_encoders import MAX_TOKENS, Words, build_text_encoders, minilm_words

PIPELINES = (InContextVideoEditPipeline.__name__, HUNYUAN_PIPELINE)
TEXT_ENCODERS = ("text_encoder", "text_encoder_2")


@dataclass
class Parts:
    """An editor's components by name; those that a run does not need stay in `folder` and are copied when it is saved.

    `settings` are the model's own defaults, `pipelines.models.SETTINGS`.
    """

    settings: dict[str, Any]
    loaded: dict[str, Any]
    folder: Path | None = None

    @property
    def transformer(self) -> InContextHunyuanVideoTransformer3DModel:
        """The transformer, always loaded."""
        return self.loaded["transformer"]

    def pipeline(self) -> InContextVideoEditPipeline:
        """The parts as a pipeline; all of them must be loaded."""
        pipe = InContextVideoEditPipeline(**self.loaded, **self.settings)
        pipe.set_progress_bar_config(disable=True)
        return pipe


def model_folder(start: str) -> str | Path:
    """`start`, or the model inside it when it is a run's output folder."""
    inside = Path(start) / "model"
    if (inside / MODEL_INDEX).is_file():
        return inside
    if Path(start).is_dir() and (Path(start) / "config.json").is_file() and not (Path(start) / MODEL_INDEX).is_file():
        raise InputError(f"The run {start} has no model yet: let it finish (`icve train` goes on), or give another.")
    return start


def open_start(start: str) -> ModelFiles:
    """The files of a bundled model, a model's folder, a run's folder or a hub id.

    Raises:
        InputError: there is no such model, or its index cannot be read.
    """
    return open_folder(fetch_model(model_folder(start), skip=()), PIPELINES)


def adapter_base(start: str) -> str | Path:
    """What an adapter that is trained from `start` is one of: `start`, or its base where it is an adapter itself."""
    files = open_start(start)
    if files.adapter is None:
        return model_folder(start)
    base: str = files.index["base"]
    return files.folder if base.startswith(".") else base


def load_parts(files: ModelFiles, names: Iterable[str], dtype: torch.dtype, **given: Any) -> Parts:
    """The components `names` of a model, the weights in `dtype`; those `given` are taken as they are.

    Raises:
        InputError: a component cannot be read.
    """
    loaded = {name: load_component(files.folder, name, dtype) for name in sorted(names) if name not in given} | given
    if "transformer" in loaded:
        loaded["transformer"] = with_adapter(loaded["transformer"], files)
    return Parts(summarise(files.adapter or files.folder).settings, loaded, files.folder)


def new_parts(model: ModelConfig, start: str | None, autoencoder: str | None, dtype: torch.dtype) -> Parts:
    """An untrained transformer and text side around a trained autoencoder.

    Args:
        start: the model whose autoencoder and words (tokenizer and word vectors) are taken; None: MiniLM's words.
        autoencoder: the folder of another autoencoder (or its run).
    """
    if autoencoder is None and start is None:
        raise InputError("a new model needs an autoencoder: set `autoencoder` to its folder, or `start` to a model's.")
    if autoencoder is not None:
        vae = load_autoencoder(autoencoder)
    if start is None:
        words = minilm_words(model.text_width, model.pooled_width)
    else:
        old = load_parts(open_start(start), ("vae", "tokenizer", *TEXT_ENCODERS), torch.float32).loaded
        vectors = [old[name].get_input_embeddings().weight.detach() for name in TEXT_ENCODERS]
        words = Words(old["tokenizer"], vectors[0], vectors[1])
        if (vectors[0].shape[1], vectors[1].shape[1]) != (model.text_width, model.pooled_width):
            raise InputError(
                f"The words of {start} are {vectors[0].shape[1]} and {vectors[1].shape[1]} wide: set model.text_width "
                "and model.pooled_width to that, or start: null to reduce MiniLM's again."
            )
        vae = vae if autoencoder is not None else old["vae"]
    llama, clip = build_text_encoders(words, model.text_layers)
    transformer = InContextHunyuanVideoTransformer3DModel(**new_transformer_config(model))
    pipe = InContextVideoEditPipeline(
        text_encoder=llama,
        tokenizer=words.tokenizer,
        text_encoder_2=clip,
        tokenizer_2=words.tokenizer,
        vae=vae,
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=model.flow_shift),
        negative_prompt="",
        num_inference_steps=model.sampling_steps,
        guidance_scale=model.guidance_scale,
        text_layer_skip=0,
        max_text_length=MAX_TOKENS,
        sizes=[list(size) for size in model.sizes],
        licence="Apache-2.0",
    ).to(dtype)
    settings = {name: pipe.config[name] for name in pipe.config if name not in COMPONENTS and not name.startswith("_")}
    return Parts(settings, {name: getattr(pipe, name) for name in COMPONENTS})


def new_transformer_config(model: ModelConfig) -> dict[str, Any]:
    """The constructor's arguments of a new model's transformer."""
    return {
        "num_attention_heads": model.heads,
        "attention_head_dim": model.head_dim,
        "num_layers": model.dual_blocks,
        "num_single_layers": model.single_blocks,
        "num_refiner_layers": 1,
        "patch_size": model.patch_size,
        "guidance_embeds": False,
        "text_embed_dim": model.text_width,
        "pooled_projection_dim": model.pooled_width,
        "rope_axes_dim": tuple(model.rope_axes_dim),
        "source_attention": model.source_attention,
    }


def load_autoencoder(folder: str) -> AutoencoderKLHunyuanVideo:
    """The autoencoder in a folder, or in a run's output folder, float32."""
    path = Path(folder)
    if (path / "model" / "config.json").is_file():
        path = path / "model"
    if not (path / "config.json").is_file():
        raise InputError(f"{folder} holds no autoencoder: give the folder that an autoencoder's run has written.")
    return AutoencoderKLHunyuanVideo.from_pretrained(path, use_safetensors=True)


def save_model(parts: Parts, weights: Mapping[str, Mapping[str, Tensor]], folder: Path) -> None:
    """Write a model's folder: components with new `weights` from memory, the others as they came.

    Args:
        weights: component name to its whole state dict, on the CPU.
        folder: must not exist; written in place, so give one beside the final name.
    """
    folder.mkdir(parents=True)
    index: dict[str, Any] = {
        "_class_name": InContextVideoEditPipeline.__name__,
        "_diffusers_version": version("diffusers"),
        **parts.settings,
    }
    for name, cls in COMPONENTS.items():
        component: Any = parts.loaded.get(name)
        index[name] = _library_and_class(component if component is not None else cls)
        if name in weights:
            save_component(component, weights[name], folder / name)
        elif parts.folder is not None:
            shutil.copytree(parts.folder / name, folder / name)
        else:
            component.save_pretrained(folder / name)
    (folder / MODEL_INDEX).write_text(json.dumps(index, indent=2) + "\n")


def save_component(component: Any, weights: Mapping[str, Tensor], folder: Path) -> None:
    """A component's config and these weights, sharded as diffusers and transformers read them."""
    folder.mkdir(parents=True, exist_ok=True)
    from_diffusers = hasattr(component, "save_config")
    if from_diffusers:
        component.save_config(folder)
    else:
        component.config.save_pretrained(folder)
    pattern = "diffusion_pytorch_model{suffix}.safetensors" if from_diffusers else "model{suffix}.safetensors"
    save_torch_state_dict(
        dict(weights), folder, filename_pattern=pattern, max_shard_size="5GB", safe_serialization=True
    )


def whole_state(module: nn.Module, dtype: torch.dtype, *, keep: bool = True, part: str = "") -> dict[str, Tensor]:
    """A module's state dict on the CPU in `dtype`, gathered over all ranks that share it (all of them must call).

    Args:
        keep: False on ranks that only help to gather; what they return is empty.
        part: what names must have in them to be gathered.
    """
    state = {}
    for name, tensor in module.state_dict().items():
        if part not in name:
            continue
        full = tensor.full_tensor() if hasattr(tensor, "full_tensor") else tensor
        if keep:
            # a copy: what was gathered of unequal shards is a view of padded memory, which safetensors refuses
            kind = dtype if full.is_floating_point() else full.dtype
            state[name] = full.detach().to("cpu", kind, copy=True, memory_format=torch.contiguous_format)
    return state


def _library_and_class(component: Any) -> list[str]:
    cls = component if isinstance(component, type) else type(component)
    library = cls.__module__.split(".")[0]
    return [cls.__module__ if library == "icve" else library, cls.__name__]
