"""The judge: right edits pass, wrong and missing ones do not, and what a sentence leaves open is free."""

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest

from icve.data.world import CORE, FULL, Edit, Scene, render, sample_edit
from icve.data.world.sampling import touch
from icve.data.world.scene import Background
from icve.evaluation.world.judge import judge
from tests.evaluation.selfcheck import degrade, differs, edits, wrong_targets


@pytest.mark.parametrize("split", ["core", "full", "plain"])
def test_right_passes_and_unedited_does_not(split):
    degraded = 0
    samples = list(edits(split, 27, seed=11))
    for i, edit in samples:
        source, target = render(edit.source), render(edit.target)
        assert judge(edit, source, target).reasons == ()
        assert not judge(edit, source, degrade(source, i)).success, edit.instruction
        degraded += judge(edit, source, degrade(target, i)).success
    assert degraded >= len(samples) - 1


@pytest.mark.parametrize("operation", FULL)
def test_wrong_edits_do_not_pass(operation):
    edit = sample_edit((12, 0), split="core" if operation in CORE else "full", operation=operation)
    source, target = render(edit.source), render(edit.target)
    wrong = [(name, render(scene)) for name, scene in wrong_targets(edit, 0)]
    wrong = [(name, clip) for name, clip in wrong if differs(clip, target)]
    assert wrong
    for name, clip in wrong:
        assert not judge(edit, source, clip).success, name


def first(operation: str, wanted: Callable[[Edit], bool]) -> Edit:
    return next(e for i in range(500) if wanted(e := sample_edit((13, i), operation=operation)))


def verdict(edit: Edit, scene: Scene) -> bool:
    return judge(edit, render(edit.source), render(scene)).success


def test_a_new_thing_may_stand_anywhere_that_the_words_allow():
    edit = first(
        "add", lambda e: e.place == "on the left" and len(e.source.things) == 1 and e.source.things[0].at[0] > 0.2
    )
    made = edit.target.things[1]
    upper, right = replace(made, at=(made.at[0], -0.3)), replace(made, at=(0.0, made.at[1]))
    assert verdict(edit, edit.target.with_thing(1, upper))
    assert not verdict(edit, edit.target.with_thing(1, right))


def test_the_size_of_a_new_thing_counts_only_if_it_was_said():
    def roomy(edit: Edit) -> bool:
        grown = replace(edit.target.things[-1], radius=0.19)
        return not any(touch(grown, thing) for thing in edit.source.things)

    sizes = ("small", "little", "large", "big")
    silent = first("add", lambda e: roomy(e) and not any(size in e.instruction for size in sizes))
    said = first("add", lambda e: roomy(e) and "small" in e.instruction)
    for edit, free in ((silent, True), (said, False)):
        made = edit.target.things[-1]
        other = replace(made, radius=0.12 if made.size == "large" else 0.18)
        assert verdict(edit, edit.target.with_thing(edit.made, other)) == free


def test_a_pattern_is_right_in_any_phase_and_direction():
    edit = first("background", lambda e: e.target.background.kind == "stripes")
    background = edit.target.background
    turned = replace(background, angle=background.angle + np.pi / 2, phase=background.phase + 0.4, scale=0.28)
    assert verdict(edit, replace(edit.target, background=turned))
    checks = replace(background, kind="checks", angle=0.0)
    one, two = background.colours
    other = "grey" if "grey" not in (one, two) else "brown"
    for wrong in (checks, replace(background, colours=(one, other)), Background("plain", (one,))):
        assert not verdict(edit, replace(edit.target, background=wrong))


def test_how_much_darker_is_free_but_not_nothing():
    edit = first("look", lambda e: e.target.look == "darker" and e.source.background.colours[0] != "black")
    source, target = render(edit.source), render(edit.target)

    def mix(share: float) -> np.ndarray:
        return (source + share * (target.astype(float) - source)).astype(np.uint8)

    assert judge(edit, source, mix(0.75)).success
    assert not judge(edit, source, mix(0.25)).success


@pytest.mark.parametrize("operation", CORE)
def test_preservation_is_measured_outside_the_edit(operation):
    edit = sample_edit((14, 3), operation=operation)
    source, target = render(edit.source), render(edit.target)
    clean = judge(edit, source, target)
    assert clean.preservation_psnr > 45  # a new background blends into the edges of things
    noise = np.random.default_rng(0).normal(0, 8, target.shape)
    noisy = judge(edit, source, np.clip(target + noise, 0, 255).astype(np.uint8))
    assert noisy.preservation_psnr == pytest.approx(20 * np.log10(255 / 8), abs=1.5)  # clipping and looks move it


def test_float_clips_are_judged_as_bytes_are():
    edit = sample_edit((15, 1), operation="recolour")
    source, target = render(edit.source), render(edit.target)
    assert judge(edit, source, target.astype(np.float32) / 255).success
    assert not judge(edit, source, source.astype(np.float32) / 255).success


def test_one_wrong_frame_in_the_middle_is_seen():
    edit = sample_edit((15, 2), operation="recolour")
    source, output = render(edit.source), render(edit.target)
    output[4] = source[4]
    assert not judge(edit, source, output).success


@pytest.mark.parametrize("size", [(9, 128, 128), (5, 64, 96)])
def test_other_sizes(size):
    for i, edit in edits("full", 9, seed=16):
        source, target = render(edit.source, *size), render(edit.target, *size)
        assert judge(edit, source, target).success, (i, judge(edit, source, target).reasons)
        assert not judge(edit, source, source).success
