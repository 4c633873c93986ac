"""The evaluation loop with editors that are plain functions."""

import pytest

from icve.data.world import HELD_OUT, render
from icve.evaluation.loop import evaluate_edits, held_out_edit


@pytest.fixture(scope="module")
def samples():
    return [held_out_edit(i) for i in range(12)]


def test_batches_and_noise_seeds_reach_the_editor(samples):
    calls = []

    def editor(sources, instructions, seeds):
        calls.append((len(sources), instructions, list(seeds)))
        return sources

    list(evaluate_edits(samples[:5], editor, seeds=range(100, 105), batch=3))
    texts = [edit.instruction for edit in samples[:5]]
    assert calls == [(3, texts[:3], [100, 101, 102]), (2, texts[3:], [103, 104])]


def test_composition_changes_success_but_not_preservation(samples):
    edit = samples[1]

    def bad(*_):
        return [255 - render(edit.target)]

    (plain,) = evaluate_edits([edit], bad)
    (composed,) = evaluate_edits([edit], bad, compose=lambda *_: render(edit.target))
    assert not plain.verdict.success
    assert composed.verdict.success
    assert composed.verdict.preservation_psnr == plain.verdict.preservation_psnr < 17


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
