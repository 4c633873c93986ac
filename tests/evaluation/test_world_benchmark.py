"""The world as a benchmark of files, and its judge as a scorer."""

from dataclasses import replace

import numpy as np
import pytest

from icve.data.world import render
from icve.errors import InputError
from icve.evaluation.benchmarks.world import World, edit_of
from icve.evaluation.clips import Clips, read_clip
from icve.evaluation.scorers import Scorer
from icve.evaluation.world.scorer import WorldScorer
from tests.evaluation.bar import LIMITS, Bar


@pytest.fixture(scope="module")
def cases(tmp_path_factory):
    return World(count=12, seed=3).cases(tmp_path_factory.mktemp("world"))


def test_files_hold_the_scenes_exactly(cases):
    for case in cases[:6]:
        edit = edit_of(case)
        assert np.array_equal(read_clip(case.source), render(edit.source))
        assert np.array_equal(read_clip(case.target), render(edit.target))
        assert case.instruction == edit.instruction


def test_nothing_is_drawn_twice(tmp_path):
    first = World(count=6, seed=1).cases(tmp_path)
    times = {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()}
    assert World(count=6, seed=1).cases(tmp_path) == first
    assert {path: path.stat().st_mtime_ns for path in tmp_path.iterdir()} == times
    World(count=6, seed=2).cases(tmp_path)
    assert len(list(tmp_path.iterdir())) > len(times)


def test_scores_and_reasons(cases):
    scorer: Scorer = WorldScorer()
    scorer.load()
    right = scorer.score(cases[0], Clips(cases[0], cases[0].target))
    assert right == {"success": 1.0, "preservation_psnr": 100.0}
    assert right.reasons == ()
    wrong = scorer.score(cases[0], Clips(cases[0], cases[0].source))
    assert wrong["success"] == 0.0
    assert wrong.reasons
    assert set(wrong) <= {figure.name for figure in scorer.figures}


def test_splits_operations_and_wordings(tmp_path):
    full = World(count=9, split="full", unseen=True, operations=("camera", "timed")).cases(tmp_path)
    assert {case.category for case in full} == {"camera", "timed"}
    scorer = WorldScorer()
    for case in full:
        scores = scorer.score(case, Clips(case, case.target))
        assert scores["success"] == 1.0
        assert ("preservation_psnr" in scores) == (case.category != "camera")


def test_an_edit_of_another_size_is_judged(cases, tmp_path):
    from icve.data.shard_media import encode_clip

    case = cases[0]
    larger = tmp_path / "larger.mp4"
    larger.write_bytes(encode_clip(render(edit_of(case).target, 9, 128, 128), 8.0, quality=0, lossless=True))
    assert WorldScorer().score(case, Clips(case, larger))["success"] == 1.0


def test_cases_of_others_are_refused(cases):
    for case in (replace(cases[0], details={}), replace(cases[0], instruction="Remove all.")):
        with pytest.raises(InputError):
            edit_of(case)
    for wrong in ({"split": "half"}, {"operations": ("camera",)}, {"clip": (1, 64, 64)}):
        with pytest.raises(InputError):
            World(**wrong)


def test_bar(tmp_path):
    """A small part of `python -m tests.evaluation.selfcheck --bar`."""
    bar = Bar(World(count=6, seed=5, operations=("add", "replace", "look")), tmp_path)
    for kind, (_, least, most) in LIMITS.items():
        rate, edits = bar.rate(kind)
        assert edits == (12 if kind == "others" else 6)
        assert least <= rate <= most, kind
