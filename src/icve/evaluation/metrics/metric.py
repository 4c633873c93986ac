"""What all metrics share."""

from collections import defaultdict
from collections.abc import Callable, Iterator
from typing import Literal

import numpy as np

from icve.evaluation.clips import Clips
from icve.evaluation.metrics.weights import weights_version
from icve.evaluation.scorers import Figure

Array = np.ndarray
Part = Literal["outside", "inside", "source", "target"]
Comparisons = Iterator[tuple[Array, Array, dict[Part, Array | None]]]
PARTS: dict[Part, str] = {
    "outside": "edited against source, outside the mask",
    "inside": "edited against the true edit, inside the mask",
    "source": "edited against source, the whole frame",
    "target": "edited against the true edit, the whole frame",
}


class ModelFree:
    """A metric that needs no weights; see `Scorer`."""

    name: str
    version = "1"
    figures: tuple[Figure, ...]
    heavy = False

    def load(self) -> None:
        """Nothing to load."""


def part_figures(
    name: str, better: Literal["higher", "lower"], low: float | None, high: float | None, unit: str = ""
) -> tuple[Figure, ...]:
    """A figure for each part of a clip that a comparison may be made in; against the whole source neither is better,
    since an edit must change something."""
    return tuple(
        Figure(f"{name}_{part}", None if part == "source" else better, low, high, unit, f"{name.upper()}: {about}.")
        for part, about in PARTS.items()
    )


def compared(clips: Clips) -> Comparisons:
    """The comparisons that a case allows, frame by frame.

    Yields:
        The edited frame, the source's or the target's, both uint8 (H, W, 3), and the parts to compare them in, each
        with its mask, uint8 (H, W) of 0 and 1, or None for the whole frame. Parts without a pixel are left out.
    """
    region = clips.region
    against: list[tuple[Part, Part, Array | None, bool]] = [("source", "outside", clips.source, False)]
    against.append(("target", "inside", clips.target, True))
    for whole, part, other, inside in against:
        if other is None:
            continue
        for i, (reference, edited) in enumerate(zip(*clips.pair(other), strict=True)):
            parts: dict[Part, Array | None] = {whole: None}
            if region is not None and i < len(region):
                mask = (region[i] == inside).view(np.uint8)
                if mask.any():
                    parts[part] = mask
            yield edited, reference, parts


def means(name: str, comparisons: Comparisons, distance: Callable[[Array, Array], float]) -> dict[str, float]:
    """Figures of a distance that sees whole frames: all but the part compared is set to 0, as PIE-Bench does."""
    values = defaultdict(list)
    for edited, reference, parts in comparisons:
        for part, mask in parts.items():
            masked = (edited, reference) if mask is None else (edited * mask[..., None], reference * mask[..., None])
            values[f"{name}_{part}"].append(distance(*masked))
    return {figure: float(np.mean(of_frames)) for figure, of_frames in values.items()}


class Encoded:
    """A metric on an encoder's vectors; see `Scorer`.

    Args:
        location: a folder in the hub's layout, or a hub id.
    """

    name: str
    figures: tuple[Figure, ...]
    heavy = True
    what: str
    option: str

    def __init__(self, location: str) -> None:
        self.location = location
        self.version = f"1 {weights_version(location)}"

    def load(self) -> None:
        """Load the encoder; MissingError where it is not."""
        from icve.evaluation.metrics.encoders import image_encoder

        self.encoder = image_encoder(self.location, self.what, self.option)
