"""Where the weights of metrics are found."""

from collections.abc import Mapping
from pathlib import Path

from icve.evaluation.content import model_content
from icve.evaluation.scorers import MissingError

MODELS: Mapping[str, str] = {
    "clip": "openai/clip-vit-large-patch14",
    "clip_vitb32": "openai/clip-vit-base-patch32",
    "dino": "facebook/dinov2-base",
    "dino_vitb16": "facebook/dino-vitb16",
    "dino_vitb8": "facebook/dino-vitb8",
    "lpips": "",
    "pickscore": "yuvalkirstain/PickScore_v1",
    "pickscore_processor": "laion/CLIP-ViT-H-14-laion2B-s32B-b79K",
}
"""Hub ids by the keys of `--models`; each may be a folder in the hub's layout instead. LPIPS has none."""


def weights_version(*locations: str) -> str:
    """What tells weights from others: of a folder its content, wherever it lies; of a hub id the id."""
    return " ".join(_version(location) for location in locations)


def _version(location: str) -> str:
    try:
        return model_content(Path(location)) if location and Path(location).is_dir() else location
    except OSError:
        return location  # loading it says why it cannot be read


def missing_weights(what: str, location: str, option: str) -> MissingError:
    """What to tell a user whose weights could not be loaded.

    Args:
        what: the encoder's name.
        location: where it was looked for.
        option: its key in `MODELS`.
    """
    return MissingError(
        f"{what} could not be loaded from {location!r}; download it (hf download {MODELS[option]} --local-dir FOLDER) "
        f"and name the folder with --models {option}=FOLDER."
    )
