"""PSNR and SSIM: how far pixels are from the source's, where they should have stayed, and from the true edit's."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import NamedTuple
from weakref import WeakKeyDictionary

import cv2
import numpy as np

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.metrics.metric import ModelFree, Part, compared, part_figures
from icve.evaluation.scorers import Figure, MissingError

Array = np.ndarray
HIGHEST = 100.0  # dB: of frames that are equal, where the definition gives infinity
WINDOW = 11  # pixels a side, of SSIM
RADIUS = WINDOW // 2  # at the border a window hangs over the edge: such places are not counted (skimage, torchmetrics)


class PixelSums(NamedTuple):
    """Of one part of a frame: sums, and of how many values each."""

    squared_error: float
    values: int
    similarity: float
    windows: int


class PSNR(ModelFree):
    """Peak signal-to-noise ratio, 10 log10(255² / mean squared error) over RGB in dB: of each frame, then their mean.

    Range 0 to 100 (equal frames count as 100), higher is better. Where a part of the frame is compared, the error is
    that of its pixels alone (FiVE-Bench's own figures, which count the rest as equal, are those of `five_pixels`).
    """

    name = "psnr"
    figures: tuple[Figure, ...] = part_figures("psnr", "higher", 0, HIGHEST, "dB")

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        return _means("psnr", clips, lambda part: psnr(part.squared_error / part.values))


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
        return _means("ssim", clips, lambda part: part.similarity / part.windows if part.windows else math.nan)


def psnr(squared_error: float) -> float:
    """The PSNR in dB of a mean squared error of 8-bit values, at most `HIGHEST`."""
    return HIGHEST if squared_error == 0 else min(HIGHEST, 10 * math.log10(255**2 / squared_error))


def compare_frames(x: Array, y: Array, mask: Array | None = None) -> tuple[PixelSums, PixelSums]:
    """Two frames compared: all of them, and the part in the mask (nothing without one).

    Args:
        x, y: RGB, uint8 (H, W, 3).
        mask: uint8 (H, W) of 0 and 1.

    Raises:
        MissingError: Numba is not installed.
    """
    try:
        from icve.evaluation.metrics.pixel_kernel import sums  # here, since its import takes a second
    except ModuleNotFoundError as missing:
        raise MissingError(f"PSNR and SSIM need {missing.name}; pip install 'icve[evaluate]'.") from missing
    height, width = x.shape[:2]
    windows = max(0, height - 2 * RADIUS) * max(0, width - 2 * RADIUS)
    if mask is None:
        mask, pixels_masked, windows_masked = np.zeros((height, width), np.uint8), 0, 0
    else:
        pixels_masked = cv2.countNonZero(mask)
        windows_masked = cv2.countNonZero(mask[RADIUS:-RADIUS, RADIUS:-RADIUS]) if windows else 0
    error, error_masked, similarity, similarity_masked = sums(_rows(x), _rows(y), np.ascontiguousarray(mask))
    return (
        PixelSums(error, 3 * height * width, similarity, windows),
        PixelSums(error_masked, 3 * pixels_masked, similarity_masked, windows_masked),
    )


def _rows(frame: Array) -> Array:
    return np.ascontiguousarray(frame).reshape(len(frame), -1)


_SUMS: WeakKeyDictionary[Clips, list[tuple[Part, PixelSums]]] = WeakKeyDictionary()


def _pixel_sums(clips: Clips) -> list[tuple[Part, PixelSums]]:
    """Of each part of each frame; found once for all metrics that need them."""
    if clips not in _SUMS:
        found: list[tuple[Part, PixelSums]] = []
        for edited, reference, parts in compared(clips):
            mask = next((mask for mask in parts.values() if mask is not None), None)
            whole, masked = compare_frames(edited, reference, mask)
            found += [(part, whole if of is None else masked) for part, of in parts.items()]
        _SUMS[clips] = found
    return _SUMS[clips]


def _means(name: str, clips: Clips, figure: Callable[[PixelSums], float]) -> dict[str, float]:
    """The mean of a figure over the frames that have it, for each part."""
    values = defaultdict(list)
    for part, of_frame in _pixel_sums(clips):
        value = figure(of_frame)
        if not math.isnan(value):
            values[f"{name}_{part}"].append(value)
    return {figure: float(np.mean(of_frames)) for figure, of_frames in values.items()}
