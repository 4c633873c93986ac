"""Blur filter: how sharp a frame is, by the variance of its Laplacian."""

import math

import cv2
import numpy as np
from pydantic import Field

from icve.data.curation.quality.base import Strict

# The Laplacian's kernel (0 1 0, 1 -4 1, 0 1 0) multiplies the variance of white noise by the sum of its squares.
NOISE_GAIN = 20.0
# Grey levels: pictures with less contrast than this are mostly noise of the sensor, which is no sharpness.
LEAST_CONTRAST = 8.0


class BlurConfig(Strict):
    """Drops clips that are out of focus or smeared by motion."""

    min: float | None = Field(
        default=None, ge=0, description="least sharpness; null: off, 0.02 drops what is clearly blurred"
    )
    every: float = Field(default=0.5, gt=0, description="seconds between measurements")
    side: int = Field(default=512, ge=32, description="pixels: frames are measured at this longer side")


class Blur:
    """Sharpness: the deviation of the Laplacian over that of the picture, in units in which white noise has 1.

    0 is a flat picture, 1 noise in which no pixel says anything of the next, sqrt(64/20) = 1.79 (a chessboard of
    pixels) the largest that is possible. Frames of film have 0.04 to 0.1 at 512 pixels, photographs more; blurred by a
    Gaussian with a deviation of 2 of those pixels, 0.01 to 0.02. Contrast and brightness do not count. Size does: small
    footage looks sharp, as it is not made larger.
    """

    name = "sharpness"
    cpus = 1.0
    gpus = 0.0

    def __init__(self, config: BlurConfig) -> None:
        self.every, self.side = config.every, config.side

    def score(self, image: np.ndarray) -> float:
        """Sharpness of a frame (H, W, 3) uint8 RGB, 0 to 1.79."""
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)
        edges = cv2.Laplacian(grey, cv2.CV_32F, ksize=1)
        contrast = max(float(grey.std()), LEAST_CONTRAST)
        return float(edges.std(dtype=np.float64)) / (math.sqrt(NOISE_GAIN) * contrast)
