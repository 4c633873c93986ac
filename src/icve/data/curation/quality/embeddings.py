"""Descriptors of frames whose distance says how much two frames differ; from the picture itself or from a model."""

from typing import Any, Literal, Protocol

import cv2
import numpy as np
from pydantic import Field

from icve.data.curation.quality.base import Strict
from icve.errors import InputError


class EmbeddingConfig(Strict):
    """How frames are compared, for changes within a pair and for duplicates."""

    model: str | None = Field(default=None, description="CLIP or DINO, a folder or an id on the hub; null: no model")
    device: Literal["cpu", "cuda"] = "cpu"


class Embedder(Protocol):
    """Turns frames into vectors.

    Attributes:
        name: says with what.
        side: the longer side of the images that it wants, in pixels; smaller ones are not to be made larger.
        dimensions: of its vectors.
        cpus, gpus: what one call at a time takes.
    """

    name: str
    side: int
    dimensions: int
    cpus: float
    gpus: float

    def embed(self, image: np.ndarray) -> np.ndarray:
        """A frame (H, W, 3) uint8 RGB as a vector (D,) float32 of length 1."""
        ...


def distance(a: np.ndarray, b: np.ndarray) -> float:
    """1 - cosine of two embeddings: 0 (the same) to 2."""
    return float(1 - np.dot(a.astype(np.float64), b.astype(np.float64)))


def make_embedder(config: EmbeddingConfig) -> Embedder:
    """The embedder that a config asks for.

    Raises:
        InputError: its model cannot be loaded.
    """
    return ThumbnailEmbedder() if config.model is None else ModelEmbedder(config.model, config.device)


SIDE, GRID, ORIENTATIONS = 64, 4, 8
# CIELAB units. Pictures without colour and contrast, or without edges, have no direction of their own: below these,
# noise would decide.
LEAST_COLOUR, LEAST_EDGES = 0.5, 1.0


class ThumbnailEmbedder:
    """Layout of colours and directions of edges of a 64x64 thumbnail in 4x4 fields; 176 numbers, no model.

    Half of a squared distance comes from the fields' mean colours in CIELAB, half from their histograms of gradient
    directions (square roots, so that strong edges do not drown the others). Fields overlap softly. Measured on film: a
    shift by 3% of the width moves it by 0.02 (up to 0.08), noise and recompression by less than 0.003 (0.02 where all
    is fine texture); frames of one shot that are 1.3 to 4 s apart lie 0.03 to 0.3 apart (5% to 95%, at most 0.49),
    those of different footage 0.5 to 1.1.
    """

    name = "thumbnail/1"
    side = 2 * SIDE
    dimensions = GRID * GRID * (3 + ORIENTATIONS)
    cpus = 1.0
    gpus = 0.0

    def embed(self, image: np.ndarray) -> np.ndarray:
        """A frame (H, W, 3) uint8 RGB as a vector (176,) float32 of length 1."""
        small = cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA)
        lab = cv2.cvtColor(small.astype(np.float32) / 255, cv2.COLOR_RGB2LAB)
        both = np.concatenate([_colours(lab), _edges(lab[..., 0])])
        return both / np.linalg.norm(both)


def _fields(planes: np.ndarray) -> np.ndarray:
    """Means of (64, 64, C) over 4x4 fields with soft borders: (16 * C,)."""
    size = SIDE // GRID
    smooth = cv2.GaussianBlur(planes, (0, 0), size / 3)
    return smooth.reshape(GRID, size, GRID, size, -1).mean(axis=(1, 3)).ravel()


def _unit(values: np.ndarray, least: float) -> np.ndarray:
    return values / max(float(np.linalg.norm(values)), least)


def _colours(lab: np.ndarray) -> np.ndarray:
    # Around middle grey; over 50, so that black and white are 1 away from it.
    return _unit(_fields((lab - np.array([50, 0, 0], np.float32)) / 50), LEAST_COLOUR)


def _edges(lightness: np.ndarray) -> np.ndarray:
    smooth = cv2.GaussianBlur(lightness, (0, 0), 1)
    x, y = cv2.Sobel(smooth, cv2.CV_32F, 1, 0, scale=1 / 8), cv2.Sobel(smooth, cv2.CV_32F, 0, 1, scale=1 / 8)
    strength = np.hypot(x, y)
    direction = np.arctan2(y, x) % np.pi / np.pi * ORIENTATIONS
    away = np.abs(direction[..., None] - np.arange(ORIENTATIONS, dtype=np.float32))
    away = np.minimum(away, ORIENTATIONS - away)  # directions are a circle
    roots = np.sqrt(_fields(strength[..., None] * np.clip(1 - away, 0, None)))
    # Without their mean, which all pictures share: distances would be small.
    return _unit(roots - roots.mean(), LEAST_EDGES)


class ModelEmbedder:
    """A vision model of transformers: image features of CLIP and its kind, or the class token of DINO and its kind."""

    cpus = 1.0

    def __init__(self, model: str, device: str = "cpu") -> None:
        """
        Args:
            model: a folder, or an id on the hub, with weights in safetensors and an image processor.
            device: "cpu" or "cuda".

        Raises:
            InputError: it cannot be loaded.
        """
        import torch
        from transformers import AutoImageProcessor, AutoModel

        if device == "cuda" and not torch.cuda.is_available():
            raise InputError(f"The model {model} cannot run on cuda: there is no such device; set device to cpu.")
        try:
            self.processor: Any = AutoImageProcessor.from_pretrained(model)
            loaded, report = AutoModel.from_pretrained(model, use_safetensors=True, output_loading_info=True)
        except (OSError, ValueError, RuntimeError, KeyError) as error:
            first = str(error).strip().partition("\n")[0]
            raise InputError(
                f"The image model {model} cannot be loaded ({first:.300}); name a folder or an id on the hub of a CLIP "
                "or DINO model with safetensors."
            ) from error
        # DINO's pooler was never trained, and is not used.
        if missing := sorted(key for key in report["missing_keys"] if not key.startswith("pooler.")):
            raise InputError(f"The image model {model} lacks weights, such as {missing[0]}; copy it again.")
        self.model: Any = loaded.eval().requires_grad_(False).to(device)
        self.name = f"model/1 {model}"
        self.device, self.gpus = device, float(device == "cuda")
        probe = self.embed(np.zeros((64, 64, 3), np.uint8))
        self.dimensions = len(probe)
        self.side = 512  # models see 224 to 384 pixels of the shorter side

    def embed(self, image: np.ndarray) -> np.ndarray:
        """A frame (H, W, 3) uint8 RGB as a vector (D,) float32 of length 1."""
        import torch

        pixels = self.processor(images=image, return_tensors="pt")["pixel_values"].to(self.device)
        with torch.inference_mode():
            if hasattr(self.model, "get_image_features"):
                output = self.model.get_image_features(pixel_values=pixels)
                features = getattr(output, "pooler_output", output)
            else:
                features = self.model(pixel_values=pixels).last_hidden_state[:, 0]
        vector = features[0].double().cpu().numpy()
        return (vector / np.linalg.norm(vector)).astype(np.float32)
