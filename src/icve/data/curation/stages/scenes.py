"""Cuts footage into scenes."""

from dataclasses import dataclass
from typing import ClassVar

from icve.data.curation.config import ScenesConfig
from icve.data.curation.measuring import Footage
from icve.data.curation.records import Scene, StageCount

BLEND_PAD = 6  # frames; measured on dissolves of 8 to 48 frames


@dataclass(frozen=True)
class SceneSplit:
    """Frames between cuts, without margins and gradual transitions."""

    name: ClassVar[str] = "scenes"
    inputs: ClassVar[tuple[str, ...]] = ("footage",)
    outputs: ClassVar[tuple[str, ...]] = ("scenes",)
    cpus: ClassVar[float] = 1.0

    config: ScenesConfig

    def __call__(self, footage: Footage, count: StageCount) -> list[Scene]:
        """The scenes in order, numbered; those of fewer than `min_frames` frames are left out."""
        count.entered = 1
        end, margin = len(footage.pts), self.config.margin
        breaks = sorted([(0, 0), (end, end), *((cut, cut) for cut in footage.cuts), *self._blends(footage)])
        scenes: list[Scene] = []
        start = 0
        for number, (first, after) in enumerate(breaks):
            begin = start + margin * (start > 0)
            stop = first - margin * (first < end)
            if number and stop - begin >= self.config.min_frames:
                scenes.append(Scene(len(scenes), begin, stop))
            elif number and first > start:
                count.drop("short scene")
            start = max(start, after)
        count.left = len(scenes)
        return scenes

    def _blends(self, footage: Footage) -> list[tuple[int, int]]:
        """Gradual transitions as (first frame, frame after). They begin before and end after what is seen of them."""
        if not self.config.gradual:
            return []
        end = len(footage.pts)
        return [(max(0, first - BLEND_PAD), min(end, last + 1 + BLEND_PAD)) for first, last in footage.blends]
