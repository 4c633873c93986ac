"""CLIP and DINO as functions from frames and sentences to unit vectors; loaded once, each clip encoded once.

Shapes: F frames, D the encoder's width.
"""

from collections.abc import Callable, Sequence
from functools import lru_cache
from typing import Any
from weakref import WeakKeyDictionary

import numpy as np
import torch
import torch.nn.functional as F

from icve.evaluation.clips import Clips
from icve.evaluation.metrics.weights import missing_weights

Array = np.ndarray
BATCH = 16  # frames at once: ViT-L at 224 pixels then takes about 1 GB


def device() -> torch.device:
    """Where encoders run."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


@lru_cache(maxsize=4)
def load_pretrained(location: str, what: str, option: str, processor: str | None = None) -> tuple[Any, Any]:
    """A model of transformers and its processor, from a folder in the hub's layout or a hub id.

    Args:
        what, option: for the message, the name and the key of `--models`.
        processor: where that is, if not with the model.

    Raises:
        MissingError: it is not there, or not in safetensors.
    """
    from transformers import AutoImageProcessor, AutoModel, AutoProcessor

    try:
        model = AutoModel.from_pretrained(location, use_safetensors=True)
        speaks = hasattr(model, "get_text_features")
        loader: Any = AutoProcessor if speaks else AutoImageProcessor
        preprocess = loader.from_pretrained(processor or location)
    except (OSError, ValueError, KeyError) as error:
        raise missing_weights(what, location, option) from error
    return model.to(device()).eval(), preprocess


class ImageEncoder:
    """Frames to unit vectors: CLIP's projection, or the class token of a DINO (after its last norm).

    Args:
        option: the key of `--models` that names it, for messages.
    """

    def __init__(self, location: str, what: str, option: str, processor: str | None = None) -> None:
        self.model, self.processor = load_pretrained(location, what, option, processor)
        self.seen: WeakKeyDictionary[Clips, dict[str, torch.Tensor]] = WeakKeyDictionary()

    def of(self, clips: Clips, name: str) -> torch.Tensor:
        """Unit vectors (F, D) of the clip "edited", "source" or "target"."""
        known = self.seen.setdefault(clips, {})
        if name not in known:
            known[name] = self(getattr(clips, name))
        return known[name]

    def __call__(self, frames: Array) -> torch.Tensor:
        """uint8 (F, H, W, 3) to unit vectors (F, D), float32."""
        image_processor = getattr(self.processor, "image_processor", self.processor)

        def encode(batch: Array) -> torch.Tensor:
            pixels = image_processor(images=list(batch), return_tensors="pt")["pixel_values"].to(device())
            if hasattr(self.model, "get_image_features"):
                return self.model.get_image_features(pixel_values=pixels).pooler_output
            return self.model(pixel_values=pixels).last_hidden_state[:, 0]

        return in_batches(encode, frames)

    def texts(self, sentences: Sequence[str]) -> torch.Tensor:
        """Sentences to unit vectors (N, D), cut at the encoder's length; of CLIP only."""
        inputs = self.processor.tokenizer(
            list(sentences),
            padding=True,
            truncation=True,
            max_length=self.model.config.text_config.max_position_embeddings,
            return_tensors="pt",
        ).to(device())
        with torch.inference_mode():
            features = self.model.get_text_features(
                input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]
            )
        return F.normalize(features.pooler_output.float(), dim=-1).cpu()


def in_batches(encode: Callable[[Array], torch.Tensor], frames: Array) -> torch.Tensor:
    """`encode` of frames (F, …) batch by batch, as unit vectors (F, D), float32."""
    with torch.inference_mode():
        vectors = [encode(frames[i : i + BATCH]) for i in range(0, len(frames), BATCH)]
    return F.normalize(torch.cat(vectors).float(), dim=-1).cpu()


@lru_cache(maxsize=4)
def image_encoder(location: str, what: str, option: str, processor: str | None = None) -> ImageEncoder:
    """The one encoder for all metrics that use it."""
    return ImageEncoder(location, what, option, processor)
