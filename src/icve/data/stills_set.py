"""Clips for the autoencoder: world scenes, and a camera that moves over photographs with changed colours."""

from collections.abc import Sequence
from dataclasses import dataclass

import cv2
import numpy as np

from icve.data.buckets import Bucket
from icve.data.samples import Sample
from icve.data.world.render import photo, photo_names
from icve.data.world.sampling import generator, pick
from icve.data.world.stills import sample_still

PHOTO_SHARE = 0.25


@dataclass
class StillsSet:
    """An endless `PairSet` without sources and texts; every number is a new clip."""

    name: str
    buckets: Sequence[Bucket]
    seed: int = 0

    def size(self, bucket: Bucket) -> int | None:  # noqa: ARG002 - of the protocol
        """None: endless."""
        return None

    def order(self, bucket: Bucket, seed: int, epoch: int) -> np.ndarray:  # noqa: ARG002
        """Not asked of an endless set."""
        raise TypeError(f"{self.name} is endless")

    def load(self, bucket: Bucket, number: int) -> Sample:
        """Draw a clip."""
        rng = generator(self.seed, number, *bucket)
        draw = photo_clip if rng.random() < PHOTO_SHARE else sample_still
        return Sample(f"{self.name}-{number}", draw(rng, *bucket), None, "")


def photo_clip(rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
    """A camera that moves over a bundled photograph with changed colours, uint8 (F, H, W, 3)."""
    image = photo(pick(rng, photo_names()))
    h, w = image.shape[:2]
    scale = float(np.exp(rng.uniform(np.log(0.5), np.log(min(h / height, w / width)))))  # source pixels per pixel
    room = np.array([w - width * scale, h - height * scale])
    start = rng.random(2) * room
    end = np.clip(start + rng.normal(size=2) * 5 * scale, 0, room)
    if scale > 1:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 * scale)  # no aliasing when the warp shrinks it
    flip = rng.random() < 0.5
    out = np.empty((frames, height, width, 3), np.uint8)
    for i in range(frames):
        x, y = start + (end - start) * (i / max(frames - 1, 1))
        matrix = np.array([[scale, 0, x], [0, scale, y]])
        out[i] = cv2.warpAffine(
            image,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
    out = out[:, :, ::-1] if flip else out
    gain, bias = rng.uniform(0.6, 1.4, 3), rng.uniform(-30, 30, 3)
    return np.clip(out * gain + bias, 0, 255).astype(np.uint8)[..., rng.permutation(3)]
