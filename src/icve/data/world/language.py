"""Words for scenes and edits: captions, and instructions from many templates.

Whole templates and verbs under `UNSEEN` are kept out of training, for tests of wording.
"""

from collections.abc import Iterable

import numpy as np

from icve.data.world.sampling import pick
from icve.data.world.scene import LOOKS, Background, Scene, Thing

Rng = np.random.Generator

SEEN: dict[str, tuple[str, ...]] = {
    "add": (
        "add {new}{place}",
        "put {new}{place}",
        "place {new}{place}",
        "insert {new}{place}",
        "draw {new}{place}",
        "let {new} appear{place}",
        "there should be {new}{place}",
        "add {new} to the scene{place}",
    ),
    "remove": (
        "remove {old}",
        "delete {old}",
        "erase {old}",
        "take away {old}",
        "take {old} out of the video",
        "get rid of {old}",
        "clear {old} from the scene",
        "the scene without {old}",
    ),
    "replace": (
        "replace {old} with {new}",
        "swap {old} for {new}",
        "turn {old} into {new}",
        "change {old} to {new}",
        "change {old} into {new}",
        "put {new} in place of {old}",
        "instead of {old} show {new}",
        "make {old} become {new}",
    ),
    "recolour": (
        "make {old} {colour}",
        "turn {old} {colour}",
        "paint {old} {colour}",
        "color {old} {colour}",
        "recolor {old} to {colour}",
        "change the color of {old} to {colour}",
        "change the colour of {old} to {colour}",
        "{old} should be {colour}",
    ),
    "background": (
        "change the background to {background}",
        "make the background {background}",
        "replace the background with {background}",
        "set the background to {background}",
        "turn the background into {background}",
        "put everything on {background}",
        "use {background} as the background",
    ),
    "black and white": (
        "make it black and white",
        "turn the video black and white",
        "convert it to grayscale",
        "change the video to black and white",
        "remove all color",
    ),
    "sepia": (
        "make it sepia",
        "apply a sepia tone",
        "turn the video sepia",
        "give it a sepia look",
        "make it look like an old sepia film",
    ),
    "brighter": (
        "make it brighter",
        "brighten the video",
        "increase the brightness",
        "make the whole video lighter",
        "turn up the light",
    ),
    "darker": (
        "make it darker",
        "darken the video",
        "decrease the brightness",
        "make the whole video dimmer",
        "turn down the light",
    ),
    "blurred": (
        "blur the video",
        "make it blurry",
        "apply a blur",
        "make everything out of focus",
        "blur the whole scene",
    ),
    "camera": ("{move}", "move the camera: {move}", "let the camera {move}"),
}

UNSEEN: dict[str, tuple[str, ...]] = {
    "add": ("include {new}{place}", "introduce {new}{place}", "I want to see {new}{place}"),
    "remove": ("eliminate {old}", "make {old} disappear", "I do not want to see {old}"),
    "replace": ("exchange {old} for {new}", "{new} should be where {old} is", "transform {old} into {new}"),
    "recolour": ("dye {old} {colour}", "give {old} a {colour} color", "I would like {old} to be {colour}"),
    "background": ("swap the background for {background}", "the background should be {background}"),
    "black and white": ("I want a monochrome black and white video", "take the color out of the video"),
    "sepia": ("add a sepia filter", "the video should look sepia"),
    "brighter": ("the video should be brighter", "lighten it up"),
    "darker": ("the video should be darker", "dim the scene"),
    "blurred": ("add a blur filter", "the video should look blurry"),
    "camera": ("I want the camera to {move}", "the camera should {move}"),
}

MOVES: dict[str, tuple[str, ...]] = {
    "zoom in": ("zoom in", "zoom in slowly", "move closer"),
    "zoom out": ("zoom out", "zoom out slowly", "move further away"),
    "pan left": ("pan left", "pan to the left", "move left"),
    "pan right": ("pan right", "pan to the right", "move right"),
    "pan up": ("pan up", "pan upwards", "move up"),
    "pan down": ("pan down", "pan downwards", "move down"),
}


def with_article(noun: str) -> str:
    """ "red circle" -> "a red circle"."""
    return f"{'an' if noun[0] in 'aeiou' else 'a'} {noun}"


def name_old(rng: Rng, thing: Thing, others: Iterable[Thing]) -> str:
    """A definite name that fits this thing alone: "the red circle", sometimes "the circle" or "the red one"."""
    others = list(others)
    names = [f"the {thing.colour} {thing.shape}"] * 5 + [f"the {thing.size} {thing.colour} {thing.shape}"]
    if all(o.shape != thing.shape for o in others):
        names += [f"the {thing.shape}"] * 2
    if all(o.colour != thing.colour for o in others):
        names += [f"the {thing.colour} {noun}" for noun in ("one", "shape", "object")][: 1 + int(rng.integers(3))]
    return pick(rng, names)


def name_new(rng: Rng, thing: Thing, *, sized: float) -> str:
    """An indefinite name: "a red circle", and with probability `sized` "a large red circle"."""
    size = f"{pick(rng, (thing.size, 'big' if thing.size == 'large' else 'little'))} " if rng.random() < sized else ""
    return with_article(f"{size}{thing.colour} {thing.shape}")


def name_background(rng: Rng, background: Background) -> str:
    """The background as a noun phrase: "plain blue", "a gradient from red to blue", "green and white stripes"."""
    if background.kind == "photo":
        return f"a photo of {PHOTO_NAMES.get(background.photo, background.photo)}"
    if background.kind == "plain":
        (c,) = background.colours
        return pick(rng, (f"plain {c}", c, f"a plain {c} wall", f"solid {c}"))
    one, two = background.colours
    if background.kind == "gradient":
        return pick(rng, (f"a gradient from {one} to {two}", f"a {one} to {two} gradient"))
    if background.kind == "dots":
        return pick(rng, (f"{two} dots on {one}", f"{one} with {two} dots"))
    word = "stripes" if background.kind == "stripes" else pick(rng, ("checks", "squares"))
    return pick(rng, (f"{one} and {two} {word}", f"{two} and {one} {word}"))


PHOTO_NAMES = {
    "astronaut": "an astronaut",
    "bricks": "a brick wall",
    "cat": "a cat",
    "coffee": "a cup of coffee",
    "flower": "a flower",
    "rocket": "a rocket",
    "temple": "a temple",
}


def instruction(rng: Rng, operation: str, *, unseen: bool = False, **slots: str) -> str:
    """One instruction for an operation (a key of SEEN), with the slots its templates name."""
    text = pick(rng, (UNSEEN if unseen else SEEN)[operation]).format(**slots)
    roll = rng.random()
    if roll < 0.3:
        text = text[0].upper() + text[1:] + "."
    elif roll < 0.4:
        text = f"please {text}"
    return text


def caption(rng: Rng, scene: Scene) -> str:
    """What the clip shows, for text-to-video training; parts are left out at random."""
    things = [
        with_article(f"{t.size + ' ' if rng.random() < 0.7 else ''}{t.colour} {t.shape}{_motion(rng, t)}")
        for t in (scene.things[i] for i in rng.permutation(len(scene.things)))
    ]
    text = " and ".join(things)
    if rng.random() < 0.9:
        background = name_background(rng, scene.background)
        text += pick(rng, (f" on {background}", f", background {background}", f" in front of {background}"))
    if scene.look:
        text += pick(rng, (f", {scene.look}", f", {LOOK_WORDS[scene.look]}"))
    return text


LOOK_WORDS = dict(zip(LOOKS, ("grayscale", "sepia tone", "bright light", "dim light", "out of focus"), strict=True))


def _motion(rng: Rng, thing: Thing) -> str:
    u, v = thing.velocity
    if rng.random() < 0.4:
        return ""
    words = [w for w, far in (("left", -u), ("right", u), ("up", -v), ("down", v)) if far > 0.07]
    if words:
        return f" moving {' and '.join(words)}"
    return " standing still" if (u, v) == (0.0, 0.0) else ""


def joined(rng: Rng, first: str, second: str) -> str:
    """Two instructions in one sentence."""
    first, second = (s.rstrip(".") for s in (first, second))
    return f"{first}{pick(rng, (' and ', ', then ', ' and then '))}{second[0].lower() + second[1:]}"


def at_half(rng: Rng, text: str) -> str:
    """An instruction for the second half of the clip."""
    text = text.rstrip(".")
    text = text[0].lower() + text[1:]
    return pick(rng, (f"halfway through, {text}", f"{text} halfway through", f"in the second half, {text}"))
