"""Clips to the bytes of an MP4 or PNG file and back, the same bytes for the same clip."""

import io
from collections.abc import Iterable
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.codec.context import ThreadType
from av.error import FFmpegError
from av.video.frame import VideoFrame
from PIL import Image

from icve.data.buckets import Bucket
from icve.errors import InputError
from icve.video import color
from icve.video.info import describe
from icve.video.opening import Damage, decode

MAX_RATE = 1000  # frames a second
CODING = {
    # What makes x264 give the same bytes every time: its output depends on the number of threads, and for pictures of
    # 96 pixels and less (core 165) its macroblock tree differs from process to process.
    "threads": "1",
    "mbtree": "0",
    # Variable-length codes instead of arithmetic coding: clips are read many times for once that they are written, and
    # both take less time, in files that are some 10% larger.
    "coder": "vlc",
}


def encode_clip(frames: np.ndarray, fps: float, *, quality: int, lossless: bool) -> bytes:
    """A clip (F, H, W, 3) uint8 as H.264 in MP4 (see `encode_video`), or as PNG when F is 1."""
    if len(frames) == 1:
        image = io.BytesIO()
        Image.fromarray(frames[0]).save(image, "PNG")
        return image.getvalue()
    coded = (_to_frame(image, lossless) for image in frames)
    return encode_video(coded, frames.shape[1:3], fps, quality=quality, lossless=lossless)


def _to_frame(image: np.ndarray, lossless: bool) -> VideoFrame:
    image = np.ascontiguousarray(image)
    if lossless:
        return VideoFrame.from_ndarray(image, "rgb24")
    return color.rgb_to_yuv(image, color.BT709, full_range=False, halve_chroma=True)


def encode_video(
    frames: Iterable[VideoFrame],
    size: tuple[int, int],
    fps: float,
    *,
    quality: int,
    lossless: bool,
    preset: str = "medium",
) -> bytes:
    """Frames as H.264 in MP4, the same bytes for the same frames.

    Args:
        frames: yuv420p in BT.709 and limited range, the form that every player reads; or with `lossless` rgb24 or gbrp,
            where every pixel comes back exactly (5 to 10 times the size).
        size: their height and width.
        fps: frames a second.
        quality: H.264's constant rate factor, 0 (best) to 51.
        lossless: see `frames`.
        preset: of x264.
    """
    buffer = io.BytesIO()
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(buffer, "w", format="mp4") as output:
        stream: Any = output.add_stream("libx264rgb" if lossless else "libx264", rate=rate)
        stream.height, stream.width = size
        stream.pix_fmt = "rgb24" if lossless else "yuv420p"
        stream.options = ({"qp": "0"} if lossless else {"crf": str(quality)}) | {"preset": preset} | CODING
        context = stream.codec_context
        context.thread_count = 1
        context.color_primaries = context.color_trc = color.BT709
        context.colorspace = color.RGB if lossless else color.BT709
        context.color_range = color.FULL if lossless else color.LIMITED
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, 1 / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def decode_clip(data: bytes, bucket: Bucket) -> np.ndarray:
    """The clip, uint8 (F, H, W, 3) of exactly the bucket's size, in `encode_clip`'s or any other MP4 or PNG.

    Frames after the bucket's last are not decoded.

    Raises:
        ValueError: it is damaged or of another size; the message says what, without naming the clip.
    """
    try:
        return _decode_image(data, bucket)[None] if bucket.frames == 1 else _decode_video(data, bucket)
    except InputError as error:
        raise ValueError(str(error).rstrip(".")) from error
    except (FFmpegError, OSError, SyntaxError, IndexError, Image.DecompressionBombError) as error:
        raise ValueError(f"it cannot be decoded ({type(error).__name__})") from error


def _decode_image(data: bytes, bucket: Bucket) -> np.ndarray:
    with Image.open(io.BytesIO(data), formats=["PNG"]) as image:
        _check_size(bucket, image.height, image.width)
        return np.array(image.convert("RGB"))


def _decode_video(data: bytes, bucket: Bucket) -> np.ndarray:
    # The limit leaves room for the codec's blocks, and is set before anything is decoded.
    limit = {"max_pixels": str(2 * bucket.height * bucket.width + 2**16)}
    frames: list[np.ndarray] = []
    damage = Damage()
    with av.open(io.BytesIO(data), "r", format="mp4", options=limit, metadata_errors="replace") as container:
        if not container.streams.video or container.streams.video[0].codec_context is None:
            raise ValueError("it has no video stream that can be decoded")
        stream = container.streams.video[0]
        stream.codec_context.options = limit
        stream.codec_context.thread_type = ThreadType.NONE  # loaders run one process a core
        to_rgb: color.RGBConverter | None = None
        for _, frame in decode(container, stream, damage):
            if to_rgb is None:
                info = describe(Path("it"), container, stream, frame)
                _check_size(bucket, info.height, info.width)
                to_rgb = color.RGBConverter(info)
            frames.append(to_rgb(frame))
            if len(frames) == bucket.frames:
                break
    if damage.errors:
        raise ValueError("part of it cannot be decoded")
    if len(frames) < bucket.frames:
        raise ValueError(f"it has {len(frames)} frames instead of {bucket.frames}")
    return np.stack(frames)


def _check_size(bucket: Bucket, height: int, width: int) -> None:
    if (height, width) != (bucket.height, bucket.width):
        raise ValueError(f"it is {height}x{width} instead of {bucket.height}x{bucket.width}")
