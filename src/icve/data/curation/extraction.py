"""The second pass: decodes just the frames of the clips that are in a pair, and codes them.

FFmpeg crops, turns and scales the pictures as they are stored, without a detour over RGB: a tenth of the time.
"""

import io
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from fractions import Fraction
from typing import Any

import av
import av.filter
import numpy as np
from av.codec.context import ThreadType
from av.error import FFmpegError
from av.video.frame import VideoFrame

from icve.data.buckets import Bucket
from icve.data.curation.config import VideoConfig
from icve.data.curation.measuring import Footage
from icve.data.curation.records import Clip
from icve.data.shard_media import SAME_BYTES
from icve.errors import InputError
from icve.video import color
from icve.video.info import orientation
from icve.video.opening import Damage, decode, open_video
from icve.video.reading import next_pts

SEEK_BEYOND = 48  # frames: to seek costs decoding from the key frame before, so nearby clips are just read on to
MATRICES = {
    color.BT709: "bt709",
    color.FCC: "fcc",
    color.BT470BG: "bt470bg",
    color.SMPTE170M: "smpte170m",
    color.SMPTE240M: "smpte240m",
    color.BT2020: "bt2020",
    color.BT2020_CL: "bt2020",
}


class Extractor:
    """Reads clips out of one file, whose `Footage` says where they are."""

    def __init__(self, footage: Footage, config: VideoConfig) -> None:
        self.footage, self.config = footage, config

    def read(self, clips: Sequence[Clip]) -> dict[str, list[VideoFrame]]:
        """The frames of each clip by its id: upright, of the bucket's size, yuv420p in BT.709 and
        limited range, or gbrp where the config wants no loss.

        Raises:
            InputError: the file is not what it was when it was measured.
        """
        if self.footage.exact:
            try:
                return self._read(clips, seek=True)
            except (_LostFrameError, FFmpegError):
                pass  # an index that lies: read it from the beginning, as when it was measured
        try:
            return self._read(clips, seek=False)
        except (_LostFrameError, FFmpegError) as error:
            raise InputError(f"{self.footage.path} changed while it was read; leave it alone and run again.") from error

    def _read(self, clips: Sequence[Clip], seek: bool) -> dict[str, list[VideoFrame]]:
        wanted: dict[int, list[tuple[Clip, int]]] = {}
        for clip in clips:
            for place, number in enumerate(clip.frames):
                wanted.setdefault(number, []).append((clip, place))
        results: dict[str, list[Any]] = {clip.id: [None] * len(clip.frames) for clip in clips}
        scalers: dict[str, _Scaler] = {}
        for number, frame in self._frames(sorted(wanted), seek):
            for clip, place in wanted[number]:
                scaler = scalers.setdefault(
                    clip.bucket, _Scaler(self.footage, Bucket.parse(clip.bucket), self.config.lossless)
                )
                results[clip.id][place] = scaler(frame)
        return results

    def _frames(self, numbers: list[int], seek: bool) -> Iterator[tuple[int, VideoFrame]]:
        """The file's frames with these numbers, in order."""
        pts = self.footage.pts
        left = iter(numbers)
        number = next(left)
        with open_video(self.footage.path) as (container, stream):
            stream.codec_context.thread_type = ThreadType.NONE
            if not seek:
                frames = self._counted(decode(container, stream, Damage()))
            while True:
                if seek:
                    container.seek(int(pts[number]), stream=stream)
                    frames = ((int(np.searchsorted(pts, given)), frame) for given, frame in _timed(container, stream))
                for at, frame in frames:
                    if at > number or (seek and at == number and frame.pts != pts[at]):
                        raise _LostFrameError
                    if at == number:
                        yield at, frame
                        following = next(left, None)
                        if following is None:
                            return
                        beyond, number = following - number > SEEK_BEYOND, following
                        if seek and beyond:
                            break
                else:
                    raise _LostFrameError

    def _counted(self, decoded: Iterable[tuple[int | None, VideoFrame]]) -> Iterator[tuple[int, VideoFrame]]:
        now = None
        for number, (given, frame) in enumerate(decoded):
            now = next_pts(given, now, 1)
            yield number, frame


def _timed(container: Any, stream: Any) -> Iterator[tuple[int, VideoFrame]]:
    """Frames after a seek. Those that refer to what was skipped are damaged, and not wanted."""
    for given, frame in decode(container, stream, Damage()):
        if given is not None:
            yield given, frame


class _LostFrameError(Exception):
    """A frame is not where it was when the file was measured."""


class _Scaler:
    """Decoded frames brought to a bucket's size: cropped about the centre of the picture inside the borders."""

    def __init__(self, footage: Footage, bucket: Bucket, lossless: bool) -> None:
        self.footage, self.bucket, self.lossless = footage, bucket, lossless
        self.form: tuple[Any, ...] | None = None
        self.graph: Any = None

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        form = frame.width, frame.height, frame.format.name
        if form != self.form:  # the first frame, or a file that changes its mind
            self.graph, self.form = self._build(frame), form
        frame.pts = None
        self.graph.push(frame)
        return self.graph.pull()

    def _build(self, frame: VideoFrame) -> Any:
        info = self.footage.info
        swap, flip_rows, flip_columns = orientation(info.display_matrix)
        height, width = (self.bucket.width, self.bucket.height) if swap else (self.bucket.height, self.bucket.width)
        steps: list[tuple[str, str]] = []
        if (frame.width, frame.height) != info.stored_size:
            steps.append(("scale", f"{info.stored_size[0]}:{info.stored_size[1]}"))
        steps.append(("crop", self._crop(height, width)))
        rgb = color.stored_as_rgb(info)
        into = "" if rgb else f":in_color_matrix={MATRICES[color.matrix_of(info)]}"
        levels = "pc" if info.color_range == color.FULL else "tv"
        into += "" if rgb else f":in_range={levels}"
        quality = "area+accurate_rnd+full_chroma_int" if self._shrinks(height) else "bicubic+accurate_rnd"
        out = "" if self.lossless else ":out_color_matrix=bt709:out_range=tv"
        steps += [
            ("scale", f"{width}:{height}:flags={quality}{into}{out}"),
            ("format", "gbrp" if self.lossless else "yuv420p"),
        ]
        if swap:
            steps.append(("transpose", "dir=cclock_flip"))
        if flip_rows:
            steps.append(("vflip", ""))
        if flip_columns:
            steps.append(("hflip", ""))
        graph = av.filter.Graph()
        graph.threads = 1
        last = graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=Fraction(1, 1000)
        )
        for name, arguments in [*steps, ("buffersink", "")]:
            step = graph.add(name, arguments or None)
            last.link_to(step)
            last = step
        graph.configure()
        return graph

    def _crop(self, height: int, width: int) -> str:
        """The largest part of the picture inside the borders that has the bucket's shape, as FFmpeg's crop."""
        top, left, inner_height, inner_width = self.footage.inside
        shape = float(self.footage.info.sample_aspect_ratio or 1)  # a stored pixel's width to its height
        crop_width = min(inner_width, round(inner_height * width / height / shape))
        crop_height = min(inner_height, round(inner_width * height * shape / width))
        x, y = left + (inner_width - crop_width) // 2, top + (inner_height - crop_height) // 2
        return f"{crop_width}:{crop_height}:{x}:{y}:exact=1"

    def _shrinks(self, height: int) -> bool:
        return height < self.footage.inside[2]


def encode_frames(frames: Sequence[VideoFrame], fps: float, config: VideoConfig) -> bytes:
    """Frames of `Extractor.read` as H.264 in MP4, the same bytes for the same frames."""
    buffer = io.BytesIO()
    rate = Fraction(fps).limit_denominator(1001)
    with av.open(buffer, "w", format="mp4") as output:
        stream: Any = output.add_stream("libx264rgb" if config.lossless else "libx264", rate=rate)
        stream.height, stream.width = frames[0].height, frames[0].width
        stream.pix_fmt = "rgb24" if config.lossless else "yuv420p"
        loss = {"qp": "0"} if config.lossless else {"crf": str(config.quality)}
        stream.options = loss | {"preset": config.preset} | SAME_BYTES
        context = stream.codec_context
        context.thread_count = 1
        context.color_primaries = context.color_trc = color.BT709
        context.colorspace = color.RGB if config.lossless else color.BT709
        context.color_range = color.FULL if config.lossless else color.LIMITED
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, 1 / rate
            output.mux(stream.encode(frame))
        output.mux(stream.encode(None))
    return buffer.getvalue()


def to_rgb(frames: Iterable[VideoFrame]) -> np.ndarray:
    """Frames of `Extractor.read` as (F, H, W, 3) uint8."""
    return np.stack([frame.reformat(format="rgb24", src_colorspace=color.BT709).to_ndarray() for frame in frames])


@contextmanager
def quiet_ffmpeg() -> Iterator[None]:
    """FFmpeg says nothing on stderr about files that are damaged: that is told in other ways."""
    before = av.logging.get_level()
    av.logging.set_level(None)
    try:
        yield
    finally:
        av.logging.set_level(before)
