"""World samples as latents, in chunks that are encoded once and used several times.

A chunk is a function of (seed, phase, number), so a resumed run sees what an uninterrupted one would.
"""

from dataclasses import dataclass

import numpy as np
import torch
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor

from icve.data.world import render, sample_edit, unpaired
from icve.data.world.language import caption
from icve.data.world.sampling import generator, pick
from icve.data.world.scene import Scene
from icve.data.world.stills import sample_scene_with_look
from icve.pipelines.windows import latent_frames
from icve.training.config import EditorConfig, Phase
from icve.training.naming import name_tokens

ENCODE_BATCH = 32


@dataclass
class Batch:
    """Latents (B, 16, T, h, w), scaled; `source` is None for text-to-video; one text each; what the tokens show, see
    `naming.name_tokens`, where that is asked for."""

    target: Tensor
    source: Tensor | None
    texts: list[str]
    target_names: Tensor | None = None
    source_names: Tensor | None = None

    def rows(self, rows: list[int]) -> "Batch":
        """The samples of these numbers."""
        tensors = (self.source, self.target_names, self.source_names)
        source, target_names, source_names = (None if t is None else t[rows] for t in tensors)
        return Batch(self.target[rows], source, [self.texts[i] for i in rows], target_names, source_names)


class LatentStream:
    """The batches of a run, in the order of its steps; `patch` is the side of a token in latents."""

    def __init__(self, vae: AutoencoderKLHunyuanVideo, config: EditorConfig, patch: int) -> None:
        self.vae = vae
        self.config = config
        self.cell = vae.spatial_compression_ratio * patch
        self._chunk: tuple[tuple[Phase, int], Batch] | None = None  # the last one: steps go through them in order

    def batch(self, phase: Phase, step: int) -> Batch:
        """The batch of one step."""
        c = self.config
        number, within = divmod(step, max(1, c.chunk * c.chunk_epochs // phase.batch))
        if self._chunk is None or self._chunk[0] != (phase, number):
            self._chunk = (phase, number), encode_chunk(self.vae, c, phase, number, self.cell)
        chunk = self._chunk[1]
        epoch, position = divmod(within * phase.batch, c.chunk)
        order = generator(c.seed, number, epoch, 3).permutation(c.chunk)
        rows = [int(i) for i in np.take(order, range(position, position + phase.batch), mode="wrap")]
        return chunk.rows(rows)


def encode_chunk(vae: AutoencoderKLHunyuanVideo, config: EditorConfig, phase: Phase, number: int, cell: int) -> Batch:
    """Draw and encode `config.chunk` samples of one size; `cell` is a token's side in pixels."""
    height, width = pick(generator(config.seed, number, 4), [(64, 64)] * 4 + [(48, 80), (80, 48)])
    sources: list[Scene] = []
    targets: list[Scene] = []
    texts: list[str] = []
    for i in range(config.chunk):
        seed = (config.seed, number, i, 5)
        split = "full" if generator(*seed, 8).random() < config.full_share else "core"
        if config.data == "text_to_video":
            rng = generator(*seed)
            scene = sample_scene_with_look(rng, split)
            targets.append(scene)
            texts.append(caption(rng, scene))
            continue
        edit = sample_edit(seed, split=split, operation=_operation(config, phase, seed))
        if config.data == "unpaired":
            edit = unpaired(edit, seed)
        sources.append(edit.source)
        targets.append(edit.target)
        texts.append(edit.instruction)

    def latents(scenes: list[Scene]) -> Tensor | None:
        return encode(vae, [render(s, phase.frames, height, width) for s in scenes]) if scenes else None

    def names(scenes: list[Scene]) -> Tensor | None:
        if not scenes or not config.naming_weight:
            return None
        frames = latent_frames(phase.frames)
        return torch.from_numpy(np.stack([name_tokens(s, frames, height, width, cell) for s in scenes]))

    target = latents(targets)
    assert target is not None
    return Batch(target, latents(sources), texts, names(targets), names(sources))


def _operation(config: EditorConfig, phase: Phase, seed: tuple[int, ...]) -> str:
    weights = {k: w for k, w in config.operations.items() if phase.frames > 1 or k not in ("camera", "timed")}
    total = sum(weights.values())
    return str(generator(*seed, 6).choice(list(weights), p=[w / total for w in weights.values()]))


@torch.no_grad()
def encode(vae: AutoencoderKLHunyuanVideo, clips: list[np.ndarray]) -> Tensor:
    """Clips uint8 (F, H, W, 3) to scaled latents (N, 16, T, h, w), float32."""
    parts = []
    for i in range(0, len(clips), ENCODE_BATCH):
        video = torch.from_numpy(np.stack(clips[i : i + ENCODE_BATCH])).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        video = video.to(vae.dtype, memory_format=torch.channels_last_3d)  # as `convolutions.py` says why
        parts.append(vae.encode(video).latent_dist.mode().float())
    return torch.cat(parts) * vae.config.scaling_factor
