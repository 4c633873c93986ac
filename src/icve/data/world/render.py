"""Scenes to frames and masks, in pixels, with OpenCV."""

import math
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np

from icve.data.world.scene import BACKDROP_COLOURS, Background, Scene, Thing

Array = np.ndarray
SUBPIXEL = 4  # fillPoly's fractional bits
PHOTO_DIR = Path(__file__).parent / "photos"
SEPIA = np.array([[0.393, 0.769, 0.189], [0.349, 0.686, 0.168], [0.272, 0.534, 0.131]], np.float32)  # the usual matrix
GREY = np.array([[0.299, 0.587, 0.114]] * 3, np.float32)  # BT.601 luma


def render(scene: Scene, frames: int = 9, height: int = 64, width: int = 64) -> Array:
    """Draw a clip.

    Returns:
        uint8 RGB (frames, height, width, 3).
    """
    out = np.empty((frames, height, width, 3), np.uint8)
    drawn: Scene | None = None
    for i in range(frames):
        s = i / (frames - 1) if frames > 1 else 0.0
        now = scene.at_time(s)
        if now is not drawn or now.camera.moves:  # a still camera sees the same background in every frame
            backdrop, drawn = draw_background(now, s, height, width), now
        out[i] = backdrop
        for thing in now.things:
            draw_thing(out[i], thing, now, s)
    shown = [scene.at_time(i / max(frames - 1, 1)).look for i in range(frames)]
    for look in set(shown) - {""}:
        chosen = [look == s for s in shown]
        out[chosen] = apply_look(out[chosen], look)
    return out


def masks(scene: Scene, frames: int = 9, height: int = 64, width: int = 64) -> list[Array]:
    """Where each thing of the scene is visible (things in front taken away).

    Returns:
        for each thing a uint8 coverage 0..255 (frames, height, width); the scene's `later` part is not included.
    """
    result = [np.zeros((frames, height, width), np.uint8) for _ in scene.things]
    for i in range(frames):
        s = i / (frames - 1) if frames > 1 else 0.0
        for k, thing in enumerate(scene.things):
            fill(result[k][i], thing, scene, s, 255)
            for behind in result[:k]:
                np.minimum(behind[i], 255 - result[k][i], out=behind[i])
    return result


def draw_thing(image: Array, thing: Thing, scene: Scene, s: float) -> None:
    """Draw one thing into an (H, W, 3) frame, in place."""
    contours = fill(image, thing, scene, s, thing.rgb)
    if thing.outline:
        dark = tuple(int(c * 0.55) for c in thing.rgb)
        cv2.polylines(image, contours, True, dark, 1, cv2.LINE_AA, SUBPIXEL)


def fill(image: Array, thing: Thing, scene: Scene, s: float, value: tuple[int, int, int] | int) -> list[Array]:
    """Fill a thing's outline into an image of one or three channels; returns its contours in fixed-point pixels."""
    height, width = image.shape[:2]
    unit = min(height, width)
    cu, cv, zoom = scene.camera.view(s)
    u, v = thing.place(s)
    centre = ((u - cu) * zoom + 1) * width / 2, ((v - cv) * zoom + 1) * height / 2
    scale = thing.radius * unit * zoom
    cos, sin = math.cos(thing.angle) * scale, math.sin(thing.angle) * scale
    turn = np.array([[cos, sin], [-sin, cos]])
    # OpenCV puts pixel centres at whole numbers, this world at halves.
    contours = [
        np.rint((outline @ turn + centre - 0.5) * (1 << SUBPIXEL)).astype(np.int32) for outline in outlines(thing.shape)
    ]
    cv2.fillPoly(image, contours, value, cv2.LINE_AA, SUBPIXEL)
    return contours


@lru_cache
def outlines(shape: str) -> tuple[Array, ...]:
    """Contours of a shape of unit radius, each (points, 2), x right and y down; a second contour is a hole."""
    if shape == "circle":
        return (_ngon(48),)
    if shape == "square":
        return (np.array([[-1, -1], [1, -1], [1, 1], [-1, 1]]) * 0.86,)
    if shape == "diamond":
        return (np.array([[0, -1.12], [0.82, 0], [0, 1.12], [-0.82, 0]]),)
    if shape == "triangle":
        return (np.array([[0, -1.0], [1.0, 0.85], [-1.0, 0.85]]),)
    if shape == "star":
        points = _ngon(10) * np.where(np.arange(10) % 2, 0.48, 1.2)[:, None]
        return (points + np.array([0, 0.08]),)
    if shape == "heart":
        t = np.linspace(0, 2 * np.pi, 40, endpoint=False)
        x = 16 * np.sin(t) ** 3
        y = -(13 * np.cos(t) - 5 * np.cos(2 * t) - 2 * np.cos(3 * t) - np.cos(4 * t))
        return (np.stack([x, y - 2], 1) / 15.5,)
    if shape == "cross":
        a, b = 1.05, 0.36
        half = [[-b, -a], [b, -a], [b, -b], [a, -b], [a, b], [b, b]]
        return (np.array(half + [[-x, -y] for x, y in half]),)
    if shape == "ring":
        return (_ngon(48) * 1.05, _ngon(48) * 0.55)
    raise ValueError(f"unknown shape {shape!r}")


def _ngon(n: int) -> Array:
    t = 2 * np.pi * np.arange(n) / n
    return np.stack([np.sin(t), -np.cos(t)], 1)


def draw_background(scene: Scene, s: float, height: int, width: int) -> Array:
    """The background alone at time s, uint8 (height, width, 3)."""
    background = scene.background
    if background.kind == "plain":
        return np.full((height, width, 3), BACKDROP_COLOURS[background.colours[0]], np.uint8)
    cu, cv, zoom = scene.camera.view(s)
    unit = min(height, width)
    if background.kind == "photo":
        return photo_view(background.photo, cu, cv, zoom, height, width)
    # World coordinates of the pixel centres, in units of the shorter side.
    x = (((np.arange(width, dtype=np.float32) + 0.5) * 2 / width - 1) / zoom + cu) * (width / unit / 2)
    y = (((np.arange(height, dtype=np.float32) + 0.5) * 2 / height - 1) / zoom + cv) * (height / unit / 2)
    weight = _pattern(background, x, y, soft=1.5 / (unit * zoom))
    first, second = (np.array(BACKDROP_COLOURS[c], np.float32) for c in background.colours)
    return (first + weight[..., None] * (second - first) + 0.5).astype(np.uint8)


def _pattern(background: Background, x: Array, y: Array, soft: float) -> Array:
    """Weight 0..1 of the second colour on the grid y[:, None], x[None]; edges are `soft` wide (same units)."""
    cos, sin = math.cos(background.angle), math.sin(background.angle)
    along = x[None] * cos + y[:, None] * sin
    if background.kind == "gradient":
        return np.clip(along / (abs(cos) + abs(sin)) + 0.5, 0, 1)
    period, phase = background.scale, background.phase
    if background.kind == "dots":
        dx = (x / period + phase) % 1 - 0.5
        dy = (y / period + phase) % 1 - 0.5
        radius = np.sqrt(dx[None] ** 2 + dy[:, None] ** 2) * period
        return np.clip((0.28 * period - radius) / soft + 0.5, 0, 1)
    if background.kind == "stripes":
        return np.clip(_wave(along, period, phase) / soft + 0.5, 0, 1)
    if background.kind == "checks":
        across = np.clip(_wave(x, 2 * period, phase) / soft, -1, 1)
        down = np.clip(_wave(y, 2 * period, phase) / soft, -1, 1)
        return 0.5 + 0.5 * across[None] * down[:, None]
    raise ValueError(f"unknown background {background.kind!r}")


def _wave(x: Array, period: float, phase: float) -> Array:
    """Signed distance to the nearest edge of stripes of the given period (positive inside a stripe)."""
    return (0.25 - np.abs((x / period + phase) % 1 - 0.5)) * period


@lru_cache
def photo(name: str) -> Array:
    """A bundled photograph, uint8 RGB; see photos/LICENSES.md."""
    image = cv2.imread(str(PHOTO_DIR / f"{name}.jpg"), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"unknown photograph {name!r}")
    return np.ascontiguousarray(image[..., ::-1])


@lru_cache
def photo_names() -> tuple[str, ...]:
    """Names of the bundled photographs."""
    return tuple(sorted(p.stem for p in PHOTO_DIR.glob("*.jpg")))


def photo_view(name: str, cu: float, cv: float, zoom: float, height: int, width: int) -> Array:
    """The photograph fills 1.6 times the view at zoom 1, so that the camera can move within it."""
    image = _shrunk_photo(name, height, width)
    h, w = image.shape[:2]
    scale = 1 / zoom
    x0 = (cu + 1.6) * width / 2 - scale * width / 2
    y0 = (cv + 1.6) * height / 2 - scale * height / 2
    matrix = np.array([[scale, 0, x0 + (w - 1.6 * width) / 2], [0, scale, y0 + (h - 1.6 * height) / 2]], np.float64)
    flags = cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP
    return cv2.warpAffine(image, matrix, (width, height), flags=flags, borderMode=cv2.BORDER_REFLECT)


@lru_cache(maxsize=64)
def _shrunk_photo(name: str, height: int, width: int) -> Array:
    image = photo(name)
    factor = max(1.6 * height / image.shape[0], 1.6 * width / image.shape[1])
    size = (math.ceil(image.shape[1] * factor), math.ceil(image.shape[0] * factor))
    return cv2.resize(image, size, interpolation=cv2.INTER_AREA if factor < 1 else cv2.INTER_CUBIC)


def apply_look(frames: Array, look: str) -> Array:
    """A global look over uint8 RGB frames (F, H, W, 3)."""
    if look in ("black and white", "sepia"):
        matrix = GREY if look == "black and white" else SEPIA
        return cv2.transform(frames.reshape(1, -1, 3), matrix).reshape(frames.shape)
    if look in ("brighter", "darker"):
        gamma, gain = (0.6, 1.1) if look == "brighter" else (1.35, 0.62)
        table = np.clip(255 * gain * (np.arange(256) / 255) ** gamma, 0, 255).astype(np.uint8)
        return cv2.LUT(frames.reshape(1, -1, 3), table).reshape(frames.shape)
    if look == "blurred":
        sigma = min(frames.shape[1:3]) / 32
        return np.stack([cv2.GaussianBlur(f, (0, 0), sigma) for f in frames])
    raise ValueError(f"unknown look {look!r}")
