"""Two frames compared pixel by pixel, whole and under a mask: what PSNR and SSIM are made from."""

from typing import NamedTuple

import cv2
import numpy as np

from icve.evaluation.scorers import MissingError

Array = np.ndarray
WINDOW = 11  # pixels a side, of SSIM: Wang et al. 2004, section III-C
RADIUS = WINDOW // 2  # at the border a window hangs over the edge: such places are not counted (skimage, torchmetrics)


class PixelSums(NamedTuple):
    """Of one part of a frame: sums, and of how many values each."""

    squared_error: float
    values: int
    similarity: float
    windows: int


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
