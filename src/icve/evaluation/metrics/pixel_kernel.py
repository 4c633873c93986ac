"""Squared errors and structural similarity of two frames in one pass over them, compiled by Numba when first used.

With x and y the luma of two frames and E the Gaussian mean, Wang et al.'s formula
    (2 ux uy + C1) (2 sxy + C2) / ((ux² + uy² + C1) (sx² + sy² + C2))
needs four means, E[x], E[y], E[xy] and E[(x - y)²], because ux² + uy² = 2 ux uy + (ux - uy)² and
sx² + sy² = 2 sxy + E[(x - y)²] - (ux - uy)². Numerator and denominator then share their rounding errors, so that
float32 is enough. Rows go through all steps a few at a time, while they are in the core's own cache: reading and
writing whole planes takes longer than the arithmetic.

Each loop is a function over the columns of a row, in the form that LLVM turns into vector instructions.
"""

from collections.abc import Callable

import cv2
import numba
import numpy as np
from numba import float32

from icve.evaluation.metrics.pixel_sums import RADIUS, WINDOW

Array = np.ndarray
SIGMA = 1.5  # of the window, in pixels: Wang et al. 2004, section III-C
SPAN = WINDOW - 1  # rows beside the newest one that a window needs
K1, K2, RANGE = 0.01, 0.03, 255
C1, C2 = np.float32((K1 * RANGE) ** 2), np.float32((K2 * RANGE) ** 2)
W0, W1, W2, W3, W4, W5 = cv2.getGaussianKernel(WINDOW, SIGMA, cv2.CV_32F)[: RADIUS + 1, 0]  # it is symmetric
# BT.601 in 15 bits, as OpenCV has it: sums of these are exact in float32.
RED, GREEN, BLUE = np.float32(9798 / 2**15), np.float32(19235 / 2**15), np.float32(3735 / 2**15)
HALF, TWO = np.float32(0.5), np.float32(2)
ROWS = 32  # at a time; with 8 or 16 it takes a tenth longer


def compiled(function: Callable) -> Callable:
    """The function in machine code, kept on disk where some cache folder can be written."""
    try:
        return _njit(function, cache=True)
    except RuntimeError:
        return _njit(function, cache=False)


def _njit(function: Callable, cache: bool) -> Callable:
    # Python's check for division by zero would keep loops from becoming vector instructions.
    return numba.njit(function, cache=cache, fastmath=True, error_model="numpy")


@compiled
def sums(x: Array, y: Array, mask: Array) -> tuple[float, float, float, float]:
    """Sums over the frame and over the mask.

    Args:
        x, y: RGB, uint8 (H, 3 W).
        mask: uint8 (H, W) of 0 and 1.

    Returns:
        Squared errors of all channels: of all pixels, of those in the mask. Similarity of the windows that lie in the
        frame: of all of them, of those whose middle is in the mask.
    """
    height, width = mask.shape
    products = np.empty((4, SPAN + ROWS + 1, width), np.float32)
    down = np.empty((2, 4, width), np.float32)
    means = np.empty((4, width), np.float32)
    error, error_masked, similarity, similarity_masked = 0.0, 0.0, 0.0, 0.0
    for top in range(0, height, ROWS):
        rows = min(ROWS, height - top)
        for row in range(rows):
            of_all, of_mask = compare_row(x, y, mask, top + row, products, SPAN + row)
            error += of_all
            error_masked += of_mask
        for row in range(max(0, SPAN - top), rows, 2):
            for plane in range(4):
                filter_down(products, plane, row, down)
            for i in range(min(2, rows - row)):
                for plane in range(4):
                    filter_across(down, i, plane, means)
                of_all, of_mask = similarity_of_row(means, mask, top + row + i - RADIUS)
                similarity += of_all
                similarity_masked += of_mask
        for plane in range(4):
            for row in range(SPAN):
                for column in range(width):
                    products[plane, row, column] = products[plane, rows + row, column]
    return error, error_masked, similarity, similarity_masked


@compiled
def compare_row(x: Array, y: Array, mask: Array, row: int, products: Array, r: int) -> tuple[np.float32, np.float32]:
    """Squared errors of a row; into row r of `products` go the lumas x and y, rounded to 8 bits, x y and (x - y)²."""
    of_all, of_mask = float32(0), float32(0)
    for i in range(mask.shape[1]):
        x0, x1, x2 = float32(x[row, 3 * i]), float32(x[row, 3 * i + 1]), float32(x[row, 3 * i + 2])
        y0, y1, y2 = float32(y[row, 3 * i]), float32(y[row, 3 * i + 1]), float32(y[row, 3 * i + 2])
        error = (x0 - y0) * (x0 - y0) + (x1 - y1) * (x1 - y1) + (x2 - y2) * (x2 - y2)
        of_all += error
        of_mask += error * float32(mask[row, i])
        products[0, r, i] = np.floor(x0 * RED + x1 * GREEN + x2 * BLUE + HALF)
        products[1, r, i] = np.floor(y0 * RED + y1 * GREEN + y2 * BLUE + HALF)
    for i in range(mask.shape[1]):
        luma_x, luma_y = products[0, r, i], products[1, r, i]
        products[2, r, i] = luma_x * luma_y
        products[3, r, i] = (luma_x - luma_y) * (luma_x - luma_y)
    return of_all, of_mask


@compiled
def filter_down(p: Array, plane: int, r: int, out: Array) -> None:
    """The Gaussian means of a plane's rows from r to r + SPAN, and from r + 1: what both need is read once."""
    for i in range(out.shape[2]):
        a, b, c, d = p[plane, r, i], p[plane, r + 1, i], p[plane, r + 2, i], p[plane, r + 3, i]
        e, f, g, h = p[plane, r + 4, i], p[plane, r + 5, i], p[plane, r + 6, i], p[plane, r + 7, i]
        j, k, l, m = p[plane, r + 8, i], p[plane, r + 9, i], p[plane, r + 10, i], p[plane, r + 11, i]
        out[0, plane, i] = W0 * (a + l) + W1 * (b + k) + W2 * (c + j) + W3 * (d + h) + W4 * (e + g) + W5 * f
        out[1, plane, i] = W0 * (b + m) + W1 * (c + l) + W2 * (d + k) + W3 * (e + j) + W4 * (f + h) + W5 * g


@compiled
def filter_across(p: Array, row: int, plane: int, out: Array) -> None:
    """The Gaussian means of a row, each of the columns from i to i + SPAN."""
    for i in range(out.shape[1] - SPAN):
        out[plane, i] = (
            W0 * (p[row, plane, i] + p[row, plane, i + 10])
            + W1 * (p[row, plane, i + 1] + p[row, plane, i + 9])
            + W2 * (p[row, plane, i + 2] + p[row, plane, i + 8])
            + W3 * (p[row, plane, i + 3] + p[row, plane, i + 7])
            + W4 * (p[row, plane, i + 4] + p[row, plane, i + 6])
            + W5 * p[row, plane, i + 5]
        )


@compiled
def similarity_of_row(means: Array, mask: Array, row: int) -> tuple[np.float32, np.float32]:
    """The formula, summed over a row; `row` is that of the windows' middles."""
    of_all, of_mask = float32(0), float32(0)
    for i in range(means.shape[1] - SPAN):
        mean_x, mean_y = means[0, i], means[1, i]
        luminance = TWO * mean_x * mean_y + C1  # 2 ux uy + C1
        structure = TWO * means[2, i] + (C1 + C2) - luminance  # 2 sxy + C2
        shift = (mean_x - mean_y) * (mean_x - mean_y)
        similarity = luminance * structure / ((luminance + shift) * (means[3, i] - shift + structure))
        of_all += similarity
        of_mask += similarity * float32(mask[row, i + RADIUS])
    return of_all, of_mask
