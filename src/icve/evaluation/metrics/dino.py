"""DINO distance and structure distance: is it still the same, as a self-supervised transformer sees it?"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
import torch.nn.functional as F

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.metrics.encoders import device, load_pretrained
from icve.evaluation.metrics.metric import Encoded, compared, means, part_figures
from icve.evaluation.metrics.weights import missing_weights
from icve.evaluation.scorers import Figure

Array = np.ndarray
SHORT, LONG = 224, 480  # pixels: PIE-Bench's resizing
MEAN, STD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet's, of values in [0, 1]


class DINODistance(Encoded):
    """1 - cosine of the class tokens of two frames, all but the part compared set to 0; mean over frames.

    Range 0 to 2, lower is better.
    """

    name, what, option = "dino", "DINO", "dino"
    figures: tuple[Figure, ...] = part_figures("dino", "lower", 0, 2)

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        return means("dino", compared(clips), self._distance)

    def _distance(self, edited: Array, reference: Array) -> float:
        vectors = self.encoder(np.stack([edited, reference]))
        return 1 - float(vectors[0] @ vectors[1])


class StructureDistance(Encoded):
    """Structure distance (Tumanyan et al. 2022, "Splicing ViT Features"), as PIE-Bench and FiVE-Bench give it: the mean
    squared difference of the self-similarities of two frames; edited against source, mean over frames.

    The self-similarity is the cosine between the keys of any two tokens in the last layer of DINO ViT-B/8, all heads
    joined. Frames are resized to a short side of 224 (a long one of at most 480 pixels). As in the published code,
    which all published figures come from, values 0 to 255 are normalised as if they were 0 to 1. Range 0 to 4, lower
    is better; often shown times 1000.
    """

    name, what, option = "structure_distance", "DINO ViT-B/8", "dino_vitb8"
    figures: tuple[Figure, ...] = (
        Figure("structure_distance", "lower", 0, 4, "", "Difference of DINO self-similarities to the source."),
    )

    def load(self) -> None:
        """Load the transformer; MissingError where it is not, or is no ViT."""
        self.model, _ = load_pretrained(self.location, self.what, self.option)
        keys = [module for name, module in self.model.named_modules() if name.endswith((".k_proj", ".attention.key"))]
        if not keys:
            raise missing_weights(self.what, self.location, self.option)
        self.last_keys = keys[-1]

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        distances = []
        for source, edited in zip(*clips.pair(clips.source), strict=True):
            difference = self.self_similarity(source) - self.self_similarity(edited)
            distances.append(float(difference.square().mean()))
        return {"structure_distance": float(np.mean(distances))}

    def self_similarity(self, frame: Array) -> torch.Tensor:
        """uint8 (H, W, 3) to the cosines (N, N) of its tokens' keys, the class token first."""
        kept: list[torch.Tensor] = []

        def keep(module: Any, inputs: Any, output: torch.Tensor) -> None:  # noqa: ARG001
            kept.append(output)

        hook = self.last_keys.register_forward_hook(keep)
        try:
            with torch.inference_mode():
                self.model(pixel_values=imagenet_pixels(frame).to(device()), interpolate_pos_encoding=True)
        finally:
            hook.remove()
        keys = F.normalize(kept[0].reshape(kept[0].shape[-2:]).float(), dim=-1)
        return keys @ keys.T


def imagenet_pixels(frame: Array) -> torch.Tensor:
    """uint8 (H, W, 3) to (1, 3, h, w), resized and normalised as PIE-Bench does."""
    height, width = frame.shape[:2]
    scale = min(SHORT / min(height, width), LONG / max(height, width))
    size = (int(height * scale), int(width * scale))
    pixels = torch.from_numpy(np.ascontiguousarray(frame)).permute(2, 0, 1)[None].float()
    pixels = F.interpolate(pixels, size, mode="bilinear", antialias=True)
    mean, std = torch.tensor(MEAN).view(1, 3, 1, 1), torch.tensor(STD).view(1, 3, 1, 1)
    return (pixels - mean) / std
