"""Cases with real pictures: the bunny clip and photographs, edited in a known place; written without loss."""

from dataclasses import replace
from functools import cache
from pathlib import Path

import cv2
import numpy as np

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips, read_clip
from icve.video import VideoWriter, probe

ROOT = Path(__file__).parents[3]
BUNNY = ROOT / "examples/bunny.mp4"
PHOTOS = ROOT / "src/icve/data/world/photos"
FRAMES, HEIGHT, WIDTH = 5, 96, 128
BOX = np.s_[30:70, 40:90]  # where the edit is


def photo(name: str) -> np.ndarray:
    """(HEIGHT, WIDTH, 3) uint8 RGB."""
    picture = cv2.imread(str(PHOTOS / f"{name}.jpg"))[..., ::-1]
    return cv2.resize(np.ascontiguousarray(picture), (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA)


@cache
def _bunny_clip() -> np.ndarray:
    clip = read_clip(BUNNY)
    return np.stack([cv2.resize(frame, (WIDTH, HEIGHT), interpolation=cv2.INTER_AREA) for frame in clip])


def bunny(frames: int = FRAMES, step: int = 1) -> np.ndarray:
    """(frames, HEIGHT, WIDTH, 3) uint8 RGB of a real clip with motion."""
    return _bunny_clip()[: frames * step : step]


def write(path: Path, clip: np.ndarray) -> Path:
    """`clip` (F, H, W, 3) as a lossless video."""
    info = probe(BUNNY)
    info = replace(info, path=None, width=clip.shape[2], height=clip.shape[1], has_audio=False, frames=len(clip))
    unit = round(1 / (info.average_rate * info.time_base))
    with VideoWriter(path, info, lossless=True) as writer:
        for i, frame in enumerate(clip):
            writer.write(frame, i * unit, unit)
    return path


def noisy(clip: np.ndarray, sigma: float, seed: int = 0) -> np.ndarray:
    """`clip` with Gaussian noise."""
    noise = np.random.default_rng(seed).normal(0, sigma, clip.shape)
    return np.clip(np.rint(clip + noise), 0, 255).astype(np.uint8)


def case(folder: Path, *, source: np.ndarray, edited: np.ndarray, **more: object) -> tuple[Case, Clips]:
    """A case and its clips; `target` may be a clip, `mask` bool (F, H, W)."""
    paths: dict[str, object] = dict(more)
    if "target" in more:
        paths["target"] = write(folder / "target.mp4", more["target"])
    if "mask" in more:
        (folder / "mask").mkdir()
        for i, mask in enumerate(more["mask"]):
            cv2.imwrite(str(folder / f"mask/{i:03}.png"), mask.astype(np.uint8) * 255)
        paths["mask"] = folder / "mask"
    a_case = Case("a", "change", "make the box flat", write(folder / "source.mp4", source), **paths)
    return a_case, Clips(a_case, write(folder / "edited.mp4", edited))


def edit(clip: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The clip with a flat box, and where it is, bool (F, H, W)."""
    target, mask = clip.copy(), np.zeros(clip.shape[:3], bool)
    target[:, *BOX] = (200, 40, 40)
    mask[:, *BOX] = True
    return target, mask
