"""VBench's flickering, and a smoothness that needs no model: how evenly a clip goes on in time."""

import itertools
from collections.abc import Mapping

import cv2
import numpy as np

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.metrics.flow import flow_of, warp, way_between
from icve.evaluation.metrics.metric import ModelFree
from icve.evaluation.scorers import Figure, MissingError

Array = np.ndarray


class Flicker(ModelFree):
    """VBench's temporal flickering (Huang et al. 2024): (255 - m) / 255, where m is the mean absolute difference of
    consecutive frames over RGB.

    Range 0 to 1, higher is steadier. Meant for still scenes: motion lowers it as flicker does, so it is given for the
    source too, and the edited clip's should be near that.
    """

    name = "flicker"
    figures: tuple[Figure, ...] = (
        Figure("flicker", "higher", 0, 1, "", "VBench's temporal flickering of the edited clip."),
        Figure("flicker_of_source", None, 0, 1, "", "VBench's temporal flickering of the source."),
    )

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        source, edited = clips.pair(clips.source)
        if len(edited) < 2:
            raise MissingError("Flicker needs clips of at least 2 frames.")
        return {"flicker": steadiness(clips.edited), "flicker_of_source": steadiness(source)}


class FlowSmoothness(ModelFree):
    """The structure of VBench's motion smoothness (Huang et al. 2024) with another interpolator: (255 - m) / 255, where
    m is the mean absolute difference, over RGB, of every second frame and what its two neighbours predict for it.

    VBench predicts with AMT-S, a network; here DIS optical flow between the neighbours does, each warped half of the
    way. Hence its own name: the figures are not VBench's. Range 0 to 1, higher is smoother.
    """

    name = "smoothness"
    figures: tuple[Figure, ...] = (
        Figure("flow_smoothness", "higher", 0, 1, "", "How well odd frames lie between even ones, by optical flow."),
    )

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        clip = clips.edited
        if len(clip) < 3:
            raise MissingError("Smoothness needs clips of at least 3 frames.")
        flow = flow_of()
        differences = [
            mean_difference(clip[i], between(clip[i - 1], clip[i + 1], flow)) for i in range(1, len(clip) - 1, 2)
        ]
        return {"flow_smoothness": 1 - float(np.mean(differences)) / 255}


def steadiness(clip: Array) -> float:
    """(255 - mean absolute difference of consecutive frames) / 255 of a clip uint8 (F, H, W, 3)."""
    return 1 - float(np.mean([mean_difference(a, b) for a, b in itertools.pairwise(clip)])) / 255


def mean_difference(a: Array, b: Array) -> float:
    """The mean absolute difference of two uint8 (H, W, 3)."""
    return cv2.norm(a, b, cv2.NORM_L1) / a.size


def between(a: Array, b: Array, flow: cv2.DISOpticalFlow) -> Array:
    """The picture in the middle of a and b, uint8 (H, W, 3): each warped half of the way to the other, averaged."""
    to_b, to_a = way_between(flow, a, b), way_between(flow, b, a)
    # At the middle, what moves a to b over the whole way is still to be undone by half.
    return cv2.addWeighted(warp(a, to_a / 2), 0.5, warp(b, to_b / 2), 0.5, 0)
