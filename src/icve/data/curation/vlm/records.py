"""What goes into the instructor and comes out of it."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

Frames = list[np.ndarray]


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


@dataclass(frozen=True)
class Refused:
    """Why a pair has no instruction: `kind` in few words, `reason` in one sentence."""

    kind: str
    reason: str


@dataclass
class Usage:
    """What the endpoint was asked, by this instructor.

    Attributes:
        requests: sent over the network, failed ones too.
        cached: questions whose answer was known.
        retries: requests that repeat a question, after a failure or an unusable answer.
        prompt_tokens, completion_tokens: as the endpoint counts them; 0 where it does not.
        cost: of these tokens at the config's prices, in its currency.
    """

    requests: int = 0
    cached: int = 0
    retries: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float = 0.0
