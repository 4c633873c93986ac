"""Frame consistency: does the edited clip stay one scene, as CLIP and DINO see it?"""

from collections.abc import Mapping
from typing import Any

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.metrics.metric import Encoded
from icve.evaluation.scorers import Figure, MissingError


class FrameConsistency(Encoded):
    """The mean cosine of consecutive frames' vectors (Esser et al. 2023, "Gen-1"; EditVerseBench).

    Range -1 to 1, higher is steadier; a still picture has 1.
    """

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        vectors = _at_least_two(self.encoder.of(clips, "edited"))
        return {self.name: float((vectors[1:] * vectors[:-1]).sum(-1).mean())}


class CLIPFrames(FrameConsistency):
    """Frame consistency by CLIP."""

    name, what, option = "clip_frames", "CLIP", "clip"
    figures: tuple[Figure, ...] = (
        Figure("clip_frames", "higher", -1, 1, "", "CLIP similarity of consecutive frames."),
    )


class DINOFrames(FrameConsistency):
    """Frame consistency by DINO's class token."""

    name, what, option = "dino_frames", "DINO", "dino"
    figures: tuple[Figure, ...] = (
        Figure("dino_frames", "higher", -1, 1, "", "DINO similarity of consecutive frames."),
    )


class VBenchConsistency(Encoded):
    """VBench's consistency (Huang et al. 2024): for each frame but the first the mean of its cosines, at least 0, to
    the frame before and to the first; then the mean over frames. Range 0 to 1, higher is steadier.

    Frames go through the encoder's own preprocessing (a central square), where VBench's for DINO keeps the sides.
    """

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        vectors = _at_least_two(self.encoder.of(clips, "edited"))
        to_previous = (vectors[1:] * vectors[:-1]).sum(-1).clamp(min=0)
        to_first = (vectors[1:] * vectors[:1]).sum(-1).clamp(min=0)
        return {self.name: float((to_previous + to_first).mean() / 2)}


class SubjectConsistency(VBenchConsistency):
    """VBench's subject consistency, by DINO ViT-B/16."""

    name, what, option = "subject_consistency", "DINO ViT-B/16", "dino_vitb16"
    figures: tuple[Figure, ...] = (
        Figure("subject_consistency", "higher", 0, 1, "", "VBench's subject consistency (DINO)."),
    )


class BackgroundConsistency(VBenchConsistency):
    """VBench's background consistency, by CLIP ViT-B/32."""

    name, what, option = "background_consistency", "CLIP ViT-B/32", "clip_vitb32"
    figures: tuple[Figure, ...] = (
        Figure("background_consistency", "higher", 0, 1, "", "VBench's background consistency (CLIP)."),
    )


def _at_least_two(vectors: Any) -> Any:
    if len(vectors) < 2:
        raise MissingError("Consistency needs clips of at least 2 frames.")
    return vectors
