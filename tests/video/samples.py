"""Video files made by PyAV for the tests, of every kind that the readers and writers must handle."""

import itertools
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.codec.context import Flags

from icve.video.color import rgb_to_yuv

RATE = Fraction(25)
AUDIO_RATE = 48_000


def picture(index: int, height: int = 48, width: int = 64) -> np.ndarray:
    """A smooth picture without symmetry, different for each index: (height, width, 3) uint8."""
    y, x = np.mgrid[:height, :width] / max(height, width)
    waves = [np.sin(3 * x + 0.3 * index), np.cos(2 * y + 0.2 * index), np.sin(4 * (x + y) - 0.1 * index)]
    image = 128 + 90 * np.stack(waves, axis=-1)
    image[: height // 3, : width // 3] = (220, 60, 40)  # a mark in the top left corner
    return image.round().astype(np.uint8)


def make_video(
    path: Path,
    frames: int = 20,
    *,
    size: tuple[int, int] = (48, 64),
    codec: str = "libx264",
    time_base: Fraction = 1 / RATE,
    durations: Sequence[int] = (1,),
    first_pts: int = 0,
    colors: tuple[int, int, int, int] = (1, 1, 1, 1),
    rotation: tuple[float, bool] | None = None,
    audio: str | None = None,
    audio_streams: int = 1,
    container_options: dict[str, str] | None = None,
) -> Path:
    """Writes `picture(0)`, `picture(1)`, ... and a tone.

    Args:
        size: height, width as stored.
        durations: of the frames in turn, in time_base units.
        colors: range, matrix, primaries, transfer.
        rotation: degrees counterclockwise and whether mirrored, for the display matrix.
        audio: a codec's name.
    """
    height, width = size
    with av.open(str(path), "w", container_options=container_options or {}) as container:
        video = container.add_stream(codec, rate=RATE)
        video.width, video.height, video.pix_fmt = width, height, "yuv420p"
        odd = width % 2 or height % 2
        if odd:
            video.pix_fmt = "yuv444p"
        context = video.codec_context
        context.time_base = time_base
        context.flags |= Flags.frame_duration
        context.color_range, context.colorspace, context.color_primaries, context.color_trc = colors
        if codec == "libx264":
            # MP4 keeps a length for each frame in the order of coding: with B-frames the last one's is lost.
            video.options = {"crf": "4"} | ({"bf": "0"} if len(durations) > 1 else {})
        if rotation:
            video.set_display_rotation(rotation[0], hflip=rotation[1])
        sounds = [container.add_stream(audio, rate=AUDIO_RATE) for _ in range(audio_streams)] if audio else []
        for sound in sounds:
            sound.layout = "stereo"
        lengths = list(itertools.islice(itertools.cycle(durations), frames))
        for index, duration in enumerate(lengths):
            matrix = colors[1] if colors[1] != 2 else 6
            frame = rgb_to_yuv(picture(index, height, width), matrix, colors[0] == 2, not odd)
            frame.pts, frame.duration, frame.time_base = first_pts + sum(lengths[:index]), duration, time_base
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        for number, sound in enumerate(sounds):
            add_tone(container, sound, float(sum(lengths) * time_base), 220 * (number + 1))
    return path


def make_audio(path: Path, codec: str = "aac", seconds: float = 1.0) -> Path:
    with av.open(str(path), "w") as container:
        sound = container.add_stream(codec, rate=AUDIO_RATE)
        sound.layout = "stereo"
        add_tone(container, sound, seconds, 220)
    return path


def add_tone(container, stream, seconds: float, hertz: float) -> None:
    """A tone whose pitch climbs, so that no two packets are alike."""
    time = np.arange(round(seconds * AUDIO_RATE)) / AUDIO_RATE
    tone = np.tile(0.4 * np.sin(2 * np.pi * hertz * (1 + time) * time), (2, 1)).astype(np.float32)
    for begin in range(0, tone.shape[1], 960):
        block = np.ascontiguousarray(tone[:, begin : begin + 960])
        frame = av.AudioFrame.from_ndarray(block, format="fltp", layout="stereo")
        frame.sample_rate, frame.pts, frame.time_base = AUDIO_RATE, begin, Fraction(1, AUDIO_RATE)
        for converted in av.AudioResampler(format=stream.format).resample(frame):
            container.mux(stream.encode(converted))
    container.mux(stream.encode(None))


def audio_packets(path: Path) -> list[tuple[int, Fraction, bytes]]:
    """(stream's number, start in seconds, bytes) of every audio packet."""
    with av.open(str(path)) as container:
        streams = list(container.streams.audio)
        return [
            (streams.index(packet.stream), packet.pts * packet.time_base, bytes(packet))
            for packet in container.demux(streams)
            if packet.size
        ]


def seen(path: Path) -> list[tuple[Fraction, np.ndarray]]:
    """(time in seconds, upright RGB) of every frame, by FFmpeg's own filters: what a player shows."""
    shown = []
    with av.open(str(path)) as container:
        for frame in container.decode(video=0):
            image = frame.to_ndarray(format="rgb24")
            matrix = frame.side_data.get("DISPLAYMATRIX")
            if matrix is not None:
                image = turn(image, np.frombuffer(matrix, "<i4").reshape(3, 3) / 65536)
            shown.append((frame.pts * frame.time_base, image))
    return shown


def turn(image: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Each pixel moved by the display matrix on its own, by its definition, then all shifted to (0, 0)."""
    rows, columns = np.mgrid[: image.shape[0], : image.shape[1]]
    points = np.stack([columns, rows], axis=-1) @ matrix[:2, :2]
    points = (points - points.min(axis=(0, 1))).round().astype(int)
    out = np.empty((points[..., 1].max() + 1, points[..., 0].max() + 1, 3), np.uint8)
    out[points[..., 1], points[..., 0]] = image
    return out


def psnr(a: np.ndarray, b: np.ndarray) -> float:
    """Decibels between two uint8 arrays."""
    error = ((np.asarray(a, np.float64) - b) ** 2).mean()
    return float(10 * np.log10(255**2 / error)) if error else float("inf")
