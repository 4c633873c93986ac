"""What may lie behind the things of a frame, and whether a new background is the one that was asked for.

A background that was to stay is known pixel by pixel. Of a new one the sentence names the kind and the colours only,
so any phase, scale and direction is right.
"""

from typing import Protocol

import cv2
import numpy as np

from icve.data.world import Background
from icve.data.world.scene import BACKDROP_COLOURS
from icve.evaluation.world.shapes import soften

Array = np.ndarray
NAMES = tuple(BACKDROP_COLOURS)
PALETTE = np.array(list(BACKDROP_COLOURS.values()), np.float32)
APART = 60.0  # RGB distance from which a thing's colour can be told from mixtures of two background colours


class Backdrop(Protocol):
    """How far colours are from what may lie behind the things."""

    def distance(self, pixels: Array, thing: Array | None = None) -> Array:
        """RGB distance (H, W) of a frame's pixels, or of one colour (3,) at each place, from the backdrop.

        `thing` is the colour of the thing in question: mixtures that look like it do not count as backdrop.
        """


class KnownBackdrop:
    """A background that is known pixel by pixel: `image`, float32 (H, W, 3); distances are those of softened frames."""

    def __init__(self, image: Array) -> None:
        self.image, self.soft = image, soften(image)

    def distance(self, pixels: Array, thing: Array | None = None) -> Array:  # noqa: ARG002 - nothing is mixed here
        """As `Backdrop`."""
        return np.linalg.norm(pixels - self.soft, axis=-1)


class NamedBackdrop:
    """A new background of which the colours are known: plain, a gradient or a pattern."""

    def __init__(self, background: Background, height: int, width: int) -> None:
        ends = [np.array(BACKDROP_COLOURS[c], np.float32) for c in background.colours]
        self.first, self.last = ends[0], ends[-1]
        self.mixes = background.kind == "gradient"
        self.shape = (height, width)

    def distance(self, pixels: Array, thing: Array | None = None) -> Array:
        """As `Backdrop`. Between the two colours of a pattern lie soft edges, and those count as backdrop too."""
        if thing is None or self.mixes or self._to_mixtures(thing) >= APART:
            result = self._to_mixtures(pixels)
        else:
            ends = [np.linalg.norm(pixels - end, axis=-1) for end in (self.first, self.last)]
            result = np.minimum(*ends)
        return np.broadcast_to(result, self.shape)

    def _to_mixtures(self, pixels: Array) -> Array:
        way = self.last - self.first
        along = np.clip((pixels - self.first) @ way / max(float(way @ way), 1.0), 0, 1)
        return np.linalg.norm(pixels - self.first - along[..., None] * way, axis=-1)


def wrong_background(background: Background, frame: Array, valid: Array) -> str | None:
    """What is wrong with a new background, None if nothing is.

    Args:
        background: what was asked for, not a photograph (those are known pixel by pixel).
        frame: float32 (H, W, 3), 0..255; `valid`: bool (H, W), False on and next to things.
    """
    if background.kind == "plain":
        nearest = np.linalg.norm(frame[valid][:, None] - PALETTE, axis=-1).argmin(-1)
        share = float((nearest == NAMES.index(background.colours[0])).mean())
        if share < 0.96:
            common = NAMES[np.bincount(nearest).argmax()]
            return f"the background is {share:.0%} {background.colours[0]} (most common: {common}), not plain"
        return None
    first, last = (np.array(BACKDROP_COLOURS[c], np.float32) for c in background.colours)
    way = last - first
    weight = np.clip((frame - first) @ way / float(way @ way), -0.2, 1.2).astype(np.float32)
    return (
        _wrong_gradient(weight, valid) if background.kind == "gradient" else _wrong_pattern(background, weight, valid)
    )


def _wrong_gradient(weight: Array, valid: Array) -> str | None:
    """The weight of the second colour must rise evenly along some direction, over most of its range."""
    rows, columns = np.nonzero(valid)
    here = weight[valid]
    plane = np.stack([rows, columns, np.ones_like(rows)], 1).astype(np.float32)
    error = here - plane @ np.linalg.lstsq(plane, here, rcond=None)[0]
    low, high = np.percentile(here, [4, 96])
    # The world's own reach from 0.2 (diagonal, or a panned view) to 0.8 at these percentiles.
    if low > 0.35 or high < 0.65:
        return f"the gradient goes only from {low:.2f} to {high:.2f} of the way between its colours"
    if float(error.var()) > 0.15 * float(here.var()):
        return "the background is no smooth gradient"
    return None


def _wrong_pattern(background: Background, weight: Array, valid: Array) -> str | None:
    """Tells stripes, checks and dots apart by the share of the colours and by the directions of the edges."""
    share = float((weight[valid] > 0.5).mean())
    low, high = (0.1, 0.42) if background.kind == "dots" else (0.25, 0.75)
    if not low <= share <= high:
        return f"{share:.0%} of the background has the second colour, which is no {background.kind}"
    smooth = cv2.GaussianBlur(weight, (0, 0), 0.7 * min(weight.shape) / 64)
    dx, dy = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    slope = (dx + 1j * dy)[valid]
    # A straight edge has the sum of slopes 1 across it: the mean slope is the length of edges per area.
    density = float(np.abs(slope).mean()) * min(weight.shape)
    if density < 2.5:  # the world's have 4 to 10; two halves have 1
        return f"the background has too few edges for {background.kind}"
    power = max(float((np.abs(slope) ** 2).sum()), 1e-6)
    one_way = abs(complex((slope**2).sum())) / power  # 1 if all edges run one way
    two_ways = abs(complex((slope**4 / np.maximum(np.abs(slope) ** 2, 1e-9)).sum())) / power  # 1 for right angles too
    kind = "stripes" if one_way > 0.6 else "checks" if two_ways > 0.45 else "dots"
    return None if kind == background.kind else f"the background's pattern is {kind}, not {background.kind}"
