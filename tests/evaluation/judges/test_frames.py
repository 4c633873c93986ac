"""Frames for a judge: the right ones, small, in bounded memory."""

from pathlib import Path

import numpy as np
import pytest

from icve.errors import InputError
from icve.evaluation.judges import frames
from icve.evaluation.judges.frames import SmallFrames, evenly
from icve.video import VideoReader
from tests.evaluation.judges.endpoint import write_clip
from tests.video.samples import make_video


def test_frames_are_those_of_the_file_shrunk(tmp_path: Path):
    path = make_video(tmp_path / "clip.mp4", 9)
    small = SmallFrames(path, 32)
    assert small.count == 9
    assert {image.shape for image in small.kept.values()} == {(24, 32, 3)}
    whole = SmallFrames(path, 64)
    for number, frame in enumerate(VideoReader(path)):
        np.testing.assert_array_equal(whole.kept[number], frame.image)
    first, middle, last = whole.at(evenly(3), 9)
    np.testing.assert_array_equal([first, middle, last], [whole.kept[0], whole.kept[4], whole.kept[8]])
    assert len(whole.at(evenly(64), 9)) == 9
    np.testing.assert_array_equal(whole.at((1.0,), 5)[0], whole.kept[4])
    assert evenly(1) == (0.5,)


def test_of_a_long_clip_a_bounded_number_is_held(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frames, "KEPT", 16)
    path = make_video(tmp_path / "long.mp4", 101)
    small = SmallFrames(path, 64)
    assert small.count == 101
    assert len(small.kept) <= 17
    for place in evenly(9):
        wanted = round(place * 100)
        (image,) = small.at((place,), 101)
        nearest = min(small.kept, key=lambda number: abs(number - wanted))
        assert abs(nearest - wanted) <= 101 / 16
        np.testing.assert_array_equal(image, small.kept[nearest])
    assert {0, 100} <= {*small.kept}


def test_too_long_a_clip_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(frames, "MAX_FRAMES", 8)
    with pytest.raises(InputError, match="longer than 8 frames"):
        SmallFrames(write_clip(tmp_path / "clip.mp4", 1, 9), 64)
