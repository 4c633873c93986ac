"""The optional quality filters, over what their meters measured while the file was decoded."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

from icve.data.curation.measuring import Footage
from icve.data.curation.quality import QualityConfig
from icve.data.curation.records import Scene, StageCount


@dataclass(frozen=True)
class QualityFilter:
    """Drops scenes whose mean scores are beyond the config's limits."""

    name: ClassVar[str] = "quality"
    inputs: ClassVar[tuple[str, ...]] = ("footage", "scenes")
    outputs: ClassVar[tuple[str, ...]] = ("scenes",)
    cpus: ClassVar[float] = 1.0

    config: QualityConfig

    def __call__(self, footage: Footage, scenes: Sequence[Scene], count: StageCount) -> list[Scene]:
        """The scenes that pass."""
        kept = []
        for scene in scenes:
            reason = self.config.refusal(scores_of(footage, scene.first, scene.stop))
            if reason is None:
                kept.append(scene)
            else:
                count.drop(reason)
        count.entered, count.left = len(scenes), len(kept)
        return kept


def scores_of(footage: Footage, first: int, stop: int) -> dict[str, float]:
    """Mean scores of frames `first` to `stop` - 1; of a range without a measurement, the nearest counts."""
    means = {}
    for name, samples in footage.scores.items():
        inside = [score for frame, score in samples if first <= frame < stop]
        middle = (first + stop) / 2
        means[name] = (
            sum(inside) / len(inside) if inside else min(samples, key=lambda sample: abs(sample[0] - middle))[1]
        )
    return means
