"""Metrics of motion on clips whose motion is known, and against their references on real frames."""

import cv2
import numpy as np
import pytest

from icve.evaluation.metrics.flow import WarpError, flow_of, seen_twice, warp, warp_error, way_between
from icve.evaluation.metrics.temporal import Flicker, FlowSmoothness
from icve.evaluation.metrics.tracks import MotionFidelity, displacements, fidelity, similarities
from icve.evaluation.scorers import MissingError
from tests.evaluation.metrics.cases import BOX, bunny, case, edit, noisy, photo


def panning(name, step, frames=5):
    """A window that moves over a photograph by `step` pixels (x, y) a frame."""
    large = cv2.resize(photo(name), (256, 192), interpolation=cv2.INTER_CUBIC)
    x, y = 64, 48
    return np.stack(
        [large[y + i * step[1] :, x + i * step[0] :][:96, :128] for i in range(-(frames // 2), frames // 2 + 1)]
    ).copy()


def test_flicker_is_vbenchs(tmp_path):
    source = bunny()
    a_case, clips = case(tmp_path, source=source, edited=noisy(source, 5))
    scores = Flicker().score(a_case, clips)

    def vbench(clip):  # written from the paper's formula
        frames = clip.astype(np.float64)
        return (255 - np.abs(frames[1:] - frames[:-1]).mean()) / 255

    assert scores["flicker"] == pytest.approx(vbench(clips.edited), abs=1e-6)
    assert scores["flicker_of_source"] == pytest.approx(vbench(source), abs=1e-6)
    assert scores["flicker"] < scores["flicker_of_source"]


def test_smoothness_tells_a_jerk(tmp_path):
    smooth = panning("temple", (2, 0))
    jerky = smooth.copy()
    jerky[1] = smooth[0]  # stands still, then jumps
    scores = []
    for i, clip in enumerate((smooth, jerky)):
        (tmp_path / str(i)).mkdir()
        scores.append(FlowSmoothness().score(*case(tmp_path / str(i), source=smooth, edited=clip))["flow_smoothness"])
    assert scores[0] > 0.97
    assert scores[1] < scores[0] - 0.01


def test_flow_of_a_known_pan():
    clip = panning("temple", (3, 1))
    way = way_between(flow_of(), clip[0], clip[1])
    assert np.median(way.reshape(-1, 2), axis=0) == pytest.approx([-3, -1], abs=0.2)
    back = way_between(flow_of(), clip[1], clip[0])
    visible = seen_twice(way, back)
    assert 0.8 < visible.mean() < 1
    assert not visible[:, :2].any()  # what leaves the frame on the left
    assert np.abs(warp(clip[1], way).astype(int) - clip[0])[visible].mean() < 3


def test_warp_error(tmp_path):
    source = panning("coffee", (2, 1))
    steady = edit(source)[0]
    moving = source // 2 + 60  # a new look that moves along
    flickering = moving.copy()
    flickering[1::2] = np.clip(flickering[1::2].astype(int) + 20, 0, 255)
    errors = {}
    for name, clip in (("moving", moving), ("flickering", flickering), ("stuck", steady)):
        (tmp_path / name).mkdir()
        errors[name] = WarpError().score(*case(tmp_path / name, source=source, edited=clip))
    assert errors["moving"]["warp_error"] < 0.0005
    assert errors["flickering"]["warp_error"] == pytest.approx((20 / 255) ** 2, rel=0.1)
    assert errors["stuck"]["warp_error"] > 3 * errors["moving"]["warp_error"]  # the box does not move with the scene


def test_warp_error_of_a_still_clip_is_the_frames_difference():
    still = np.repeat(photo("cat")[None], 3, axis=0)
    clip = np.stack([still[0], still[0] // 2, still[0]])
    expected = np.square(clip[0] / 255 - clip[1] / 255).mean()
    assert warp_error(clip, still) == pytest.approx(expected, abs=1e-5)


def test_tracks_follow_a_pan():
    steps = displacements(panning("bricks", (2, -1)))
    kept = steps[~np.isnan(steps).any(axis=(1, 2))]
    assert len(kept) > 0.5 * len(steps)
    assert np.median(kept.reshape(-1, 2), axis=0) == pytest.approx([-2, 1], abs=0.05)


def test_similarity_by_hand():
    right, up, still, lost = [1, 0], [0, -2], [0.01, 0], [np.nan, np.nan]
    first = np.array([[right, right], [up, still]], np.float32)
    second = np.array([[right, up], [still, still], [up, lost]], np.float32)
    expected = [[(1 + 0) / 2, 0, 0], [(0 + 0) / 2, (0 + 1) / 2, 1]]
    assert similarities(first, second) == pytest.approx(np.array(expected))
    # best of each: first 0.5 and 1; second 0.5, 0.5 and 1
    assert fidelity(first, second) == pytest.approx(((0.5 + 1) / 2 + (0.5 + 0.5 + 1) / 3) / 2)


def test_motion_fidelity(tmp_path):
    source = panning("gravel", (2, 1))
    scores = {}
    for name, clip in (
        ("restyled", 255 - source),
        ("reversed", source[::-1].copy()),
        ("other", panning("grass", (-1, 2))),
    ):
        (tmp_path / name).mkdir()
        mask = edit(source)[1]
        scores[name] = MotionFidelity().score(*case(tmp_path / name, source=source, edited=clip, mask=mask))
    for part in ("motion_fidelity", "motion_fidelity_inside"):
        assert scores["restyled"][part] > 0.95
        assert scores["reversed"][part] < -0.8
        assert abs(scores["other"][part]) < 0.3


@pytest.mark.parametrize("metric", [Flicker, WarpError, MotionFidelity, FlowSmoothness])
def test_one_frame(tmp_path, metric):
    with pytest.raises(MissingError, match="at least"):
        metric().score(*case(tmp_path, source=bunny(1), edited=bunny(1)))


def test_real_edit_scores_are_in_range(tmp_path):
    source = bunny(4)
    target, mask = edit(source)
    a_case, clips = case(tmp_path, source=source, edited=target, mask=mask)
    for metric in (Flicker(), WarpError(), MotionFidelity(), FlowSmoothness()):
        scores = metric.score(a_case, clips)
        for figure in metric.figures:
            assert figure.low <= scores[figure.name] <= figure.high, figure.name
    assert mask[0][BOX].all()
