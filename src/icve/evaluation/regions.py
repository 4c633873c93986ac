"""Where a true edit changes a clip: found from source and target, where no mask is published."""

import cv2
import numpy as np

Array = np.ndarray
THRESHOLD = 20  # of 255, in the channel that differs most: above what H.264 at usual rates does to a flat surface
SMOOTHING = (5, 5)  # so that single noisy pixels do not count
MARGIN = 5  # pixels around a change: SSIM's window (11 x 11) at a place outside then holds none of it


def found_region(source: Array, target: Array) -> Array:
    """Where `source` and `target`, both uint8 (F, H, W, 3), differ, with a margin: bool (F, H, W)."""
    kernel = np.ones((2 * MARGIN + 1, 2 * MARGIN + 1), np.uint8)
    region = np.empty(source.shape[:3], bool)
    for before, after, out in zip(source, target, region, strict=True):
        difference = cv2.absdiff(cv2.blur(before, SMOOTHING), cv2.blur(after, SMOOTHING)).max(axis=2)
        out[:] = cv2.dilate((difference > THRESHOLD).astype(np.uint8), kernel) > 0
    return region
