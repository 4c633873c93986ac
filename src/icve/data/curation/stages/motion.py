"""The motion filter."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from icve.data.curation.config import MotionConfig
from icve.data.curation.measuring import Footage
from icve.data.curation.records import Scene, StageCount


@dataclass(frozen=True)
class MotionFilter:
    """Drops scenes in which too little or too much moves."""

    name: ClassVar[str] = "motion"
    inputs: ClassVar[tuple[str, ...]] = ("footage", "scenes")
    outputs: ClassVar[tuple[str, ...]] = ("scenes",)
    cpus: ClassVar[float] = 1.0

    config: MotionConfig

    def __call__(self, footage: Footage, scenes: Sequence[Scene], count: StageCount) -> list[Scene]:
        """The scenes whose mean flow is within the config's range."""
        kept = []
        for scene in scenes:
            motion = motion_of(footage, scene.first, scene.stop)
            if motion < self.config.min:
                count.drop("too little motion")
            elif motion > self.config.max:
                count.drop("broken motion")
            else:
                kept.append(scene)
        count.entered, count.left = len(scenes), len(kept)
        return kept


def motion_of(footage: Footage, first: int, stop: int) -> float:
    """Mean flow of frames `first` to `stop` - 1, in hundredths of the diagonal a second.

    Of a range too short to hold a measurement, the nearest counts.
    """
    inside = [flow for a, b, flow in footage.motion if first <= a and b < stop]
    if inside:
        return sum(inside) / len(inside)
    middle = (first + stop) / 2
    return min(((abs((a + b) / 2 - middle), flow) for a, b, flow in footage.motion), default=(0.0, 0.0))[1]
