"""Random scenes of the procedural world, exactly reproducible from a seed."""

import math
from collections.abc import Iterable
from functools import cache
from typing import TypeVar

import numpy as np

from icve.data.world.render import photo_names, photo_view
from icve.data.world.scene import (
    BACKDROP_COLOURS,
    COLOURS,
    PATTERNS,
    SHAPES,
    SIZES,
    Background,
    Camera,
    Scene,
    Thing,
    distance,
)

Rng = np.random.Generator
T = TypeVar("T")
# A shape-colour pair of each shape is never seen in training, as the tests' "unseen combinations".
HELD_OUT = frozenset((shape, list(COLOURS)[(3 * i + 1) % 10]) for i, shape in enumerate(SHAPES))
CONTRAST = 88.0  # least RGB distance between a thing and what lies behind it: the palette's nearest pair has 89
MOTION = 0.1  # deviation of how far a thing moves in a clip, (u, v): 3 of 64 pixels in 9 frames, as filmed things do
PHOTO_CONTRAST = 60.0  # the same for a pixel of a photograph
PHOTO_HIDDEN = 0.3  # the largest share of nearer pixels under a thing that still counts as seen
GAP = 0.04  # least gap between two things, fraction of the shorter side
PLACES: dict[str, tuple[float, float, float, float]] = {  # u and v ranges, before the thing's own margin
    "on the left": (-1, -0.35, -1, 1),
    "on the right": (0.35, 1, -1, 1),
    "at the top": (-1, 1, -1, -0.35),
    "at the bottom": (-1, 1, 0.35, 1),
    "in the middle": (-0.22, 0.22, -0.22, 0.22),
    "in the top left corner": (-1, -0.4, -1, -0.4),
    "in the top right corner": (0.4, 1, -1, -0.4),
    "in the bottom left corner": (-1, -0.4, 0.4, 1),
    "in the bottom right corner": (0.4, 1, 0.4, 1),
}


def generator(*seed: int) -> Rng:
    """A random generator for one sample: the same numbers give the same sample, on every machine."""
    return np.random.default_rng(seed)


def pick(rng: Rng, options: Iterable[T]) -> T:
    """One of the options."""
    options = list(options)
    return options[int(rng.integers(len(options)))]


def sample_scene(rng: Rng, *, split: str = "core", held_out: bool = False, count: int | None = None) -> Scene:
    """A random scene.

    Args:
        split: "core" (plain, gradient and patterned backgrounds, still camera), "full" (photographs and camera moves
            too) or "plain" (backgrounds of one colour only).
        held_out: the first thing is one of the HELD_OUT shape-colour pairs; otherwise none is.
        count: number of things, 1 to 3; random when None.
    """
    background = sample_background(rng, split)
    camera = sample_camera(rng) if split == "full" and rng.random() < 0.4 else Camera()
    count = count or int(rng.integers(1, 4))
    things: list[Thing] = []
    while len(things) < count:
        kind = sample_kind(rng, background, things, held_out=held_out and not things)
        thing = kind and place_thing(rng, *kind, things)
        if not thing or not is_seen(thing, background):  # too crowded, or no colour stands out: start over
            things, background = [], sample_background(rng, split)
            continue
        things.append(thing)
    return Scene(background, tuple(things), camera)


def sample_kind(
    rng: Rng,
    background: Background,
    things: Iterable[Thing],
    *,
    held_out: bool = False,
    shape: str | None = None,
) -> tuple[str, str] | None:
    """A (shape, colour) that stands out from the background and that none of the things has; None if there is none."""
    taken = {(t.shape, t.colour) for t in things}
    kinds = [
        (s, c)
        for s in (SHAPES if shape is None else (shape,))
        for c in COLOURS
        if ((s, c) in HELD_OUT) == held_out and (s, c) not in taken and stands_out(c, background)
    ]
    return pick(rng, kinds) if kinds else None


def stands_out(colour: str, background: Background) -> bool:
    """Whether a thing of this colour can be told from every part of the background."""
    return _contrasts(colour, background.kind, background.colours)


@cache
def _contrasts(colour: str, kind: str, colours: tuple[str, ...]) -> bool:
    return all(distance(COLOURS[colour], stop) >= CONTRAST for stop in Background(kind, colours).stops())


def is_seen(thing: Thing, background: Background) -> bool:
    """Whether the thing can be told from what a photograph shows behind it; true on any other background, where
    `stands_out` has seen to it."""
    if background.kind != "photo":
        return True
    view = _photo_thumbnail(background.photo)
    side = len(view)
    reach = thing.radius * side * 1.2
    for s in (0, 0.5, 1):
        x, y = ((c + 1) * side / 2 for c in thing.place(s))
        under = view[max(0, int(y - reach)) : int(y + reach) + 1, max(0, int(x - reach)) : int(x + reach) + 1]
        near = np.linalg.norm(under - np.array(thing.rgb, np.float32), axis=-1) < PHOTO_CONTRAST
        if near.mean() > PHOTO_HIDDEN:
            return False
    return True


@cache
def _photo_thumbnail(name: str) -> np.ndarray:
    return photo_view(name, 0, 0, 1, 32, 32).astype(np.float32)


def place_thing(
    rng: Rng,
    shape: str,
    colour: str,
    others: Iterable[Thing],
    *,
    size: str | None = None,
    place: str | None = None,
    still: bool = False,
) -> Thing | None:
    """A thing that touches none of the others at any time of the clip; None when 30 tries found no room.

    Args:
        place: one of PLACES, or anywhere when None.
        still: do not move.
    """
    size = size or pick(rng, SIZES)
    radius = SIZES[size] * float(rng.uniform(0.92, 1.08))
    limit = 1 - 2.3 * radius  # keeps the whole outline, up to 1.2 radii, in view
    box = [float(np.clip(edge, -limit, limit)) for edge in PLACES[place]] if place else [-limit, limit] * 2
    for _ in range(30):
        start = float(rng.uniform(box[0], box[1])), float(rng.uniform(box[2], box[3]))
        moves = not still and rng.random() < 0.7
        end = (
            (
                float(np.clip(start[0] + rng.normal() * MOTION, -limit, limit)),
                _clip(start[1] + rng.normal() * MOTION, limit),
            )
            if moves
            else start
        )
        velocity = (end[0] - start[0], end[1] - start[1])
        thing = Thing(
            shape,
            colour,
            size,
            at=start,
            velocity=velocity,
            radius=radius,
            rgb=jitter(rng, colour),
            angle=float(rng.normal() * 0.08),
            outline=bool(rng.random() < 0.25),
        )
        if not any(touch(thing, other) for other in others):
            return thing
    return None


def _clip(value: float, limit: float) -> float:
    return min(max(value, -limit), limit)


def touch(a: Thing, b: Thing) -> bool:
    """Whether two things come nearer than GAP at any time of a clip (on a square view)."""
    reach = 2 * (1.15 * (a.radius + b.radius) + GAP)  # places run over 2 units a side; outlines reach 1.2 radii
    return any(math.dist(a.place(s), b.place(s)) < reach for s in (0, 0.25, 0.5, 0.75, 1))


def jitter(rng: Rng, colour: str) -> tuple[int, int, int]:
    """A colour near the named one, near enough to keep its name."""
    r, g, b = (int(np.clip(c + rng.integers(-10, 11), 0, 255)) for c in COLOURS[colour])
    return r, g, b


def sample_background(rng: Rng, split: str = "core", avoid: Iterable[Thing] = ()) -> Background:
    """A random background from which all the things to avoid stand out."""
    while True:
        kind = _background_kind(rng, split)
        if kind == "photo":
            background = Background("photo", photo=pick(rng, photo_names()))
            if all(is_seen(t, background) for t in avoid):
                return background
            continue
        colours = tuple(str(c) for c in rng.permutation(list(BACKDROP_COLOURS))[: 1 if kind == "plain" else 2])
        if kind != "plain" and distance(BACKDROP_COLOURS[colours[0]], BACKDROP_COLOURS[colours[1]]) < CONTRAST:
            continue
        quarter_turns = int(rng.integers(4)) if kind == "gradient" else int(rng.integers(2))
        diagonal = math.pi / 4 if kind != "checks" and rng.random() < 0.3 else 0.0
        background = Background(
            kind,
            colours,
            angle=quarter_turns * math.pi / 2 + diagonal,
            scale=float(rng.uniform(0.2, 0.32)),
            phase=float(rng.random()),
        )
        if sum(stands_out(c, background) for c in COLOURS) >= 4 and all(
            stands_out(t.colour, background) for t in avoid
        ):
            return background


def _background_kind(rng: Rng, split: str) -> str:
    if split == "full" and rng.random() < 0.3:
        return "photo"
    if split == "plain":
        return "plain"
    roll = rng.random()
    return "plain" if roll < 0.4 else "gradient" if roll < 0.65 else pick(rng, PATTERNS)


def sample_camera(rng: Rng) -> Camera:
    """A camera that pans or zooms slowly."""
    if rng.random() < 0.5:
        angle = float(rng.uniform(0, 2 * math.pi))
        return Camera(pan=(0.2 * math.cos(angle), 0.2 * math.sin(angle)))
    return Camera(zoom_by=float(pick(rng, (0.85, 1.18))))
