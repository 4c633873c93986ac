"""Whether a thing is seen in a clip where it should be, in its colour and shape; and where a new thing was put."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace

import cv2
import numpy as np

from icve.data.world import COLOURS, SHAPES, Scene, Thing
from icve.evaluation.world.backdrops import PALETTE, Backdrop, KnownBackdrop
from icve.evaluation.world.looks import Tone
from icve.evaluation.world.shapes import RIM, coverage, fitted, grow, match, shading, soften, visible_share

Array = np.ndarray
NOISE = 10.0  # RGB distance that a decoder's noise reaches by itself
CONTRAST = 24.0  # RGB distance below which a thing cannot be told from what is behind it (photographs, looks)
CLEAR = 88.0  # RGB distance that things have from plain backgrounds
SHADES = 18.0  # RGB distance between two shades of one colour name
ALIKE = 40.0  # RGB distance below which a look made two colours the same
FEWEST = 12  # pixels from which a colour is read
SHIFT = 2.0  # pixels of 64 by which a thing may be out of place
SCALES = (0.9, 1.0, 1.1)
NEW_SCALES = (0.8, 0.9, 1.0, 1.1)  # of what is fitted by area, which an outline makes larger
TURNS = (-0.15, 0.0, 0.15)  # radians; the world's things are tilted by 0.08 (standard deviation)
MOST = 0.8  # of a thing stands out in most places
ENOUGH = 0.35  # of a thing must stand out, or there is nothing to judge its shape by
FIT = 0.72  # correlation with its template that a good decoding of a thing exceeds, mean of the views
BETTER = 0.08  # gain in correlation by which a thing is found in another place
TIE = 0.01  # a small tilted square may fit a circle as well, and a circle with a hidden middle a ring
FIT_IN_VIEW = 0.55  # the same in each view


@dataclass
class View:
    """One frame of an output and what is expected in it."""

    pixels: Array
    """float32 (H, W, 3), 0..255."""
    s: float
    scene: Scene
    """Expected: without its look, and with the new thing where it was found."""
    tone: Tone
    backdrop: Backdrop
    known: Array
    """bool (H, W): False where the source says nothing of what is to be seen."""
    found: list[Thing] = field(default_factory=list)
    """What a newly placed thing may be: each shape in some scales and tilts, fitted to where something new is."""

    def __post_init__(self) -> None:
        self.size = self.pixels.shape[:2]
        self.soft = soften(self.pixels)
        self.covers = [self.cover(thing) for thing in self.scene.things]

    def cover(self, thing: Thing) -> Array:
        """How much of each pixel the thing covers here."""
        return coverage(thing, self.scene, self.s, *self.size)

    def free_of(self, things: Sequence[Array], margin: float) -> Array:
        """bool (H, W): farther than `margin` (pixels of 64) from all these coverages, and known."""
        free = self.known.copy()
        for cover in things:
            free &= ~grow(self.tone.coverage(cover) > 0.05, margin)
        return free

    def foreground(self, colour: Array) -> Array:
        """How surely each pixel is not backdrop but a thing of this colour, float32 0..1."""
        contrast = self.backdrop.distance(colour, colour)
        sure = (self.backdrop.distance(self.soft, colour) - NOISE) / np.maximum(contrast - NOISE, 1)
        return np.clip(sure, 0, 1).astype(np.float32)

    def put(self, index: int, thing: Thing) -> None:
        """Expect the thing at `index` as given from now on."""
        self.scene = self.scene.with_thing(index, thing)
        self.covers[index] = self.cover(thing)


def locate(view: View, index: int) -> bool:
    """Find what is new in a view and expect the scene's thing `index` there; False if nothing has its colour."""
    wanted = view.scene.things[index]
    colour = view.tone.colours(np.array([COLOURS[wanted.colour]]))[0]
    tells = view.backdrop.distance(colour, colour) > CONTRAST
    sure = view.foreground(colour) * (tells & view.free_of([c for i, c in enumerate(view.covers) if i != index], 1))
    count, labels = cv2.connectedComponents((sure > 0.5).astype(np.uint8), connectivity=8)
    named = _named(view.tone, view.pixels, wanted.colour)
    sizes = np.bincount(labels[named], minlength=count)[:count]
    sizes[0] = 0
    if sizes.max(initial=0) < 12 * (min(view.size) / 64) ** 2:
        return False
    mass = sure * grow(labels == sizes.argmax(), 2)
    upright = [fitted(shape, wanted, mass, view.scene, view.s) for shape in SHAPES]
    view.found = [replace(t, radius=t.radius * f, angle=a) for t in upright for f in NEW_SCALES for a in TURNS]
    same = [thing for thing in view.found if thing.shape == wanted.shape]
    view.put(index, same[int(_scores(view, sure, tells.astype(float), same, SHIFT / 2).argmax())])
    return True


def problem(views: Sequence[View], index: int, *, kept: bool, new: bool) -> str | None:
    """What is wrong with the scene's thing `index` in these views, None if nothing is.

    `kept`: it was there before, so its very shade is known. `new`: it was placed freely (`locate`), and its outline
    is free too.
    """
    thing = views[0].scene.things[index]
    name = f"the {thing.colour} {thing.shape}"
    shares = [visible_share(view.covers[index], view.scene.things[index], view.scene, view.s) for view in views]
    shown = [view for view, share in zip(views, shares, strict=True) if share >= min(0.6, max(shares))]
    scores, hidden = [], new
    for view in shown:
        outlines = (False, True) if new else (thing.outline,)
        share, colour, outline = max((_colour(view, index, outline) for outline in outlines), key=lambda c: c[0])
        if share < 0.45 or not _named(view.tone, colour, thing.colour):
            return f"{name} does not have its colour ({share:.0%} of it has, in the frame at {view.s:.2f})"
        clean = np.array(thing.rgb if kept else COLOURS[thing.colour])
        meant = view.tone.colours(clean[None])[0]
        contrast = view.backdrop.distance(meant, meant)
        # Noise in a foreground map goes with 1 / contrast.
        tells = np.minimum(contrast / CLEAR, 1) ** 2 * (contrast > (CONTRAST if kept else CONTRAST + SHADES))
        weight = tells * view.free_of([c for i, c in enumerate(view.covers) if i != index], 1)
        own = view.covers[index]
        if outline:  # a rim as dark as what is behind it says nothing
            rim = own - shading(view.scene.things[index], view.scene, view.s, *view.size) > 0.05
            dark = view.tone.colours(RIM * clean[None])[0]
            inner = weight * ~(rim & (view.backdrop.distance(dark, dark) < 0.5 * contrast))
            weight = inner if _share(inner, own) > ENOUGH else weight
        if _share(weight, own) < ENOUGH:
            continue  # nothing to see it by, such as a black thing on the dark part of a photograph
        here = view.scene.things[index]
        if not kept and not view.tone.look:
            red, green, blue = (int(c) for c in colour.clip(0, 255))
            view.put(index, replace(here, rgb=(red, green, blue), outline=outline))
        hidden = hidden or _share(weight, own) < MOST
        sure = view.foreground(colour)
        if new:
            scores.append(_scores(view, sure, weight, view.found, SHIFT / 2))
            continue
        guesses = [replace(here, shape=s, radius=here.radius * f) for s in SHAPES for f in SCALES]
        scores.append(_scores(view, sure, weight, guesses))
        nearer, farther = (_scores(view, sure, weight, [here], reach)[0] for reach in (SHIFT, 2 * SHIFT))
        if farther > nearer + BETTER:
            return f"{name} is out of place in the frame at {view.s:.2f}"
    if not scores:
        return None
    by_shape = np.mean(scores, 0).reshape(len(SHAPES), -1).max(1)
    best = SHAPES[int(by_shape.argmax())]
    own_score = float(by_shape[SHAPES.index(thing.shape)])
    worst = min(float(s.reshape(len(SHAPES), -1)[SHAPES.index(thing.shape)].max()) for s in scores)
    if own_score < FIT or worst < FIT_IN_VIEW:
        return f"{name} is not there in its shape (fit {own_score:.2f}, at worst {worst:.2f})"
    if by_shape.max() > own_score + (TIE if hidden else TIE / 4):
        return f"{name} looks more like a {best} ({by_shape.max():.2f} against {own_score:.2f})"
    return None


def _share(weight: Array, cover: Array) -> float:
    """The share of a coverage that weighs anything."""
    return float((cover * (weight > 0)).sum()) / max(float(cover.sum()), 1e-6)


def _scores(view: View, sure: Array, weight: Array, guesses: Sequence[Thing], reach: float = SHIFT) -> Array:
    templates = [view.tone.coverage(view.cover(guess)) for guess in guesses]
    return match(sure, weight, templates, round(reach * min(view.size) / 64))


def _named(tone: Tone, pixels: Array, name: str) -> Array:
    """Which pixels (..., 3) have the colour of this name, or one that the look made the same."""
    palette = tone.colours(PALETTE)
    wanted = tone.colours(np.array([COLOURS[name]]))[0]
    allowed = np.linalg.norm(palette - wanted, axis=-1) < ALIKE
    return allowed[((pixels[..., None, :] - palette) ** 2).sum(-1).argmin(-1)]


def _colour(view: View, index: int, outline: bool) -> tuple[float, Array, bool]:
    """The share of a thing's inner pixels that have its colour; the colour that is there, edges unmixed; `outline`."""
    thing = replace(view.scene.things[index], outline=outline)
    cover = view.tone.coverage(soften(coverage(thing, view.scene, view.s, *view.size)))
    shade = view.tone.coverage(soften(shading(thing, view.scene, view.s, *view.size)))
    free = view.free_of([c for i, c in enumerate(view.covers) if i != index], 0)
    cover = np.where(free, cover, 0)
    core = cover >= 0.9
    if core.sum() < FEWEST:
        core = cover >= np.sort(cover, axis=None)[-FEWEST]
    seen, through = view.pixels[core], cover[core][:, None]
    if isinstance(view.backdrop, KnownBackdrop):
        seen = seen - (1 - through) * view.backdrop.image[core]
    seen = seen / np.maximum(shade[core][:, None], 0.3)
    return float(_named(view.tone, seen, thing.colour).mean()), np.median(seen, 0), outline
