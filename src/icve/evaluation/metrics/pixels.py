"""PSNR and SSIM: how far pixels are from the source's, where they should have stayed, and from the true edit's."""

import math
from collections import defaultdict
from collections.abc import Iterator, Mapping

import cv2
import numpy as np

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.metrics.metric import ModelFree, Part, compared, part_figures
from icve.evaluation.metrics.ssim_map import RADIUS, WINDOW, SSIMMap
from icve.evaluation.scorers import Figure, MissingError

Array = np.ndarray
HIGHEST = 100.0  # dB: of frames that are equal, where the definition gives infinity


class PSNR(ModelFree):
    """Peak signal-to-noise ratio, 10 log10(255² / mean squared error) over RGB in dB: of each frame, then their mean.

    Range 0 to 100 (equal frames count as 100), higher is better. Where a part of the frame is compared, the error is
    that of its pixels alone (FiVE-Bench's own figures, which count the rest as equal, are those of `five_pixels`).
    """

    name = "psnr"
    figures: tuple[Figure, ...] = part_figures("psnr", "higher", 0, HIGHEST, "dB")

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        return _means("psnr", self._frames(clips))

    def _frames(self, clips: Clips) -> Iterator[tuple[Part, float]]:
        for edited, reference, parts in compared(clips):
            for part, mask in parts.items():
                pixels = edited.shape[0] * edited.shape[1] if mask is None else cv2.countNonZero(mask)
                yield part, psnr(cv2.norm(edited, reference, cv2.NORM_L2SQR, mask) / (3 * pixels))


class SSIM(ModelFree):
    """Structural similarity (Wang et al. 2004) of luma: Gaussian window 11 x 11 of sigma 1.5, K1 0.01, K2 0.03.

    Range -1 to 1, higher is better. The map is averaged over the part compared, windows that hang over the frame's edge
    left out, then over frames. Luma is BT.601, rounded to 8 bits, as the authors' own code does; equal to scikit-image
    with gaussian_weights and use_sample_covariance=False. FiVE-Bench's own, of RGB, is that of `five_pixels`.
    """

    name = "ssim"
    figures: tuple[Figure, ...] = part_figures("ssim", "higher", -1, 1)

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        height, width = clips.edited.shape[1:3]
        if min(height, width) < WINDOW:
            raise MissingError(f"SSIM needs frames of at least {WINDOW} x {WINDOW} pixels, not {height} x {width}.")
        return _means("ssim", self._frames(clips, SSIMMap(height, width)))

    def _frames(self, clips: Clips, ssim_map: SSIMMap) -> Iterator[tuple[Part, float]]:
        inner = np.s_[RADIUS:-RADIUS, RADIUS:-RADIUS]
        height, width = clips.edited.shape[1:3]
        luma = [np.empty((height, width), np.uint8) for _ in range(2)]
        for edited, reference, parts in compared(clips):
            cv2.cvtColor(edited, cv2.COLOR_RGB2GRAY, dst=luma[0])
            cv2.cvtColor(reference, cv2.COLOR_RGB2GRAY, dst=luma[1])
            similarity = ssim_map(*luma)[inner]
            similarity += 1  # in [0, 2]: there the mean under a mask is a norm, for which OpenCV is six times as fast
            for part, mask in parts.items():
                if mask is None:
                    yield part, cv2.mean(similarity)[0] - 1
                elif pixels := cv2.countNonZero(mask[inner]):
                    yield part, cv2.norm(similarity, cv2.NORM_L1, mask[inner]) / pixels - 1


def psnr(squared_error: float) -> float:
    """The PSNR in dB of a mean squared error of 8-bit values, at most `HIGHEST`."""
    return HIGHEST if squared_error == 0 else min(HIGHEST, 10 * math.log10(255**2 / squared_error))


def _means(name: str, frames: Iterator[tuple[Part, float]]) -> dict[str, float]:
    values = defaultdict(list)
    for part, value in frames:
        values[f"{name}_{part}"].append(value)
    return {figure: float(np.mean(of_frames)) for figure, of_frames in values.items()}
