"""Pairs as a vision-language model is shown them: from the clips' own files."""

import numpy as np

from icve.data.buckets import Bucket
from icve.data.curation.config import CurationConfig
from icve.data.curation.parcels import StoredParcel
from icve.data.curation.records import Pair
from icve.data.curation.vlm import PairFrames
from icve.data.shard_media import decode_clip


def frames_of(parcel: StoredParcel, pair: Pair, config: CurationConfig) -> PairFrames:
    """A pair for `VlmInstructor.run`; its clips are decoded when the model has not answered about them yet."""
    buckets = {clip.id: Bucket.parse(clip.bucket) for clip in parcel.clips}
    coding = f"{config.video.quality} {config.video.preset} {config.video.lossless}"

    def load() -> tuple[list[np.ndarray], list[np.ndarray]]:
        source, target = (list(decode_clip(parcel.clip_bytes(c), buckets[c])) for c in (pair.source, pair.target))
        return source, target

    return PairFrames(pair.id, f"{pair.source} {coding}", f"{pair.target} {coding}", load)
