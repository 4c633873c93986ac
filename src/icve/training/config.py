"""Training configs: strict, so that a misspelt key is an error and one YAML file explains a run."""

import difflib
from collections.abc import Iterable
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from icve.errors import InputError


class Strict(BaseModel):
    """A model that rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class Phase(Strict):
    """A stretch of steps with one batch shape."""

    steps: int = Field(gt=0)
    batch: int = Field(gt=0)
    frames: int = Field(gt=0, description="frames of a clip, 1 + 4k")


class RunConfig(Strict):
    """What every training run has."""

    output: Path
    start: Path | None = Field(default=None, description="the model folder to go on from; a new model when null")
    seed: int = 0
    phases: list[Phase]
    optimizer: Literal["adamw", "muon"] = "adamw"
    lr: float = Field(gt=0)
    warmup: int = 100
    final_lr: float = Field(default=0.05, description="the cosine ends at this fraction of lr")
    ema: float = 0.999
    checkpoint_every: int = 200

    @property
    def total_steps(self) -> int:
        """Steps of all phases."""
        return sum(p.steps for p in self.phases)


class AutoencoderConfig(RunConfig):
    """The autoencoder."""

    kind: Literal["autoencoder"]
    channels: list[int] = Field(min_length=3, max_length=4, description="widths of the levels, each half as large")
    norm_groups: int = 1
    edge_weight: float = 1.0
    inflate: bool = Field(default=False, description="`start` has seen stills only: begin with the last tap in time")
    latent_noise: float = Field(default=0.05, description="deviation of the noise that the decoder learns to bear")
    size_weight: float = Field(default=1e-4, description="weight of the latents' mean square")


class ModelConfig(Strict):
    """A new model's sizes and what its folder says of sampling."""

    heads: int = 4
    head_dim: int = 64
    dual_blocks: int = 2
    single_blocks: int = 6
    patch_size: int = 2
    rope_axes_dim: list[int] = [16, 24, 24]
    source_attention: Literal["full", "self"] = "self"
    text_width: int = 128
    text_layers: int = 3
    pooled_width: int = 64
    flow_shift: float = 3.0
    sampling_steps: int = 12
    guidance_scale: float = 3.0
    sizes: list[tuple[int, int, int]] = [(9, 64, 64), (9, 48, 80), (9, 80, 48)]


class EditorConfig(RunConfig):
    """One stage of an editor: the text-to-video base, stage 1 (unpaired) or stage 2 (paired)."""

    kind: Literal["editor"]
    data: Literal["text_to_video", "unpaired", "paired"]
    full_share: float = Field(default=0.0, ge=0, le=1, description="share of scenes of the full split; others are core")
    operations: dict[str, float] = Field(default={}, description="weight of each operation of the world")
    autoencoder: Path | None = Field(default=None, description="the autoencoder's folder, for a new model")
    model: ModelConfig = ModelConfig()
    weight_decay: float = 0.01
    clip: float = 1.0
    text_dropout: float = 0.1
    logit_mean: float = Field(default=0.0, description="mean of the logit-normal noise levels; above 0 is noisier")
    changed_weight: float = Field(default=1.0, description="loss weight where source and target latents differ")
    changed_threshold: float = 0.35
    naming_weight: float = Field(default=0.0, description="weight of the loss that names things, see naming.py")
    draws: int = Field(
        default=1,
        ge=1,
        description="noise levels of each sample in a step, which share its source: source_attention self only",
    )
    chunk: int = Field(default=1024, description="samples encoded at once")
    chunk_epochs: int = Field(default=4, description="times that each of them is used, with fresh noise")


AnyConfig = AutoencoderConfig | EditorConfig
CONFIGS: dict[str, type[AutoencoderConfig] | type[EditorConfig]] = {
    "autoencoder": AutoencoderConfig,
    "editor": EditorConfig,
}


def load_config(path: Path, overrides: Iterable[str] = ()) -> AnyConfig:
    """Read a YAML config and apply dotted `key=value` overrides (values are YAML too).

    Raises:
        InputError: no such file, not YAML, an unknown key (the nearest known one is named) or a wrong value.
    """
    try:
        values = yaml.safe_load(path.read_text())
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise InputError(f"{path} cannot be read as YAML ({str(error).splitlines()[0]}); give a config file.") from None
    if not isinstance(values, dict):
        raise InputError(f"{path} is not a config: it must hold `key: value` lines.")
    for override in overrides:
        key, equals, text = override.partition("=")
        if not equals:
            raise InputError(f"{override!r} is not an override: write key=value.")
        place = values
        *parents, last = key.split(".")
        for parent in parents:
            place = place.setdefault(parent, {})
            if not isinstance(place, dict):
                raise InputError(f"{key}: {parent} is a value, not a group of keys.")
        place[last] = yaml.safe_load(text)
    kind = values.get("kind")
    if kind not in CONFIGS:
        raise InputError(f"{path}: kind must be one of {', '.join(CONFIGS)}, not {kind!r}.")
    try:
        return CONFIGS[kind].model_validate(values)
    except ValidationError as error:
        raise InputError(f"{path}: {_explain(error.errors()[0], CONFIGS[kind])}") from None


def _explain(error: Any, model: type[BaseModel]) -> str:
    """One sentence for pydantic's first error; for an unknown key, the nearest known one."""
    where = ".".join(str(part) for part in error["loc"])
    if error["type"] != "extra_forbidden":
        return f"{where}: {error['msg']}."
    known = [*model.model_fields, *ModelConfig.model_fields, *Phase.model_fields]
    nearest = difflib.get_close_matches(str(error["loc"][-1]), known, n=1, cutoff=0)
    return f"there is no key {where}; did you mean {nearest[0]}?"
