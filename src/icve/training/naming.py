"""An auxiliary loss that teaches the middle of the transformer what is where: every video token names its thing.

Flow matching alone learns slowly which thing a word means: its signal is the noise that is left. The world knows what
every token shows, so the middle block's tokens, source and target, are asked for the shape and the colour of the thing
there (for the target: of the thing that should be there). It is representation alignment (REPA, arXiv 2410.06940) with
the world's ground truth in the place of a vision model's features. The heads are dropped after training.
"""

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icve.data.world import masks
from icve.data.world.scene import COLOURS, SHAPES, Scene
from icve.models import InContextHunyuanVideoTransformer3DModel

COVERED = 0.25  # least share of a token's pixels that a thing covers to be its name
THING_WEIGHT = 5.0  # of tokens with a thing, which are one in ten
UNKNOWN = -100  # cross-entropy's ignored class
COLOURLESS = ("black and white", "sepia")
SHAPE_CLASSES, COLOUR_CLASSES = len(SHAPES) + 1, len(COLOURS) + 1


def name_tokens(scene: Scene, latent_frames: int, height: int, width: int, cell: int) -> np.ndarray:
    """Shape and colour at each token, int16 (latent_frames, height / cell, width / cell, 2); 0 where no thing is.

    Args:
        cell: pixels of a token's side.
    """
    names = np.zeros((latent_frames, height // cell, width // cell, 2), np.int16)
    if not scene.things:
        return names
    shares = np.stack(masks(scene, latent_frames, height, width))  # at the last frame of each latent
    shares = shares.reshape(len(shares), latent_frames, height // cell, cell, width // cell, cell).mean((3, 5)) / 255
    for thing, share in zip(scene.things, shares, strict=True):
        here = (share > COVERED) & (share == shares.max(axis=0))
        names[here] = list(SHAPES).index(thing.shape) + 1, list(COLOURS).index(thing.colour) + 1
    if scene.look in COLOURLESS:
        names[..., 1][names[..., 1] > 0] = UNKNOWN
    return names


class Naming(nn.Module):
    """Heads on the middle block's output; read `loss` after each forward of the transformer."""

    def __init__(self, transformer: InContextHunyuanVideoTransformer3DModel) -> None:
        super().__init__()
        width = transformer.config.num_attention_heads * transformer.config.attention_head_dim
        classes = SHAPE_CLASSES + COLOUR_CLASSES
        self.target_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))
        self.source_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))
        self._source: Tensor | None = None
        self._target: Tensor | None = None
        self._context: Tensor | None = None
        blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
        blocks[len(blocks) // 2 - 1].register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _args: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        if len(output) == 3:  # `encode_source` asks for keys and values too
            self._source = output[0]
        else:
            self._target, self._context = output

    def loss(self, target_names: Tensor, source_names: Tensor | None) -> Tensor:
        """Cross-entropy of the names (B, T, h, w, 2) at the tokens of the last forward."""
        assert self._target is not None, "the transformer has not run"
        assert self._context is not None
        target, source = self._target, self._source
        if source is None:
            source = self._context[:, : target.shape[1]]  # it travels before the text
        self._source = self._target = self._context = None
        result = _cross_entropy(self.target_head(target), target_names.flatten(1, 3))
        if source_names is not None:
            result = result + _cross_entropy(self.source_head(source), source_names.flatten(1, 3))
        return result


def _cross_entropy(logits: Tensor, names: Tensor) -> Tensor:
    names = names.long()
    weight = torch.where(names[..., 0] > 0, THING_WEIGHT, 1.0)
    weight = weight / weight.mean()
    shapes, colours = logits.float().split([SHAPE_CLASSES, COLOUR_CLASSES], dim=-1)
    parts = [
        F.cross_entropy(part.transpose(1, 2), names[..., i], ignore_index=UNKNOWN, reduction="none")
        for i, part in enumerate((shapes, colours))
    ]
    return (weight * (parts[0] + parts[1])).mean()
