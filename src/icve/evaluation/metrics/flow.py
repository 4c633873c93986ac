"""Flow warping error: does what moves keep its looks?"""

from collections.abc import Mapping
from functools import lru_cache

import cv2
import numpy as np

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.metrics.metric import ModelFree
from icve.evaluation.scorers import Figure, MissingError

Array = np.ndarray
# Sundaram et al. 2010, "Dense point trajectories", equation 5: seen in both frames where the flow there and back closes
CLOSES, SLACK = 0.01, 0.5


class WarpError(ModelFree):
    """Flow warping error (Lai et al. 2018, "Learning Blind Video Temporal Consistency", section 4.2): the mean squared
    difference, of RGB in [0, 1], between a frame and the next one warped onto it, where nothing is occluded; of each
    pair of frames, then their mean.

    The motion is the source's, since an editor should keep it (`warp_error`), and the edited clip's own
    (`warp_error_own`), which is also fair where the edit changes motion. Flow is OpenCV's DIS (preset fast); a place
    is occluded where flow there and back does not close (Sundaram et al. 2010) or leaves the frame. Range 0 to 1,
    lower is better; often shown times 1000. A pair that is occluded all over is left out.
    """

    name = "warp_error"
    figures: tuple[Figure, ...] = (
        Figure("warp_error", "lower", 0, 1, "", "Flow warping error by the source's motion."),
        Figure("warp_error_own", "lower", 0, 1, "", "Flow warping error by the edited clip's own motion."),
    )

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        source, edited = clips.pair(clips.source)
        scores = {"warp_error": warp_error(edited, source), "warp_error_own": warp_error(clips.edited, clips.edited)}
        return {name: score for name, score in scores.items() if score is not None}


def warp_error(clip: Array, motion_of: Array) -> float | None:
    """The error of `clip`, uint8 (F, H, W, 3), by the motion of another of that shape; None if nothing is seen twice.

    Raises:
        MissingError: fewer than two frames.
    """
    if len(clip) < 2:
        raise MissingError("The flow warping error needs clips of at least 2 frames.")
    flow = flow_of()
    errors = []
    for i in range(len(clip) - 1):
        forth = way_between(flow, motion_of[i], motion_of[i + 1])
        back = way_between(flow, motion_of[i + 1], motion_of[i])
        visible = seen_twice(forth, back)
        if visible.any():
            squares = cv2.norm(clip[i], warp(clip[i + 1], forth), cv2.NORM_L2SQR, visible.view(np.uint8))
            errors.append(squares / (3 * np.count_nonzero(visible) * 255**2))
    return float(np.mean(errors)) if errors else None


def flow_of() -> cv2.DISOpticalFlow:
    """DIS optical flow (Kroeger et al. 2016); the preset medium takes five times as long for 480p."""
    return cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_FAST)


def way_between(flow: cv2.DISOpticalFlow, at: Array, to: Array) -> Array:
    """Where each place of `at` is in `to`, both uint8 (H, W, 3): the way there, float32 (H, W, 2), x first."""
    return flow.calc(cv2.cvtColor(at, cv2.COLOR_RGB2GRAY), cv2.cvtColor(to, cv2.COLOR_RGB2GRAY), None)


def warp(picture: Array, way: Array) -> Array:
    """`picture` (H, W, C) read at each place plus `way` (H, W, 2), bilinear, the border repeated."""
    return cv2.remap(picture, *_places(way), cv2.INTER_LINEAR, borderMode=cv2.BORDER_REPLICATE)


def seen_twice(forth: Array, back: Array) -> Array:
    """Where both frames show the same: bool (H, W), from the ways (H, W, 2) to the next frame and back."""
    x, y = _places(forth)
    height, width = x.shape
    returned = forth + warp(back, forth)
    closes = _square(returned) <= CLOSES * (_square(forth) + _square(returned - forth)) + SLACK
    return closes & (x >= 0) & (y >= 0) & (x <= width - 1) & (y <= height - 1)


def _square(way: Array) -> Array:
    return way[..., 0] ** 2 + way[..., 1] ** 2


def _places(way: Array) -> tuple[Array, Array]:
    rows, columns = _indices(*way.shape[:2])
    return columns + way[..., 0], rows + way[..., 1]


@lru_cache(1)
def _indices(height: int, width: int) -> tuple[Array, Array]:
    rows, columns = np.indices((height, width), dtype=np.float32)
    return rows, columns
