"""What every quality filter is: a config that is off until it has a limit, and a meter that scores single frames."""

from typing import Protocol

import numpy as np
from pydantic import BaseModel, ConfigDict


class Strict(BaseModel):
    """Unknown keys are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class QualityMeter(Protocol):
    """Scores frames by one quality. Made in the process that uses it, once: it may hold a model.

    Attributes:
        name: of its score, a key of the records.
        every: seconds between the frames that it wants to see.
        side: the longer side of the images that it wants, in pixels; smaller ones are not to be made larger.
        cpus, gpus: what one call at a time takes, for the scheduler.
    """

    name: str
    every: float
    side: int
    cpus: float
    gpus: float

    def score(self, image: np.ndarray) -> float:
        """The quality of one frame (H, W, 3), uint8 RGB."""
        ...
