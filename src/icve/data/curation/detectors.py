"""Where shots end, found in small pictures of all frames while a file is decoded."""

from collections import deque
from typing import Protocol

import cv2
import numpy as np

from icve.data.curation.config import ScenesConfig

# The measure of a cut is a mean over the picture; 64x36 gives the same cuts as larger frames at a fraction of the time,
# and costs less than decoding even for tiny videos.
SMALL = (64, 36)
STILL = 1e-5  # levels of change: below, nothing moves around a cut, and there is nothing to divide by


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


class CutMeter:
    """Hard cuts: frames that differ from the one before by many times what their neighbours do.

    The rule and its defaults are those of PySceneDetect's AdaptiveDetector (0.7), whose cuts these are; its own code
    took a good part of the time that small footage takes to decode.

    Attributes:
        cuts: the number of each frame that a new shot begins with.
    """

    def __init__(self, config: ScenesConfig) -> None:
        self.config = config
        self.last: np.ndarray | None = None
        self.changes: deque[float] = deque(maxlen=2 * config.window + 1)
        self.last_cut: int | None = None
        self.cuts: list[int] = []
        self.blends: list[tuple[int, int]] = []

    def observe_small(self, number: int, image: np.ndarray) -> None:
        """`image` is (36, 64, 3) uint8 BGR."""
        config = self.config
        hsv = cv2.cvtColor(image, cv2.COLOR_BGR2HSV)
        self.changes.append(0.0 if self.last is None else difference(self.last, hsv))
        self.last = hsv
        if self.last_cut is None:
            self.last_cut = number  # the first shot begins here
        if len(self.changes) < 2 * config.window + 1:
            return
        change, middle = self.changes[config.window], number - config.window
        around = (sum(self.changes) - change) / (2 * config.window)
        stands_out = around < STILL or change >= config.threshold * around
        if stands_out and change >= config.min_content and middle - self.last_cut >= config.min_gap:
            self.last_cut = middle
            self.cuts.append(middle)

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
        change = difference(before[1], after[1])
        if change < self.CHANGE or _from_average(before[1], middle[1], after[1]) > share * change:
            return False
        return _from_average(before[2], middle[2], after[2]) <= self.WHOLE_SHARE * difference(before[2], after[2])

    def _close(self) -> None:
        stretch = [(number, image) for number, image in self.open if number <= self.last]
        (first, before), (_, middle), (last, after) = stretch[0], stretch[len(stretch) // 2], stretch[-1]
        change = difference(before, after)
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
    return difference(middle, cv2.addWeighted(before, 0.5, after, 0.5, 0))


def difference(a: np.ndarray, b: np.ndarray) -> float:
    """Mean absolute difference of two uint8 pictures."""
    return cv2.norm(a, b, cv2.NORM_L1) / a.size
