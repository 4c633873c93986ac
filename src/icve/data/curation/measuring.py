"""The one pass that decodes a whole file: its frame times, cuts, motion, borders and thumbnails."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path

import numpy as np
from av.codec.context import ThreadType

from icve.data.curation.config import CurationConfig
from icve.data.curation.detectors import SMALL, BlendMeter, CutMeter, Detector
from icve.data.curation.keeping import FrameKeeper
from icve.data.curation.meters import BorderMeter, Meter, MotionMeter, ScoreMeter, Shrinker, ThumbnailMeter
from icve.data.curation.quality import QualityMeter
from icve.data.curation.scaling import Inside
from icve.errors import InputError
from icve.video.info import VideoInfo, describe
from icve.video.opening import Damage, cut_short, decode, header_seconds, open_video
from icve.video.reading import next_pts

HIDING = ("vp8", "libvpx", "vp9", "libvpx-vp9", "av1", "libdav1d")  # codecs with pictures that only others refer to
LATE = 1.25  # times its length in the header; headers are off by a frame or two, not by a quarter


class UnusableFileError(Exception):
    """A file that goes to the quarantine list; the message is one sentence."""


@dataclass
class Footage:
    """What one decoded file is like. Frame numbers count from 0 in the order in which frames are shown.

    Attributes:
        path: the file.
        content: BLAKE2b of its bytes, 64 hexadecimal digits.
        info: what its header says, and its first frame.
        pts: (N,) int64, when each frame is shown, increasing, in `info.time_base` units.
        exact: whether `pts` are the file's own, so that it can be sought in.
        inside: top, left, height and width of the stored picture without its borders.
        cuts: frames that a new shot begins with.
        blends: first and last frame of each gradual transition.
        motion: (first frame, second frame, flow in hundredths of the diagonal a second).
        thumbnails: (n, 54, 96, 3) uint8 BGR of the frames `thumbnail_frames`, one a second.
        scores: of the quality meters by name, (frame, score) each.
        kept: the frames themselves, where they are few.
    """

    path: Path
    content: str
    info: VideoInfo
    pts: np.ndarray
    exact: bool
    inside: Inside
    cuts: list[int]
    blends: list[tuple[int, int]]
    motion: list[tuple[int, int, float]]
    thumbnails: np.ndarray
    thumbnail_frames: np.ndarray
    scores: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    kept: FrameKeeper | None = None

    @property
    def time_base(self) -> Fraction:
        """Seconds per unit of `pts`."""
        return self.info.time_base

    @property
    def rate(self) -> float:
        """Frames a second, from the frames' times: headers lie."""
        if len(self.pts) < 2:
            return float(self.info.average_rate)
        return (len(self.pts) - 1) / float((int(self.pts[-1]) - int(self.pts[0])) * self.time_base)

    @property
    def times(self) -> np.ndarray:
        """(N,) float64, when each frame is shown, in seconds from the first."""
        return (self.pts - self.pts[0]) * float(self.time_base)


def measure(path: Path, config: CurationConfig, scorers: Sequence[QualityMeter] = ()) -> Footage:
    """Decodes a file to its end.

    Args:
        path: the file.
        config: of the run.
        scorers: of the quality filters that are on.

    Raises:
        UnusableFileError: it is not a video, is damaged anywhere, or is larger or longer than the config allows.
    """
    try:
        return _measure(path, config, scorers)
    except InputError as error:
        raise UnusableFileError(str(error)) from error


def hash_file(path: Path, limit: int) -> str:
    """BLAKE2b of a file's bytes.

    Raises:
        UnusableFileError: it has more than `limit` bytes, or cannot be read.
    """
    try:
        size = path.stat().st_size
        if size > limit:
            raise UnusableFileError(f"{path} has {size:,} bytes, above the limit of {limit:,} (read.max_bytes).")
        with path.open("rb") as file:
            return hashlib.file_digest(file, lambda: hashlib.blake2b(digest_size=32)).hexdigest()
    except OSError as error:
        raise UnusableFileError(f"{path} cannot be read ({error.strerror}).") from error


def _measure(path: Path, config: CurationConfig, scorers: Sequence[QualityMeter]) -> Footage:
    content = hash_file(path, config.read.max_bytes)
    shrink = Shrinker()
    detectors: list[Detector]
    if config.scenes.detector == "transnet":
        from icve.data.curation.transnet import TransNetMeter

        detectors = [TransNetMeter()]
    else:
        detectors = [CutMeter(config.scenes), BlendMeter()] if config.scenes.gradual else [CutMeter(config.scenes)]
    motion, thumbnails, borders = MotionMeter(config.motion, shrink), ThumbnailMeter(shrink), BorderMeter(shrink)
    meters = [ScoreMeter(scorer, shrink) for scorer in scorers]
    others: list[Meter] = [motion, thumbnails, borders, *meters]
    pts: list[int] = []
    exact, fields, damage = True, False, Damage()
    max_frames = math.ceil(config.read.max_seconds * config.read.max_fps)
    with open_video(path) as (container, stream):
        if (header_seconds(container) or 0) > config.read.max_seconds:
            raise _too_long(path, config)
        # A core decodes one file: threads inside FFmpeg would only fight over the cores of other files.
        stream.codec_context.thread_type = ThreadType.NONE
        info: VideoInfo | None = None
        for given, frame in decode(container, stream, damage):
            if info is None:
                info = describe(path, container, stream, frame)
                unit = max(1, round(1 / (info.average_rate * info.time_base)))
                keeper = FrameKeeper(
                    info,
                    None if config.basic.borders == "keep" else borders,
                    config.sizes,
                    config.clips.max_upscale,
                    lossless=config.video.lossless,
                    limit=config.read.keep * 2**20,
                )
                others.append(keeper)
            now = next_pts(given, pts[-1] if pts else None, unit)
            exact &= now == given
            fields |= frame.interlaced_frame
            number = len(pts)
            pts.append(now)
            time = float((now - pts[0]) * info.time_base)
            if time > config.read.max_seconds or number >= max_frames:
                raise _too_long(path, config)
            small = shrink(frame, *SMALL, "bgr24")
            for detector in detectors:
                detector.observe_small(number, small)
            for meter in others:
                meter.observe(number, time, frame)
        if info is None:
            raise UnusableFileError(f"{path} holds no video frame that can be decoded.")
        # A packet holds a frame, but for pictures that are never shown and fields that come in twos.
        hidden = fields or stream.codec_context.name in HIDING
        lost = len(pts) < (0.5 if hidden else 0.9) * damage.packets
        # Where the data in between are gone, readers go on with times that the header knows nothing of.
        promised = header_seconds(container)
        beyond = promised is not None and time > LATE * promised + 0.25
        if (
            damage.errors
            or lost
            or beyond
            or has_hole(pts)
            or cut_short(container, stream, damage, float(unit * info.time_base))
        ):
            raise UnusableFileError(f"{path} is cut short or damaged: {len(pts)} frames could be decoded.")
    for detector in detectors:
        detector.finish()
    return Footage(
        path=path,
        content=content,
        info=info,
        pts=np.array(pts),
        exact=exact,
        inside=borders.inside(),
        cuts=[cut for detector in detectors for cut in detector.cuts],
        blends=[blend for detector in detectors for blend in detector.blends],
        motion=motion.samples,
        thumbnails=np.stack(thumbnails.images),
        thumbnail_frames=np.array(thumbnails.frames),
        scores={meter.scorer.name: meter.samples for meter in meters},
        kept=keeper,
    )


def has_hole(pts: Sequence[int]) -> bool:
    """Whether frames are missing in the middle: even times but for a leap. (Of uneven times, a leap says nothing.)"""
    steps = np.diff(pts)
    if len(steps) < 10:
        return False
    usual = float(np.median(steps))
    even = np.abs(steps - usual) <= max(1.0, 0.5 * usual)
    return bool(even.mean() >= 0.9 and steps.max() > 5 * usual)


def _too_long(path: Path, config: CurationConfig) -> UnusableFileError:
    return UnusableFileError(f"{path} is longer than {config.read.max_seconds:g} seconds (read.max_seconds); cut it.")
