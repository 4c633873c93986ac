"""FiVE-Bench's own preservation figures, which differ from the plain ones: only for comparison with its tables."""

from collections.abc import Mapping

import cv2
import numpy as np

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.metrics.metric import ModelFree
from icve.evaluation.metrics.pixel_sums import RADIUS, WINDOW, compare_frames
from icve.evaluation.metrics.pixels import HIGHEST, psnr
from icve.evaluation.scorers import Figure, MissingError

STRIDE = 8  # frames: of the tables that the authors publish


class FivePixels(ModelFree):
    """PSNR, SSIM and mean squared error of the part not to be edited, by FiVE-Bench's code (Li et al. 2025), after
    PIE-Bench's (Ju et al. 2024): of every 8th frame, in RGB, with the pixels under the mask set to 0 in both clips.

    What is under the mask so counts as equal: the smaller the rest, the better the figures. SSIM is per channel and
    counts the frame's border too, mirrored, as torchmetrics does. The mean squared error is of values in [0, 1]. The
    authors resize the edited clip to the source's size; here the source is resized.
    """

    name = "five_pixels"
    figures: tuple[Figure, ...] = (
        Figure("five_psnr_unedit", "higher", 0, HIGHEST, "dB", "FiVE-Bench's PSNR of the part not to be edited."),
        Figure("five_ssim_unedit", "higher", -1, 1, "", "FiVE-Bench's SSIM of the part not to be edited."),
        Figure("five_mse_unedit", "lower", 0, 1, "", "FiVE-Bench's squared error of the part not to be edited."),
    )

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:
        """See `Scorer`."""
        region = clips.region
        if region is None:
            raise MissingError(f"Case {case.id} has no mask.")
        height, width = clips.edited.shape[1:3]
        if min(height, width) < WINDOW:
            raise MissingError(f"SSIM needs frames of at least {WINDOW} x {WINDOW} pixels, not {height} x {width}.")
        errors, similarities = [], []
        source, edited = clips.pair(clips.source)
        for i in range(0, min(len(source), len(region)), STRIDE):
            if region[i].all():
                continue
            keep = (~region[i])[..., None].view(np.uint8)
            before, after = source[i] * keep, edited[i] * keep
            errors.append(cv2.norm(before, after, cv2.NORM_L2SQR) / before.size)
            similarities.append(np.mean([similarity_with_border(before[..., c], after[..., c]) for c in range(3)]))
        if not errors:
            raise MissingError(f"The mask of case {case.id} covers all frames.")
        return {
            "five_psnr_unedit": float(np.mean([psnr(error) for error in errors])),
            "five_ssim_unedit": float(np.mean(similarities)),
            "five_mse_unedit": float(np.mean(errors)) / 255**2,
        }


def similarity_with_border(x: np.ndarray, y: np.ndarray) -> float:
    """Mean structural similarity of two pictures of one channel, uint8 (H, W), over all places, the border mirrored."""
    border = (RADIUS, RADIUS, RADIUS, RADIUS, cv2.BORDER_REFLECT_101)
    whole, _ = compare_frames(*(cv2.cvtColor(cv2.copyMakeBorder(p, *border), cv2.COLOR_GRAY2RGB) for p in (x, y)))
    return whole.similarity / whole.windows
