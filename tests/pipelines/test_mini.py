"""The bundled model on pictures that its world did not draw: Pillow's shapes in other colours, and filmed footage."""

from itertools import islice
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image, ImageDraw

from icve.pipelines.edit import InContextVideoEditPipeline
from icve.video import VideoReader

GREY, CRIMSON, NAVY = (176, 180, 186), (205, 30, 45), (30, 50, 150)
SQUARE, CIRCLE = (8, 10, 26, 28), (34, 32, 54, 52)  # left, top, right, bottom


@pytest.fixture(scope="module")
def mini() -> InContextVideoEditPipeline:
    pipe = InContextVideoEditPipeline.from_pretrained("mini")
    pipe.set_progress_bar_config(disable=True)
    return pipe


def drawn(frames: int) -> np.ndarray:
    """A navy square and a crimson circle on grey, which moves to the left: uint8 (frames, 64, 64, 3)."""
    clip = []
    for i in range(frames):
        image = Image.new("RGB", (256, 256), GREY)
        draw = ImageDraw.Draw(image)
        draw.rectangle([4 * side for side in SQUARE], fill=NAVY)
        left, top, right, bottom = CIRCLE
        draw.ellipse([4 * left - i, 4 * top, 4 * right - i, 4 * bottom], fill=CRIMSON)
        clip.append(np.asarray(image.resize((64, 64), Image.Resampling.LANCZOS)))
    return np.stack(clip)


def edit(pipe: InContextVideoEditPipeline, clip: np.ndarray, instruction: str) -> np.ndarray:
    result = pipe(video=[clip], prompt=[instruction], generator=[torch.Generator().manual_seed(0)])
    return np.asarray(result.videos[0]) * 255


def middle(clip: np.ndarray, box: tuple[int, int, int, int]) -> np.ndarray:
    """Mean colour of the inner part of a box over all frames."""
    left, top, right, bottom = box
    return clip[:, top + 5 : bottom - 5, left + 5 : right - 5].mean((0, 1, 2))


@pytest.mark.parametrize("frames", [1, 9])
def test_flat_shapes_of_another_renderer(mini, frames):
    source = drawn(frames)
    removed = edit(mini, source, "remove the red circle")
    assert removed.shape == source.shape
    assert np.abs(middle(removed, CIRCLE) - GREY).max() < 50
    assert np.abs(middle(removed, SQUARE) - NAVY).max() < 50

    green = middle(edit(mini, source, "turn the red circle green"), CIRCLE)
    assert green[1] > max(green[0], green[2]) + 30


def test_filmed_footage_loses_its_colour_and_nothing_else(mini):
    reader = VideoReader(Path(__file__).parents[2] / "examples/bunny.mp4")
    frames = [frame.image for frame in islice(reader, 9)]
    source = np.stack([cv2.resize(frame, (80, 48), interpolation=cv2.INTER_AREA) for frame in frames])
    output = edit(mini, source, "make the video black and white")
    saturation = np.ptp(source, axis=-1).mean(), np.ptp(output, axis=-1).mean()
    assert saturation[1] < 0.35 * saturation[0]
    luma = [clip.astype(np.float64).mean(-1).ravel() for clip in (source, output)]
    assert np.corrcoef(*luma)[0, 1] > 0.9
