"""The frames of the clips that are in a pair: kept when the file was measured, or else from a second pass over it."""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import av
import numpy as np
from av.codec.context import ThreadType
from av.error import FFmpegError
from av.video.frame import VideoFrame

from icve.data.buckets import Bucket
from icve.data.curation.config import VideoConfig
from icve.data.curation.measuring import Footage
from icve.data.curation.records import Clip
from icve.data.curation.scaling import Scaler
from icve.data.shard_media import encode_video
from icve.errors import InputError
from icve.video import color
from icve.video.opening import Damage, decode, open_video
from icve.video.reading import next_pts

SEEK_BEYOND = 48  # frames: to seek costs decoding from the key frame before, so nearby clips are just read on to


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
        kept = self.footage.kept
        if kept is not None and all(kept.holds(clip, self.footage.inside) for clip in clips):
            return {clip.id: [kept.frames[number] for number in clip.frames] for clip in clips}
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
        scalers: dict[str, Scaler] = {}
        for number, frame in self._frames(sorted(wanted), seek):
            for clip, place in wanted[number]:
                if clip.bucket not in scalers:
                    size = Bucket.parse(clip.bucket)[1:]
                    footage = self.footage
                    scalers[clip.bucket] = Scaler(footage.info, footage.inside, size, lossless=self.config.lossless)
                results[clip.id][place] = scalers[clip.bucket](frame)
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


def encode_frames(frames: Sequence[VideoFrame], fps: float, config: VideoConfig) -> bytes:
    """Frames of `Extractor.read` as the config wants them."""
    size = frames[0].height, frames[0].width
    return encode_video(frames, size, fps, quality=config.quality, lossless=config.lossless, preset=config.preset)


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
