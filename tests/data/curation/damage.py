"""Files that are damaged or hostile, of every kind that the data engine must bear."""

import io
import random
import struct
import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
from PIL import Image

from tests.data.curation import footage

CODECS: dict[str, dict] = {
    "mp4": {},
    "mkv": {},
    "mov": {"codec": "mpeg4", "options": {"qscale": "4"}},
    "avi": {"codec": "mpeg4", "options": {"qscale": "4"}},
    "webm": {"codec": "libvpx-vp9", "options": {"crf": "20", "cpu-used": "8", "deadline": "realtime"}},
}


def whole_files(folder: Path) -> dict[str, bytes]:
    """One good file of each container, by suffix."""
    return {
        suffix: footage.write(folder / f"whole.{suffix}", footage.scene(7, 48), **options).read_bytes()
        for suffix, options in CODECS.items()
    }


def truncated(rng: random.Random, whole: dict[str, bytes]) -> tuple[str, bytes]:
    suffix = rng.choice(sorted(whole))
    data = whole[suffix]
    return suffix, data[: rng.randrange(1, int(0.9 * len(data)))]


def bits_flipped(rng: random.Random, whole: dict[str, bytes]) -> tuple[str, bytes]:
    # VP8 and VP9 take nearly any bits for a picture, and WebM has no checksum: no decoder notices.
    suffix = rng.choice(sorted(set(whole) - {"webm"}))
    data = bytearray(whole[suffix])
    for _ in range(max(64, len(data) // 200)):  # fewer are at times bits that no decoder can miss
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return suffix, bytes(data)


def block_lost(rng: random.Random, whole: dict[str, bytes]) -> tuple[str, bytes]:
    suffix = rng.choice(sorted(set(whole) - {"webm"}))
    data = bytearray(whole[suffix])
    size = len(data) // 4
    begin = rng.randrange(len(data) // 8, len(data) - size)
    data[begin : begin + size] = rng.choice([bytes(size), rng.randbytes(size)])
    return suffix, bytes(data)


def wrong_container(rng: random.Random, _whole: dict[str, bytes]) -> tuple[str, bytes]:
    """Something else under a video's name."""
    picture = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(picture, "PNG")
    archive = io.BytesIO()
    with zipfile.ZipFile(archive, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("clip.mp4", bytes(10_000_000))
    kinds = [
        b"",
        b"<!DOCTYPE html><html><body>404 Not Found</body></html>",
        b"#EXTM3U\n#EXTINF:10,\nfile:///etc/passwd\n",
        b"ffconcat version 1.0\nfile /etc/passwd\n",
        picture.getvalue(),
        archive.getvalue(),
        rng.randbytes(rng.randrange(1, 100_000)),
        bytes(rng.randrange(1, 100_000)),
        b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n",
        _sound(),
    ]
    return rng.choice(["mp4", "mkv", "avi", "webm", "mov", "ts", "gif"]), rng.choice(kinds)


def _sound() -> bytes:
    buffer = io.BytesIO()
    with av.open(buffer, "w", format="mp4") as container:
        stream = container.add_stream("aac", rate=48_000)
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 4096), np.float32), "fltp", "mono")
        frame.sample_rate = 48_000
        container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return buffer.getvalue()


def huge_header(rng: random.Random, whole: dict[str, bytes]) -> tuple[str, bytes]:
    """Pictures of 100,000 pixels a side, as the header tells it."""
    side = rng.choice([65_535, 100_000, 2**31 - 1])
    if rng.random() < 0.5:
        size = struct.pack("<HH", min(side, 65_535), min(side, 65_535))
        return "gif", b"GIF89a" + size + b"\x80\x00\x00" + bytes(6) + b"\x2c" + bytes(4) + size + b"\x00\x08" + bytes(
            99
        )
    data = bytearray(whole["avi"])
    for tag, offset in ((b"avih", 8 + 32), (b"strf", 8 + 4)):
        place = data.index(tag) + offset
        data[place : place + 8] = struct.pack("<II", side & 0x7FFFFFFF, side & 0x7FFFFFFF)
    codec = data.index(b"strf") + 8 + 16
    data[codec : codec + 4] = bytes(4)  # uncompressed: nothing corrects the header
    return "avi", bytes(data)


def endless(rng: random.Random, whole: dict[str, bytes]) -> tuple[str, bytes]:
    """Durations of years to millennia."""
    kind = rng.choice(["mp4", "mkv", "avi"])
    data = bytearray(whole[kind])
    if kind == "mp4":  # each frame is shown for a day or more
        place = data.index(b"stts") + 4 + 4 + 4 + 4
        data[place : place + 4] = struct.pack(">I", 2**31 - 1 - rng.randrange(2**29))
    elif kind == "mkv":  # Duration, a double, in milliseconds
        place = data.index(b"\x44\x89\x88") + 3
        data[place : place + 8] = struct.pack(">d", 10.0 ** rng.randrange(9, 14))
    else:  # a rate of one frame in decades
        place = data.index(b"strh") + 8 + 20
        data[place : place + 8] = struct.pack("<II", 2**31 - 1 - rng.randrange(1000), 1)
    return kind, bytes(data)


def frame_bomb(rng: random.Random, _whole: dict[str, bytes]) -> tuple[str, bytes]:
    """A few kilobytes that decode to days of frames: one black frame and its repetition, thousands of times."""
    side = rng.choice([64, 2048])
    buffer = io.BytesIO()
    packets: list[bytes] = []
    with av.open(buffer, "w", format="h264") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.height = stream.width = side
        stream.pix_fmt = "yuv420p"
        stream.options = {"g": "1000", "bf": "0", "tune": "zerolatency"}
        black = av.VideoFrame.from_ndarray(np.zeros((side, side, 3), np.uint8), "rgb24")
        for number in range(3):
            black.pts = number
            packets += [bytes(packet) for packet in stream.encode(black)]
    return "h264", packets[0] + packets[1] * rng.choice([200_000, 400_000])


KINDS: dict[str, tuple[Callable[[random.Random, dict[str, bytes]], tuple[str, bytes]], float]] = {
    # with their shares
    "truncated": (truncated, 0.3),
    "bits_flipped": (bits_flipped, 0.3),
    "block_lost": (block_lost, 0.1),
    "wrong_container": (wrong_container, 0.15),
    "huge_header": (huge_header, 0.07),
    "endless": (endless, 0.07),
    "frame_bomb": (frame_bomb, 0.01),
}


def write_damaged(folder: Path, count: int, seed: int = 0) -> dict[str, int]:
    """Writes `count` files named after their kind; how many of each."""
    folder.mkdir(parents=True, exist_ok=True)
    whole = whole_files(folder / ".whole")
    rng = random.Random(seed)
    numbers = {kind: max(1, round(share * count)) for kind, (_, share) in KINDS.items()}
    numbers["truncated"] += count - sum(numbers.values())
    for kind, number in numbers.items():
        for index in range(number):
            suffix, data = KINDS[kind][0](rng, whole)
            (folder / f"{kind}-{index:04d}.{suffix}").write_bytes(data)
    return numbers
