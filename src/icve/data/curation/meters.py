"""What is measured of footage while it is decoded, frame by frame, in little memory."""

from collections import deque
from typing import Protocol

import cv2
import numpy as np
from av.video.frame import VideoFrame
from av.video.reformatter import Interpolation, VideoReformatter

from icve.data.curation.config import MotionConfig, ScenesConfig
from icve.data.curation.quality import QualityMeter

# PySceneDetect's metric is a mean over the picture; 64x36 gives the same cuts as larger frames at a fraction of the
# time, and costs less than decoding even for tiny videos.
SMALL = (64, 36)
FLOW_WIDTH = 128
FLOW_GAP = 1 / 12  # seconds between the two frames of a flow: one or two frames, so that fast things are not lost
THUMBNAIL = (96, 54)
THUMBNAIL_EVERY = 1.0
BORDER_EVERY = 1.0
BORDER_SPREAD = 20  # 8-bit levels: coding noise inside a bar of one colour
BORDER_DRIFT = 6.0
BORDER_SMEAR = 2  # lines next to a bar, which coding has mixed with it
BORDER_SHARE = 0.9  # of the samples; subtitles may stand in a bar now and then


class Meter(Protocol):
    """Looks at every decoded frame; keeps what it needs."""

    def observe(self, number: int, time: float, frame: VideoFrame) -> None:
        """The frame with this number, shown at `time` seconds."""


class Detector(Protocol):
    """Finds where shots end, from small pictures.

    Attributes:
        cuts: the number of each frame that a new shot begins with.
        blends: the first and last frame of each gradual transition.
    """

    cuts: list[int]
    blends: list[tuple[int, int]]

    def observe_small(self, number: int, image: np.ndarray) -> None:
        """`image` is (36, 64, 3) uint8 BGR."""

    def finish(self) -> None:
        """The file has ended."""


class Shrinker:
    """Decoded frames as small arrays, through swscale's fastest path."""

    def __init__(self) -> None:
        self.reformatter = VideoReformatter()

    def __call__(self, frame: VideoFrame, width: int, height: int, form: str) -> np.ndarray:
        """(height, width, 3) for form "bgr24" or "rgb24", (height, width) for "gray8"; uint8."""
        small = self.reformatter.reformat(
            frame, width, height, form, interpolation=Interpolation.FAST_BILINEAR, threads=1
        )
        return small.to_ndarray()


class CutMeter:
    """Hard cuts, by PySceneDetect's adaptive detector.

    Attributes:
        cuts: the number of each frame that a new shot begins with.
    """

    def __init__(self, config: ScenesConfig) -> None:
        from scenedetect.detectors import AdaptiveDetector

        self.detector = AdaptiveDetector(
            adaptive_threshold=config.threshold,
            min_scene_len=config.min_gap,
            window_width=config.window,
            min_content_val=config.min_content,
        )
        self.cuts: list[int] = []
        self.blends: list[tuple[int, int]] = []

    def observe_small(self, number: int, image: np.ndarray) -> None:
        """`image` is (36, 64, 3) uint8 BGR."""
        from scenedetect import FrameTimecode

        # Frame numbers are all that the detector goes by; the rate only has to be some number.
        for cut in self.detector.process_frame(FrameTimecode(number, 25.0), image):
            self.cuts.append(cut.frame_num)

    def finish(self) -> None:
        """What ends the file is no cut."""


class BlendMeter:
    """Fades and dissolves: stretches where each picture is the average of an earlier and a later one.

    A picture in the middle of a linear blend is exactly that average, and differs much from both. A moving picture
    differs as much, but is not the average. On 16x9 fields the motion inside the two shots matters little; that the
    whole picture holds to it as well tells a blend from a slow pan.

    Attributes:
        blends: the first and last frame of each.
    """

    FIELDS = (16, 9)
    # (frames before and after, how far the middle may be from the average, as a share of the change between the ends).
    # Measured on 60 shots of dancing people, a car race and animation and on 60 pans and zooms over photographs: one of
    # each is taken for a blend, and of dissolves of 8, 12, 24 and 48 frames 85, 78, 78 and 70% are found.
    LOOKS = ((4, 0.25), (6, 0.3))
    WHOLE_SHARE = 0.35  # the same for the picture of 64x36
    CHANGE = 10.0  # 8-bit levels between the ends of a look
    WHOLE = 15.0  # levels between the ends of a whole transition
    MIDDLE = 0.35  # and how far its middle may be from their average
    LONGEST = 120  # frames: what goes on for longer is no transition

    def __init__(self) -> None:
        self.reach = max(reach for reach, _ in self.LOOKS)
        self.recent: deque[tuple[int, np.ndarray, np.ndarray]] = deque(maxlen=2 * self.reach + 1)
        self.cuts: list[int] = []
        self.blends: list[tuple[int, int]] = []
        self.open: list[tuple[int, np.ndarray]] = []  # the frames so far of a stretch that may be one
        self.last = self.hits = 0  # its last frame for certain, and in how many of its frames it was seen

    def observe_small(self, number: int, image: np.ndarray) -> None:
        """`image` is (36, 64, 3) uint8 BGR."""
        self.recent.append((number, cv2.resize(image, self.FIELDS, interpolation=cv2.INTER_AREA), image))
        if len(self.recent) <= 2 * self.reach:
            return
        found = next((reach for reach, share in self.LOOKS if self._is_blend(reach, share)), None)
        middle = number - self.reach
        if self.open:
            self.open.append(self.recent[-1][:2])
        if found is not None:
            self.open = self.open or [each[:2] for each in list(self.recent)[self.reach - found :]]
            self.last = middle + found
            self.hits += 1
        if self.open and (self.recent[0][0] > self.last or len(self.open) > self.LONGEST):
            self._close()

    def _is_blend(self, reach: int, share: float) -> bool:
        before, middle, after = (self.recent[self.reach + k] for k in (-reach, 0, reach))
        change = _difference(before[1], after[1])
        if change < self.CHANGE or _from_average(before[1], middle[1], after[1]) > share * change:
            return False
        return _from_average(before[2], middle[2], after[2]) <= self.WHOLE_SHARE * _difference(before[2], after[2])

    def _close(self) -> None:
        stretch = [(number, image) for number, image in self.open if number <= self.last]
        (first, before), (_, middle), (last, after) = stretch[0], stretch[len(stretch) // 2], stretch[-1]
        change = _difference(before, after)
        # What pans for long is, as a whole, not the average of its ends.
        whole = self.hits > 1 and change >= self.WHOLE and _from_average(before, middle, after) <= self.MIDDLE * change
        if whole and len(self.open) <= self.LONGEST:
            self.blends.append((first, last))
        self.open, self.hits = [], 0

    def finish(self) -> None:
        """The file ends: so does a fade to black."""
        if self.open:
            self._close()


def _from_average(before: np.ndarray, middle: np.ndarray, after: np.ndarray) -> float:
    return _difference(middle, cv2.addWeighted(before, 0.5, after, 0.5, 0))


def _difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two uint8 pictures."""
    return cv2.norm(a, b, cv2.NORM_L1) / a.size


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

    def inside(self) -> tuple[int, int, int, int]:
        """Top, left, height and width of the stored picture without its borders; even numbers."""
        (top, bottom), (left, right) = self._range(self.rows), self._range(self.columns)
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
