"""Clips are read whole, whatever their header says, and never without a limit."""

import av
import numpy as np
import pytest

from icve.errors import InputError
from icve.evaluation import clips as clips_module
from icve.evaluation.clips import read_clip
from icve.video import VideoReader
from tests.evaluation.metrics.cases import BUNNY, bunny, write


def test_reads_what_the_reader_reads():
    """All frames in order, upright; chroma is only repeated, so colours differ a little at edges."""
    ours = read_clip(BUNNY)[:24]
    theirs = np.stack([frame.image for frame in VideoReader(BUNNY, stop=24)])
    assert ours.shape == theirs.shape
    differences = np.abs(ours.astype(np.int16) - theirs).mean(axis=(1, 2, 3))
    assert differences.max() < 1.5
    assert np.abs(np.diff(theirs.astype(np.int16), axis=0)).mean() > 1.5  # neighbours are further apart


def test_lossless_to_the_bit(tmp_path):
    clip = bunny()
    assert (read_clip(write(tmp_path / "clip.mp4", clip)) == clip).all()


def test_header_that_counts_no_frames(tmp_path):
    with av.open(str(tmp_path / "clip.avi"), "w", format="h264") as output:
        stream = output.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        for frame in bunny(13):
            output.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        output.mux(stream.encode(None))
    assert len(read_clip(tmp_path / "clip.avi")) == 13


def test_limit(tmp_path, monkeypatch):
    path = write(tmp_path / "clip.mp4", bunny(5))
    monkeypatch.setattr(clips_module, "MAX_FRAMES", 5)
    assert len(read_clip(path)) == 5
    monkeypatch.setattr(clips_module, "MAX_FRAMES", 4)
    with pytest.raises(InputError, match="longer than 4 frames"):
        read_clip(path)
    monkeypatch.setattr(clips_module, "MAX_BYTES", 3 * 128 * 96 * 3)
    with pytest.raises(InputError, match="longer than"):
        read_clip(path)


def test_not_a_video(tmp_path):
    (tmp_path / "clip.mp4").write_bytes(b"nothing")
    with pytest.raises(InputError, match=r"clip\.mp4"):
        read_clip(tmp_path / "clip.mp4")
