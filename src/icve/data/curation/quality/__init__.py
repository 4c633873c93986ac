"""Optional filters by the quality of what is seen; each is off until it is given a limit."""

from icve.data.curation.quality.aesthetic import Aesthetic, AestheticConfig
from icve.data.curation.quality.base import QualityMeter, Strict
from icve.data.curation.quality.blur import Blur, BlurConfig
from icve.data.curation.quality.embeddings import Embedder, EmbeddingConfig, distance, make_embedder
from icve.data.curation.quality.near_duplicates import NearDuplicatesConfig, near_duplicates
from icve.data.curation.quality.text_overlay import TextOverlay, TextOverlayConfig

__all__ = ["Embedder", "QualityConfig", "QualityMeter", "distance", "make_embedder", "make_meters", "near_duplicates"]


class QualityConfig(Strict):
    """The optional filters. One without a limit (`min`, `max`, `max_distance`) is off and costs nothing."""

    text_overlay: TextOverlayConfig = TextOverlayConfig()
    blur: BlurConfig = BlurConfig()
    aesthetic: AestheticConfig = AestheticConfig()
    near_duplicates: NearDuplicatesConfig = NearDuplicatesConfig()
    embedding: EmbeddingConfig = EmbeddingConfig()

    def refusal(self, scores: dict[str, float]) -> str | None:
        """Why a clip with these scores (by the names of meters, means over its frames) is dropped, or None."""
        if self.text_overlay.max is not None and scores[TextOverlay.name] > self.text_overlay.max:
            return "text over the picture"
        if self.blur.min is not None and scores[Blur.name] < self.blur.min:
            return "blurred"
        if self.aesthetic.min is not None and scores[Aesthetic.name] < self.aesthetic.min:
            return "low aesthetic score"
        return None


def make_meters(config: QualityConfig) -> list[QualityMeter]:
    """The meters of the filters that are on.

    Raises:
        InputError: what one of them needs is not there.
    """
    meters: list[QualityMeter] = []
    if config.blur.min is not None:
        meters.append(Blur(config.blur))
    if config.text_overlay.max is not None:
        meters.append(TextOverlay(config.text_overlay))
    if config.aesthetic.min is not None:
        meters.append(Aesthetic(config.aesthetic))
    return meters
