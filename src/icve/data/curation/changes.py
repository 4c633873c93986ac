"""How much two moments of a file differ: flow, colour, and a descriptor's distance."""

import cv2
import numpy as np

from icve.data.curation.measuring import Footage
from icve.data.curation.meters import mean_flow
from icve.data.curation.quality.embeddings import ThumbnailEmbedder, distance
from icve.data.curation.records import Clip


class Changes:
    """Compares a file's clips by the thumbnails nearest to their middles."""

    def __init__(self, footage: Footage) -> None:
        self.footage = footage
        self.embedder = ThumbnailEmbedder()
        # Slower and better than the preset that measures motion: two moments are further apart than two frames.
        self.flow = cv2.DISOpticalFlow.create(cv2.DISOPTICAL_FLOW_PRESET_MEDIUM)

    def between(self, source: Clip, target: Clip) -> tuple[float, float, float]:
        """See `icve.data.curation.records.Pair`: change of flow, colour and embedding."""
        a, b = self._thumbnail(source), self._thumbnail(target)
        gray = [cv2.cvtColor(image, cv2.COLOR_BGR2GRAY) for image in (a, b)]
        flow = mean_flow(self.flow, *gray)
        # Blurred, so that it is colours that differ and not the places of edges.
        soft = [cv2.GaussianBlur(image, (0, 0), 4).astype(np.float32) for image in (a, b)]
        colour = float(np.abs(soft[0] - soft[1]).mean())
        return flow, colour, distance(*(self.embedder.embed(image[..., ::-1]) for image in (a, b)))

    def _thumbnail(self, clip: Clip) -> np.ndarray:
        middle = clip.frames[len(clip.frames) // 2]
        return self.footage.thumbnails[int(np.abs(self.footage.thumbnail_frames - middle).argmin())]
