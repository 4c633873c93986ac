"""Where things should be, pixel by pixel, and which shape a foreground map shows."""

import math
from collections.abc import Sequence
from functools import lru_cache

import cv2
import numpy as np

from icve.data.world import Scene, Thing
from icve.data.world.render import SUBPIXEL, fill, outlines

Array = np.ndarray
RIM = 0.55  # a drawn outline's colour as a fraction of the thing's (render.draw_thing)
SOFTNESS = 0.7  # pixels of 64: blur of a good decoder, so that clean templates are compared with what it can show


def coverage(thing: Thing, scene: Scene, s: float, height: int, width: int) -> Array:
    """How much of each pixel a thing and its outline cover at time s, float32 (height, width) 0..1."""
    image = np.zeros((height, width), np.uint8)
    contours = fill(image, thing, scene, s, 255)
    if thing.outline:
        cv2.polylines(image, contours, True, 255, 1, cv2.LINE_AA, SUBPIXEL)
    return image.astype(np.float32) / 255


def shading(thing: Thing, scene: Scene, s: float, height: int, width: int) -> Array:
    """`coverage` times brightness: an outline is darker than what it surrounds."""
    image = np.zeros((height, width), np.uint8)
    contours = fill(image, thing, scene, s, 255)
    if thing.outline:
        cv2.polylines(image, contours, True, round(255 * RIM), 1, cv2.LINE_AA, SUBPIXEL)
    return image.astype(np.float32) / 255


def soften(image: Array) -> Array:
    """A coverage map (H, W) as a good decoder shows it, or a frame (H, W, 3) with as much less noise."""
    return cv2.GaussianBlur(image, (0, 0), SOFTNESS * min(image.shape[:2]) / 64)


def grow(mask_HW: Array, pixels: float) -> Array:
    """A boolean mask, larger (or, below 0, smaller) by some pixels of a 64-pixel frame."""
    size = 2 * round(abs(pixels) * min(mask_HW.shape) / 64) + 1
    change = cv2.dilate if pixels > 0 else cv2.erode
    return change(mask_HW.astype(np.uint8), np.ones((size, size), np.uint8)).astype(bool)


@lru_cache
def area_and_centroid(shape: str) -> tuple[float, float, float]:
    """(area, x, y) of a shape of radius 1 round its centre (0, 0)."""
    area = x = y = 0.0
    for i, contour in enumerate(outlines(shape)):
        m = cv2.moments(contour.astype(np.float32))
        sign = -1 if i else 1  # a second contour is a hole
        area, x, y = (
            area + sign * abs(m["m00"]),
            x + sign * abs(m["m00"]) * m["m10"] / m["m00"],
            y + sign * abs(m["m00"]) * m["m01"] / m["m00"],
        )
    return area, x / area, y / area


def match(foreground_HW: Array, weight_HW: Array, templates: Sequence[Array], reach: int) -> Array:
    """How well each template fits a foreground map where it stands or up to `reach` pixels away.

    Args:
        foreground_HW: 0..1; `weight_HW`: 0 where it says nothing.
        templates: coverage maps of the same size.

    Returns:
        for each template the best weighted correlation coefficient over all shifts, -1..1.
    """
    # Twice: once for the decoder, once for `View.soft`, which is what foreground maps are made of.
    stack = cv2.GaussianBlur(np.stack(templates, -1), (0, 0), 2**0.5 * SOFTNESS * min(foreground_HW.shape) / 64)
    stack = stack.reshape(*foreground_HW.shape, len(templates))  # OpenCV drops a last axis of one
    stack = stack.reshape(*foreground_HW.shape, -1)  # OpenCV drops a single channel's axis
    seen = stack.max(-1) > 0.02
    rows, columns = (np.flatnonzero(seen.any(axis)) for axis in (1, 0))
    margin = reach + 1
    window = (
        slice(max(rows[0] - margin, 0), rows[-1] + margin + 1),
        slice(max(columns[0] - margin, 0), columns[-1] + margin + 1),
    )
    w = weight_HW[window].astype(np.float32).ravel()
    w /= max(float(w.sum()), 1e-6)
    x = foreground_HW[window].ravel() - float(w @ foreground_HW[window].ravel())
    # The frame's edge cuts things off: what is shifted in from outside looks like what is at the edge.
    padded = np.pad(stack[window].transpose(2, 0, 1), ((0, 0), (reach, reach), (reach, reach)), mode="edge")
    shifted = np.lib.stride_tricks.sliding_window_view(padded, foreground_HW[window].shape, axis=(1, 2))
    t = shifted.reshape(-1, x.size)
    mean = t @ w
    spread = np.maximum((t * t) @ w - mean**2, 1e-6) * max(float(w @ (x * x)), 1e-6)
    return ((t @ (w * x)) / np.sqrt(spread)).reshape(len(templates), -1).max(1)


def visible_share(coverage_HW: Array, thing: Thing, scene: Scene, s: float) -> float:
    """The share of a thing that the view shows."""
    radius = thing.radius * min(coverage_HW.shape) * scene.camera.view(s)[2]
    return float(coverage_HW.sum()) / (area_and_centroid(thing.shape)[0] * radius**2)


def fitted(shape: str, like: Thing, mass_HW: Array, scene: Scene, s: float) -> Thing:
    """An upright thing of the given shape with the area and centroid of a soft mask."""
    height, width = mass_HW.shape
    area, x, y = area_and_centroid(shape)
    total = float(mass_HW.sum())
    radius = math.sqrt(total / area)
    across = float(mass_HW.sum(0) @ (np.arange(width) + 0.5)) / total - radius * x
    down = float(mass_HW.sum(1) @ (np.arange(height) + 0.5)) / total - radius * y
    cu, cv, zoom = scene.camera.view(s)
    at = (across * 2 / width - 1) / zoom + cu, (down * 2 / height - 1) / zoom + cv
    return Thing(
        shape,
        like.colour,
        like.size,
        at=at,
        radius=radius / (min(height, width) * zoom),
        rgb=like.rgb,
        outline=like.outline,
    )
