"""Fitting frames into a model's size and back: nothing cropped, nothing shifted."""

import cv2
import numpy as np
import pytest

from icve.video import Fit
from tests.video.samples import picture, psnr

SIZES = [(480, 768), (768, 480), (64, 64), (128, 128)]


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((1080, 1920), (480, 768)),
        ((1920, 1080), (768, 480)),
        ((99, 101), (128, 128)),
        ((1, 4000), (480, 768)),
    ],
)
def test_choose(size: tuple[int, int], expected: tuple[int, int]) -> None:
    fit = Fit.choose(*size, SIZES)
    assert (fit.source, fit.target) == (size, expected)


def smooth(count: int, height: int, width: int) -> np.ndarray:
    frames = np.stack([picture(i, height, width) for i in range(count)])
    blurred = [cv2.GaussianBlur(frame, (0, 0), max(0.5, min(height, width) / 40)) for frame in frames]
    return np.stack(blurred)


@pytest.mark.parametrize("size", [(480, 854), (853, 479), (50, 50), (33, 47), (720, 200), (480, 768)])
def test_there_and_back(size: tuple[int, int]) -> None:
    frames = smooth(2, *size)
    fit = Fit.choose(*size, SIZES[:2])
    fitted = fit.apply(frames)
    assert fitted.shape == (2, *fit.target, 3)
    back = fit.undo(fitted)
    assert back.shape == frames.shape
    assert back.dtype == np.uint8
    assert psnr(back, frames) > 40
    as_float = fit.undo(fitted.astype(np.float32) / 255)
    assert as_float.dtype == np.float32
    assert as_float.min() >= 0
    assert as_float.max() <= 1
    assert psnr((as_float * 255).round().astype(np.uint8), frames) > 40


@pytest.mark.parametrize("size", [(1, 1), (1, 4000), (4000, 1), (2, 3)])
def test_extreme_shapes(size: tuple[int, int]) -> None:
    frames = np.full((1, *size, 3), 77, np.uint8)
    fit = Fit(size, (64, 96))
    assert (fit.apply(frames) == 77).all()
    assert (fit.undo(fit.apply(frames)) == frames).all()


def test_same_size_is_identity() -> None:
    frames = smooth(1, 64, 96)
    fit = Fit((64, 96), (64, 96))
    assert (fit.apply(frames) == frames).all()
    assert (fit.undo(frames) == frames).all()


def test_padding_repeats_the_edge_and_is_centred() -> None:
    frames = smooth(1, 40, 80)
    fitted = Fit((40, 80), (80, 80)).apply(frames)
    assert (fitted[:, 20:60] == frames).all()
    assert (fitted[:, :20] == frames[:, :1]).all()
    assert (fitted[:, 60:] == frames[:, -1:]).all()


def test_undo_ignores_the_padding_and_keeps_places() -> None:
    """A mask (one channel) drawn on the fitted frame comes back where the source's pixels are."""
    fit = Fit((200, 100), (100, 100))
    mask = np.ones((1, 100, 100, 1), np.float32)
    mask[:, :, 25:75] = 0
    mask[:, 40:60, 40:60] = 1
    back = fit.undo(mask)
    assert back.shape == (1, 200, 100, 1)
    rows, columns = np.nonzero(back[0, ..., 0] > 0.5)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (80, 119, 30, 69)


def test_shrinking_does_not_alias() -> None:
    checkers = (np.indices((512, 512)).sum(axis=0) % 2 * 255).astype(np.uint8)
    fitted = Fit((512, 512), (64, 64)).apply(np.stack([checkers] * 3, axis=-1)[None])
    assert fitted.std() < 1
