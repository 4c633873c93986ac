"""What a training run is: strict models, so that a misspelt key is an error and one YAML file explains a run."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal

import torch
from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

from icve.data.buckets import Bucket
from icve.pipelines.models import device_and_dtype


class Strict(BaseModel):
    """A model that rejects unknown keys."""

    model_config = ConfigDict(extra="forbid", frozen=True)


def parse_bucket(value: Any) -> Any:
    """A size as configs write it, "33x480x832", to a bucket; anything else is left to pydantic."""
    return Bucket.parse(value) if isinstance(value, str) else value


class BucketConfig(Strict):
    """A clip size and how often it is trained."""

    size: Annotated[Bucket, BeforeValidator(parse_bucket)] = Field(description="frames x height x width: 33x480x832")
    batch: int = Field(gt=0, description="samples of a step, over all ranks")
    weight: float = Field(default=1.0, ge=0, description="share of the steps, relative to the other buckets")
    start: int = Field(default=0, ge=0, description="the first step that draws it")
    stop: int | None = Field(default=None, description="the step from which it is drawn no more")


class WorldSetConfig(Strict):
    """The procedural world, drawn while training."""

    kind: Literal["world"]
    weight: float = Field(default=1.0, gt=0)
    pairs: Literal["text_to_video", "unpaired", "paired"]
    full_share: float = Field(default=0.0, ge=0, le=1, description="share of scenes of the full split; others are core")
    operations: dict[str, float] = Field(default={}, description="weight of each operation")


class ShardSetConfig(Strict):
    """A folder (or object-store URL) in the format of docs/format.md."""

    kind: Literal["shards"]
    path: str
    weight: float = Field(default=1.0, gt=0)
    pairs: Literal["pairs", "captions"] = Field(default="pairs", description="captions: text-to-video, no source")
    hold_out: float = Field(default=0.0, ge=0, lt=1, description="share of pairs kept for validation")
    limit: int | None = Field(default=None, gt=0, description="train on so many of its pairs only, a fixed choice")


class StillsSetConfig(Strict):
    """World clips and photographs without text, for the autoencoder."""

    kind: Literal["stills"]
    weight: float = Field(default=1.0, gt=0)


SetConfig = Annotated[WorldSetConfig | ShardSetConfig | StillsSetConfig, Field(discriminator="kind")]


class DataConfig(Strict):
    """Where samples come from."""

    sets: list[SetConfig] = Field(min_length=1)
    buckets: list[BucketConfig] = Field(min_length=1)
    workers: int = Field(default=0, ge=0, description="processes that read ahead, each rank")
    max_bad: float = Field(default=0.01, ge=0, le=1, description="stop when more of the samples cannot be read")


class OptimizerConfig(Strict):
    """The optimizer, its learning rate, and the averaged weights."""

    kind: Literal["adamw", "adamw8bit", "muon"] = "adamw"
    lr: float = Field(gt=0)
    warmup: int = Field(default=100, ge=0)
    schedule: Literal["constant", "linear", "cosine"] = "cosine"
    final: float = Field(default=0.05, ge=0, description="the schedule ends at this fraction of lr")
    betas: tuple[float, float] = Field(default=(0.9, 0.98), description="of AdamW")
    weight_decay: float = Field(default=0.01, ge=0)
    clip: float = Field(default=1.0, gt=0, description="largest norm of the gradient")
    ema: float = Field(default=0.999, ge=0, lt=1, description="decay of the averaged weights, which are saved; 0: none")


class UniformTimesteps(Strict):
    """Every noise level alike."""

    kind: Literal["uniform"]
    shift: float | Literal["sequence"] = 1.0


class LogitNormalTimesteps(Strict):
    """Noise level sigmoid(mean + std * normal): the middle most; a mean above 0 is noisier."""

    kind: Literal["logit_normal"] = "logit_normal"
    mean: float = 0.0
    std: float = Field(default=1.0, gt=0)
    uniform: float = Field(default=0.1, ge=0, le=1, description="share drawn uniformly, so that no level is forgotten")
    shift: float | Literal["sequence"] = 1.0


class StretchedTimesteps(Strict):
    """LTX-Video's: logit-normal, its mean from the number of tokens, stretched to reach both ends."""

    kind: Literal["stretched"]
    mean: float | Literal["sequence"] = "sequence"
    std: float = Field(default=1.0, gt=0)
    uniform: float = Field(default=0.1, ge=0, le=1)


TimestepsConfig = Annotated[UniformTimesteps | LogitNormalTimesteps | StretchedTimesteps, Field(discriminator="kind")]


class FlowConfig(Strict):
    """The in-context flow-matching step."""

    timesteps: TimestepsConfig = LogitNormalTimesteps()
    text_dropout: float = Field(default=0.1, ge=0, le=1, description="share of samples trained with the empty prompt")
    draws: int = Field(
        default=1, ge=1, description="noise levels of a sample in a step, which share its source where it can be cached"
    )
    changed_weight: float = Field(default=1.0, gt=0, description="loss weight where source and target latents differ")
    changed_threshold: float = Field(default=0.35, description="mean |difference| over channels that counts as such")
    naming_weight: float = Field(default=0.0, ge=0, description="weight of the loss that names things, see naming.py")
    source_timestep: Literal["zero", "target"] | None = Field(default=None, description="null: as the model says")
    source_positions: Literal["same", "shifted"] | None = None
    source_attention: Literal["full", "self"] | None = None
    type_embedding: bool | None = None
    source_entry: Literal["context", "channels", "none"] | None = None


class LoraConfig(Strict):
    """Low-rank adapters."""

    rank: int = Field(default=32, gt=0)
    alpha: float = Field(default=32, gt=0)
    targets: list[str] | None = Field(default=None, description="names of linear layers; null: attention and MLPs")


class BaseConfig(Strict):
    """How the frozen base is held while adapters are trained."""

    storage: Literal["fp8", "int8"] | None = Field(default=None, description="null: in the compute precision")
    offload: bool = Field(default=False, description="in CPU memory, one block at a time on the device")


class TrainConfig(Strict):
    """Which weights learn."""

    what: Literal["full", "lora", "layers"] = "full"
    layers: list[str] = Field(default=[], description="patterns of parameter names, such as *attn*, for `layers`")
    lora: LoraConfig = LoraConfig()
    base: BaseConfig = BaseConfig()
    text_encoders: bool = Field(default=False, description="train them too (the mini's are its own)")

    @model_validator(mode="after")
    def _consistent(self) -> "TrainConfig":
        if (self.what == "layers") != bool(self.layers):
            raise ValueError("`layers` are given exactly when `what` is layers")
        if self.what != "lora" and self.base != BaseConfig():
            raise ValueError("`base` holds frozen weights in a form that is not saved again: set what: lora")
        return self


class ParallelConfig(Strict):
    """How ranks share the work: replicate x shard x ulysses = ranks."""

    replicate: int = Field(default=1, gt=0, description="copies of the sharded model (HSDP)")
    shard: int = Field(default=-1, description="ranks that share one copy of the weights (FSDP2); -1: all that is left")
    ulysses: int = Field(default=1, gt=0, description="ranks that share the tokens of a sample")
    checkpointing: Literal["none", "full", "selective"] = "none"
    compile: bool = False


class CheckpointConfig(Strict):
    """When the run is saved, to go on from."""

    every: int = Field(default=200, gt=0, description="steps")
    keep: int = Field(default=2, gt=0, description="checkpoints on disk")


class ValidationConfig(Strict):
    """What is measured while training, with the averaged weights, on samples that are not trained."""

    every: int = Field(default=0, ge=0, description="steps; 0: never")
    samples: int = Field(default=32, gt=0, description="of the held-out loss")
    quantiles: list[Annotated[float, Field(gt=0, lt=1)]] = Field(
        default=[0.1, 0.3, 0.5, 0.7, 0.9], description="of the noise levels in training, at which it is measured"
    )
    edits: int = Field(default=0, ge=0, description="held-out pairs edited onto a contact sheet")
    judge: int = Field(default=0, ge=0, description="held-out edits of the world judged: the curve of the model card")


class LogConfig(Strict):
    """Where figures go besides the progress bar and log.jsonl."""

    every: int = Field(default=20, gt=0, description="steps")
    tensorboard: bool = True
    wandb: str | None = Field(default=None, description="a Weights & Biases project")


class RunConfig(Strict):
    """What every training run has."""

    output: Path
    start: str | None = Field(default=None, description="a bundled model, a model folder or run folder, or a hub id")
    steps: int = Field(gt=0)
    seed: int = Field(default=0, ge=0)
    precision: Literal["bf16", "fp32"] = Field(description="auto, the default: bf16 where it is faster")
    accumulate: int = Field(default=1, gt=0, description="parts in which a rank goes through its share of a step")
    max_skipped: int = Field(default=10, gt=0, description="steps in a row without a finite gradient before it stops")
    data: DataConfig
    optimizer: OptimizerConfig
    checkpoint: CheckpointConfig = CheckpointConfig()
    validation: ValidationConfig = ValidationConfig()
    log: LogConfig = LogConfig()

    @model_validator(mode="before")
    @classmethod
    def _choose_precision(cls, values: Any) -> Any:
        """What "auto" means here; for a run that goes on, what it meant at its beginning."""
        if isinstance(values, dict) and values.get("precision", "auto") == "auto":
            return values | {"precision": _begun_in(values.get("output")) or _faster()}
        return values


def _faster() -> str:
    return "bf16" if device_and_dtype()[1] == torch.bfloat16 else "fp32"


def _begun_in(output: Any) -> str | None:
    """The precision of the run that has checkpoints in a folder: another time, another may measure faster."""
    if not isinstance(output, str | Path) or not (Path(output) / "checkpoints").is_dir():
        return None
    try:
        precision = json.loads((Path(output) / "config.json").read_text())["precision"]
    except (OSError, ValueError, LookupError, TypeError):
        return None
    return precision if precision in ("bf16", "fp32") else None


class AutoencoderConfig(RunConfig):
    """The mini's autoencoder."""

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
    """One stage of an editor: the text-to-video base, stage 1 (unpaired) or stage 2 (paired): its data says which."""

    kind: Literal["editor"]
    model: ModelConfig | None = Field(
        default=None, description="begin with new weights of these sizes; `start` gives the autoencoder and the words"
    )
    prompt_template: str | None = Field(
        default=None, description="the text that the instruction stands in, as {}; null: as the model says"
    )
    autoencoder: str | None = Field(default=None, description="the autoencoder of a new model, where not that of start")
    flow: FlowConfig = FlowConfig()
    train: TrainConfig = TrainConfig()
    parallel: ParallelConfig = ParallelConfig()

    @field_validator("prompt_template")
    @classmethod
    def _has_a_place(cls, template: str | None) -> str | None:
        if template is not None and template.count("{}") != 1:
            raise ValueError("a prompt template has {} once, where the instruction goes")
        return template


AnyConfig = AutoencoderConfig | EditorConfig
CONFIGS: dict[str, type[AutoencoderConfig] | type[EditorConfig]] = {
    "autoencoder": AutoencoderConfig,
    "editor": EditorConfig,
}
