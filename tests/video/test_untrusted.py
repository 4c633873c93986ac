"""Files that are not what they say: refused in one sentence, or read as far as they go."""

import struct
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from icve.errors import InputError
from icve.video import VideoReader, probe
from tests.video.samples import make_audio, make_video


def refused(path: Path, words: str) -> None:
    with pytest.raises(InputError, match=words) as caught:
        list(VideoReader(path))
    sentence = str(caught.value)
    assert path.name in sentence
    assert sentence.endswith(".")
    assert "\n" not in sentence


def test_missing(tmp_path: Path) -> None:
    refused(tmp_path / "missing.mp4", "does not exist")


def test_folder(tmp_path: Path) -> None:
    refused(tmp_path, "folder")


@pytest.mark.parametrize("text", ["", "This is no video.\n" * 50, "#EXTM3U\n#EXTINF:1,\n/etc/passwd\n"])
def test_text(tmp_path: Path, text: str) -> None:
    path = tmp_path / "text.mp4"
    path.write_text(text)
    refused(path, "not a video")


def test_playlist_does_not_open_other_files(tmp_path: Path) -> None:
    make_video(tmp_path / "a.mp4", 3)
    path = tmp_path / "list.mp4"
    path.write_text("ffconcat version 1.0\nfile a.mp4\n")
    refused(path, "not a video")


def test_audio_only(tmp_path: Path) -> None:
    refused(make_audio(tmp_path / "a.mp4"), "no video stream")


def test_cover_picture_is_no_video(tmp_path: Path) -> None:
    path = tmp_path / "cover.mp4"
    sound = make_audio(tmp_path / "sound.mp4")
    with av.open(str(sound)) as source, av.open(str(path), "w") as target:
        audio = target.add_stream_from_template(source.streams.audio[0])
        cover = target.add_stream("mjpeg", rate=1)
        cover.width, cover.height, cover.pix_fmt = 64, 48, "yuvj420p"
        cover.disposition = av.stream.Disposition.attached_pic
        target.mux(cover.encode(av.VideoFrame(64, 48, "yuvj420p")))
        target.mux(cover.encode(None))
        for packet in source.demux():
            if packet.size:
                packet.stream = audio
                target.mux(packet)
    refused(path, "no video stream")


def test_zero_frames(tmp_path: Path) -> None:
    path = tmp_path / "empty.mp4"
    with av.open(str(path), "w", container_options={"movflags": "empty_moov"}) as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height = 64, 48
        container.start_encoding()
    refused(path, "no video frame")


@pytest.mark.parametrize(("width", "height"), [(8192, 8192), (65_535, 65_535)])
def test_frame_above_the_limit(tmp_path: Path, width: int, height: int) -> None:
    """A GIF of 60 bytes that claims a canvas of 67 megapixels, and one of 4.3 gigapixels."""
    screen, image = struct.pack("<HHBBB", width, height, 0x80, 0, 0), struct.pack("<HHHHB", 0, 0, 1, 1, 0)
    control, pixels = bytes.fromhex("21f904000a000000"), bytes.fromhex("0202440100")
    path = tmp_path / "huge.gif"
    path.write_bytes(b"GIF89a" + screen + b"\0\0\0\xff\xff\xff" + control + b"," + image + pixels + b";")
    refused(path, "at most 40 megapixels")
    path.write_bytes(path.read_bytes().replace(struct.pack("<HH", width, height), struct.pack("<HH", 64, 48)))
    assert (probe(path).width, probe(path).height) == (64, 48)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv"])
def test_absurd_duration(tmp_path: Path, suffix: str) -> None:
    path = make_video(tmp_path / f"a{suffix}", 4, time_base=Fraction(1, 10), durations=(300_000,))
    refused(path, "hours, above the limit of 24")


def test_absurd_duration_that_the_header_hides(tmp_path: Path) -> None:
    class Pipe:
        """An output without seeking, so that the header cannot be completed with the length."""

        def __init__(self) -> None:
            self.data = b""

        def write(self, data: bytes) -> int:
            self.data += bytes(data)
            return len(data)

    pipe = Pipe()
    with av.open(pipe, "w", format="matroska") as container:
        stream = container.add_stream("libx264", rate=10)
        stream.width, stream.height = 64, 48
        stream.codec_context.time_base = Fraction(1, 10)
        for index in range(4):
            frame = av.VideoFrame(64, 48, "yuv420p")
            frame.pts = index * 300_000
            container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    path = tmp_path / "live.mkv"
    path.write_bytes(pipe.data)
    refused(path, "hours, above the limit of 24")


def test_range_past_the_end(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 3)
    with pytest.raises(InputError, match="has 3 frames"):
        list(VideoReader(path, start=3))
    with pytest.raises(InputError, match=r"range 2:2 of .* is empty"):
        VideoReader(path, start=2, stop=2)


@pytest.mark.parametrize("suffix", [".mp4", ".mkv", ".webm", ".ts"])
def test_truncated(tmp_path: Path, suffix: str) -> None:
    """The first frames are exactly the whole file's, and `lost` tells of the rest."""
    codec = "libvpx-vp9" if suffix == ".webm" else "libx264"
    options = {"movflags": "faststart"} if suffix == ".mp4" else None
    path = make_video(tmp_path / f"a{suffix}", 40, codec=codec, container_options=options)
    whole = {frame.pts: frame.image for frame in VideoReader(path)}
    reader = VideoReader(path)
    assert len(list(reader)) == 40
    assert reader.lost is None
    data = path.read_bytes()
    path.write_bytes(data[: round(len(data) * 0.75)])
    reader = VideoReader(path)
    frames = list(reader)
    assert 5 < len(frames) < 40
    # At the very end the decoder may have lacked a reference to one picture.
    assert all((frame.image == whole[frame.pts]).all() for frame in frames[:-3])
    if suffix != ".ts":  # which has no header that would tell how long it was
        assert reader.lost is not None
        assert f"{len(frames)} frames could be decoded and about {40 - len(frames)} are lost" in reader.lost
        assert str(path) in reader.lost


def test_truncated_before_its_index(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 40)
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    refused(path, "index is cut off")


def test_damage_in_the_middle(tmp_path: Path) -> None:
    path = make_video(tmp_path / "a.mp4", 40)
    with av.open(str(path)) as container:
        packets = [packet for packet in container.demux(video=0) if packet.size]
    data = bytearray(path.read_bytes())
    for packet in packets[10:13]:
        data[packet.pos : packet.pos + 4] = b"\xff" * 4  # the length of what follows
    path.write_bytes(data)
    reader = VideoReader(path)
    assert 10 < len(list(reader)) < 40
    assert reader.lost is not None
    assert "damaged" in reader.lost


def test_random_damage_never_crashes(tmp_path: Path) -> None:
    """Every cut and 100 random corruptions end in frames or an InputError, nothing else."""
    original = make_video(
        tmp_path / "a.mp4", 4, size=(16, 16), audio="aac", container_options={"movflags": "faststart"}
    ).read_bytes()
    random = np.random.default_rng(0)
    path = tmp_path / "damaged.mp4"
    outcomes = {"read": 0, "refused": 0}
    for trial in range(300):
        data = bytearray(original)
        if trial < 200:
            data = data[: len(data) * trial // 200]
        else:
            for place in random.integers(0, len(data), 20):
                data[place] = random.integers(0, 256)
        path.write_bytes(data)
        try:
            list(VideoReader(path))
            outcomes["read"] += 1
        except InputError:
            outcomes["refused"] += 1
    assert min(outcomes.values()) > 10


def test_probe_is_quick_to_refuse(tmp_path: Path) -> None:
    with pytest.raises(InputError):
        probe(tmp_path / "no.mp4")
