"""The map of structural similarity of two pictures, as fast as OpenCV's filters allow."""

import cv2
import numpy as np

Array = np.ndarray
WINDOW, SIGMA = 11, 1.5  # Wang et al. 2004, section III-C
RADIUS = (
    WINDOW // 2
)  # at the border the window hangs over the edge: such places are not counted (skimage, torchmetrics)
K1, K2, RANGE = 0.01, 0.03, 255
C1, C2 = (K1 * RANGE) ** 2, (K2 * RANGE) ** 2
KERNEL = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_32F)


class SSIMMap:
    """Structural similarity of pictures of one size. The buffers are kept: fresh ones nearly double the time.

    With x and y the two pictures and E the Gaussian mean, Wang et al.'s formula
        (2 ux uy + C1) (2 sxy + C2) / ((ux² + uy² + C1) (sx² + sy² + C2))
    needs four means, E[x], E[y], E[xy] and E[(x - y)²], because ux² + uy² = 2 ux uy + (ux - uy)² and
    sx² + sy² = 2 sxy + E[(x - y)²] - (ux - uy)². Numerator and denominator then share their rounding errors, so that
    float32 is enough. OpenCV filters 8 bits faster than floats, hence x and y are never converted.
    """

    def __init__(self, height: int, width: int) -> None:
        self.difference = np.empty((height, width), np.uint8)
        self.integers = np.empty((height, width), np.uint16)  # exact: 255² fits
        self.floats = [np.empty((height, width), np.float32) for _ in range(5)]

    def __call__(self, x: Array, y: Array) -> Array:
        """x and y uint8 (H, W) to the map, float32 (H, W), the border mirrored; the next call overwrites it."""
        scratch, mean_x, mean_y, structure, spread = self.floats
        _mean(x, mean_x)
        _mean(y, mean_y)
        np.multiply(x, y, out=self.integers, dtype=np.uint16)
        np.copyto(scratch, self.integers)
        _mean(scratch, structure, 2 * KERNEL, C1 + C2)
        cv2.absdiff(x, y, dst=self.difference)
        np.multiply(self.difference, self.difference, out=self.integers, dtype=np.uint16)
        np.copyto(scratch, self.integers)
        _mean(scratch, spread)
        luminance, shift = scratch, mean_x
        np.multiply(mean_x, mean_y, out=luminance)
        luminance *= 2
        luminance += C1  # 2 ux uy + C1
        structure -= luminance  # 2 sxy + C2
        shift -= mean_y
        shift *= shift  # (ux - uy)²
        spread -= shift
        spread += structure  # sx² + sy² + C2
        shift += luminance  # ux² + uy² + C1
        luminance *= structure
        shift *= spread
        luminance /= shift
        return luminance


def _mean(picture: Array, out: Array, column: Array = KERNEL, offset: float = 0) -> None:
    cv2.sepFilter2D(picture, cv2.CV_32F, KERNEL, column, dst=out, delta=offset)
