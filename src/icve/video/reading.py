"""Reads a video file frame by frame: upright RGB with the file's own frame times, in constant memory."""

import sys
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from icve.errors import InputError
from icve.video.color import RGBConverter
from icve.video.info import VideoInfo, probe
from icve.video.opening import MAX_SECONDS, Damage, cut_short, decode, open_video, promised_packets, too_long


@dataclass(frozen=True, slots=True)
class Frame:
    """One frame: `image` (H, W, 3) uint8 RGB, upright; `pts` and `duration` in the file's time_base units."""

    image: np.ndarray
    pts: int
    duration: int


class VideoReader:
    """The frames of a video file, in the order and at the times they are shown. May be iterated repeatedly.

    Attributes:
        info: the file's `VideoInfo`, with the range.
        lost: after an iteration, None, or one sentence that says what of the file could not be decoded.
    """

    def __init__(self, path: str | Path, *, start: int = 0, stop: int | None = None) -> None:
        """
        Args:
            path: the file.
            start, stop: the range of frames, counted from 0; `stop` past the end means the end.

        Raises:
            InputError: the file cannot be read as a video (see `probe`), or the range is empty.
        """
        if start < 0 or (stop is not None and stop <= start):
            raise InputError(f"The frame range {start}:{stop} of {path} is empty; give A:B with 0 <= A < B.")
        self.info: VideoInfo = replace(probe(path), start=start, stop=stop)
        self.lost: str | None = None
        self.to_rgb = RGBConverter(self.info)

    def __iter__(self) -> Iterator[Frame]:
        info, damage = self.info, Damage()
        self.lost = None
        assert info.path is not None
        with open_video(info.path) as (container, stream):
            promised = promised_packets(stream)
            waiting: Frame | None = None  # a frame's duration is known when the next one comes
            count, first, pts = 0, 0, None
            for given, decoded in decode(container, stream, damage):
                pts = next_pts(given, pts, self.unit)
                first = pts if count == 0 else first
                if (pts - first) * info.time_base > MAX_SECONDS:
                    raise too_long(info.path, float((pts - first) * info.time_base))
                if waiting is not None:
                    yield replace(waiting, duration=pts - waiting.pts)
                    waiting = None
                if info.stop is not None and count >= info.stop:
                    break
                if count >= info.start:
                    waiting = Frame(self.to_rgb(decoded), pts, decoded.duration or self.unit)
                count += 1
            else:
                damage.errors += cut_short(container, stream, damage, float(self.unit * info.time_base))
        if waiting is not None:
            yield waiting
        if damage.errors:
            self.lost = self._loss(count, max(damage.packets, promised))
        if count <= info.start:
            raise InputError(f"{info.path} has {count} frames; choose a range that starts before that.")

    @property
    def unit(self) -> int:
        """The usual duration of a frame in `time_base` units, at least 1."""
        return max(1, round(1 / (self.info.average_rate * self.info.time_base)))

    def _loss(self, count: int, packets: int) -> str:
        expected = min(max(packets, self.info.frames or 0), self.info.stop or sys.maxsize)
        lost = f"about {expected - count} are lost" if expected > count else "some are lost"
        return f"{self.info.path} is cut short or damaged: {count} frames could be decoded and {lost}."


def next_pts(given: int | None, previous: int | None, unit: int) -> int:
    """A frame's time, repaired where a broken file gives none or one that does not increase."""
    if previous is None:
        return given or 0
    if given is None:
        return previous + unit
    return max(given, previous + 1)
