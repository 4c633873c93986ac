"""What a video file holds: its size, clock, colours and rotation, known before its frames are read."""

import math
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.format import Flags
from av.video.frame import VideoFrame

from icve.errors import InputError
from icve.video.opening import MAX_PIXELS, Damage, decode, header_seconds, open_video

UNSPECIFIED = 2  # ITU-T H.273's code for "unspecified" in matrix, primaries and transfer


@dataclass(frozen=True)
class VideoInfo:
    """A video's properties; what `VideoWriter` needs to write a video that looks and plays like it.

    Attributes:
        path: the file, which the writer copies the audio from; None for a video that comes from no file.
        width, height: pixels of a frame as it is seen, after rotation.
        time_base: seconds per unit of `pts` and `duration`.
        average_rate: frames per second over the file (an estimate where the rate varies).
        display_matrix: how players turn or mirror the stored picture: FFmpeg's 9 integers, or None.
        origin: what players take as time zero, in `time_base` units. Not 0 only for formats whose clock may
            start anywhere (MPEG-TS, MPEG-PS).
        seconds, frames: the file's length as its header tells it, or None. Estimates.
        pixel_format: FFmpeg's name, such as "yuv420p".
        sample_aspect_ratio: width to height of one stored pixel, None for square ones.
        color_range: 0 unspecified, 1 limited, 2 full.
        colorspace, color_primaries, color_trc: matrix, primaries and transfer as ITU-T H.273 codes.
        has_audio: whether there is at least one audio stream.
        start, stop: the range of frames, counted from 0, that is read; None = to the end.
    """

    path: Path | None
    width: int
    height: int
    time_base: Fraction
    average_rate: Fraction
    display_matrix: tuple[int, ...] | None = None
    origin: int = 0
    seconds: float | None = None
    frames: int | None = None
    pixel_format: str = "yuv420p"
    sample_aspect_ratio: Fraction | None = None
    color_range: int = 0
    colorspace: int = UNSPECIFIED
    color_primaries: int = UNSPECIFIED
    color_trc: int = UNSPECIFIED
    has_audio: bool = False
    start: int = 0
    stop: int | None = None

    @property
    def rotation(self) -> int:
        """Degrees clockwise (0, 90, 180 or 270) that players turn the stored picture."""
        if self.display_matrix is None:
            return 0
        return round(math.degrees(math.atan2(self.display_matrix[1], self.display_matrix[0])) / 90) % 4 * 90

    @property
    def stored_size(self) -> tuple[int, int]:
        """Width and height of the stored picture, before `display_matrix` turns it."""
        return (self.height, self.width) if orientation(self.display_matrix)[0] else (self.width, self.height)

    def upright(self, image: np.ndarray) -> np.ndarray:
        """The stored picture (H, W, C) as it is seen, turned and mirrored by `display_matrix`."""
        swap, flip_rows, flip_columns = orientation(self.display_matrix)
        image = image.swapaxes(0, 1) if swap else image
        return np.ascontiguousarray(image[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1])

    def stored(self, image: np.ndarray) -> np.ndarray:
        """The inverse of `upright`: the picture that `display_matrix` turns into `image`."""
        swap, flip_rows, flip_columns = orientation(self.display_matrix)
        image = image[:: -1 if flip_rows else 1, :: -1 if flip_columns else 1]
        return np.ascontiguousarray(image.swapaxes(0, 1) if swap else image)


def orientation(display_matrix: tuple[int, ...] | None) -> tuple[bool, bool, bool]:
    """Which of the eight right-angled orientations a display matrix is nearest to.

    The matrix (a b u, c d v, x y w) sends the pixel in column p, row q to column a*p + c*q, row b*p + d*q.

    Returns:
        whether rows and columns change places, then whether the rows and the columns are reversed.
    """
    if display_matrix is None:
        return False, False, False
    a, b, _, c, d, *_ = display_matrix
    return (True, b < 0, c < 0) if abs(b) > abs(a) else (False, d < 0, a < 0)


def probe(path: str | Path) -> VideoInfo:
    """Opens a video file, decodes its first frame and describes it. Takes milliseconds.

    It runs in this process. PyAV was known to crash on files cut inside their first frame (a stream without a
    codec, which `open_video` refuses); a child process for each file would cost a quarter of a second and not
    guard the frames after the first.

    Raises:
        InputError: the file is missing, not a video, without frames, or too large or long to be true.
    """
    path = Path(path)
    with open_video(path) as (container, stream):
        frame = next((frame for _, frame in decode(container, stream, Damage())), None)
        if frame is None:
            raise InputError(
                f"{path} holds no video frame that can be decoded, of at most {MAX_PIXELS // 1_000_000} "
                "megapixels; export it again, smaller if it is larger."
            )
        return describe(path, container, stream, frame)


def describe(path: Path, container: InputContainer, stream: Any, frame: VideoFrame) -> VideoInfo:
    matrix: Any = frame.side_data.get("DISPLAYMATRIX")
    display_matrix = tuple(np.frombuffer(matrix, "<i4").tolist()) if matrix is not None else None
    width, height = frame.width, frame.height
    if orientation(display_matrix)[0]:
        width, height = height, width
    time_base = stream.time_base
    rate = stream.average_rate or stream.guessed_rate or Fraction(25)
    seconds = float(stream.duration * time_base) if stream.duration else header_seconds(container)
    free_clock = Flags.ts_discont in Flags(container.format.flags) and container.start_time is not None
    return VideoInfo(
        path=path,
        width=width,
        height=height,
        time_base=time_base,
        average_rate=rate,
        display_matrix=display_matrix,
        origin=round(Fraction(container.start_time, av.time_base) / time_base) if free_clock else 0,
        seconds=seconds,
        frames=stream.frames or (round(seconds * rate) if seconds else None),
        pixel_format=frame.format.name,
        sample_aspect_ratio=stream.sample_aspect_ratio or None,
        color_range=frame.color_range,
        colorspace=frame.colorspace,
        color_primaries=frame.color_primaries,
        color_trc=frame.color_trc,
        has_audio=bool(container.streams.audio),
    )
