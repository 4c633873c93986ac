"""Scenes of the procedural world as plain data: things, background, camera, look.

Coordinates: a place (u, v) runs from -1 to 1 over the view (right and down are positive) at zoom 1 and no pan;
lengths (radius) are fractions of the view's shorter side; time s runs from 0 (first frame) to 1 (last frame).
"""

import math
from dataclasses import dataclass, replace

SHAPES = ("circle", "square", "triangle", "star", "heart", "diamond", "cross", "ring")
COLOURS: dict[str, tuple[int, int, int]] = {
    "red": (214, 40, 40),
    "green": (44, 160, 58),
    "blue": (40, 84, 214),
    "yellow": (244, 222, 52),
    "orange": (245, 136, 28),
    "purple": (132, 48, 172),
    "pink": (250, 142, 192),
    "cyan": (58, 208, 222),
    "white": (245, 245, 245),
    "black": (22, 22, 22),
}
BACKDROP_COLOURS = COLOURS | {"grey": (128, 128, 128), "brown": (122, 78, 42)}
SIZES = {"small": 0.12, "large": 0.18}  # radius as a fraction of the shorter side: 7.7 and 11.5 pixels of 64
PATTERNS = ("stripes", "checks", "dots")
LOOKS = ("black and white", "sepia", "brighter", "darker", "blurred")

Point = tuple[float, float]


@dataclass(frozen=True)
class Thing:
    """One flat shape that moves on a straight line."""

    shape: str
    colour: str
    size: str
    at: Point
    """Centre at s = 0, (u, v)."""
    velocity: Point = (0.0, 0.0)
    """Movement of the centre over the whole clip, (u, v)."""
    radius: float = 0.15
    """Near SIZES[size]; it varies from thing to thing."""
    rgb: tuple[int, int, int] = (0, 0, 0)
    """Near COLOURS[colour]; it varies from thing to thing."""
    angle: float = 0.0
    """Radians, small."""
    outline: bool = False

    def place(self, s: float) -> Point:
        """Centre (u, v) at time s."""
        return self.at[0] + self.velocity[0] * s, self.at[1] + self.velocity[1] * s


@dataclass(frozen=True)
class Background:
    """kind "plain" (one colour), "gradient" (two), one of PATTERNS (two) or "photo" (its name)."""

    kind: str
    colours: tuple[str, ...] = ()
    angle: float = 0.0
    """Direction of a gradient or of stripes, radians."""
    scale: float = 0.25
    """Period of a pattern as a fraction of the shorter side."""
    phase: float = 0.0
    photo: str = ""

    def stops(self) -> list[tuple[float, float, float]]:
        """Colours (RGB 0..255) that the background is made of, for contrast checks; none for a photograph."""
        ends = [BACKDROP_COLOURS[c] for c in self.colours]
        if self.kind != "gradient":
            return [(float(r), float(g), float(b)) for r, g, b in ends]
        (r0, g0, b0), (r1, g1, b1) = ends
        return [
            (r0 + (r1 - r0) * w, g0 + (g1 - g0) * w, b0 + (b1 - b0) * w) for w in (0, 0.17, 0.33, 0.5, 0.67, 0.83, 1)
        ]


@dataclass(frozen=True)
class Camera:
    """View centre (u, v) and zoom at s = 0, and their change over the clip."""

    centre: Point = (0.0, 0.0)
    zoom: float = 1.0
    pan: Point = (0.0, 0.0)
    zoom_by: float = 1.0
    """Zoom at s = 1 divided by zoom at s = 0."""

    def view(self, s: float) -> tuple[float, float, float]:
        """(centre u, centre v, zoom) at time s."""
        return (
            self.centre[0] + self.pan[0] * s,
            self.centre[1] + self.pan[1] * s,
            self.zoom * self.zoom_by**s,
        )

    @property
    def moves(self) -> bool:
        """Whether the view changes within the clip."""
        return self.pan != (0.0, 0.0) or self.zoom_by != 1.0


@dataclass(frozen=True)
class Scene:
    """A clip's content. Things are drawn in order, later ones in front."""

    background: Background
    things: tuple[Thing, ...]
    camera: Camera = Camera()
    look: str = ""
    later: "Scene | None" = None
    """What the clip shows from time `switch` on (edits in time)."""
    switch: float = 0.5

    def at_time(self, s: float) -> "Scene":
        """The scene that is shown at time s."""
        return self.later if self.later is not None and s >= self.switch else self

    def with_thing(self, index: int, thing: Thing | None) -> "Scene":
        """A copy with one thing exchanged, or taken out when None."""
        kept = list(self.things)
        kept[index : index + 1] = [] if thing is None else [thing]
        return replace(self, things=tuple(kept))


def distance(a: tuple[float, ...], b: tuple[float, ...]) -> float:
    """Euclidean distance of two RGB colours, 0..442."""
    return math.dist(a, b)
