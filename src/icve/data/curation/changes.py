"""How much two moments of a file differ: flow, colour, and a descriptor's distance."""

from dataclasses import dataclass

import cv2
import numpy as np

from icve.data.curation.measuring import Footage
from icve.data.curation.meters import mean_flow
from icve.data.curation.quality.embeddings import ThumbnailEmbedder, distance
from icve.data.curation.records import Clip

REMEMBERED = 128  # moments; 80 KB each


@dataclass(frozen=True)
class _Moment:
    """What is compared of a thumbnail."""

    gray: np.ndarray  # (54, 96) uint8
    soft: np.ndarray  # (54, 96, 3) float32: blurred, so that it is colours that differ and not the places of edges
    embedding: np.ndarray


class Changes:
    """Compares a file's clips by the thumbnails nearest to their middles."""

    def __init__(self, footage: Footage) -> None:
        self.footage = footage
        self.embedder = ThumbnailEmbedder()
        # Slower and better than the preset that measures motion: two moments are further apart than two frames.
        self.flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)
        self.moments: dict[int, _Moment] = {}  # most clips are in several of the pairs drawn

    def between(self, source: Clip, target: Clip) -> tuple[float, float, float]:
        """See `icve.data.curation.records.Pair`: change of flow, colour and embedding."""
        a, b = self._moment(source), self._moment(target)
        colour = float(np.abs(a.soft - b.soft).mean())
        return mean_flow(self.flow, a.gray, b.gray), colour, distance(a.embedding, b.embedding)

    def _moment(self, clip: Clip) -> _Moment:
        middle = clip.frames[len(clip.frames) // 2]
        number = int(np.abs(self.footage.thumbnail_frames - middle).argmin())
        if number not in self.moments:
            image = self.footage.thumbnails[number]
            self.moments[number] = _Moment(
                gray=cv2.cvtColor(image, cv2.COLOR_BGR2GRAY),
                soft=cv2.GaussianBlur(image, (0, 0), 4).astype(np.float32),
                embedding=self.embedder.embed(image[..., ::-1]),
            )
            if len(self.moments) > REMEMBERED:
                del self.moments[next(iter(self.moments))]
        return self.moments[number]
