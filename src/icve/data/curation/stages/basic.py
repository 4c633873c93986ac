"""The basic filter: length, size, frame rate, borders."""

from dataclasses import dataclass, replace
from typing import ClassVar

from icve.data.curation.config import BasicConfig
from icve.data.curation.measuring import Footage
from icve.data.curation.records import StageCount


@dataclass(frozen=True)
class BasicFilter:
    """Drops files that are too short, too small, too slow, or all border."""

    name: ClassVar[str] = "basic"
    inputs: ClassVar[tuple[str, ...]] = ("footage",)
    outputs: ClassVar[tuple[str, ...]] = ("footage",)
    cpus: ClassVar[float] = 1.0

    config: BasicConfig

    def __call__(self, footage: Footage, count: StageCount) -> Footage | None:
        """The footage, its `inside` as the config wants it, or None."""
        config, count.entered = self.config, 1
        whole = (0, 0, footage.info.stored_size[1], footage.info.stored_size[0])
        reason = None
        if footage.times[-1] + 1 / footage.rate < config.min_seconds:
            reason = "too short"
        elif footage.rate < config.min_fps:
            reason = "too few frames a second"
        elif footage.info.height < config.min_height or footage.info.width < config.min_width:
            reason = "too small"
        elif footage.inside != whole and config.borders == "drop":
            reason = "borders"
        if reason:
            count.drop(reason)
            return None
        count.left = 1
        return replace(footage, inside=whole) if config.borders == "keep" else footage
