"""What is measured of footage while it is decoded, frame by frame, in little memory."""

from typing import Protocol

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from icve.data.curation.config import MotionConfig
from icve.data.curation.quality import QualityMeter
from icve.data.curation.scaling import Inside

FLOW_WIDTH = 128
FLOW_GAP = 1 / 12  # seconds between the two frames of a flow: one or two frames, so that fast things are not lost
THUMBNAIL = (96, 54)
THUMBNAIL_EVERY = 1.0
BORDER_EVERY = 1.0
BORDER_SPREAD = 20  # 8-bit levels: coding noise inside a bar of one colour
BORDER_DRIFT = 6.0
BORDER_SMEAR = 2  # lines next to a bar, which coding has mixed with it
BORDER_SAME = 0.97  # of the picture's height or width: what less is shown does not matter
BORDER_SHARE = 0.9  # of the samples; subtitles may stand in a bar now and then


class Meter(Protocol):
    """Looks at every decoded frame; keeps what it needs."""

    def observe(self, number: int, time: float, frame: VideoFrame) -> None:
        """The frame with this number, shown at `time` seconds."""


class Shrinker:
    """Decoded frames as small arrays, through swscale's fastest path."""

    def __init__(self) -> None:
        # One for each use: a reformatter that is asked for another size sets itself up anew, which takes longer than
        # to scale a frame.
        self.reformatters: dict[tuple[int, int, str], VideoReformatter] = {}

    def __call__(self, frame: VideoFrame, width: int, height: int, form: str) -> np.ndarray:
        """(height, width, 3) for form "bgr24" or "rgb24", (height, width) for "gray8"; uint8."""
        use = width, height, form
        if use not in self.reformatters:
            self.reformatters[use] = VideoReformatter()
        small = self.reformatters[use].reformat(frame, *use, interpolation=Interpolation.FAST_BILINEAR, threads=1)
        return small.to_ndarray()


class MotionMeter:
    """Mean dense optical flow between pairs of near frames.

    Attributes:
        samples: (first frame, second frame, flow in hundredths of the picture's diagonal a second).
    """

    def __init__(self, config: MotionConfig, shrink: Shrinker) -> None:
        self.every, self.shrink = config.every, shrink
        self.flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_ULTRAFAST)
        self.samples: list[tuple[int, int, float]] = []
        self.next = 0.0
        self.first: tuple[int, float, np.ndarray] | None = None

    def observe(self, number: int, time: float, frame: VideoFrame) -> None:
        if self.first is None:
            if time >= self.next:
                self.first = number, time, self._gray(frame)
                self.next = time + self.every
        elif time >= self.first[1] + FLOW_GAP:
            before, then, image = self.first
            flow = mean_flow(self.flow, image, self._gray(frame))
            self.samples.append((before, number, flow / (time - then)))
            self.first = None

    def _gray(self, frame: VideoFrame) -> np.ndarray:
        height = max(16, round(FLOW_WIDTH * frame.height / frame.width))
        return self.shrink(frame, FLOW_WIDTH, min(height, 4 * FLOW_WIDTH), "gray8")


def mean_flow(method: cv2.DenseOpticalFlow, before: np.ndarray, after: np.ndarray) -> float:
    """Mean displacement between two (H, W) uint8 pictures, in hundredths of the diagonal."""
    flow = method.calc(before, after, None)
    return float(100 * np.hypot(flow[..., 0], flow[..., 1]).mean() / np.hypot(*before.shape))


class ThumbnailMeter:
    """A small picture a second, to compare moments with each other.

    Attributes:
        frames: the number of the frame that each shows.
        images: (54, 96, 3) uint8 BGR each.
    """

    def __init__(self, shrink: Shrinker) -> None:
        self.shrink = shrink
        self.frames: list[int] = []
        self.images: list[np.ndarray] = []
        self.next = 0.0

    def observe(self, number: int, time: float, frame: VideoFrame) -> None:
        if time >= self.next:
            self.frames.append(number)
            self.images.append(self.shrink(frame, *THUMBNAIL, "bgr24"))
            self.next = time + THUMBNAIL_EVERY


class BorderMeter:
    """Bars and frames of one colour around the picture."""

    def __init__(self, shrink: Shrinker) -> None:
        self.shrink = shrink
        self.next = 0.0
        self.rows: list[tuple[np.ndarray, np.ndarray]] = []  # of each sample: which lines are plain, their levels
        self.columns: list[tuple[np.ndarray, np.ndarray]] = []

    def observe(self, _number: int, time: float, frame: VideoFrame) -> None:
        if time < self.next:
            return
        self.next = time + BORDER_EVERY
        image = self.shrink(frame, frame.width, frame.height, "gray8")
        for axis, lines in ((1, self.rows), (0, self.columns)):
            low, high = image.min(axis), image.max(axis)
            if not lines or len(lines[0][0]) == len(low):  # a file's size may change: its first counts
                lines.append((high - low <= BORDER_SPREAD, low))

    def inside(self) -> Inside:
        """Top, left, height and width of the stored picture without its borders; even numbers.

        What the first frame shows stays, where all frames say the same but for some lines more: frames are then at
        hand that were scaled as they came.
        """
        ranges = []
        for lines in (self.rows, self.columns):
            first, (begin, end) = self._range(lines[:1]), self._range(lines)
            near = begin <= first[0] and first[1] <= end and first[1] - first[0] >= BORDER_SAME * (end - begin)
            ranges.append(first if near else (begin, end))
        (top, bottom), (left, right) = ranges
        return top, left, bottom - top, right - left

    @staticmethod
    def _range(lines: list[tuple[np.ndarray, np.ndarray]]) -> tuple[int, int]:
        plain = np.stack([each for each, _ in lines])
        levels = np.stack([level for _, level in lines]).astype(np.float32)
        drift = np.where(plain, np.abs(levels - np.median(levels, axis=0)), 0).mean(axis=0)
        border = (plain.mean(axis=0) >= BORDER_SHARE) & (drift <= BORDER_DRIFT)
        inside = np.flatnonzero(~border)
        if not len(inside):
            return 0, len(border)  # one plain picture: nothing is a border of something
        first, after = int(inside[0]), len(border) - 1 - int(inside[-1])
        # Bars come in twos of one width. One alone is a night sky, a floor, a plain backdrop.
        if not first or not after or abs(first - after) > max(8, 0.2 * min(first, after)):
            return 0, len(border)
        return _even(first + BORDER_SMEAR), len(border) - _even(after + BORDER_SMEAR)


def _even(number: int) -> int:
    return number + number % 2


class ScoreMeter:
    """A quality filter's scores of a picture every so often.

    Attributes:
        samples: (frame, score).
    """

    def __init__(self, scorer: QualityMeter, shrink: Shrinker) -> None:
        self.scorer, self.shrink = scorer, shrink
        self.samples: list[tuple[int, float]] = []
        self.next = 0.0

    def observe(self, number: int, time: float, frame: VideoFrame) -> None:
        if time >= self.next:
            scale = min(1.0, self.scorer.side / max(frame.width, frame.height))
            size = max(1, round(frame.width * scale)), max(1, round(frame.height * scale))
            self.samples.append((number, self.scorer.score(self.shrink(frame, *size, "rgb24"))))
            self.next = time + self.scorer.every
