"""Keeps a file's frames at the size that its clips will have, so that short files are decoded only once."""

import math
from collections.abc import Sequence

from av.video.frame import VideoFrame

from icve.data.buckets import Bucket
from icve.data.curation.meters import BorderMeter
from icve.data.curation.records import Clip
from icve.data.curation.scaling import Inside, Scaler, shown_size
from icve.video.info import VideoInfo


class FrameKeeper:
    """All frames of a file, as long as they fit into a limit; then none.

    To scale a frame costs a tenth to a quarter of decoding it, and a second pass decodes most of a file again, as clips
    are spread over it and key frames are rare. The borders that the first frame shows are taken for the file's: where
    that proves wrong, as after a beginning in the dark, the frames are of no use.

    Attributes:
        frames: one for each of the file's.
    """

    def __init__(
        self,
        info: VideoInfo,
        borders: BorderMeter | None,
        buckets: Sequence[Bucket],
        max_upscale: float,
        *,
        lossless: bool,
        limit: float,
    ) -> None:
        """
        Args:
            info: of the file.
            borders: tells of the picture's borders from its first frame on; None: they are to stay.
            buckets: that clips may have.
            max_upscale: see `ClipsConfig`.
            lossless: see `Scaler`.
            limit: bytes.
        """
        self.info, self.borders, self.buckets, self.max_upscale = info, borders, buckets, max_upscale
        self.lossless, self.left = lossless, limit
        self.frames: list[VideoFrame] = []
        self.scaler: Scaler | None = None

    def observe(self, number: int, _time: float, frame: VideoFrame) -> None:
        """The next frame; it loses its time."""
        if number == 0:
            self._begin()
        if self.scaler is None:
            return
        self.left -= self.cost
        if self.left < 0:  # the header told of fewer
            self.frames, self.scaler = [], None
        else:
            self.frames.append(self.scaler(frame))

    def _begin(self) -> None:
        inside = self.borders.inside() if self.borders else (0, 0, *self.info.stored_size[::-1])
        height, width = shown_size(self.info, inside)
        large = [b for b in self.buckets if max(b.height / height, b.width / width) <= self.max_upscale]
        if not large:
            return
        shape = math.log(height / width)
        nearest = min(large, key=lambda b: (round(abs(shape - math.log(b.height / b.width)), 2), -b.height * b.width))
        size = nearest.height, nearest.width
        self.cost = math.prod(size) * (3 if self.lossless else 1.5)
        if (self.info.frames or 0) * self.cost <= self.left:
            self.scaler = Scaler(self.info, inside, size, lossless=self.lossless)

    def holds(self, clip: Clip, inside: Inside) -> bool:
        """Whether the frames are those of this clip, of a picture with these borders."""
        scaler = self.scaler
        return scaler is not None and scaler.inside == inside and scaler.size == Bucket.parse(clip.bucket)[1:]
