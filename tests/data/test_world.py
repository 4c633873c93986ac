"""The procedural world: reproducible, honest about what is held out, and its masks and edits true."""

import re

import numpy as np
import pytest

from icve.data.world import (
    CORE,
    FULL,
    HELD_OUT,
    PLACES,
    SPLITS,
    Edit,
    Scene,
    masks,
    render,
    sample_edit,
    unpaired,
)
from icve.data.world.language import MOVES, UNSEEN


def training_edits(count: int) -> list[Edit]:
    return [sample_edit((1, i), split="full" if i % 2 else "core") for i in range(count)]


def scenes(edit: Edit) -> list[Scene]:
    return [scene for scene in (edit.source, edit.target, edit.target.later) if scene is not None]


def pairs(scene: Scene) -> list[tuple[str, str]]:
    return [(thing.shape, thing.colour) for thing in scene.things]


@pytest.fixture(scope="module")
def trained_on() -> list[Edit]:
    return training_edits(500)


@pytest.mark.parametrize("operation", FULL)
def test_same_seed_same_bytes(operation):
    clips = []
    for _ in range(2):
        edit = sample_edit((4, 2), split="full", operation=operation)
        moved = unpaired(edit, (4, 2))
        clips.append(
            edit.instruction.encode() + b"".join(render(s).tobytes() for s in (edit.source, edit.target, moved.target))
        )
    assert clips[0] == clips[1]
    assert sample_edit((4, 3), split="full", operation=operation) != edit


def test_held_out_pairs_are_never_trained_on(trained_on):
    seen = {pair for edit in trained_on for scene in scenes(edit) for pair in pairs(scene)}
    assert not seen & HELD_OUT
    assert len(seen) == 8 * 10 - len(HELD_OUT)


@pytest.mark.parametrize("operation", CORE)
def test_held_out_edits_are_about_a_held_out_pair(operation):
    for i in range(10):
        edit = sample_edit((2, i), operation=operation, held_out=True)
        if edit.made is not None:
            assert pairs(edit.target)[edit.made] in HELD_OUT
        else:
            assert pairs(edit.source)[edit.named or 0] in HELD_OUT


def pattern(template: str) -> re.Pattern[str]:
    words = re.escape(template).replace(r"\{place\}", "( .+)?")
    words = words.replace(r"\{move\}", "(" + "|".join(move for moves in MOVES.values() for move in moves) + ")")
    return re.compile(re.sub(r"\\\{\w+\\\}", "(.+)", words), re.IGNORECASE)


def wordings(edit: Edit, templates: dict[str, tuple[str, ...]]) -> list[str]:
    """Which templates an instruction may have come from, with or without the courtesies that any template may get."""
    text = edit.instruction.rstrip(".")
    key = edit.target.look if edit.operation == "look" else edit.operation
    return [t for t in templates[key] if any(pattern(t).fullmatch(s) for s in (text, text.removeprefix("please ")))]


def test_unseen_wordings_are_never_trained_on(trained_on):
    moves = [sample_edit((9, i), split="full", operation="camera") for i in range(150)]
    for edit in [*trained_on, *moves]:
        if edit.operation not in ("double", "timed"):
            assert not wordings(edit, UNSEEN), edit.instruction


@pytest.mark.parametrize("operation", [*CORE, "camera"])
def test_unseen_wordings_are_used_when_asked_for(operation):
    for i in range(10):
        edit = sample_edit((3, i), split="full", operation=operation, unseen=True)
        assert wordings(edit, UNSEEN), edit.instruction


def test_the_plain_split_has_one_colour_behind_everything():
    for i in range(24):
        edit = sample_edit((9, i), split="plain")
        assert edit.operation in SPLITS["plain"]
        assert {edit.source.background.kind, edit.target.background.kind} == {"plain"}
        assert not edit.source.camera.moves


@pytest.mark.parametrize("split", ["core", "full"])
def test_masks_agree_with_what_is_drawn(split):
    for i in range(12):
        scene = sample_edit((5, i), split=split, operation="remove").source
        clip, covers = render(scene), masks(scene)
        empty = render(Scene(scene.background, (), scene.camera))
        everywhere = np.max(covers, axis=0)
        for thing, cover in zip(scene.things, covers, strict=True):
            if thing.outline:
                continue  # darker along its edge, and half a pixel larger than its mask
            inside = clip[cover == 255]
            assert len(inside) > 50
            assert np.abs(inside.astype(int) - thing.rgb).max() <= 1
        if not any(thing.outline for thing in scene.things):
            assert np.array_equal(clip[everywhere == 0], empty[everywhere == 0])
        # Things keep apart.
        assert np.sum(covers, axis=0, dtype=int).max() <= 255


@pytest.mark.parametrize("operation", FULL)
def test_every_edit_can_be_seen(operation):
    for i in range(8):
        edit = sample_edit((6, i), split="core" if operation in CORE else "full", operation=operation)
        change = np.abs(render(edit.source).astype(int) - render(edit.target))
        assert (change.max(-1) > 10).sum() > 40, edit


def test_looks_change_what_is_seen():
    for i in range(60):
        edit = sample_edit((10, i), operation="look")
        change = render(edit.source, 1).astype(float) - render(edit.target, 1)
        assert np.sqrt(np.mean(change**2)) > 5, edit


def test_new_things_are_seen_on_photographs_and_under_looks():
    seen = 0
    for i in range(150):
        edit = sample_edit((11, i), split="full", operation=("add", "double", "recolour", "background")[i % 4])
        target = edit.target
        if target.background.kind != "photo" and not target.look:
            continue
        still = Scene(target.background, target.things, look=target.look)
        ground = render(Scene(target.background, (), look=target.look), 1).astype(float)
        clip = render(still, 1).astype(float)
        for cover in masks(still, 1):
            apart = np.linalg.norm(clip - ground, axis=-1)[cover == 255]
            if target.background.kind == "photo" and not target.look:
                assert (apart > 45).mean() > 0.5, edit
                seen += 1
        if edit.made is not None and target.look not in ("", "blurred") and target.background.kind != "photo":
            assert np.percentile(np.linalg.norm(clip - ground, axis=-1)[masks(still, 1)[edit.made] == 255], 20) > 30
            seen += 1
    assert seen > 60


def test_a_new_background_is_not_the_old_one_the_other_way_round():
    for i in range(200):
        edit = sample_edit((12, i), operation="background")
        old, new = edit.source.background, edit.target.background
        assert old.kind != new.kind or set(old.colours) != set(new.colours) or new.kind == "dots"


def test_every_other_thing_stays():
    for i in range(60):
        edit = sample_edit((7, i), split="full", operation=FULL[i % len(FULL)])
        after = edit.target.later or edit.target
        before = [t for k, t in enumerate(edit.source.things) if k != edit.named]
        assert before == [t for k, t in enumerate(after.things) if k != edit.made]


def test_unpaired_targets_keep_the_named_change():
    moved = 0
    for i in range(90):
        edit = sample_edit((8, i), operation=CORE[i % len(CORE)])
        target = unpaired(edit, (8, i)).target
        assert pairs(target) == pairs(edit.target)
        assert (target.background, target.look) == (edit.target.background, edit.target.look)
        if edit.place is not None:
            u, v = target.things[edit.made].at
            left, right, top, bottom = PLACES[edit.place]
            assert left <= u <= right
            assert top <= v <= bottom
        moved += target != edit.target
    assert moved > 75
