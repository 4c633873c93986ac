"""The clips of one case as a single small video, one above the other: what is shown together is decoded together.

A page that plays several files side by side can only chase their clocks. Here the page draws the parts of one decoded
frame, so that source, edits and mask are in step by construction, at any speed. Frames are paired in order, as they
are scored; a clip that is shorter than the longest holds its last frame.
"""

import io
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from fractions import Fraction
from itertools import islice
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np

from icve.errors import InputError
from icve.evaluation.clips import IMAGES
from icve.video import VideoReader, color, probe

Array = np.ndarray
QUALITY = 23  # H.264's constant rate factor
MAX_FRAMES = 150  # of a clip in the page
SIDE = 320  # pixels of a clip's longer side at most
LEAST_SIDE = 192  # smaller clips are enlarged by a whole factor: 4:2:0 would take their colours away
MAX_HEIGHT = 4096  # of the video: what every decoder takes
BLOCK = 16  # pixels of H.264's blocks, so that no clip's coding errors reach into the next one


@dataclass(frozen=True)
class Part:
    """Where a clip is in the frame of the video, in pixels from the top left."""

    top: int
    height: int
    width: int


@dataclass(frozen=True)
class Stack:
    """An MP4 (H.264, BT.709) with `parts` by name; `failed` says why further clips are not in it."""

    data: bytes
    parts: dict[str, Part]
    failed: dict[str, str]
    frames: int
    rate: float
    cut: bool


def stack_clips(files: Mapping[str, Path]) -> Stack | None:
    """The video of some files, at the first readable one's frame rate; None where none of them can be read.

    Args:
        files: videos, and masks, which may be images or folders of images too.
    """
    readers: dict[str, Iterator[Array]] = {}
    held: dict[str, Array] = {}
    failed: dict[str, str] = {}
    side = min(SIDE, MAX_HEIGHT // max(1, len(files)) - BLOCK)
    for name, path in files.items():
        try:
            frames = small_frames(path, side)
            held[name] = next(frames)
            readers[name] = frames
        except (InputError, StopIteration) as error:
            failed[name] = str(error) or f"{path} has no frame."
    if not held:
        return None
    rate = next((rate for name in held if (rate := _rate(files[name]))), Fraction(8))
    parts, top = {}, 0
    for name, frame in held.items():
        parts[name] = Part(top, *frame.shape[:2])
        top += -(-frame.shape[0] // BLOCK) * BLOCK
    canvas = np.zeros((top, max(part.width for part in parts.values()) + 1 & ~1, 3), np.uint8)
    buffer = io.BytesIO()
    count = 0
    with av.open(buffer, "w", format="mp4") as output:
        stream = _stream(output, canvas, rate)
        while True:
            for name, part in parts.items():
                canvas[part.top : part.top + part.height, : part.width] = held[name]
            picture = color.rgb_to_yuv(canvas, color.BT709, False, True)
            picture.pts, picture.time_base = count, 1 / rate
            output.mux(stream.encode(picture))
            count += 1
            if not _advance(readers, held) or count == MAX_FRAMES:
                break
        output.mux(stream.encode(None))
    return Stack(buffer.getvalue(), parts, failed, count, float(rate), cut=bool(readers))


def _advance(readers: dict[str, Iterator[Array]], held: dict[str, Array]) -> bool:
    """Puts the next frame of each clip in `held`, forgets clips that have ended, and says whether any went on."""
    for name in list(readers):
        try:
            held[name] = next(readers[name])
        except (InputError, StopIteration):
            del readers[name]
    return bool(readers)


def _stream(output: Any, canvas: Array, rate: Fraction) -> Any:
    stream = output.add_stream("libx264", rate=rate)
    stream.height, stream.width = canvas.shape[:2]
    stream.pix_fmt = "yuv420p"
    # One thread and no macroblock tree: the same clips give the same bytes. A key frame every 12 for quick scrubbing.
    stream.options = {"crf": str(QUALITY), "preset": "veryfast", "threads": "1", "mbtree": "0", "g": "12", "bf": "0"}
    context = stream.codec_context
    context.thread_count = 1
    context.color_primaries = context.color_trc = context.colorspace = color.BT709
    context.color_range = color.LIMITED
    return stream


def _rate(path: Path) -> Fraction | None:
    if path.is_dir() or path.suffix.lower() in IMAGES:
        return None
    return min(max(probe(path).average_rate, Fraction(1)), Fraction(120)).limit_denominator(1001)


def small_frames(path: Path, side: int) -> Iterator[Array]:
    """Frames of a video, or a mask's images, uint8 (h, w, 3) with even sides, the longer at most `side`."""
    for frame in _frames(path):
        longest = max(frame.shape[:2])
        scale = side / longest if longest > side else max(1, min(LEAST_SIDE, side) // longest)
        height, width = (max(2, round(length * scale / 2) * 2) for length in frame.shape[:2])
        method = cv2.INTER_AREA if scale < 1 else cv2.INTER_NEAREST
        yield cv2.resize(frame, (width, height), interpolation=method)


def _frames(path: Path) -> Iterator[Array]:
    if path.is_dir():
        images = sorted(file for file in path.iterdir() if file.suffix.lower() in IMAGES)
    elif path.suffix.lower() in IMAGES:
        images = [path]
    else:
        for frame in VideoReader(path):
            yield frame.image
        return
    for file in islice(images, MAX_FRAMES + 1):
        image = cv2.imread(str(file), cv2.IMREAD_COLOR_RGB)
        if image is None:
            raise InputError(f"{file} is no image; export the mask again.")
        yield image
