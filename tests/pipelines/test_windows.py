"""Long videos: every frame comes out once, windows continue each other, memory does not grow."""

import itertools

import numpy as np
import pytest

from icve.pipelines.windows import (
    crossfade,
    default_overlap,
    edit_in_windows,
    latent_frames,
    plan_windows,
    video_frames,
    whole_frames,
)

WINDOWS = [(1, 0), (5, 0), (5, 1), (9, 1), (9, 5), (13, 5), (61, 13)]


@pytest.mark.parametrize(("window", "overlap"), WINDOWS)
def test_plan_covers_every_frame_with_windows_of_one_length(window, overlap):
    for total in range(1, 3 * window + 3):
        plan = list(plan_windows(range(total), window, overlap))
        assert [part.items for part in plan] == [
            tuple(range(part.start, part.start + len(part.items))) for part in plan
        ]
        assert {len(part.items) for part in plan} == {min(window, total)}
        assert plan[0].start == 0
        assert plan[-1].items[-1] == total - 1
        for before, part in itertools.pairwise(plan):
            assert part.overlap >= overlap
            assert part.start == before.items[-1] + 1 - part.overlap > before.start
        assert all(part.overlap == overlap for part in plan[1:-1]), "only the last window is moved back"


def test_an_empty_stream_has_no_window_and_a_wrong_overlap_is_named():
    assert list(plan_windows([], 9, 1)) == []
    with pytest.raises(ValueError, match="overlap 9"):
        list(plan_windows([1], 9, 9))


@pytest.mark.parametrize(("window", "overlap"), WINDOWS)
def test_the_weights_of_each_frame_sum_to_one(window, overlap):
    # windows that each paint one constant: an output frame is the weighted mean of its windows' constants, so equal
    # constants must come back exactly, and different ones must stay between the constants of the windows involved
    for total in (1, 2, window, window + 1, 2 * window, 3 * window + 2):
        frames = [np.zeros((1, 1, 3), np.uint8)] * total
        same = list(edit_in_windows(frames, lambda source, _: np.full_like(source, 77), window, overlap))
        assert [frame[0, 0, 0] for frame in same] == [77] * total
        values = iter(range(0, 250, 10))
        steps = list(
            edit_in_windows(frames, lambda source, _: np.full_like(source, next(values)), window, overlap)  # noqa: B023
        )
        painted = np.array([int(frame[0, 0, 0]) for frame in steps])
        assert len(painted) == total
        assert (np.diff(painted) >= 0).all(), "a cross-fade goes one way"


def test_an_editor_that_changes_nothing_gives_the_video_back():
    video = np.random.default_rng(0).integers(0, 256, (23, 4, 6, 3), dtype=np.uint8)
    for window, overlap in WINDOWS:
        out = list(edit_in_windows(video, lambda source, _: source, window, overlap))
        np.testing.assert_array_equal(np.stack(out), video)


def test_each_window_is_told_the_finished_edit_of_its_first_frames():
    video = np.arange(30, dtype=np.uint8)[:, None, None, None].repeat(3, axis=3)
    told = []

    def brighter(source, known):
        told.append((int(source[0, 0, 0, 0]), None if known is None else known[:, 0, 0, 0].tolist()))
        return source + 100

    out = list(edit_in_windows(video, brighter, 9, 5))
    assert [int(frame[0, 0, 0]) for frame in out] == list(range(100, 130))
    assert told[0] == (0, None)
    for start, known in told[1:]:
        assert known == [start + 100 + i for i in range(5)]
    assert told[-1][0] == 21


def test_a_moved_back_window_knows_whole_latent_frames_only():
    video = np.zeros((12, 2, 2, 3), np.uint8)
    lengths = []

    def record(source, known):
        lengths.append(None if known is None else len(known))
        return source

    # starts 0 and 3: six frames are shared, of which 5 = 1 + 4 fill latent frames
    assert len(list(edit_in_windows(video, record, 9, 1))) == 12
    assert lengths == [None, 5]


def test_memory_is_two_windows_however_long_the_stream():
    alive = 0
    most = 0

    class Frame(np.ndarray):
        def __del__(self):
            nonlocal alive
            alive -= 1

    def stream():
        nonlocal alive, most
        for _ in range(400):
            frame = np.zeros((2, 2, 3), np.uint8).view(Frame)
            alive += 1
            most = max(most, alive)
            yield frame
            del frame

    count = sum(1 for _ in edit_in_windows(stream(), lambda source, _: np.array(source), 9, 1))
    assert count == 400
    assert most <= 2 * 9


def test_frame_arithmetic():
    assert [latent_frames(frames) for frames in (1, 4, 5, 9, 61)] == [1, 1, 2, 3, 16]
    assert [video_frames(latents) for latents in (1, 2, 16)] == [1, 5, 61]
    assert [whole_frames(frames) for frames in (1, 2, 5, 6, 61)] == [1, 5, 5, 9, 61]
    assert [default_overlap(window) for window in (1, 5, 9, 13, 61)] == [0, 1, 1, 5, 17]


def test_crossfade_is_linear():
    before, after = np.zeros((3, 1, 1, 3), np.uint8), np.full((3, 1, 1, 3), 200, np.uint8)
    assert crossfade(before, after)[:, 0, 0, 0].tolist() == [50, 100, 150]
