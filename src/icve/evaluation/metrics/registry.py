"""Metrics by their names on the command line, and where their weights are found."""

from collections.abc import Callable, Mapping

from icve.errors import InputError
from icve.evaluation.metrics.alignment import CLIPDirection, CLIPText, PickScore
from icve.evaluation.metrics.consistency import BackgroundConsistency, CLIPFrames, DINOFrames, SubjectConsistency
from icve.evaluation.metrics.dino import DINODistance, StructureDistance
from icve.evaluation.metrics.five_pixels import FivePixels
from icve.evaluation.metrics.flow import WarpError
from icve.evaluation.metrics.lpips import LPIPS
from icve.evaluation.metrics.pixels import PSNR, SSIM
from icve.evaluation.metrics.temporal import Flicker, FlowSmoothness
from icve.evaluation.metrics.tracks import MotionFidelity
from icve.evaluation.metrics.unavailable import AMTSmoothness, ViCLIPText
from icve.evaluation.metrics.weights import MODELS
from icve.evaluation.scorers import Scorer

METRICS: Mapping[str, Callable[[Mapping[str, str]], Scorer]] = {
    "psnr": lambda _: PSNR(),
    "ssim": lambda _: SSIM(),
    "five_pixels": lambda _: FivePixels(),
    "lpips": lambda models: LPIPS(models["lpips"]),
    "dino": lambda models: DINODistance(models["dino"]),
    "structure_distance": lambda models: StructureDistance(models["dino_vitb8"]),
    "clip_frames": lambda models: CLIPFrames(models["clip"]),
    "dino_frames": lambda models: DINOFrames(models["dino"]),
    "subject_consistency": lambda models: SubjectConsistency(models["dino_vitb16"]),
    "background_consistency": lambda models: BackgroundConsistency(models["clip_vitb32"]),
    "clip_text": lambda models: CLIPText(models["clip"]),
    "clip_direction": lambda models: CLIPDirection(models["clip"]),
    "viclip_text": lambda _: ViCLIPText(),
    "pickscore": lambda models: PickScore(models["pickscore"], models["pickscore_processor"]),
    "flicker": lambda _: Flicker(),
    "smoothness": lambda _: FlowSmoothness(),
    "amt_smoothness": lambda _: AMTSmoothness(),
    "warp_error": lambda _: WarpError(),
    "motion_fidelity": lambda _: MotionFidelity(),
}


def make_metric(name: str, models: Mapping[str, str] | None = None) -> Scorer:
    """The metric called `name`, not loaded yet.

    Args:
        models: folders or hub ids that replace those of `MODELS`, by its keys.

    Raises:
        InputError: no metric or no model has that name.
    """
    models = models or {}
    if unknown := sorted(set(models) - set(MODELS)):
        raise InputError(f"{unknown[0]!r} is no model of a metric; choose one of {', '.join(MODELS)}.")
    if name not in METRICS:
        raise InputError(f"{name!r} is no metric; choose one of {', '.join(METRICS)}.")
    return METRICS[name]({**MODELS, **models})
