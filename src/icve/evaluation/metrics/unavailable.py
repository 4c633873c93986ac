"""Figures of benchmarks that no model here can give: named, so that a report says what is missing and why."""

from collections.abc import Mapping
from typing import NoReturn

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.scorers import Figure, MissingError


class Unavailable:
    """A metric that never loads; see `Scorer`."""

    name: str
    version = "1"
    figures: tuple[Figure, ...]
    heavy = True
    why: str

    def load(self) -> NoReturn:
        """Say why it is missing."""
        raise MissingError(self.why)

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """Not reached after `load`; the same answer."""
        self.load()


class ViCLIPText(Unavailable):
    """EditVerseBench's video-text alignment: the cosine of ViCLIP's vectors of clip and target prompt."""

    name = "viclip_text"
    figures: tuple[Figure, ...] = (
        Figure("viclip_text", "higher", -1, 1, "", "ViCLIP similarity of clip and target prompt."),
    )
    why = (
        "ViCLIP is published as a pickle with code of its own, which is not run here; clip_text is nearest to it, and "
        "EditVerseBench's own code gives the figure."
    )


class AMTSmoothness(Unavailable):
    """VBench's motion smoothness, which predicts every second frame with AMT-S."""

    name = "amt_smoothness"
    figures: tuple[Figure, ...] = (Figure("amt_smoothness", "higher", 0, 1, "", "VBench's motion smoothness."),)
    why = (
        "AMT-S is published as a pickle with code of its own, which is not run here; smoothness puts "
        "optical flow in its place, and VBench's own code gives this one."
    )
