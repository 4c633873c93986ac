"""An auxiliary loss that teaches the middle of the transformer what is where: every video token names its thing.

Flow matching alone learns slowly which thing a word means: its signal is the noise that is left. The world knows what
every token shows, so the middle block's tokens, source and target, are asked for the shape and the colour of the thing
there (for the target: of the thing that should be there). It is representation alignment (REPA, arXiv 2410.06940) with
the world's ground truth in the place of a vision model's features. The heads are dropped after training.
"""

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icve.data.world.names import UNKNOWN
from icve.data.world.scene import COLOURS, SHAPES
from icve.models import InContextHunyuanVideoTransformer3DModel

THING_WEIGHT = 5.0  # of tokens with a thing, which are one in ten
MEAN_WEIGHT = 1 + (THING_WEIGHT - 1) / 10
SHAPE_CLASSES, COLOUR_CLASSES = len(SHAPES) + 1, len(COLOURS) + 1


class Naming(nn.Module):
    """Heads on the middle block's output; call it after each forward of the transformer."""

    def __init__(self, transformer: InContextHunyuanVideoTransformer3DModel) -> None:
        super().__init__()
        width = transformer.config.num_attention_heads * transformer.config.attention_head_dim
        classes = SHAPE_CLASSES + COLOUR_CLASSES
        self.target_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))
        self.source_head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, classes))
        self._source: Tensor | None = None
        self._target: Tensor | None = None
        self._context: Tensor | None = None
        self._context_parallel = lambda: transformer.context_parallel  # set later; and no part of this module
        blocks = [*transformer.transformer_blocks, *transformer.single_transformer_blocks]
        blocks[len(blocks) // 2 - 1].register_forward_hook(self._keep)

    def _keep(self, _module: nn.Module, _args: tuple[Tensor, ...], output: tuple[Tensor, ...]) -> None:
        if len(output) == 3:  # `encode_source` asks for keys and values too
            self._source = output[0]
        else:
            self._target, self._context = output

    def forward(self, target_names: Tensor, source_names: Tensor | None) -> Tensor:
        """Cross-entropy of the names (N, T, h, w, 2) at the tokens of the last forward, (N,).

        The source may have been computed for fewer samples, each shared by as many targets.
        """
        assert self._target is not None, "the transformer has not run"
        assert self._context is not None
        target, source = self._target, self._source
        if source is None:
            source = self._context[:, : target.shape[1]]  # it travels before the text
        self._source = self._target = self._context = None
        if (parallel := self._context_parallel()) is not None:  # a block has seen this rank's slice of either stream
            target, source = parallel.all_tokens(target), parallel.all_tokens(source)
        result = _cross_entropy(self.target_head(target), target_names.flatten(1, 3))
        if source_names is not None:
            draws = len(target) // len(source_names)
            logits = self.source_head(source[:: draws * len(source) // len(target)])
            result = result + _cross_entropy(logits, source_names.flatten(1, 3)).repeat_interleave(draws)
        return result


def _cross_entropy(logits: Tensor, names: Tensor) -> Tensor:
    names = names.long()
    weight = torch.where(names[..., 0] > 0, THING_WEIGHT, 1.0) / MEAN_WEIGHT
    shapes, colours = logits.float().split([SHAPE_CLASSES, COLOUR_CLASSES], dim=-1)
    parts = [
        F.cross_entropy(part.transpose(1, 2), names[..., i], ignore_index=UNKNOWN, reduction="none")
        for i, part in enumerate((shapes, colours))
    ]
    return (weight * (parts[0] + parts[1])).mean(1)
