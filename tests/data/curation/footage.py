"""Footage made for the tests of the data engine: pictures that move, scenes with cuts, borders and fades."""

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np


def scene(seed: int, frames: int, height: int = 96, width: int = 160, *, speed: float = 2.0) -> np.ndarray:
    """A textured picture that pans: (frames, height, width, 3) uint8 RGB; each seed has a hue and a texture."""
    rng = np.random.default_rng(seed)
    margin = int(abs(speed) * frames) + 1
    canvas = np.full((height, width + margin, 3), rng.integers(70, 186, 3), np.float32)
    for cell, strength in ((32, 50), (8, 25), (3, 20)):
        grid = rng.normal(size=(height // cell + 2, (width + margin) // cell + 2, 3)) * strength
        large = cv2.resize(grid.astype(np.float32), None, fx=cell, fy=cell, interpolation=cv2.INTER_CUBIC)
        canvas += large[:height, : width + margin]
    canvas = canvas.clip(0, 255)
    shifts = [speed * k if speed >= 0 else margin + speed * k for k in range(frames)]
    moved = [
        cv2.warpAffine(canvas, np.float32([[1, 0, -x], [0, 1, 0]]), (width, height), flags=cv2.INTER_LINEAR)
        for x in shifts
    ]
    return np.rint(np.stack(moved)).astype(np.uint8)


def jumpy(seed: int, frames: int) -> np.ndarray:
    """Small pictures (frames, 36, 64, 3) uint8: cuts, flashes, stills, noise, pans, changes of the light."""
    rng = np.random.default_rng(seed)
    shots: list[np.ndarray] = []
    while sum(map(len, shots)) < frames:
        shot = scene(int(rng.integers(1000)), int(rng.integers(1, 40)), 36, 64, speed=rng.choice([0, 0.5, 3]))
        noise = rng.normal(0, rng.choice([0, 4, 20]), shot.shape)
        light = 1 + rng.choice([0, 0.5]) * (rng.random((len(shot), 1, 1, 1)) - 0.5)
        shots.append((light * shot + noise).clip(0, 255).astype(np.uint8))
    return np.concatenate(shots)[:frames]


def write(
    path: Path,
    frames: np.ndarray,
    *,
    rate: Fraction = Fraction(24),
    pts: Sequence[int] | None = None,
    time_base: Fraction | None = None,
    codec: str = "libx264",
    options: dict[str, str] | None = None,
) -> Path:
    """Writes (F, H, W, 3) uint8 as a video; `pts` in `time_base` units make its rate vary."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=rate)
        stream.height, stream.width = frames.shape[1:3]
        stream.pix_fmt = "yuv420p"
        stream.options = {"crf": "10", "g": "24"} if options is None else options
        if time_base is not None:
            stream.codec_context.time_base = time_base
        for number, image in enumerate(frames):
            frame = av.VideoFrame.from_ndarray(np.ascontiguousarray(image), "rgb24")
            frame.pts = number if pts is None else pts[number]
            frame.time_base = time_base or 1 / rate
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path
