"""Reading: every frame at its own time, upright, in the right colours, in constant memory."""

import subprocess
import sys
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from icve.errors import InputError
from icve.video import VideoReader, probe
from tests.video.samples import make_video, picture, psnr, seen

VFR = (900, 4500, 1800, 1234, 9000)


def times(path: Path) -> list[tuple[Fraction, Fraction]]:
    reader = VideoReader(path)
    return [(frame.pts * reader.info.time_base, frame.duration * reader.info.time_base) for frame in reader]


def test_constant_rate(tmp_path: Path) -> None:
    path = make_video(tmp_path / "cfr.mp4", 20)
    assert times(path) == [(Fraction(i, 25), Fraction(1, 25)) for i in range(20)]
    info = probe(path)
    assert (info.width, info.height, info.frames, info.average_rate) == (64, 48, 20, 25)
    assert info.seconds == pytest.approx(0.8)
    assert not info.has_audio


def test_variable_rate(tmp_path: Path) -> None:
    path = make_video(tmp_path / "vfr.mp4", 12, time_base=Fraction(1, 90_000), durations=VFR)
    durations = [VFR[i % 5] for i in range(12)]
    expected = [(Fraction(sum(durations[:i]), 90_000), Fraction(durations[i], 90_000)) for i in range(12)]
    assert times(path) == expected


@pytest.mark.parametrize("name", ["a.mkv", "a.webm", "a.avi", "a.ts", "a.gif"])
def test_other_formats(tmp_path: Path, name: str) -> None:
    codec = {"a.webm": "libvpx-vp9", "a.avi": "mpeg4", "a.gif": "gif"}.get(name, "libx264")
    if codec == "gif":
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            stream = container.add_stream("gif", rate=25)
            stream.width, stream.height, stream.pix_fmt = 64, 48, "rgb8"
            for index in range(20):
                frame = av.VideoFrame.from_ndarray(picture(index), "rgb24").reformat(format="rgb8")
                container.mux(stream.encode(frame))
            container.mux(stream.encode(None))
    else:
        path = make_video(tmp_path / name, 20, codec=codec)
    reader = VideoReader(path)
    frames = list(reader)
    assert reader.lost is None
    assert len(frames) == 20
    starts = np.array([float(frame.pts * reader.info.time_base) for frame in frames])
    assert starts - starts[0] == pytest.approx(np.arange(20) / 25, abs=1e-3)
    quality = {"gif": 15, "mpeg4": 20}.get(codec, 28)  # GIF has 256 colours
    assert min(psnr(frame.image, picture(i)) for i, frame in enumerate(frames)) > quality


def test_range_keeps_the_files_times(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 20)
    everything = list(VideoReader(path))
    part = list(VideoReader(path, start=5, stop=9))
    assert [(f.pts, f.duration) for f in part] == [(f.pts, f.duration) for f in everything[5:9]]
    assert all((a.image == b.image).all() for a, b in zip(part, everything[5:9], strict=True))
    assert len(list(VideoReader(path, start=18, stop=50))) == 2


def test_reads_again(tmp_path: Path) -> None:
    reader = VideoReader(make_video(tmp_path / "a.mp4", 3))
    assert [f.pts for f in reader] == [f.pts for f in reader]


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [0, 90, 180, 270])
@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_upright(tmp_path: Path, degrees: int, mirrored: bool, suffix: str) -> None:
    path = make_video(tmp_path / f"a{suffix}", 1, rotation=(degrees, mirrored), colors=(1, 6, 1, 1))
    reader = VideoReader(path)
    (frame,) = reader
    ((_, shown),) = seen(path)
    assert frame.image.shape == shown.shape == (reader.info.height, reader.info.width, 3)
    assert psnr(frame.image, shown) > 35  # turned wrongly: below 20
    if not mirrored:
        assert reader.info.rotation == -degrees % 360


@pytest.mark.parametrize("matrix", [1, 5, 6, 7, 9])
@pytest.mark.parametrize("color_range", [1, 2])
def test_colours(tmp_path: Path, matrix: int, color_range: int) -> None:
    odd = (49, 65)  # stored as 4:4:4, which keeps colours sharp
    path = make_video(tmp_path / "a.mp4", 1, colors=(color_range, matrix, 1, 1), size=odd)
    reader = VideoReader(path)
    (frame,) = reader
    assert (reader.info.color_range, reader.info.colorspace) == (color_range, matrix)
    assert psnr(frame.image, picture(0, *odd)) > 42
    assert np.abs(frame.image.mean(axis=(0, 1)) - picture(0, *odd).mean(axis=(0, 1))).max() < 0.3


def test_unspecified_matrix_is_guessed_by_size(tmp_path: Path) -> None:
    """Untagged frames hold BT.601 here: read so when small, as BT.709 when large."""
    quality = {}
    for size in ((49, 65), (721, 1281)):
        path = make_video(tmp_path / f"{size[0]}.mp4", 1, colors=(0, 2, 2, 2), size=size)
        (frame,) = VideoReader(path)
        quality[size[0]] = psnr(frame.image, picture(0, *size))
    assert quality[49] > 42
    assert quality[721] < 35


def test_unsupported_matrix_is_refused(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 1)
    data = path.read_bytes()
    at = data.index(b"nclx") + 4
    path.write_bytes(data[:at] + bytes([0, 1, 0, 1, 0, 14]) + data[at + 6 :])  # colr box says ICtCp...
    info = probe(path)
    assert info.colorspace == 1  # ...but the H.264 stream's own words win
    path = tmp_path / "ycgco.mkv"
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv444p"
        stream.codec_context.colorspace = 8
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv444p")))
        container.mux(stream.encode(None))
    with pytest.raises(InputError, match=r"convert it to BT\.709"):
        VideoReader(path)


def test_memory_is_constant(tmp_path: Path) -> None:
    """20 and 120 frames of 1280x720 (2.8 MB each as RGB) need the same memory, in a process of its own."""
    program = (
        "import resource, sys; from icve.video import VideoReader; "
        "n = sum(1 for _ in VideoReader(sys.argv[1]));"
        "assert 'torch' not in sys.modules; print(n, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)"
    )
    peaks = []
    for frames in (20, 120):
        path = tmp_path / f"{frames}.mp4"
        with av.open(str(path), "w") as container:
            stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
            stream.width, stream.height = 1280, 720
            image = av.VideoFrame.from_ndarray(picture(0, 720, 1280), "rgb24").reformat(format="yuv420p")
            for index in range(frames):
                image.pts = index
                container.mux(stream.encode(image))
            container.mux(stream.encode(None))
        done = subprocess.run([sys.executable, "-c", program, path], capture_output=True, text=True, check=True)
        count, peak = map(int, done.stdout.split())
        assert count == frames
        peaks.append(peak / 1024)
    assert peaks[1] - peaks[0] < 30  # MB; holding all frames would take 276 more
