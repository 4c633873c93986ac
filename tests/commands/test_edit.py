"""`icve edit` as a user calls it, on the tiny model: awkward input works or is refused in one sentence."""

import json
import resource
import shutil
import signal
import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import cv2
import numpy as np
import pytest
from safetensors.torch import load_file, save_file

from icve import cli
from icve.video import VideoReader, probe
from tests.video.samples import audio_packets, make_audio, make_video


@pytest.fixture
def edit(tiny_model, capsys):
    """Runs `icve edit` with the tiny model for one step; returns the exit code, stdout and stderr."""

    def run(*args, model=tiny_model) -> tuple[int, str, str]:
        code = cli.main(["edit", "--model", str(model), "--steps", "1", *map(str, args)])
        shown = capsys.readouterr()
        return code, shown.out, shown.err

    return run


@pytest.fixture
def clip(tmp_path) -> Path:
    folder = tmp_path / "in"
    folder.mkdir()
    return make_video(folder / "clip.mp4", 7, audio="aac")


@pytest.fixture
def out(tmp_path) -> Path:
    folder = tmp_path / "out"
    folder.mkdir()
    return folder


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def frames(path: Path) -> list:
    return list(VideoReader(path))


def refused(outcome: tuple[int, str, str], words: str) -> None:
    """Exit code 2 and one sentence."""
    code, shown, errors = outcome
    assert code == 2
    assert shown == ""
    sentences = [line for line in errors.splitlines() if line.startswith("icve: error: ")]
    assert len(sentences) == 1
    assert words in sentences[0]
    assert "Traceback" not in errors


def test_what_goes_in_comes_out(edit, clip, out):
    """Frames, times and audio are the input's; more than one window; a different picture, but not everywhere."""
    code, shown, _ = edit(clip, "make it blue", "-o", out / "a.mp4")
    assert code == 0
    assert str(out / "a.mp4") in shown
    before, after = frames(clip), frames(out / "a.mp4")
    assert [(f.pts, f.duration) for f in after] == [(f.pts, f.duration) for f in before]
    assert after[0].image.shape == before[0].image.shape
    assert audio_packets(out / "a.mp4") == audio_packets(clip)
    assert names(out) == ["a.mp4"]


def test_the_same_seed_gives_the_same_file_and_another_seed_another(edit, clip, out):
    for name, seed in (("a", 3), ("b", 3), ("c", 4)):
        edit(clip, "make it blue", "-o", out / f"{name}.mp4", "--seed", seed, "--frames", ":5", "--preserve", "off")
    assert (out / "a.mp4").read_bytes() == (out / "b.mp4").read_bytes() != (out / "c.mp4").read_bytes()


@pytest.mark.parametrize("size", [(47, 65), (10, 150), (1, 1)])
def test_odd_sizes_and_one_frame(edit, tmp_path, out, size):
    video = make_video(tmp_path / "odd.mp4", 1, size=size)
    assert edit(video, "make it blue", "-o", out / "a.mp4")[0] == 0
    (frame,) = frames(out / "a.mp4")
    assert frame.image.shape == (*size, 3)


def test_a_rotated_phone_clip(edit, tmp_path, out):
    video = make_video(tmp_path / "phone.mp4", 2, size=(48, 64), rotation=(-90.0, False))
    assert edit(video, "make it blue", "-o", out / "a.mp4")[0] == 0
    info = probe(out / "a.mp4")
    assert (info.height, info.width, info.rotation) == (64, 48, probe(video).rotation)


@pytest.mark.parametrize("instruction", ["make it 🟦 and ✨", "اجعل الدائرة زرقاء", "把圆圈变成蓝色", "-blue"])
def test_any_script(edit, clip, out, instruction):
    code, shown, _ = edit(clip, "--frames", "0:1", "-o", out / "a.mp4", "--json", "--", instruction)
    assert code == 0
    assert json.loads(shown)["edits"][0]["instruction"] == instruction


def test_a_truncated_file(edit, tmp_path, out):
    video = make_video(tmp_path / "whole.mkv", 20)
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(video.read_bytes()[: 2 * video.stat().st_size // 3])
    code, shown, errors = edit(cut, "make it blue", "-o", out / "a.mp4", "--json")
    assert code == 0
    (row,) = json.loads(shown)["edits"]
    assert 0 < row["frames"] < 20
    assert "cut short" in row["lost"]
    assert "icve: warning: " in errors
    assert len(frames(out / "a.mp4")) == row["frames"]


def test_a_range_of_frames(edit, clip, out):
    assert edit(clip, "make it blue", "-o", out / "a.mp4", "--frames", "2:4")[0] == 0
    unit = probe(clip).time_base
    assert [f.pts * probe(out / "a.mp4").time_base for f in frames(out / "a.mp4")] == [0, Fraction(1, 25)]
    assert unit > 0


def test_several_instructions_one_contact_sheet(edit, clip, out):
    sheet = out / "new" / "sheet.png"  # in the folder that is made
    code, shown, _ = edit(clip, "blue", "red", "-o", out / "new", "--contact-sheet", sheet, "--frames", ":2")
    assert code == 0
    assert names(out / "new") == ["clip-1.mp4", "clip-2.mp4", "sheet.png"]
    assert len(shown.splitlines()) == 2
    # three rows: the source, and two edits
    assert cv2.imread(str(sheet)).shape[0] > 3 * 150


def test_preserve_off_and_masks(edit, clip, out):
    mask = np.zeros((48, 64), np.uint8)
    mask[:, 32:] = 255
    cv2.imwrite(str(out / "mask.png"), mask)
    for name, preserve in (("off", "off"), ("mask", out / "mask.png"), ("black", out / "black.png")):
        if name == "black":
            cv2.imwrite(str(out / "black.png"), mask * 0)
        options = ("--preserve", preserve, "--lossless", "--frames", ":3")
        assert edit(clip, "make it blue", "-o", out / f"{name}.mp4", *options)[0] == 0
    source, off, half, black = (
        np.stack([f.image for f in frames(path)][:3])
        for path in (clip, out / "off.mp4", out / "mask.mp4", out / "black.mp4")
    )
    np.testing.assert_array_equal(black, source)
    np.testing.assert_array_equal(half[:, :, :32], source[:, :, :32])
    assert (half[:, :, 32:] != source[:, :, 32:]).mean() > 0.5
    assert (off != source).mean() > 0.5


def test_a_mask_video_moves(edit, clip, out):
    white = make_video(out / "mask.mp4", 7, size=(48, 64), colors=(2, 1, 1, 1))
    options = ("--preserve", white, "--lossless", "--frames", ":3")
    assert edit(clip, "make it blue", "-o", out / "a.mp4", *options)[0] == 0
    refused(
        edit(clip, "blue", "-o", out / "b.mp4", "--preserve", make_video(out / "wide.mp4", 1, size=(48, 200))),
        "the same shape",
    )


def test_a_csv_batch_survives_bad_rows_and_goes_on_where_it_stopped(edit, clip, out):
    make_video(clip.parent / "short.mp4", 1)
    (clip.parent / "text.mp4").write_text("no video")
    rows = clip.parent / "rows.csv"
    lines = ["short.mp4,blue", "missing.mp4,blue", "text.mp4,blue", "short.mp4,", f"short.mp4,{'long ' * 300}"]
    rows.write_text("\n".join(["video,instruction", *lines, "clip.mp4,red"]) + "\n")
    arguments = (rows, "-o", out, "--json", "--frames", ":1")
    code, shown, errors = edit(*arguments)
    report = json.loads(shown)
    assert code == 1
    assert report["failed"] == 4
    assert [row["status"] for row in report["edits"]] == ["done", *["failed"] * 4, "done"]
    reasons = " ".join(row.get("reason", "") for row in report["edits"])
    assert all(words in reasons for words in ("does not exist", "not a video", "empty", "too long"))
    assert "4 of 6 edits failed" in errors
    assert names(out) == ["clip.mp4", "short-1.mp4"]

    again = json.loads(edit(*arguments)[1])
    assert [row["status"] for row in again["edits"]] == ["kept", *["failed"] * 4, "kept"]


def test_a_folder_is_a_batch(edit, tmp_path, out):
    folder = tmp_path / "videos"
    folder.mkdir()
    make_video(folder / "a.mp4", 1)
    (folder / "b.mp4").write_text("no video")
    code, shown, _ = edit(folder, "blue", "-o", out)
    assert code == 1
    assert [line.split()[0] for line in shown.splitlines()] == ["done", "failed"]


def no_video(path: Path) -> Path:
    path.write_text("This is no video.\n" * 40)
    return path


UNUSABLE = {
    "missing": (lambda folder: folder / "missing.mp4", "does not exist"),
    "text": (lambda folder: no_video(folder / "text.mp4"), "not a video"),
    "audio only": (lambda folder: make_audio(folder / "sound.mp4"), "no video stream"),
    "frames beyond the end": (lambda folder: make_video(folder / "one.mp4", 1), "has 1 frames"),
}


@pytest.mark.parametrize("case", UNUSABLE)
def test_unusable_input(edit, tmp_path, out, case):
    make, words = UNUSABLE[case]
    refused(edit(make(tmp_path), "blue", "-o", out / "a.mp4", "--frames", "1:"), words)
    assert names(out) == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([""], "empty"),
        (["make " + "very " * 400 + "blue"], "shorten it to about"),
        (["blue", "--size", "65536x65536"], "GB of memory"),
        (["blue", "--preserve", "missing.png"], "does not exist"),
        (["blue", "--contact-sheet", "missing/sheet.png"], "does not exist"),
    ],
)
def test_unusable_arguments(edit, clip, out, arguments, words):
    refused(edit(clip, *arguments, "-o", out / "a.mp4"), words)
    assert names(out) == []


def test_outputs_that_cannot_be_written(edit, clip, out):
    (out / "there.mp4").write_bytes(b"precious")
    refused(edit(clip, "blue", "-o", out / "there.mp4"), "exists already")
    refused(edit(clip, "blue", "-o", out / "no" / "a.mp4"), "does not exist")
    refused(edit(clip, "blue", "-o", out / "a.avi"), ".mp4, .mov, .mkv")
    refused(edit(clip, "blue", "red", "-o", out / "there.mp4"), "2 outputs")
    assert (out / "there.mp4").read_bytes() == b"precious"
    assert names(out) == ["there.mp4"]
    assert edit(clip, "blue", "-o", out / "there.mp4", "--overwrite", "--frames", ":1")[0] == 0
    assert len(frames(out / "there.mp4")) == 1


def test_a_full_disk(edit, tmp_path, out):
    """A file size limit refuses the write as a full disk does."""
    video = make_video(tmp_path / "large.mp4", 5, size=(240, 320))
    (out / "a.mp4").write_bytes(b"precious")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        outcome = edit(video, "blue", "-o", out / "a.mp4", "--overwrite", "--lossless")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    refused(outcome, "free space")
    assert (out / "a.mp4").read_bytes() == b"precious"
    assert names(out) == ["a.mp4"]


def test_unusable_models(edit, clip, out, tiny_model, tmp_path):
    refused(edit(clip, "blue", "-o", out / "a.mp4", model="no-such-model"), "no-such-model")
    broken = tmp_path / "broken"
    shutil.copytree(tiny_model, broken)
    (weights,) = (broken / "transformer").glob("*.safetensors")
    tensors = load_file(weights)
    tensors["proj_out.weight"] = tensors["proj_out.weight"][:-1].clone()
    save_file(tensors, weights, metadata={"format": "pt"})
    refused(edit(clip, "blue", "-o", out / "a.mp4", model=broken), "proj_out.weight")
    weights.write_bytes(b"nothing")
    refused(edit(clip, "blue", "-o", out / "a.mp4", model=broken), weights.name)
    assert names(out) == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_leaves_nothing(number, clip, out, tiny_model):
    command = [sys.executable, "-m", "icve.cli", "edit", clip, "blue", "-o", out / "a.mp4"]
    process = subprocess.Popen(
        [*map(str, command), "--model", str(tiny_model), "--steps", "100000"],
        stderr=subprocess.PIPE,
        text=True,
        # A suite that runs in a shell's background has Ctrl-C ignored, and its children would inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
    )
    shown = ""
    while "[1/1]" not in shown:
        line = process.stderr.readline()
        assert line, shown
        shown += line
    process.send_signal(number)
    errors = process.communicate(timeout=120)[1]
    assert process.returncode == 130
    assert errors.strip() == "icve: interrupted"
    assert names(out) == []
