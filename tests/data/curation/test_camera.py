"""Camera instructions: the direction is right, and nothing is said where the camera did nothing."""

from pathlib import Path

import cv2
import numpy as np
import pytest

from icve.data import world
from icve.data.curation.camera import CameraConfig, estimate_camera
from icve.data.curation.camera_words import camera_instruction, word_change

HEIGHT, WIDTH = 240, 416
PHOTO = Path(world.__file__).parent / "photos/coffee.jpg"
CONFIG = CameraConfig()


def views(pan: float = 0.0, tilt: float = 0.0, zoom: float = 1.0, roll: float = 0.0, seed: int = 0) -> np.ndarray:
    """Three hand-held frames of a photograph, (3, 240, 416, 3) uint8 RGB."""
    rng = np.random.default_rng(seed)
    photo = cv2.cvtColor(cv2.imread(str(PHOTO)), cv2.COLOR_BGR2RGB)
    canvas = cv2.resize(photo, (900, 600), interpolation=cv2.INTER_CUBIC)
    turn = np.radians(-roll)
    matrix = zoom * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    frames = []
    for _ in range(3):
        middle = np.array([450 + pan * WIDTH, 300 - tilt * HEIGHT]) + rng.normal(0, 1, 2)
        shift = np.array([WIDTH / 2, HEIGHT / 2]) - matrix @ middle
        frame = cv2.warpAffine(canvas, np.column_stack([matrix, shift]), (WIDTH, HEIGHT), borderMode=cv2.BORDER_REFLECT)
        frames.append((frame + rng.normal(0, 3, frame.shape)).clip(0, 255).astype(np.uint8))
    return np.stack(frames)


@pytest.mark.parametrize(
    ("move", "words"),
    [
        ({"pan": 0.15}, "right"),
        ({"pan": -0.15}, "left"),
        ({"tilt": 0.15}, "up"),
        ({"tilt": -0.15}, "down"),
        ({"zoom": 1.3}, "in closer"),
        ({"zoom": 0.75}, "out back"),
        ({"roll": 10.0}, "clockwise"),
        ({"roll": -10.0}, "counter-clockwise"),
    ],
)
def test_the_direction_is_the_cameras(move: dict[str, float], words: str):
    source, target = views(seed=1), views(**move, seed=2)
    change = estimate_camera(source, target)
    assert change is not None
    name, value = next(iter(move.items()))
    assert getattr(change, name) == pytest.approx(value, rel=0.15, abs=0.01)
    for seed in range(5):
        said = camera_instruction(source, target, CONFIG, np.random.default_rng(seed))
        assert said is not None
        assert said.type == "camera"
        assert said.method == "camera/2"
        assert said.scores[name] == pytest.approx(value, rel=0.15, abs=0.01)
        assert 0 <= said.scores["still"] < CONFIG.max_still
        assert set(words.split()) & {word.removesuffix("wards") for word in said.text.rstrip(".").split()}
        assert " and " not in said.text
    back = estimate_camera(target, source)
    assert back is not None
    assert back.strengths(CONFIG)[name] == pytest.approx(-change.strengths(CONFIG)[name], rel=0.2)


def test_two_moves_are_one_sentence():
    change = estimate_camera(views(seed=1), views(pan=0.2, zoom=0.75, seed=2))
    assert change is not None
    texts = {word_change(change, CONFIG, np.random.default_rng(seed)) for seed in range(20)}
    assert len(texts) > 3
    assert all(text is not None and text[0].isupper() and text.count(" and ") == 1 for text in texts)
    assert all("right" in text and ("out" in text or "back" in text) for text in texts if text)


def test_nothing_is_said_where_the_camera_stayed():
    source = views(seed=1)
    rng = np.random.default_rng(0)
    assert camera_instruction(source, views(seed=2), CONFIG, rng) is None
    darker = (views(seed=3) * 0.8).astype(np.uint8)
    assert camera_instruction(source, darker, CONFIG, rng) is None
    moving = [views(seed=4), views(seed=5)]
    thing = cv2.resize(views(seed=6)[0], (120, 110))
    for clip, x in zip(moving, (40, 240), strict=True):  # a large thing that crosses the picture
        clip[:, 80:190, x : x + 120] = thing
    assert camera_instruction(*moving, CONFIG, rng) is None


@pytest.mark.parametrize("move", [{"tilt": -0.28}, {"roll": 15.0}])
def test_a_thing_that_more_features_follow_than_the_camera_is_not_taken_for_it(move: dict[str, float]):
    thing = cv2.resize(cv2.cvtColor(cv2.imread(str(PHOTO.with_name("cat.jpg"))), cv2.COLOR_BGR2RGB), (130, 130))
    clips = [views(), views(seed=1, **move)]
    for clip, places in zip(clips, ([(10, 10), (20, 20), (30, 30)], [(220, 40), (205, 30), (190, 20)]), strict=True):
        for frame, (x, y) in zip(clip, places, strict=True):
            frame[y : y + 130, x : x + 130] = thing
    fooled = estimate_camera(*clips, CameraConfig(candidates=1))
    assert fooled is not None
    assert fooled.pan < -0.4  # the thing's way: what most features fit
    change = estimate_camera(*clips, CONFIG)
    assert change is not None
    assert abs(change.pan) < 0.02
    name, value = next(iter(move.items()))
    assert getattr(change, name) == pytest.approx(value, rel=0.05)


@pytest.mark.parametrize("rows", [130, 150])
def test_what_moves_before_a_plain_scene_is_not_taken_for_the_camera(rows: int):
    """A tower stays at the right, beyond what the moving lower part shows twice; all else behind is sky."""
    far = np.full((rows, WIDTH, 3), 150.0)
    far[:, -60:] = views(seed=9)[0, :rows, 60:0:-1]
    clips = [views(seed=1), views(seed=2, pan=0.3)]
    for clip in clips:
        clip[:, :rows] = (far + np.random.default_rng(rows).normal(0, 3, (3, *far.shape))).clip(0, 255)
    fooled = estimate_camera(*clips, CameraConfig(max_still=1))
    assert fooled is not None
    assert fooled.pan == pytest.approx(0.3, rel=0.1)
    assert CONFIG.max_still < fooled.still < 1
    assert estimate_camera(*clips, CONFIG) is None


def test_other_scenes_and_blank_pictures_are_not_sure():
    noise = np.random.default_rng(0).integers(0, 256, (3, HEIGHT, WIDTH, 3)).astype(np.uint8)
    blank = np.full((3, HEIGHT, WIDTH, 3), 128, np.uint8)
    for other in (noise, blank):
        assert estimate_camera(views(), other) is None
        assert estimate_camera(other, other[::-1].copy()) is None or other is noise
    assert estimate_camera(blank[:1], blank[:1]) is None
