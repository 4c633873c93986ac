"""Edits of world scenes: an instruction, the scene before and the scene after; paired or unpaired."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

import numpy as np

from icve.data.world import language as words
from icve.data.world.render import apply_look, render
from icve.data.world.sampling import (
    PLACES,
    generator,
    is_seen,
    jitter,
    pick,
    place_thing,
    sample_background,
    sample_kind,
    sample_scene,
    touch,
)
from icve.data.world.scene import LOOKS, Background, Camera, Scene, Thing, distance

Rng = np.random.Generator
CORE = ("add", "remove", "replace", "recolour", "background", "look")
FULL = (*CORE, "camera", "double", "timed")
PLAIN = tuple(name for name in CORE if name != "look")  # which on one colour can hide a thing: green on brown, in grey
SPLITS = {"core": CORE, "full": FULL, "plain": PLAIN}
"""The operations of each split; `sample_scene` says what its scenes are."""
LOOK_EFFECT = 6.0  # least RMS change (of 255) for a look to be one: a grey scene in black and white is no edit
LOOK_CONTRAST = 40.0  # least RGB distance between a new thing and its background once both have the look


@dataclass(frozen=True)
class Edit:
    """One sample: `source` --instruction--> `target`.

    `named` is the thing of the source that the instruction names, `made` the thing of the target that it asks for
    (None where there is none); both are indices. Every other thing of one scene is in the other, in the same order.
    """

    operation: str
    instruction: str
    source: Scene
    target: Scene
    named: int | None = None
    made: int | None = None
    place: str | None = None
    """Where a new thing was asked for: one of PLACES."""


@dataclass(frozen=True)
class Wish:
    """What is asked of an edit.

    `held_out`: the named or new thing is a shape-colour pair that training never sees; `unseen`: a wording that
    training never sees.
    """

    split: str = "core"
    held_out: bool = False
    unseen: bool = False


def sample_edit(
    seed: Iterable[int],
    *,
    split: str = "core",
    operation: str | None = None,
    held_out: bool = False,
    unseen: bool = False,
) -> Edit:
    """A random edit with true target: everything that is not named stays as it was (paired data).

    Args:
        seed: whole numbers; the same numbers give the same edit.
        split: "core", "full" or "plain", as in `sample_scene`; `operation` one of SPLITS[split], random when None.
    """
    rng = generator(*seed)
    if operation is None:
        choices = SPLITS[split]
        if split == "full":
            choices = CORE if rng.random() < 0.6 else FULL[len(CORE) :]
        operation = pick(rng, choices)
    wish = Wish(split, held_out, unseen)
    while True:
        edit = OPERATIONS[operation](rng, wish)
        if edit:
            return edit


def unpaired(edit: Edit, seed: Iterable[int]) -> Edit:
    """The same edit between two different moments of the scene: in the target the things that stay have moved on, and
    the view has too (stage-1 data: source and target are not aligned)."""
    rng = generator(*seed, 7)
    placed: list[Thing] = []
    for index, thing in enumerate(edit.target.things):
        # A place that was asked for must stay true.
        fixed = edit.place is not None and index == edit.made
        moved = thing if fixed else _moved(rng, thing, placed)
        placed.append(moved or thing)
    if any(touch(a, b) for i, a in enumerate(placed) for b in placed[:i]):
        placed = list(edit.target.things)
    target = replace(edit.target, things=tuple(placed))
    if edit.place is None and rng.random() < 0.5:
        centre = float(rng.normal() * 0.08), float(rng.normal() * 0.08)
        target = replace(target, camera=replace(target.camera, centre=centre, zoom=float(rng.uniform(0.9, 1.1))))
    return replace(edit, target=target)


def _moved(rng: Rng, thing: Thing, others: list[Thing]) -> Thing | None:
    for _ in range(10):
        limit = 1 - 2.3 * thing.radius
        shift = rng.normal(size=2) * 0.3
        at = tuple(float(np.clip(a + d, -limit, limit)) for a, d in zip(thing.at, shift, strict=True))
        end = [float(np.clip(a + v, -limit, limit)) for a, v in zip(at, thing.velocity, strict=True)]
        moved = replace(thing, at=(at[0], at[1]), velocity=(end[0] - at[0], end[1] - at[1]))
        if not any(touch(moved, o) for o in others):
            return moved
    return None


def _scene(rng: Rng, wish: Wish, **options: int) -> Scene:
    return sample_scene(rng, split=wish.split, held_out=wish.held_out, **options)


def _add(rng: Rng, wish: Wish) -> Edit | None:
    source = sample_scene(rng, split=wish.split, count=pick(rng, (1, 1, 2)))
    kind = sample_kind(rng, source.background, source.things, held_out=wish.held_out)
    place = pick(rng, PLACES) if rng.random() < 0.6 else None
    if place and source.camera.moves:
        place = None  # "on the left" of a moving view is nowhere in particular
    thing = kind and place_thing(rng, *kind, source.things, place=place, still=True)
    if not thing or not is_seen(thing, source.background):
        return None
    target = replace(source, things=(*source.things, thing))
    text = words.instruction(
        rng,
        "add",
        unseen=wish.unseen,
        new=words.name_new(rng, thing, sized=0.5),
        place=f" {place}" if place else "",
    )
    return Edit("add", text, source, target, made=len(source.things), place=place)


def _remove(rng: Rng, wish: Wish) -> Edit:
    source = _scene(rng, wish)
    named = 0 if wish.held_out else int(rng.integers(len(source.things)))
    text = words.instruction(rng, "remove", unseen=wish.unseen, old=_old(rng, source, named))
    return Edit("remove", text, source, source.with_thing(named, None), named=named)


def _replace(rng: Rng, wish: Wish) -> Edit | None:
    source = sample_scene(rng, split=wish.split)
    named = int(rng.integers(len(source.things)))
    old = source.things[named]
    kind = sample_kind(rng, source.background, source.things, held_out=wish.held_out)
    if not kind or kind[0] == old.shape:
        return None
    new = replace(old, shape=kind[0], colour=kind[1], rgb=jitter(rng, kind[1]))
    if not is_seen(new, source.background):
        return None
    text = words.instruction(
        rng,
        "replace",
        unseen=wish.unseen,
        old=_old(rng, source, named),
        new=words.name_new(rng, new, sized=0),
    )
    return Edit("replace", text, source, source.with_thing(named, new), named=named, made=named)


def _recolour(rng: Rng, wish: Wish) -> Edit | None:
    source = sample_scene(rng, split=wish.split)
    named = int(rng.integers(len(source.things)))
    old = source.things[named]
    kind = sample_kind(rng, source.background, source.things, held_out=wish.held_out, shape=old.shape)
    if not kind:
        return None
    new = replace(old, colour=kind[1], rgb=jitter(rng, kind[1]))
    if not is_seen(new, source.background):
        return None
    text = words.instruction(rng, "recolour", unseen=wish.unseen, old=_old(rng, source, named), colour=new.colour)
    return Edit("recolour", text, source, source.with_thing(named, new), named=named, made=named)


def _background(rng: Rng, wish: Wish) -> Edit | None:
    source = _scene(rng, wish)
    background = sample_background(rng, wish.split, avoid=source.things)
    if _look_alike(background, source.background):
        return None
    text = words.instruction(rng, "background", unseen=wish.unseen, background=words.name_background(rng, background))
    return Edit("background", text, source, replace(source, background=background))


def _look_alike(a: Background, b: Background) -> bool:
    """Whether changing one to the other is no edit to speak of: only the angle, the period or the order differs."""
    ordered = a.kind == "dots"  # dots of the other's ground are another thing to see; stripes the other way are not
    same = a.colours == b.colours if ordered else set(a.colours) == set(b.colours)
    return a.kind == b.kind and same and a.photo == b.photo


def _look(rng: Rng, wish: Wish) -> Edit | None:
    source = _scene(rng, wish)
    look = pick(rng, LOOKS)
    frame = render(source, 1, 32, 32)
    if np.sqrt(np.mean((apply_look(frame, look).astype(np.float32) - frame) ** 2)) < LOOK_EFFECT:
        return None
    return Edit("look", words.instruction(rng, look, unseen=wish.unseen), source, replace(source, look=look))


def _camera(rng: Rng, wish: Wish) -> Edit:
    source = replace(_scene(rng, wish), camera=Camera())
    move = pick(rng, words.MOVES)
    pan = {"left": (-0.3, 0.0), "right": (0.3, 0.0), "up": (0.0, -0.3), "down": (0.0, 0.3)}
    kind, way = move.split()
    camera = Camera(pan=pan[way]) if kind == "pan" else Camera(zoom_by=1.4 if way == "in" else 1 / 1.4)
    text = words.instruction(rng, "camera", unseen=wish.unseen, move=pick(rng, words.MOVES[move]))
    return Edit("camera", text, source, replace(source, camera=camera))


def _double(rng: Rng, wish: Wish) -> Edit | None:
    """Two edits in one sentence: one of a thing, then the background or a look."""
    first = OPERATIONS[pick(rng, ("add", "remove", "replace", "recolour"))](rng, wish)
    if first is None:
        return None
    if rng.random() < 0.5:
        background = sample_background(rng, wish.split, avoid=(*first.source.things, *first.target.things))
        target = replace(first.target, background=background)
        second = words.instruction(rng, "background", background=words.name_background(rng, background))
    else:
        look = pick(rng, LOOKS)
        if first.made is not None and _hides(look, first.target.things[first.made], first.target.background):
            return None
        target = replace(first.target, look=look)
        second = words.instruction(rng, look)
    return replace(first, operation="double", instruction=words.joined(rng, first.instruction, second), target=target)


def _hides(look: str, thing: Thing, background: Background) -> bool:
    """Whether the thing can no longer be told from the background under this look."""
    if look == "blurred":  # it leaves colours alone
        return False
    colours = np.array([thing.rgb, *background.stops()], np.float32).astype(np.uint8)
    first, *others = apply_look(colours[None, None], look)[0, 0].astype(float)
    return any(distance(tuple(first), tuple(other)) < LOOK_CONTRAST for other in others)


def _timed(rng: Rng, wish: Wish) -> Edit | None:
    """An edit that happens halfway through."""
    first = OPERATIONS[pick(rng, ("add", "remove", "recolour", "background"))](rng, wish)
    if first is None:
        return None
    target = replace(first.source, later=first.target, switch=0.5)
    return replace(first, operation="timed", instruction=words.at_half(rng, first.instruction), target=target)


def _old(rng: Rng, scene: Scene, index: int) -> str:
    return words.name_old(rng, scene.things[index], (t for i, t in enumerate(scene.things) if i != index))


OPERATIONS: dict[str, Callable[[Rng, Wish], Edit | None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
    "recolour": _recolour,
    "background": _background,
    "look": _look,
    "camera": _camera,
    "double": _double,
    "timed": _timed,
}
