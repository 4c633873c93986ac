"""Global looks: was the one that was asked for applied, and how strongly."""

import math
from dataclasses import dataclass

import cv2
import numpy as np

from icve.data.world.render import apply_look

Array = np.ndarray
# A sentence does not say how much darker, so the strength is free within limits: 0 is the source, 1 the world's own
# look. Half a loss of colour is no black and white.
STRENGTHS = {
    "black and white": (0.75, 1.3),
    "sepia": (0.7, 1.3),
    "brighter": (0.55, 1.6),
    "darker": (0.55, 1.6),
    "blurred": (0.9, 1.8),  # a decoder's own blur reaches 0.8
}
# Root mean square change, 0..255, from which a look can be told at all; a tint does not look like a blur.
VISIBLE = dict.fromkeys(STRENGTHS, 3.0) | {"blurred": 1.0}
TINT = 12.0  # the same, as a decoder's own tint may change a plain scene
SPOILT = 0.85  # strength of a look that nobody asked for
# Of a blur's amplitude: a blur leaves less than this unexplained, a poor decoder's softness 0.65 and more.
UNEXPLAINED = 0.5


@dataclass(frozen=True)
class Tone:
    """What a look of some strength does to clean frames and to coverage maps; look "" does nothing."""

    look: str = ""
    strength: float = 1.0

    def __call__(self, frame: Array) -> Array:
        """A clean uint8 frame (H, W, 3) as it should be seen, float32 0..255."""
        clean = frame.astype(np.float32)
        if not self.look:
            return clean
        return clean + self.strength * (apply_look(frame[None], self.look)[0] - clean)

    def colours(self, rgb: Array) -> Array:
        """Flat colours (N, 3) as they should be seen, float32; a blur leaves them alone."""
        if self.look == "blurred":
            return rgb.astype(np.float32)
        return self(rgb[None].astype(np.uint8))[0]

    def coverage(self, coverage: Array) -> Array:
        """A coverage map (H, W) 0..1 as far as it is seen through the look: a blur softens it."""
        if self.look != "blurred":
            return coverage
        sigma = min(coverage.shape) / 32  # as render.apply_look
        return coverage + self.strength * (cv2.GaussianBlur(coverage, (0, 0), sigma) - coverage)


def fit_look(look: str, clean: Array, output: Array, weight: Array) -> tuple[Tone, str | None]:
    """How strongly `output` shows a look, and what is wrong if it shows another one better, or none.

    Args:
        look: the one that was asked for, "" for none.
        clean: uint8 (F, H, W, 3), what should be seen without the look.
        output: float32 of the same shape, 0..255.
        weight: (F, H, W), 0 where the frames may differ for other reasons.
    """
    base = clean.astype(np.float32)
    change = output - base
    weight = weight[..., None]
    total = max(3 * float(weight.sum()), 1.0)
    strengths, sizes = {"": 0.0}, {"": 0.0}
    errors = {"": float((weight * change**2).sum()) / total}
    for name, (low, high) in STRENGTHS.items():
        step = apply_look(clean, name).astype(np.float32) - base
        power = float((weight * step**2).sum())
        sizes[name] = math.sqrt(power / total)
        strengths[name] = float((weight * step * change).sum()) / max(power, 1.0)
        errors[name] = float((weight * (change - np.clip(strengths[name], low, high) * step) ** 2).sum()) / total
    best = min(errors, key=errors.__getitem__)
    if not look or sizes[look] < VISIBLE[look]:  # none, or such as black and white of a grey scene
        least = max(VISIBLE[best], math.sqrt(errors[best]) / UNEXPLAINED) if best == "blurred" else TINT
        spoilt = strengths[best] > SPOILT and sizes[best] > least
        return Tone(look), f"the whole clip was made {best}" if spoilt else None
    low, high = STRENGTHS[look]
    tone = Tone(look, float(np.clip(strengths[look], low, high)))
    if best != look:
        return tone, f"the look is {best or 'unchanged'}, not {look}"
    if not low <= strengths[look] <= high:
        return tone, f"the look {look} has strength {strengths[look]:.2f}, not {low} to {high}"
    return tone, None
