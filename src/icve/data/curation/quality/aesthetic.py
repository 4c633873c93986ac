"""Aesthetic filter: how much people would like a frame, predicted from CLIP's image features by a small head."""

import itertools
import re
from pathlib import Path
from typing import Literal

import numpy as np
from pydantic import Field
from safetensors import SafetensorError, safe_open

from icve.data.curation.quality.base import Strict
from icve.data.curation.quality.embeddings import ModelEmbedder
from icve.errors import InputError


class AestheticConfig(Strict):
    """Drops clips that people would not like to look at; needs a CLIP model and a head that was trained on it."""

    min: float | None = Field(default=None, description="least score, on the scale of the head; null: off")
    model: str = Field(default="openai/clip-vit-large-patch14", description="CLIP: a folder or an id on the hub")
    head: str | None = Field(default=None, description="safetensors file, or OWNER/NAME/FILE.safetensors on the hub")
    device: Literal["cpu", "cuda"] = "cpu"
    every: float = Field(default=1.0, gt=0, description="seconds between measurements")


class Aesthetic:
    """CLIP's image features, of length 1, through one linear layer after the other.

    That is the form of both aesthetic predictors of LAION: version 1 is one layer, version 2 five without anything
    between them (its dropout acts in training alone). Their scores are those of the ratings they were trained on,
    1 (worst) to 10.
    """

    name = "aesthetic"
    cpus = 1.0

    def __init__(self, config: AestheticConfig) -> None:
        """
        Raises:
            InputError: there is no head, or it does not fit the model, or one of them cannot be loaded.
        """
        if config.head is None:
            raise InputError("The filter aesthetic has no head; set aesthetic.head to a safetensors file.")
        self.layers = read_head(find_head(config.head))
        self.embedder = ModelEmbedder(config.model, config.device)
        self.every, self.side, self.gpus = config.every, self.embedder.side, self.embedder.gpus
        wanted, given = self.layers[0][0].shape[1], self.embedder.dimensions
        if wanted != given:
            raise InputError(
                f"The head {config.head} is for features of {wanted} numbers, {config.model} gives {given}; "
                "name the CLIP model that the head was trained on."
            )

    def score(self, image: np.ndarray) -> float:
        """What the head says of a frame (H, W, 3) uint8 RGB."""
        values = self.embedder.embed(image).astype(np.float64)
        for weight, bias in self.layers:
            values = weight @ values + bias
        return float(values[0])


def find_head(head: str) -> Path:
    """The file of a head; one on the hub is downloaded into the hub's cache.

    Raises:
        InputError: there is none.
    """
    if Path(head).is_file():
        return Path(head)
    parts = head.split("/", 2)
    if len(parts) < 3 or Path(head).is_absolute():
        raise InputError(f"The head {head} does not exist; name a file, or OWNER/NAME/FILE.safetensors on the hub.")
    from huggingface_hub import hf_hub_download

    try:
        return Path(hf_hub_download("/".join(parts[:2]), parts[2]))
    except (OSError, ValueError) as error:
        first = str(error).strip().partition("\n")[0]
        raise InputError(f"The head {head} cannot be downloaded ({first:.200}); name a file.") from error


def read_head(path: Path) -> list[tuple[np.ndarray, np.ndarray]]:
    """The layers of a head, (weight (OUT, IN), bias (OUT,)) float64, in the order of the numbers in their names.

    Raises:
        InputError: the file holds no chain of linear layers that ends in one number.
    """
    try:
        with safe_open(path, "np") as file:
            tensors = {name: file.get_tensor(name).astype(np.float64) for name in file.keys()}  # noqa: SIM118
    except (SafetensorError, OSError, TypeError) as error:
        raise InputError(f"The head {path} cannot be read ({error}); save it as safetensors in float32.") from error
    names = sorted((name for name in tensors if name.endswith("weight")), key=_numbers)
    layers = []
    for name in names:
        weight = tensors[name]
        bias = tensors.get(name.removesuffix("weight") + "bias", np.zeros(len(weight)) if weight.ndim else None)
        if weight.ndim != 2 or bias is None or bias.shape != weight.shape[:1]:
            raise InputError(f"The head {path} has a layer that is not linear, {name}; use a head of linear layers.")
        layers.append((weight, bias))
    sizes = [weight.shape for weight, _ in layers]
    if not sizes or sizes[-1][0] != 1 or any(a[0] != b[1] for a, b in itertools.pairwise(sizes)):
        raise InputError(f"The head {path} is no chain of layers that ends in one number ({sizes}); use another.")
    return layers


def _numbers(name: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", name)]
