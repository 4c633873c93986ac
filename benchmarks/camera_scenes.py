"""Clips for benchmarks/camera_instructions.py: photographs seen by a camera whose moves are known.

Each clip has 9 frames of 240x416, hand-held by a pixel or so, with sensor noise, its own exposure and H.264 at CRF 23.
"""

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
import numpy as np

from icve.data.buckets import Bucket
from icve.data.shard_media import decode_clip, encode_clip

SIZE = (240, 416)
FRAMES = 9
SKIMAGE = ("astronaut.png", "brick.png", "chelsea.png", "coffee.png", "grass.png", "gravel.png", "motorcycle_left.png",
           "rocket.jpg")  # fmt: skip
SKLEARN = ("china.jpg", "flower.jpg")
OPPOSITE = {"pan": ("right", "left"), "tilt": ("up", "down"), "zoom": ("in", "out"), "roll": ("clockwise", "counter")}


View = dict[str, float]  # pan, tilt, zoom and roll
STILL: View = {"pan": 0.0, "tilt": 0.0, "zoom": 1.0, "roll": 0.0}


def photographs() -> tuple[str, list[np.ndarray]]:
    """Where they come from, and the photographs (H, W, 3) uint8 RGB."""
    paths: list[Path] = []
    for package, folder, names in (("skimage", "data", SKIMAGE), ("sklearn", "datasets/images", SKLEARN)):
        found = importlib.util.find_spec(package)
        if found is not None and found.submodule_search_locations:
            paths += [Path(found.submodule_search_locations[0]) / folder / name for name in names]
    origin = "scikit-image and scikit-learn"
    if not paths:
        origin = "the procedural world's photographs"
        world = importlib.util.find_spec("icve.data.world")
        assert world is not None
        assert world.submodule_search_locations
        paths = sorted((Path(world.submodule_search_locations[0]) / "photos").glob("*.jpg"))
    images = [cv2.imread(str(path)) for path in paths if path.is_file()]
    return origin, [cv2.cvtColor(image, cv2.COLOR_BGR2RGB) for image in images if image is not None]


def render(canvas: np.ndarray, view: View) -> np.ndarray:
    """The photograph seen by a camera at `pan`, `tilt` (shares of the view), `zoom` and `roll` (degrees)."""
    height, width = SIZE
    scale = view["zoom"]
    turn = np.radians(-view["roll"])  # a camera rolled clockwise shows things turned counter-clockwise
    matrix = scale * np.array([[np.cos(turn), -np.sin(turn)], [np.sin(turn), np.cos(turn)]])
    middle = np.array([canvas.shape[1] / 2 + view["pan"] * width, canvas.shape[0] / 2 - view["tilt"] * height])
    shift = np.array([width / 2, height / 2]) - matrix @ middle
    return cv2.warpAffine(
        canvas, np.column_stack([matrix, shift]), (width, height), flags=cv2.INTER_AREA, borderMode=cv2.BORDER_REFLECT
    )


@dataclass(frozen=True)
class Scene:
    """What stands before the camera.

    Attributes:
        canvas: the photograph, (H, W, 3) uint8, larger than the view.
        thing: a cut-out that moves before it.
        near: a nearer plane, (H, W, 4) with its shape in the last channel; it moves `depth` times as far.
        light: how bright the clip is from its left to its right, in times.
    """

    canvas: np.ndarray
    thing: np.ndarray | None = None
    near: np.ndarray | None = None
    depth: float = 1.0
    light: tuple[float, float] = (1.0, 1.0)


def clip(rng: np.random.Generator, scene: Scene, view: View, near_view: View | None = None) -> np.ndarray:
    """Three frames as a codec gives them back; the nearer plane may have a view of its own."""
    place, speed = rng.uniform(0.1, 0.9, 2), rng.normal(0, 0.03, 2)
    exposure, frames = rng.uniform(0.85, 1.15), []
    light = np.linspace(*scene.light, SIZE[1])[None, :, None]
    for number in range(FRAMES):
        shake = rng.normal(0, 1, 2) / (SIZE[1], SIZE[0])
        image = render(scene.canvas, shaken(view, shake))
        if scene.near is not None:
            plane = render(scene.near, shaken(near_view or nearer(view, scene.depth), shake))
            image = np.where(plane[..., 3:] > 127, plane[..., :3], image)
        if scene.thing is not None:
            paste(image, scene.thing, place + speed * number)
        noisy = image * exposure * light + rng.normal(0, 3, image.shape)
        frames.append(np.rint(noisy.clip(0, 255)).astype(np.uint8))
    coded = encode_clip(np.stack(frames), 24, quality=23, lossless=False)
    return decode_clip(coded, Bucket(FRAMES, *SIZE))[[0, FRAMES // 2, FRAMES - 1]]


def shaken(view: View, shake: np.ndarray) -> View:
    """The view, held by a hand."""
    return view | {"pan": view["pan"] + shake[0], "tilt": view["tilt"] + shake[1]}


def nearer(view: View, depth: float) -> View:
    """How the same camera sees what is nearer: it shifts and grows more."""
    return view | {"pan": depth * view["pan"], "tilt": depth * view["tilt"], "zoom": view["zoom"] ** depth}


def paste(image: np.ndarray, thing: np.ndarray, place: np.ndarray) -> None:
    """An ellipse of another photograph around a place, in shares of the picture."""
    height, width = thing.shape[:2]
    y, x = np.mgrid[:height, :width]
    inside = ((y / height - 0.5) ** 2 + (x / width - 0.5) ** 2) < 0.25
    top, left = int(place[1] * SIZE[0] - height / 2), int(place[0] * SIZE[1] - width / 2)
    rows = slice(max(0, top), min(SIZE[0], top + height))
    columns = slice(max(0, left), min(SIZE[1], left + width))
    if rows.start >= rows.stop or columns.start >= columns.stop:
        return
    part = (slice(rows.start - top, rows.stop - top), slice(columns.start - left, columns.stop - left))
    image[rows, columns] = np.where(inside[part][..., None], thing[part], image[rows, columns])


def draw_move(rng: np.random.Generator, kind: str) -> View:
    """A move that can be named: from one and a half times the least that is, to large."""
    move = dict(STILL)
    names = [kind] if kind in OPPOSITE else list(rng.choice(list(OPPOSITE), 2, replace=False))
    for name in names:
        sign = rng.choice([-1, 1])
        move[name] = {
            "pan": sign * rng.uniform(0.08, 0.35),
            "tilt": sign * rng.uniform(0.08, 0.3),
            "zoom": rng.uniform(1.12, 1.7) ** sign,
            "roll": sign * rng.uniform(5, 25),
        }[name]
    return move


def enlarge(photo: np.ndarray) -> np.ndarray:
    """The photograph with room for a camera to move in."""
    scale = max(1.8 * SIZE[1] / photo.shape[1], 1.8 * SIZE[0] / photo.shape[0])
    return cv2.resize(photo, None, fx=scale, fy=scale, interpolation=cv2.INTER_CUBIC)


def low_texture(rng: np.random.Generator, scene: Scene, _: np.ndarray) -> Scene:
    """Fog: next to nothing is left of what is small, little of the rest."""
    soft = cv2.GaussianBlur(scene.canvas, (0, 0), rng.uniform(4, 10)).astype(np.float32)
    return replace(scene, canvas=(140 + rng.uniform(0.3, 0.6) * (soft - soft.mean())).clip(0, 255).astype(np.uint8))


def bricks(rng: np.random.Generator, scene: Scene, photo: np.ndarray) -> Scene:
    """A wall in which each brick is like the other: a piece of a photograph."""
    height, width = int(rng.integers(18, 32)), int(rng.integers(40, 72))
    brick = np.full((height, width, 3), 170, np.uint8)
    brick[2:-2, 2:-2] = cv2.resize(photo, (width - 4, height - 4), interpolation=cv2.INTER_AREA)
    course = np.vstack([np.hstack([brick, brick]), np.roll(np.hstack([brick, brick]), width // 2, axis=1)])
    rows, columns = (side // part + 1 for side, part in zip(scene.canvas.shape[:2], course.shape[:2], strict=True))
    return replace(scene, canvas=np.tile(course, (rows, columns, 1)))


def two_planes(rng: np.random.Generator, scene: Scene, photo: np.ndarray) -> Scene:
    """Something near along the lower 30 to 50% of the picture."""
    near = enlarge(photo)
    height, width = near.shape[:2]
    edge = height / 2 + SIZE[0] * (0.5 - rng.uniform(0.3, 0.5))
    x = np.arange(width)
    edge = edge + 10 * np.sin(x / rng.uniform(15, 60)) + 6 * np.sin(x / rng.uniform(5, 15))
    shape = np.where(np.arange(height)[:, None] > edge, 255, 0).astype(np.uint8)
    return replace(scene, near=np.dstack([near, shape]), depth=float(rng.uniform(1.3, 2)))


def other_light(rng: np.random.Generator, scene: Scene, _: np.ndarray) -> Scene:
    """Much darker or brighter, and more so on one side. It is the target that changes: the source has its own light."""
    level = rng.uniform(0.35, 0.65) if rng.random() < 0.5 else rng.uniform(1.4, 1.9)
    tilt = rng.uniform(-0.35, 0.35)
    return replace(scene, light=(level * (1 - tilt), level * (1 + tilt)))


Make = Callable[[np.random.Generator, Scene, np.ndarray], Scene]
HARD: dict[str, Make] = {
    "low texture": low_texture,
    "equal bricks": bricks,
    "two planes": two_planes,
    "other light": other_light,
}
