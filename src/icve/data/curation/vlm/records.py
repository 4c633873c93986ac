"""What goes into the instructor."""

from collections.abc import Callable
from dataclasses import dataclass

from icve.vlm.records import Frames


@dataclass(frozen=True)
class PairFrames:
    """Two clips that an instruction is wanted for.

    Attributes:
        pair_id: names the pair in the results.
        source_key, target_key: hashes of the clips' content. Answers are kept under them, so equal keys must mean
            equal frames.
        load: the frames of source and target, each (H, W, 3) uint8 RGB in order of time. It is only called when
            something about the pair is not known yet, once, in a thread of the instructor's; several run side by side.
    """

    pair_id: str
    source_key: str
    target_key: str
    load: Callable[[], tuple[Frames, Frames]]
