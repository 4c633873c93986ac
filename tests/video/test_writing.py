"""Writing: what goes in comes out."""

from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from icve.errors import InputError
from icve.video import VideoInfo, VideoReader, VideoWriter, probe
from tests.video.samples import audio_packets, make_video, picture, psnr, seen

VFR = (900, 4500, 1800, 1234, 9000)


def copy(source: Path, target: Path, start: int = 0, stop: int | None = None, **options) -> VideoReader:
    """Reads `source` and writes its frames unchanged to `target`."""
    reader = VideoReader(source, start=start, stop=stop)
    with VideoWriter(target, reader.info, **options) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts, frame.duration)
    assert sorted(target.parent.iterdir()) == sorted({source, target})
    return reader


def times(path: Path) -> list[tuple[Fraction, Fraction]]:
    reader = VideoReader(path)
    return [(frame.pts * reader.info.time_base, frame.duration * reader.info.time_base) for frame in reader]


def images(path: Path) -> np.ndarray:
    return np.stack([frame.image for frame in VideoReader(path)])


@pytest.mark.parametrize("suffix", [".mp4", ".mov"])
@pytest.mark.parametrize("first_pts", [0, 4321])
def test_frame_times(tmp_path: Path, first_pts: int, suffix: str) -> None:
    source = make_video(
        tmp_path / "in.mp4",
        12,
        time_base=Fraction(1, 90_000),
        durations=VFR,
        first_pts=first_pts,
        audio="aac",
        container_options={"movie_timescale": "720000"},
    )
    target = tmp_path / f"out{suffix}"
    copy(source, target)
    assert times(target)[0][0] == Fraction(first_pts, 90_000)
    assert times(target) == times(source)
    assert psnr(images(target), images(source)) > 35


def test_constant_rate_stays_constant(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 20, time_base=Fraction(1001, 30_000))
    copy(source, tmp_path / "out.mp4")
    assert times(tmp_path / "out.mp4") == [(Fraction(1001 * i, 30_000), Fraction(1001, 30_000)) for i in range(20)]
    assert probe(tmp_path / "out.mp4").average_rate == Fraction(30_000, 1001)


def test_matroska_times_to_the_millisecond(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 12, time_base=Fraction(1, 90_000), durations=VFR, audio="aac")
    copy(source, tmp_path / "out.mkv")
    for (a, _), (b, _) in zip(times(source), times(tmp_path / "out.mkv"), strict=True):
        assert abs(a - b) <= Fraction(1, 2000)


@pytest.mark.parametrize("size", [(1, 1), (2, 2), (47, 65), (48, 65), (47, 64)])
@pytest.mark.parametrize("lossless", [False, True])
def test_size_and_single_frame(tmp_path: Path, size: tuple[int, int], lossless: bool) -> None:
    source = make_video(tmp_path / "in.mp4", 1, size=size)
    copy(source, tmp_path / "out.mp4", lossless=lossless)
    info = probe(tmp_path / "out.mp4")
    assert (info.height, info.width) == size
    if lossless:
        assert (images(tmp_path / "out.mp4") == images(source)).all()
    elif size != (2, 2):  # four pixels that share one colour
        assert psnr(images(tmp_path / "out.mp4"), images(source)) > 38


def test_pixel_format(tmp_path: Path) -> None:
    copy(make_video(tmp_path / "in.mp4", 2), tmp_path / "out.mp4")
    assert probe(tmp_path / "out.mp4").pixel_format == "yuv420p"


def test_quality(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 10)
    figures = []
    for quality in (10, 18, 35):
        target = tmp_path / "out.mp4"
        copy(source, target, quality=quality, overwrite=True)
        figures.append((target.stat().st_size, psnr(images(target), images(source))))
    assert figures == sorted(figures, reverse=True)
    assert figures[1][1] > 38


@pytest.mark.parametrize("mirrored", [False, True])
@pytest.mark.parametrize("degrees", [90, 180, 270])
@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_rotation(tmp_path: Path, degrees: int, mirrored: bool, suffix: str) -> None:
    source = make_video(tmp_path / "in.mp4", 2, rotation=(degrees, mirrored), colors=(1, 6, 1, 1))
    target = tmp_path / f"out{suffix}"
    copy(source, target)
    assert probe(target).display_matrix == probe(source).display_matrix
    for (_, a), (_, b) in zip(seen(source), seen(target), strict=True):
        assert a.shape == b.shape
        assert psnr(a, b) > 35


@pytest.mark.parametrize("colors", [(1, 1, 1, 1), (2, 1, 1, 1), (2, 5, 5, 6), (1, 9, 9, 16), (0, 2, 2, 2)])
def test_colours(tmp_path: Path, colors: tuple[int, int, int, int]) -> None:
    """Tags stay, and six generations drift neither in colour nor in place."""
    path = make_video(tmp_path / "0.mp4", 1, colors=colors, size=(240, 320))
    first = images(path)
    for generation in range(1, 7):
        target = tmp_path / f"{generation}.mp4"
        reader = VideoReader(path)
        with VideoWriter(target, reader.info, quality=1) as writer:
            for frame in reader:
                writer.write(frame.image, frame.pts, frame.duration)
        path = target
    info = probe(path)
    assert (info.color_range, info.colorspace, info.color_primaries, info.color_trc) == colors
    assert np.abs(images(path).mean(axis=(0, 1, 2)) - first.mean(axis=(0, 1, 2))).max() < 0.5
    assert psnr(images(path), first) > 42


@pytest.mark.parametrize("suffix", [".mp4", ".mov", ".mkv"])
def test_lossless(tmp_path: Path, suffix: str) -> None:
    source = make_video(tmp_path / "in.mp4", 3)
    noise = np.random.default_rng(0).integers(0, 256, (3, 48, 64, 3), dtype=np.uint8)
    target = tmp_path / f"out{suffix}"
    reader = VideoReader(source)
    with VideoWriter(target, reader.info, lossless=True) as writer:
        for image, frame in zip(noise, reader, strict=True):
            writer.write(image, frame.pts, frame.duration)
    assert (images(target) == noise).all()
    # An RGB file as a source: back to ordinary YUV, tagged.
    copied = tmp_path / "copied.mp4"
    with VideoWriter(copied, probe(target)) as writer:
        for frame in VideoReader(target):
            writer.write(frame.image, frame.pts, frame.duration)
    info = probe(copied)
    assert (info.pixel_format, info.color_range, info.colorspace) == ("yuv420p", 1, 6)


def test_pixels_that_are_not_square(tmp_path: Path) -> None:
    source = tmp_path / "in.mp4"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        stream.codec_context.sample_aspect_ratio = Fraction(16, 11)
        container.mux(stream.encode(av.VideoFrame(64, 48, "yuv420p")))
        container.mux(stream.encode(None))
    copy(source, tmp_path / "out.mp4")
    with av.open(str(tmp_path / "out.mp4")) as container:
        assert container.streams.video[0].sample_aspect_ratio == Fraction(16, 11)


def test_deep_colour_source(tmp_path: Path) -> None:
    source = tmp_path / "in.mkv"
    with av.open(str(source), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p10le"
        stream.codec_context.color_range, stream.codec_context.colorspace = 1, 6
        frame = av.VideoFrame.from_ndarray(picture(0), "rgb24").reformat(
            format="yuv420p10le", dst_color_range=1, dst_colorspace=5
        )
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    copy(source, tmp_path / "out.mp4")
    assert psnr(images(tmp_path / "out.mp4")[0], picture(0)) > 30


def test_without_a_source_file(tmp_path: Path) -> None:
    info = VideoInfo(path=None, width=64, height=48, time_base=Fraction(1, 8), average_rate=Fraction(8))
    with VideoWriter(tmp_path / "out.mp4", info) as writer:
        for index in range(5):
            writer.write(picture(index), index, 1)
    assert times(tmp_path / "out.mp4") == [(Fraction(i, 8), Fraction(1, 8)) for i in range(5)]
    assert psnr(images(tmp_path / "out.mp4"), np.stack([picture(i) for i in range(5)])) > 33


def test_transport_stream_clock_is_taken_off(tmp_path: Path) -> None:
    source = make_video(
        tmp_path / "in.ts", 10, first_pts=90_000 * 3600, time_base=Fraction(1, 90_000), durations=(3600,)
    )
    assert times(source)[0][0] >= 3600
    copy(source, tmp_path / "out.mp4")
    assert [start for start, _ in times(tmp_path / "out.mp4")] == [Fraction(i, 25) for i in range(10)]


def test_wrong_image_is_a_programming_error(tmp_path: Path) -> None:
    reader = VideoReader(make_video(tmp_path / "in.mp4", 1))
    with (
        pytest.raises(ValueError, match="expected"),
        VideoWriter(tmp_path / "out.mp4", reader.info) as writer,
    ):
        writer.write(np.zeros((48, 63, 3), np.uint8), 0, 1)
    with pytest.raises(InputError, match="no frame"), VideoWriter(tmp_path / "out.mp4", reader.info):
        pass
    assert [p.name for p in tmp_path.iterdir()] == ["in.mp4"]


def test_audio_packets_are_copied(tmp_path: Path) -> None:
    """AAC in MP4 (which starts before zero) to all three containers, and two streams at once."""
    source = make_video(tmp_path / "in.mp4", 50, audio="aac", audio_streams=2)
    packets = audio_packets(source)
    assert packets[0][1] < 0
    assert {number for number, _, _ in packets} == {0, 1}
    for suffix in (".mp4", ".mov", ".mkv"):
        target = tmp_path / f"out{suffix}"
        copy(source, target)
        written = audio_packets(target)
        for number in (0, 1):
            before = [(start, data) for stream, start, data in packets if stream == number]
            after = [(start, data) for stream, start, data in written if stream == number]
            assert [data for _, data in after] == [data for _, data in before]
            assert max(abs(a - b) for (a, _), (b, _) in zip(after, before, strict=True)) < Fraction(1, 1000)
        assert times(target) == times(source)  # all of them whole milliseconds
        target.unlink()


@pytest.mark.parametrize("codec", ["libopus", "flac", "libmp3lame", "pcm_s16le"])
def test_audio_of_matroska(tmp_path: Path, codec: str) -> None:
    source = make_video(tmp_path / "in.mkv", 25, audio=codec)
    copy(source, tmp_path / "out.mkv")
    assert audio_packets(tmp_path / "out.mkv") == audio_packets(source)


def test_opus_to_mp4_and_not_to_mov(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mkv", 25, audio="libopus")
    with pytest.raises(InputError, match=r"\.mov files cannot hold the audio .*opus.*\.mkv"):
        copy(source, tmp_path / "out.mov")
    copy(source, tmp_path / "out.mp4")
    assert [p[2] for p in audio_packets(tmp_path / "out.mp4")] == [p[2] for p in audio_packets(source)]


def test_audio_longer_than_the_pictures(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 25, audio="aac")
    reader = VideoReader(source)
    with VideoWriter(tmp_path / "out.mp4", reader.info) as writer:
        for frame in list(reader)[:5]:
            writer.write(frame.image, frame.pts, frame.duration)
    assert [p[2] for p in audio_packets(tmp_path / "out.mp4")] == [p[2] for p in audio_packets(source)]


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_range_cuts_pictures_and_sound_alike(tmp_path: Path, suffix: str) -> None:
    source = make_video(tmp_path / "in.mp4", 50, audio="aac")
    target = tmp_path / f"out{suffix}"
    copy(source, target, start=10, stop=30)
    starts = [start for start, _ in times(target)]
    assert starts == [Fraction(i, 25) for i in range(20)]
    begin, end = Fraction(10, 25), Fraction(30, 25)
    expected = [(start - begin, data) for _, start, data in audio_packets(source) if begin <= start < end]
    written = audio_packets(target)
    assert [data for _, _, data in written] == [data for _, data in expected]
    assert len(written) > 30
    for (_, a, _), (b, _) in zip(written, expected, strict=True):
        assert abs(a - b) < Fraction(1, 1000)
    assert psnr(images(target), images(source)[10:30]) > 35


def test_range_from_the_start(tmp_path: Path) -> None:
    source = make_video(tmp_path / "in.mp4", 50, audio="aac")
    copy(source, tmp_path / "out.mp4", stop=25)
    expected = [data for _, start, data in audio_packets(source) if start < 1]
    assert [data for _, _, data in audio_packets(tmp_path / "out.mp4")] == expected


def test_damaged_audio_is_left_out_and_told(tmp_path: Path) -> None:
    """A file cut in the middle of an audio packet."""
    source = make_video(tmp_path / "in.mp4", 50, audio="aac", container_options={"movflags": "faststart"})
    with av.open(str(source)) as container:
        packet = list(container.demux(container.streams.audio[0]))[-20]
        cut = packet.pos + packet.size // 2
    whole = [data for _, _, data in audio_packets(source)]
    source.write_bytes(source.read_bytes()[:cut])
    reader = VideoReader(source)
    with VideoWriter(tmp_path / "out.mp4", reader.info) as writer:
        for frame in reader:
            writer.write(frame.image, frame.pts, frame.duration)
    assert writer.lost is not None
    assert "1 damaged audio packet" in writer.lost
    written = [data for _, _, data in audio_packets(tmp_path / "out.mp4")]
    assert written == whole[: len(written)]
    assert 20 < len(written) < len(whole)
