"""Turns the two files of a pair into two clips that show the same moments and the same part of the picture.

Runs in worker processes, because files that were cut off have crashed decoders; see `workers`.
"""

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from icve.data.buckets import Bucket
from icve.data.pairs.base import digest
from icve.data.shard_media import encode_clip
from icve.errors import InputError
from icve.video import VideoReader
from icve.video.geometry import resize

# Two files count as of one shape up to this ratio of their aspect ratios: generators round sides to multiples of 8 or
# 16 (832x480 for 1280x720 is off by 2.6%), and both are cropped about their centre.
SHAPE_TOLERANCE = 1.03
RATE_TOLERANCE = 1.01  # 23.976 and 24 frames a second are one rate
DURATION_TOLERANCE = 1.02


class UnusablePairError(Exception):
    """A pair that gives no clips: `kind` in few words, to count by, and `reason`, one sentence."""

    def __init__(self, kind: str, reason: str) -> None:
        super().__init__(kind, reason)
        self.kind, self.reason = kind, reason


@dataclass(frozen=True)
class Job:
    """What a worker is to do: a pair's files, the buckets to choose from, the frame rate to thin out to."""

    source: Path
    target: Path
    buckets: tuple[Bucket, ...]
    fps: float | None
    quality: int = 14


@dataclass(frozen=True)
class Clip:
    """A clip for the shards: `data` is its file, None where the set has it already."""

    id: str
    data: bytes | None


@dataclass(frozen=True)
class PairClips:
    bucket: Bucket
    fps: float
    source: Clip
    target: Clip


@dataclass
class Video:
    """One of the two files: `step` is its frames per frame of the clip, `count` its frames as far as it is known."""

    reader: VideoReader
    content: str
    count: int | None
    step: float = 1.0

    @property
    def available(self) -> float:
        """How many frames of the clip it can give."""
        if self.count is None:
            return math.inf
        frames = math.ceil((self.count - 0.5) / self.step)
        return frames - (self.positions(frames)[-1] >= self.count)  # where rounding tips the division over

    def positions(self, frames: int) -> list[int]:
        """The numbers of the file's frames that the clip's frames are."""
        return [math.floor(k * self.step + 0.5) for k in range(frames)]


def make_clips(job: Job, needed: Callable[[list[str]], set[str]]) -> PairClips:
    """The clips of a pair.

    The clips begin with the files and have the frame rate of the source, or `job.fps` where that is lower. Of files of
    unequal length, the end of the longer is left out. A file with a varying frame rate is read as one with its average.

    Args:
        job: the pair.
        needed: which of the clips with these ids are to be made; the others get no data. A clip's id is a function of
            the file's content and of what is taken of it, so edits of one source have one source clip.

    Raises:
        UnusablePairError: a file cannot be read, or the two do not belong together frame by frame.
    """
    videos = [open_video(job.source), open_video(job.target)]
    fps = align(videos, job.fps)
    while True:
        bucket = choose_bucket(videos, job.buckets)
        ids = [digest(v.content, str(bucket), f"{v.step:.6f}") for v in videos]
        wanted = needed(ids)
        clips = []
        for video, name in zip(videos, ids, strict=True):
            frames = read(video, bucket) if name in wanted else None
            if name in wanted and frames is None:
                break  # shorter than its header says: choose again
            data = None if frames is None else encode_clip(frames, fps, quality=job.quality, lossless=False)
            clips.append(Clip(name, data))
        else:
            return PairClips(bucket, fps, *clips)


def open_video(path: Path) -> Video:
    try:
        reader = VideoReader(path)
        with path.open("rb") as file:
            content = hashlib.file_digest(file, "blake2b").hexdigest()
    except (InputError, OSError) as error:
        raise UnusablePairError("unreadable video", str(error)) from error
    return Video(reader, content, reader.info.frames)


def align(videos: list[Video], limit: float | None) -> float:
    """Sets the videos' steps; returns the clips' frames per second."""
    source, target = videos
    a, b = source.reader.info, target.reader.info
    if ratio(a.width * b.height, b.width * a.height) > SHAPE_TOLERANCE:
        reason = f"{b.path} is {b.width}x{b.height} and its source {a.width}x{a.height}, another shape."
        raise UnusablePairError("unequal shapes", reason)
    rates = float(a.average_rate), float(b.average_rate)
    if ratio(*rates) <= RATE_TOLERANCE or (source.count and source.count == target.count):
        # Editors write a frame for each frame they read, whatever rate they then put into the file.
        fps = min(rates[0], limit or math.inf)
        source.step = target.step = rates[0] / fps
        return fps
    durations = [(video.count or 0) / rate for video, rate in zip(videos, rates, strict=True)]
    if not all(durations) or ratio(*durations) > DURATION_TOLERANCE:
        reason = f"{b.path} has {rates[1]:g} frames a second and its source {rates[0]:g}, and they differ in length."
        raise UnusablePairError("unequal frame rates", reason)
    fps = min(*rates, limit or math.inf)
    source.step, target.step = rates[0] / fps, rates[1] / fps
    return fps


def ratio(a: float, b: float) -> float:
    """How many times the larger is the smaller."""
    return max(a / b, b / a)


def choose_bucket(videos: list[Video], buckets: tuple[Bucket, ...]) -> Bucket:
    """Of the buckets that both videos are long enough for: the nearest in shape, then the longest, then in size."""
    info = videos[0].reader.info
    available = min(video.available for video in videos)
    fitting = [bucket for bucket in buckets if bucket.frames <= available]
    if not fitting:
        short = min(videos, key=lambda video: video.available).reader.info.path
        least = min(bucket.frames for bucket in buckets)
        raise UnusablePairError("too short", f"{short} gives {available:g} frames, fewer than the {least} needed.")

    def fit(bucket: Bucket) -> tuple[float, int, float]:
        # Shapes within 1% are equal: 480x832 and 240x416 have different rests when rounded.
        shape = round(math.log(ratio(info.width * bucket.height, info.height * bucket.width)), 2)
        return shape, -bucket.frames, ratio(info.width * info.height, bucket.width * bucket.height)

    return min(fitting, key=fit)


def read(video: Video, bucket: Bucket) -> np.ndarray | None:
    """The clip's frames, or None (and the true `count`) where the file ends before them.

    Raises:
        UnusablePairError: the file is damaged; frames after a lost one would be at the wrong time.
    """
    positions = video.positions(bucket.frames)
    info = video.reader.info
    frames = np.empty((*bucket, 3), np.uint8)
    taken = count = 0
    try:
        reader = VideoReader(info.path or "", stop=positions[-1] + 1)
        for frame in reader:
            if count == positions[taken]:
                frames[taken] = fill(frame.image, bucket.height, bucket.width)
                taken += 1
            count += 1
    except InputError as error:
        raise UnusablePairError("unreadable video", str(error)) from error
    if reader.lost:
        raise UnusablePairError("damaged video", reader.lost)
    if taken < bucket.frames:
        video.count = count
        return None
    return frames


def fill(image: np.ndarray, height: int, width: int) -> np.ndarray:
    """The picture (H, W, 3) resized, aspect ratio kept, to cover (height, width), and what juts out cut off evenly."""
    scale = max(height / image.shape[0], width / image.shape[1])
    inner = max(height, round(image.shape[0] * scale)), max(width, round(image.shape[1] * scale))
    top, left = (inner[0] - height) // 2, (inner[1] - width) // 2
    return resize(image[None], *inner)[0, top : top + height, left : left + width]
