"""Fits frames of any size into what a model takes and the result back: resize and pad, no crop."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import cv2
import numpy as np


@dataclass(frozen=True)
class Fit:
    """Resizing, aspect ratio kept, and centred padding from `source` to `target`, both (height, width)."""

    source: tuple[int, int]
    target: tuple[int, int]

    @classmethod
    def choose(cls, height: int, width: int, sizes: Iterable[tuple[int, int]]) -> Self:
        """The fit into the (height, width) of `sizes` that needs least padding; of equals the largest."""
        return cls((height, width), min(sizes, key=lambda s: (1 - coverage(height, width, *s), -s[0] * s[1])))

    @property
    def inner(self) -> tuple[int, int, int, int]:
        """Top, left, height and width of the picture inside the padding."""
        (height, width), (h, w) = self.source, self.target
        scale = min(h / height, w / width)
        # The side that limits the scale fills the target exactly, whatever the rounding.
        inner_h, inner_w = min(h, max(1, round(height * scale))), min(w, max(1, round(width * scale)))
        return (h - inner_h) // 2, (w - inner_w) // 2, inner_h, inner_w

    def apply(self, frames: np.ndarray) -> np.ndarray:
        """(F, *source, C) -> (F, *target, C), uint8 or float32. The border repeats the picture's edge."""
        top, left, height, width = self.inner
        bottom, right = self.target[0] - top - height, self.target[1] - left - width
        resized = resize(frames, height, width)
        return np.pad(resized, ((0, 0), (top, bottom), (left, right), (0, 0)), mode="edge")

    def undo(self, frames: np.ndarray) -> np.ndarray:
        """(F, *target, C) -> (F, *source, C), uint8 or float32: unpadded, at the source's size."""
        top, left, height, width = self.inner
        return resize(frames[:, top : top + height, left : left + width], *self.source)


def coverage(height: int, width: int, h: int, w: int) -> float:
    """The share of (h, w) that a (height, width) picture fills; 1 where the aspect ratios are equal."""
    ratio = (height * w) / (width * h)
    return min(ratio, 1 / ratio)


def resize(frames: np.ndarray, height: int, width: int) -> np.ndarray:
    """(F, H, W, C) -> (F, height, width, C), C up to 4: area averages when shrinking, cubic when growing."""
    count, h, w, channels = frames.shape
    if (h, w) == (height, width):
        return np.ascontiguousarray(frames)
    method = cv2.INTER_AREA if height * width < h * w else cv2.INTER_CUBIC
    resized = np.empty((count, height, width, channels), frames.dtype)
    for frame, out in zip(frames, resized, strict=True):
        # OpenCV drops a single channel's axis.
        out[:] = cv2.resize(frame, (width, height), interpolation=method).reshape(out.shape)
        if frames.dtype != np.uint8:
            out.clip(frame.min(), frame.max(), out=out)  # cubic overshoots at edges; uint8 saturates by itself
    return resized
