"""What a trainer asks of a method, so that one loop trains editors and autoencoders."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Protocol

from torch import Tensor

from icve.data.samples import Batch


@dataclass(frozen=True)
class Loss:
    """The loss of a part of a rank's share of a step.

    Attributes:
        total: the scalar to differentiate: the part's contribution to the mean over the share.
        sums: name to (sum, number), detached, float32; the log shows sums over all parts, ranks and steps divided by
            the numbers.
    """

    total: Tensor
    sums: Mapping[str, tuple[Tensor, Tensor | float]]


class Method(Protocol):
    """Turns a batch into a loss."""

    def loss(self, batch: Batch, share: int) -> Loss:
        """The loss of `batch`, a part of a rank's `share` samples of the step."""
        ...
