"""Files through the pipeline from Python: windows continue each other, short clips, sizes, reports."""

import numpy as np
import pytest
import torch

from icve.errors import InputError
from icve.pipelines.editor import MOST_SAMPLES, Samples, WindowEditor, check_instruction, choose_size, edit_file
from icve.pipelines.masks import MaskReader
from icve.video import Fit, VideoReader, probe
from tests import tiny
from tests.video.samples import make_video, psnr


def window_editor(pipe, fit=Fit((32, 32), (32, 32)), **options) -> WindowEditor:  # noqa: B008 - immutable
    settings = {"seed": 0, "steps": 2, "guidance": 3.0, "preserve_source": False, "on_step": lambda *_: None}
    return WindowEditor(pipe, "make it blue", fit, **settings | options)


def test_a_window_goes_on_from_the_frames_it_is_told(tiny_pipeline, monkeypatch):
    """What is decoded begins with the latents of the known frames, and the frame after them is the model's."""
    decoded = []
    decode = tiny_pipeline.decode_latents
    monkeypatch.setattr(tiny_pipeline, "decode_latents", lambda latents: decoded.append(latents) or decode(latents))
    source, known = tiny.video(5, seed=0), tiny.video(1, seed=1)
    edit = window_editor(tiny_pipeline)
    free, continued = edit(source, None), edit(source, known)
    expected = tiny_pipeline.encode_video(
        tiny_pipeline.video_processor.preprocess_video(known.astype(np.float32) / 255)
    )
    torch.testing.assert_close(decoded[1][:, :, :1], expected)
    assert not torch.allclose(decoded[0][:, :, :1], expected, atol=0.1)
    assert (free != continued).any()
    assert edit.windows == 2


def test_every_window_has_the_same_noise(tiny_pipeline):
    edit = window_editor(tiny_pipeline)
    source = tiny.video(5)
    np.testing.assert_array_equal(edit(source, None), edit(source, None))
    assert (edit(source, None) != window_editor(tiny_pipeline, seed=1)(source, None)).any()


@pytest.mark.parametrize("frames", [1, 2, 4])
def test_short_windows_come_out_at_their_length(tiny_pipeline, frames):
    source = tiny.video(frames)
    assert window_editor(tiny_pipeline)(source, None).shape == source.shape
    assert window_editor(tiny_pipeline, preserve_source=True)(source, None).shape == source.shape


def test_a_report_and_progress(tiny_pipeline, tmp_path):
    video = make_video(tmp_path / "in.mp4", 12)
    seen: list[float] = []
    report = edit_file(
        tiny_pipeline,
        video,
        "make it blue",
        tmp_path / "out.mp4",
        steps=2,
        progress=lambda done, total: seen.append(done / total),
    )
    # windows of 5 overlap by 1: frames 0-4, 4-8, and 7-11, moved back to end with the video
    assert (report.frames, report.windows, report.window, report.size) == (12, 3, 5, (32, 32))
    assert report.lost is None
    assert len(seen) == 3 * 2
    assert seen == sorted(seen)
    assert seen[-1] == 1
    assert probe(tmp_path / "out.mp4").frames == 12
    assert len(report.samples.source) == len(report.samples.edit) == 12


def test_a_moving_mask_confines_the_edit_frame_by_frame(tiny_pipeline, tmp_path):
    source = make_video(tmp_path / "in.mp4", 6)
    mask = tmp_path / "mask.mp4"
    edit_file(tiny_pipeline, source, "x", tmp_path / "a.mp4", steps=1, lossless=True, preserve=make_video(mask, 6))
    before, after, masks = (np.stack([f.image for f in VideoReader(p)]) for p in (source, tmp_path / "a.mp4", mask))
    black = masks.max(-1) == 0
    np.testing.assert_array_equal(after[black], before[black])
    assert (after != before).any()


def test_masks_are_scaled_and_held(tmp_path):
    info = probe(make_video(tmp_path / "in.mp4", 4, size=(48, 64)))
    path = make_video(tmp_path / "mask.mp4", 2, size=(24, 32))
    grey = [np.asarray(frame.image).mean(-1) for frame in VideoReader(path)]
    masks = [mask for mask, _ in zip(MaskReader(path, info), range(4), strict=False)]
    assert {mask.shape for mask in masks} == {(48, 64)}
    np.testing.assert_array_equal(masks[1], masks[3])
    assert psnr(masks[0][::2, ::2], grey[0].astype(np.uint8)) > 15


def test_sizes():
    sizes = [[61, 768, 480], [61, 480, 768], [9, 64, 64]]
    assert choose_size(sizes, 1920, 1080) == (61, Fit((1920, 1080), (768, 480)))
    assert choose_size(sizes, 100, 100) == (9, Fit((100, 100), (64, 64)))
    assert choose_size(sizes, 100, 100, (128, 96)) == (61, Fit((100, 100), (128, 96)))


def test_instructions_that_do_not_fit(tiny_pipeline):
    check_instruction(tiny_pipeline, "make it blue " * 10)
    with pytest.raises(InputError, match="empty"):
        check_instruction(tiny_pipeline, " \t")
    # one token a byte: 256 with the opening one, so 42 times "blue, " fit
    with pytest.raises(InputError, match="1801 tokens and the model takes 256; shorten it to about 42 words"):
        check_instruction(tiny_pipeline, "blue, " * 300)


def test_samples_stay_few_and_even():
    samples = Samples()
    for i in range(100):
        samples.add(np.full((8, 500, 3), i, np.uint8), np.full((8, 500, 3), 255 - i, np.uint8))
    values = [int(frame[0, 0, 0]) for frame in samples.source]
    assert len(values) <= MOST_SAMPLES
    assert len(set(np.diff(values))) == 1
    assert values[0] == 0
    assert values[-1] > 80
    assert samples.source[0].shape == (4, 240, 3)
    assert [int(frame[0, 0, 0]) for frame in samples.edit] == [255 - value for value in values]
