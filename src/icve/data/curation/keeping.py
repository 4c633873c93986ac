"""Keeps a file's frames at the size that its clips will have, so that short files are decoded only once."""

import math
from collections.abc import Sequence

from av.video.frame import VideoFrame

from icve.data.buckets import Bucket
from icve.data.curation.records import Clip
from icve.data.curation.scaling import Scaler
from icve.video.info import VideoInfo


class FrameKeeper:
    """All frames of a file, as long as they fit into a limit; then none.

    To scale a frame costs a tenth to a quarter of decoding it, and a second pass decodes most of a file again, as clips
    are spread over it and key frames are rare.

    Attributes:
        size: height and width, those of the bucket that is nearest in shape.
        frames: one for each of the file's.
    """

    def __init__(
        self, info: VideoInfo, buckets: Sequence[Bucket], max_upscale: float, *, lossless: bool, limit: float
    ) -> None:
        """
        Args:
            info: of the file.
            buckets: that clips may have.
            max_upscale: see `ClipsConfig`.
            lossless: see `Scaler`.
            limit: bytes.
        """
        height, width = float(info.height), info.width * float(info.sample_aspect_ratio or 1)
        if info.rotation % 180:
            height, width = info.height * float(info.sample_aspect_ratio or 1), float(info.width)
        large = [b for b in buckets if max(b.height / height, b.width / width) <= max_upscale]
        self.frames: list[VideoFrame] = []
        self.left = limit
        self.scaler: Scaler | None = None
        if large:
            shape = math.log(height / width)
            nearest = min(
                large, key=lambda b: (round(abs(shape - math.log(b.height / b.width)), 2), -b.height * b.width)
            )
            self.size = nearest.height, nearest.width
            self.cost = math.prod(self.size) * (3 if lossless else 1.5)
            if (info.frames or 0) * self.cost <= limit:
                stored = info.stored_size
                self.inside = (0, 0, stored[1], stored[0])
                self.scaler = Scaler(info, self.inside, self.size, lossless=lossless)

    def observe(self, _number: int, _time: float, frame: VideoFrame) -> None:
        """The next frame; it loses its time."""
        if self.scaler is None:
            return
        self.left -= self.cost
        if self.left < 0:  # the header told of fewer
            self.frames, self.scaler = [], None
        else:
            self.frames.append(self.scaler(frame))

    def holds(self, clip: Clip) -> bool:
        """Whether the frames are those of this clip."""
        return self.scaler is not None and Bucket.parse(clip.bucket)[1:] == self.size
