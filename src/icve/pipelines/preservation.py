"""Keeps the source's own pixels where an edit changed nothing, and the source's detail where it changed only colours.

Shapes: F frames, H x W pixels of the source, h x w of the picture at the model's size; RGB.

A model edits at its own, often far smaller, size. Its result is turned into pixels of the source's size in one of
three ways, place by place:
- unchanged (`changes.changed_mask`): the source's pixel, bit for bit;
- changed in colour only: there the edit is, around each place, an affine function of the source's colour. The
  function is fitted at the model's size, from the round trip to the edit, and applied to the source at full
  resolution, so that texture and edges stay as sharp as they were (the idea of the guided filter, He et al. 2010);
- changed in structure: the edit itself, enlarged. This is wherever the function leaves more of the edit unexplained
  than the noise between two decodings does.
"""

import cv2
import numpy as np

from icve.pipelines.changes import changed_mask, is_blur, smooth
from icve.video import Fit
from icve.video.geometry import resize

RIDGE = 0.01**2  # colours that vary less than this around a place (variance) do not fix the function there
ROUNDS = 3  # of the fit, each trusting less what the one before left unexplained
# Unexplained energy over the noise's: where the edit itself starts to be used, and where nothing else is. Averaged
# over 3 pixels it takes much to be sure; averaged over two cells of the autoencoder (17 pixels) little is enough.
NEAR, NEAR_WINDOW = (2.25, 9.0), 3
AROUND, AROUND_WINDOW = (1.5, 3.0), 17
# Unexplained energy over the edit's own, over half the picture: a new background follows no function of the old one.
WHOLE = (0.3, 0.6)
# The decoder errs where the source has edges, and about half of that energy comes out differently in the edit. More
# would take a square that replaces a circle for a circle in the square's colour.
SHARE_OF_ERRORS = 0.5
# BT.601: where nothing is known of how colours change, the source's luma detail is kept as grey
GREY_DETAIL = np.tile(np.array([0.299, 0.587, 0.114], np.float32), (3, 1))


def preserve(
    source: np.ndarray, edit: np.ndarray, round_trip: np.ndarray, fit: Fit, mask: np.ndarray | None = None
) -> np.ndarray:
    """The edit at the source's resolution, (F, H, W, 3) uint8, with the source's pixels outside what changed.

    Args:
        source: (F, H, W, 3) uint8.
        edit: what the model made of it, (F, *fit.target, 3) float32 in [0, 1].
        round_trip: the source through the autoencoder alone, like `edit`.
        fit: the geometry between the two sizes.
        mask: (F, H, W) float32 in [0, 1], where the output may differ from the source; found when None.
    """
    top, left, height, width = fit.inner
    inner = np.s_[:, top : top + height, left : left + width]
    edit, round_trip = edit[inner], round_trip[inner]
    small_source = resize(source, height, width).astype(np.float32) / 255
    blurred = is_blur(edit, round_trip)
    if mask is not None:
        small_mask = resize(mask[..., None], height, width)[..., 0]
    elif blurred:
        small_mask = np.ones(edit.shape[:3], np.float32)
    else:
        small_mask = changed_mask(small_source, edit, round_trip)
    noise = _noise(edit - round_trip)
    output = source.copy()
    for i in range(len(source)):
        full_mask = mask[i] if mask is not None else _enlarge(smooth(small_mask[i], 0.8), *fit.source)
        rows, columns = np.flatnonzero(full_mask.any(axis=1)), np.flatnonzero(full_mask.any(axis=0))
        if not len(rows):
            continue
        box = np.s_[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
        before = source[i][box].astype(np.float32)
        changed = resize(edit[i : i + 1], *fit.source)[0][box]
        if not blurred:
            errors = _mean(np.square(round_trip[i] - small_source[i]).mean(-1), NEAR_WINDOW)
            floor = noise**2 + SHARE_OF_ERRORS * errors
            matrix, offset, replaced = _colour_map(round_trip[i], edit[i], small_mask[i], floor)
            mapped = _apply(matrix, offset, before / 255, fit.source, box)
            changed = mapped + _enlarge(replaced, *fit.source)[box][..., None] * (changed - mapped)
        after = before + full_mask[box][..., None] * (255 * changed - before)
        output[i][box] = np.rint(after.clip(0, 255))
    return output


def _noise(difference: np.ndarray) -> float:
    """The standard deviation of fine differences between two decodings: robust, so that edits do not count."""
    fine = difference - np.stack([smooth(frame, 1.5) for frame in difference])
    return min(1.48 * float(np.median(np.abs(fine))), 0.05) + 1e-3


def _mean(maps: np.ndarray, window: int, weight: np.ndarray | None = None) -> np.ndarray:
    """Box means of (h, w, …), weighted by (h, w)."""
    if weight is not None:
        weights = weight[(...,) + (None,) * (maps.ndim - 2)]
        return _mean(maps * weights, window) / _mean(weights, window)
    flat = np.ascontiguousarray(maps.reshape(*maps.shape[:2], -1), np.float32)
    # one by one: OpenCV takes few channels at a time
    means = [cv2.blur(channel, (window, window), borderType=cv2.BORDER_REFLECT) for channel in np.moveaxis(flat, -1, 0)]
    return np.stack(means, axis=-1).reshape(maps.shape)


def _ramp(value: np.ndarray, ends: tuple[float, float]) -> np.ndarray:
    return np.clip((value - ends[0]) / (ends[1] - ends[0]), 0, 1)


def _colour_map(
    before: np.ndarray, after: np.ndarray, mask: np.ndarray, floor: np.ndarray
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """`matrix` (h, w, 3, 3) and `offset` (h, w, 3) with after ≈ matrix @ before + offset, and where that is not so.

    Fitted over windows of half the picture, inside `mask` (h, w), by ridge regression that is repeated with less
    weight on what does not follow it: one function for what a region shares. `replaced` (h, w), from 0 to 1, is 1
    where it leaves clearly more than `floor` (h, w, variance of the noise), or half of the edit, unexplained.
    """
    window = min(mask.shape) // 2 | 1
    weight = inside = mask + 1e-3  # never nothing at all
    for _ in range(ROUNDS):
        mean_before, mean_after = _mean(before, window, weight), _mean(after, window, weight)
        variance = _mean(_outer(before, before), window, weight) - _outer(mean_before, mean_before)
        covariance = _mean(_outer(after, before), window, weight) - _outer(mean_after, mean_before)
        # matrix = covariance @ inverse(variance), and variance is symmetric
        transposed = (covariance + RIDGE * GREY_DETAIL).swapaxes(-1, -2)
        matrix = np.linalg.solve(variance + RIDGE * np.eye(3, dtype=np.float32), transposed).swapaxes(-1, -2)
        offset = mean_after - _multiply(matrix, mean_before)
        unexplained = np.square(after - _multiply(matrix, before) - offset).mean(-1)
        weight = inside / (1 + unexplained / (4 * floor)) ** 2
    spread = _mean(np.square(after - _mean(after, window, inside)).mean(-1), window, inside)
    ratio = unexplained / floor
    reasons = [
        _ramp(_mean(ratio, NEAR_WINDOW), NEAR),
        _ramp(_mean(ratio, AROUND_WINDOW, inside), AROUND),
        _ramp(_mean(unexplained, window, inside) / (spread + 1e-6), WHOLE),
    ]
    return matrix, offset, smooth(np.maximum.reduce(reasons), 1.0)


def _outer(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    return a[..., :, None] * b[..., None, :]


def _multiply(matrix: np.ndarray, colour: np.ndarray) -> np.ndarray:
    return (matrix @ colour[..., None])[..., 0]


def _enlarge(values: np.ndarray, height: int, width: int) -> np.ndarray:
    """(h, w) to (height, width), linear, so that weights stay within their range."""
    return cv2.resize(values, (width, height), interpolation=cv2.INTER_LINEAR)


def _apply(
    matrix: np.ndarray, offset: np.ndarray, colours: np.ndarray, size: tuple[int, int], box: tuple[slice, slice]
) -> np.ndarray:
    """The function, enlarged to `size`, of the `colours` (…, 3) of the part `box`: float32, about [0, 1]."""
    result = np.stack([_enlarge(offset[..., i], *size)[box] for i in range(3)], axis=-1)
    for i in range(3):
        for j in range(3):
            result[..., i] += _enlarge(matrix[..., i, j], *size)[box] * colours[..., j]
    return result
