"""Preservation: what was not edited is the source's, what was recoloured keeps its detail, the rest is the edit's.

Scenes of textured shapes are drawn at 240x320, edits with a known truth likewise. What a model would return is made
from them: shrunk to 64x64 with padding, slightly blurred, with errors that are smooth, stronger at edges, and
different in the edit and the round trip (about 27 dB in the edit's unchanged part).
"""

import cv2
import numpy as np
import pytest

from icve.pipelines.changes import changed_mask, is_blur
from icve.pipelines.preservation import preserve
from icve.video import Fit
from tests.video.samples import psnr

HEIGHT, WIDTH, FRAMES = 240, 320, 2
FIT = Fit((HEIGHT, WIDTH), (64, 64))
RED, BLUE, GREEN, YELLOW = (0.8, 0.15, 0.12), (0.15, 0.25, 0.8), (0.2, 0.7, 0.3), (0.9, 0.8, 0.2)
DISK, SQUARE = (100, 125, 45, RED, 2, "disk"), (235, 100, 35, GREEN, 3, "square")
SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]])


def texture(seed: int) -> np.ndarray:
    """Noise of all scales down to two pixels, with mean 0 and deviation 1."""
    rng, out = np.random.default_rng(seed), np.zeros((HEIGHT, WIDTH))
    for octave in range(1, 7):
        grid = rng.standard_normal((3 * 2 ** (octave - 1), 4 * 2 ** (octave - 1)))
        out += 0.75**octave * cv2.resize(grid, (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
    return ((out - out.mean()) / out.std())[..., None]


def scene(*things, low=(0.45, 0.5, 0.4), high=(0.7, 0.6, 0.5), seed=1) -> np.ndarray:
    """(F, H, W, 3) in [0, 1]: things (x, y, radius, colour, texture, shape) that move right over a gradient."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    slope = (y / HEIGHT)[..., None]
    backdrop = (np.array(low) * (1 - slope) + np.array(high) * slope) * (1 + 0.18 * texture(seed))
    frames = []
    for frame in range(FRAMES):
        image = backdrop
        for cx, cy, radius, colour, grain, shape in things:
            dx, dy = np.abs(x - cx - 4 * frame), np.abs(y - cy)
            distance = np.hypot(dx, dy) - radius if shape == "disk" else np.maximum(dx, dy) - 0.9 * radius
            inside = np.clip(0.5 - distance, 0, 1)[..., None]
            surface = np.array(colour) * (1 + 0.2 * np.roll(texture(grain), 4 * frame, 1))
            image = image * (1 - inside) + surface * inside
        frames.append(image)
    return np.stack(frames).clip(0, 1)


def to_uint8(frames: np.ndarray) -> np.ndarray:
    return np.rint(255 * frames.clip(0, 1)).astype(np.uint8)


def decoded(frames: np.ndarray, seed: int, noise: float) -> np.ndarray:
    """What an autoencoder makes of frames (F, H, W, 3) uint8 at the model's size, float32."""
    rng = np.random.default_rng(seed)
    out = []
    for frame in FIT.apply(frames).astype(np.float32) / 255:
        coarse = rng.standard_normal((32, 32, 3)).astype(np.float32)
        errors = cv2.resize(coarse, (64, 64), interpolation=cv2.INTER_CUBIC)
        edges = np.abs(frame - cv2.GaussianBlur(frame, (0, 0), 1.5)).mean(-1, keepdims=True)
        out.append(cv2.GaussianBlur(frame, (0, 0), 0.5) + errors * (noise + 0.5 * edges))
    return np.stack(out).clip(0, 1)


SOURCE = to_uint8(scene(DISK, SQUARE))
ROUND_TRIP = decoded(SOURCE, 0, 0.015)


def run(truth: np.ndarray, mask: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The output, and for comparison the edit enlarged."""
    edit = decoded(truth, 1, 0.03)
    return preserve(SOURCE, edit, ROUND_TRIP, FIT, mask), to_uint8(FIT.undo(edit))


def test_where_nothing_changed_the_output_is_the_source():
    output, enlarged = run(SOURCE)
    np.testing.assert_array_equal(output, SOURCE)
    assert psnr(enlarged, SOURCE) < 27


def recoloured() -> np.ndarray:
    return to_uint8(scene((*DISK[:3], BLUE, *DISK[4:]), SQUARE))


LOOKS = {
    "black and white": lambda rgb: np.repeat(rgb @ np.array([[0.299], [0.587], [0.114]]), 3, axis=-1),
    "sepia": lambda rgb: rgb @ SEPIA.T,
    "darker": lambda rgb: 0.62 * rgb**1.35,
    "brighter": lambda rgb: 1.1 * rgb**0.6,
}


@pytest.mark.parametrize("look", LOOKS)
def test_a_look_keeps_the_sources_sharpness(look):
    truth = to_uint8(LOOKS[look](SOURCE / 255))
    output, enlarged = run(truth)
    assert psnr(output, truth) > 35
    assert psnr(output, truth) > psnr(enlarged, truth) + 8


def test_a_new_colour_keeps_the_texture():
    truth = recoloured()
    output, enlarged = run(truth)
    changed = (truth != SOURCE).any(-1)
    assert psnr(output[changed], truth[changed]) > psnr(enlarged[changed], truth[changed]) + 7
    assert psnr(output, truth) > 37


EDITS = {
    "removed": lambda: scene(SQUARE),
    "added": lambda: scene(DISK, SQUARE, (165, 190, 30, YELLOW, 7, "disk")),
    "replaced": lambda: scene((*DISK[:3], YELLOW, 2, "square"), SQUARE),
}


@pytest.mark.parametrize("edit", EDITS)
def test_new_content_is_the_edits_and_the_rest_the_sources(edit):
    truth = to_uint8(EDITS[edit]())
    output, enlarged = run(truth)
    changed = (np.abs(truth.astype(int) - SOURCE).max(-1) > 8).astype(np.uint8)
    assert psnr(output[changed == 1], truth[changed == 1]) > psnr(enlarged[changed == 1], truth[changed == 1]) - 1
    # one cell of the autoencoder, 40 pixels here, away from the change
    far = np.stack([cv2.dilate(frame, np.ones((85, 85), np.uint8)) for frame in changed]) == 0
    assert far.mean() > 0.5
    np.testing.assert_array_equal(output[far], SOURCE[far])


def test_objects_survive_a_new_background():
    truth = to_uint8(scene(DISK, SQUARE, low=(0.3, 0.2, 0.5), high=(0.2, 0.3, 0.6), seed=5))
    output, enlarged = run(truth)
    objects = (truth == SOURCE).all(-1)
    assert psnr(output[objects], SOURCE[objects]) > psnr(enlarged[objects], SOURCE[objects]) + 3
    assert psnr(output, truth) > psnr(enlarged, truth)


def test_a_blur_stays_a_blur():
    truth = np.stack([cv2.GaussianBlur(frame, (0, 0), 8) for frame in SOURCE])
    edit = decoded(truth, 1, 0.03)
    assert is_blur(edit, ROUND_TRIP)
    assert not is_blur(decoded(recoloured(), 1, 0.03), ROUND_TRIP)
    output, enlarged = run(truth)
    assert psnr(output, truth) == pytest.approx(psnr(enlarged, truth), abs=0.5)


def test_a_mask_is_the_only_place_that_changes():
    truth = to_uint8(LOOKS["sepia"](SOURCE / 255))
    mask = np.zeros((FRAMES, HEIGHT, WIDTH), np.float32)
    mask[:, 60:180, 80:200] = 1
    output, _ = run(truth, mask)
    np.testing.assert_array_equal(output[mask == 0], SOURCE[mask == 0])
    assert psnr(output[mask == 1], truth[mask == 1]) > 34
    np.testing.assert_array_equal(run(truth, np.zeros_like(mask))[0], SOURCE)


def test_the_mask_covers_a_change_and_little_else():
    edit = decoded(recoloured(), 1, 0.03)
    small = FIT.apply(SOURCE).astype(np.float32) / 255
    mask = changed_mask(small, edit, ROUND_TRIP)
    truth = (np.abs(FIT.apply(recoloured()).astype(int) - FIT.apply(SOURCE)).max(-1) > 60).astype(np.uint8)
    assert mask[truth == 1].mean() == 1
    assert mask[np.stack([cv2.dilate(t, np.ones((13, 13), np.uint8)) for t in truth]) == 0].max() == 0


@pytest.mark.parametrize("size", [(1, 1), (1, 90), (90, 3), (16, 16)])
def test_any_shape_of_source(size):
    fit = Fit(size, (32, 48))
    source = np.full((1, *size, 3), 60, np.uint8)
    grey = np.full((1, 32, 48, 3), 60 / 255, np.float32)
    np.testing.assert_array_equal(preserve(source, grey, grey, fit), source)
    brighter = preserve(source, grey + 0.5, grey, fit)
    assert np.abs(brighter.astype(int) - 60 - 128).max() <= 2
