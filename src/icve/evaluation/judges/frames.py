"""Frames of a clip as a judge sees them: few and small, read in bounded memory."""

from collections.abc import Sequence
from pathlib import Path

import cv2
import numpy as np

from icve.errors import InputError
from icve.evaluation.clips import MAX_FRAMES
from icve.video import VideoReader

Array = np.ndarray
KEPT = 256  # small frames of a clip in memory; of a longer clip every second, fourth … is kept


class SmallFrames:
    """A clip's frames, shrunk to `side` pixels at their longest, each (H, W, 3) uint8 RGB.

    Attributes:
        count: of frames in the file.

    Raises:
        InputError: the file cannot be read, or is longer than a benchmark's clips are.
    """

    def __init__(self, path: Path, side: int) -> None:
        self.count, step = 0, 1
        self.kept: dict[int, Array] = {}
        small = None
        for frame in VideoReader(path):
            if self.count == MAX_FRAMES:
                raise InputError(f"{path} is longer than {MAX_FRAMES} frames; cut it to the benchmark's clip.")
            small = shrink(frame.image, side)
            if self.count % step == 0:
                self.kept[self.count] = small
            if len(self.kept) > KEPT:
                step *= 2
                self.kept = {number: image for number, image in self.kept.items() if number % step == 0}
            self.count += 1
        assert small is not None  # the reader refuses a file without frames
        self.kept[self.count - 1] = small

    def at(self, places: Sequence[float], count: int) -> list[Array]:
        """The frames at these places among the first `count`, each once: 0 is the first, 1 the last of them.

        Of a clip of more than 256 frames the nearest that was kept, at most count / 256 frames off.
        """
        wanted = dict.fromkeys(round(place * (count - 1)) for place in places)
        return [self.kept[min(self.kept, key=lambda number: abs(number - w))] for w in wanted]


def shrink(frame: Array, side: int) -> Array:
    """A frame with its longest side at most `side` pixels."""
    height, width = frame.shape[:2]
    scale = side / max(height, width)
    if scale >= 1:
        return frame.copy()  # the reader may use its picture's memory again
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    return cv2.resize(frame, size, interpolation=cv2.INTER_AREA)


def evenly(count: int) -> tuple[float, ...]:
    """`count` places from 0 to 1, with both ends; one alone is in the middle."""
    return (0.5,) if count == 1 else tuple(np.linspace(0, 1, count).tolist())
