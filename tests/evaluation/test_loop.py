"""The evaluation loop with editors that are plain functions."""

import pytest

from icve.data.world import HELD_OUT, render
from icve.evaluation.loop import evaluate_edits, held_out_edit, summarise


@pytest.fixture(scope="module")
def samples():
    return [held_out_edit(i) for i in range(12)]


def test_a_perfect_editor_and_one_that_does_nothing(samples):
    targets = {edit.instruction + render(edit.source).tobytes().hex(): render(edit.target) for edit in samples}
    calls = []

    def perfect(sources, instructions, seeds):
        calls.append(seeds)
        return [targets[text + clip.tobytes().hex()] for clip, text in zip(sources, instructions, strict=True)]

    right = summarise([judged.row() for judged in evaluate_edits(samples, perfect, seeds=range(100, 112), batch=5)])
    assert [list(seeds) for seeds in calls] == [[*range(100, 105)], [*range(105, 110)], [110, 111]]
    assert right["success"]["mean"] == 1
    assert right["preservation_psnr"]["mean"] > 40
    assert {name: rate["success"]["n"] for name, rate in right["operations"].items()} == dict.fromkeys(
        ("add", "remove", "replace", "recolour", "background", "look"), 2
    )
    lazy = summarise([j.row() for j in evaluate_edits(samples, lambda sources, *_: sources)])
    assert lazy["success"] == {"mean": 0, "interval": pytest.approx([0, 0.2425], abs=1e-4), "n": 12}


def test_samples_are_held_out_and_reproducible():
    for i in range(12):
        edit = held_out_edit(i, seed=3, unseen=True)
        assert edit == held_out_edit(i, seed=3, unseen=True)
        things = [(t.shape, t.colour) for scene in (edit.source, edit.target) for t in scene.things]
        assert HELD_OUT.intersection(things)
    assert [held_out_edit(i, split="full", operations=("timed", "camera")).operation for i in range(4)] == [
        "timed",
        "camera",
    ] * 2
