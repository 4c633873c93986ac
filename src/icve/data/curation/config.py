"""The keys of a curation config; each is a line of YAML, or `key=value` on the command line."""

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator

from icve.data.buckets import Bucket
from icve.data.curation.camera import CameraConfig
from icve.data.curation.quality import QualityConfig
from icve.data.curation.text.balance import BalanceConfig
from icve.data.curation.text.instruction_filter import FilterConfig
from icve.data.curation.text.verbs import RewriteConfig
from icve.data.shard_layout import SHARD_BYTES, check_bucket
from icve.errors import InputError
from icve.vlm.config import VlmConfig


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class ReadConfig(Strict):
    """What one file may cost."""

    max_bytes: int = Field(default=20 * 2**30, gt=0, description="a larger file is quarantined")
    max_seconds: float = Field(default=7200, gt=0, description="a longer one is quarantined: cut it")
    max_fps: float = Field(default=240, gt=0, description="with max_seconds, bounds the frames that are decoded")
    timeout: float = Field(default=1800, gt=0, description="seconds that the work on one file may take")
    memory: float = Field(default=6, gt=0, description="GiB that a worker may take")
    keep: float = Field(default=512, ge=0, description="MiB of small frames that spare short files a second decoding")


class BasicConfig(Strict):
    """The basic filter."""

    min_seconds: float = Field(default=2, ge=0)
    min_fps: float = Field(default=12, ge=0)
    min_height: int = Field(default=0, ge=0, description="pixels; `clips.max_upscale` already asks for enough")
    min_width: int = Field(default=0, ge=0)
    borders: Literal["crop", "drop", "keep"] = "crop"  # black bars, and frames of one colour


class ScenesConfig(Strict):
    """Where one shot ends and the next begins."""

    detector: Literal["adaptive", "transnet"] = "adaptive"
    # PySceneDetect's own defaults, but for min_gap: it keeps shots of 15 frames together with the next
    threshold: float = Field(default=3.0, gt=0, description="adaptive: times the change around it")
    min_content: float = Field(default=15.0, ge=0, description="adaptive: least change of hue, saturation and value")
    window: int = Field(default=2, ge=1, description="adaptive: frames on each side to compare with")
    min_gap: int = Field(default=5, ge=1, description="adaptive: no two cuts nearer than this many frames")
    min_frames: int = Field(default=15, ge=1, description="shorter scenes are dropped")
    gradual: bool = Field(default=True, description="also find fades and dissolves")
    margin: int = Field(default=2, ge=0, description="frames left out on each side of a cut, where codecs smear")


class MotionConfig(Strict):
    """Optical flow of small frames, in hundredths of the picture's diagonal a second."""

    every: float = Field(default=0.5, gt=0, description="seconds between two measurements")
    min: float = Field(default=0.3, ge=0, description="below: stills, slides, a locked-off view of nothing")
    max: float = Field(default=120, gt=0, description="above: broken footage, whip pans")


class ClipsConfig(Strict):
    """How scenes are cut into clips."""

    max_upscale: float = Field(default=1.0, gt=0, description="a clip is not made larger than this times its source")
    max_repeats: float = Field(default=0.1, ge=0, le=1, description="share of frames that may repeat the one before")
    gap: float = Field(default=0.0, ge=0, description="seconds between two clips")


class PairsConfig(Strict):
    """Which two clips of a scene become a pair. Changes are those of `icve.data.curation.records.Pair`."""

    per_scene: int = Field(default=1, ge=1, description="pairs drawn from one scene")
    tries: int = Field(default=8, ge=1, description="draws for each of them before a scene is given up")
    direction: Literal["any", "forward"] = "any"  # forward: the source is the earlier clip
    max_gap: float | None = Field(default=None, gt=0, description="seconds between the two clips at most")
    # A pair must pass at least one of the smallest changes, and none of the largest.
    min_flow: float = Field(default=1.0, ge=0)
    min_colour: float = Field(default=4.0, ge=0)
    min_embedding: float = Field(default=0.02, ge=0)
    max_flow: float = Field(default=40.0, gt=0)
    max_colour: float = Field(default=60.0, gt=0)
    max_embedding: float = Field(default=0.5, gt=0)


class VideoConfig(Strict):
    """How clips are coded: H.264, BT.709 4:2:0."""

    quality: int = Field(default=14, ge=0, le=51, description="constant rate factor")
    lossless: bool = Field(default=False, description="RGB with every pixel kept, 5 to 10 times the size")
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow"] = "superfast"


class SidecarConfig(Strict):
    """Instructions from captions; events bring their own."""

    template: str = Field(default="Show {target} instead.", description="{target}: the target's caption")
    type: Literal["add", "remove", "replace", "attribute", "action", "background", "camera", "style"] = "action"


class CurationConfig(Strict):
    """A run of the data engine."""

    name: str = Field(default="curated", description="of the set: what training logs call it")
    licence: str = Field(default="unknown", description="what allows the footage's use")
    source: str = Field(default="", description="where the footage comes from")
    seed: int = Field(default=0, ge=0)
    buckets: list[str] = Field(default=["33x480x832", "33x832x480"], min_length=1)
    fps: float | None = Field(default=24.0, gt=0, le=240, description="of all clips; null: each file's own")
    instructor: Literal["camera", "vlm", "sidecar"] = "camera"
    executor: Literal["pool", "ray"] = "pool"
    workers: int | None = Field(default=None, ge=1, description="null: one for each core")
    read: ReadConfig = ReadConfig()
    basic: BasicConfig = BasicConfig()
    scenes: ScenesConfig = ScenesConfig()
    motion: MotionConfig = MotionConfig()
    clips: ClipsConfig = ClipsConfig()
    pairs: PairsConfig = PairsConfig()
    quality: QualityConfig = QualityConfig()
    camera: CameraConfig = CameraConfig()
    sidecar: SidecarConfig = SidecarConfig()
    vlm: VlmConfig | None = Field(default=None, description="needed by instructor: vlm")
    rewrite: RewriteConfig = RewriteConfig()
    filter: FilterConfig = FilterConfig()
    balance: BalanceConfig = BalanceConfig()
    video: VideoConfig = VideoConfig()
    shard_bytes: int = Field(default=SHARD_BYTES, ge=2**10)

    @field_validator("buckets")
    @classmethod
    def _check_buckets(cls, buckets: list[str]) -> list[str]:
        for text in buckets:
            try:
                bucket = Bucket.parse(text)
                check_bucket(bucket)
            except (InputError, ValueError, TypeError) as error:
                raise ValueError(f"{text!r} is not a size that clips can have ({error})") from None
            if bucket.frames == 1:
                raise ValueError(f"{text!r} is a still; footage is cut into clips of 5 frames or more")
        return buckets

    @model_validator(mode="after")
    def _check_vlm(self) -> "CurationConfig":
        if self.instructor == "vlm" and self.vlm is None:
            raise ValueError("instructor vlm needs vlm.base_url and vlm.model; see docs/vlm.md")
        return self

    @property
    def sizes(self) -> list[Bucket]:
        """The buckets."""
        return [Bucket.parse(text) for text in self.buckets]
