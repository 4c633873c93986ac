"""The `camera` instructor: what the camera did between two clips, as an instruction; only where it is sure."""

import numpy as np

from icve.data.curation.camera import CameraChange, CameraConfig, estimate_camera
from icve.data.curation.records import Instruction

METHOD = "camera/2"
SLIGHTLY, FAR = 1.6, 5.0  # times the least that is named: below and above these the amount is said
SECOND = 0.5  # a second component is said if it has this share of the strongest one's strength

# (component, its sign): wordings, the first word a verb; {much} stands where an amount may be said.
WORDS: dict[tuple[str, int], tuple[str, ...]] = {
    ("pan", 1): ("pan{much} to the right", "pan{much} right", "move the camera{much} to the right"),
    ("pan", -1): ("pan{much} to the left", "pan{much} left", "move the camera{much} to the left"),
    ("tilt", 1): ("tilt{much} up", "tilt the camera{much} upwards"),
    ("tilt", -1): ("tilt{much} down", "tilt the camera{much} downwards"),
    ("zoom", 1): ("zoom in{much}", "move{much} closer", "move the camera{much} closer"),
    ("zoom", -1): ("zoom out{much}", "pull back{much}", "pull the camera back{much}"),
    ("roll", 1): ("roll the camera{much} clockwise", "rotate the camera{much} clockwise"),
    ("roll", -1): ("roll the camera{much} counter-clockwise", "rotate the camera{much} counter-clockwise"),
}


def camera_instruction(
    source: np.ndarray, target: np.ndarray, config: CameraConfig, rng: np.random.Generator
) -> Instruction | None:
    """An instruction for two clips of one scene, or None where the camera did nothing, or it is not sure what.

    Args:
        source, target: (N, H, W, 3) uint8 RGB, frames spread evenly over each clip.
        config: what is sure and what is worth naming.
        rng: draws the wording.
    """
    change = estimate_camera(source, target, config)
    text = word_change(change, config, rng) if change is not None else None
    if change is None or text is None:
        return None
    names = "pan", "tilt", "zoom", "roll", "inliers", "explained", "still"
    scores = {name: round(float(getattr(change, name)), 4) for name in names}
    return Instruction(text, "camera", scores=scores, method=METHOD)


def word_change(change: CameraChange, config: CameraConfig, rng: np.random.Generator) -> str | None:
    """The one or two strongest components in words, such as "Zoom out and pan to the right."; None if none counts."""
    strengths = change.strengths(config)
    order = sorted(strengths, key=lambda name: -abs(strengths[name]))
    strongest = abs(strengths[order[0]])
    named = [name for name in order[:2] if abs(strengths[name]) >= max(1.0, SECOND * strongest)]
    if not named:
        return None
    clauses = [_clause(name, strengths[name], rng) for name in named]
    sentence = " and ".join(clauses)
    return f"{sentence[0].upper()}{sentence[1:]}."


def _clause(name: str, strength: float, rng: np.random.Generator) -> str:
    wordings = WORDS[name, 1 if strength > 0 else -1]
    much = " slightly" if abs(strength) < SLIGHTLY else " far" if abs(strength) > FAR and name == "pan" else ""
    return wordings[int(rng.integers(len(wordings)))].format(much=much)
