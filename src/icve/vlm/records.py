"""What comes out of asking."""

from dataclasses import dataclass

import numpy as np

Frames = list[np.ndarray]


@dataclass(frozen=True)
class Refused:
    """Why there is no answer: `kind` in few words, `reason` in one sentence."""

    kind: str
    reason: str


@dataclass
class Usage:
    """What the endpoint was asked.

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
