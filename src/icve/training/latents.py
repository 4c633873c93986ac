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
from icve.data.world.stills import sample_scene_with_look
from icve.training.config import EditorConfig, Phase

ENCODE_BATCH = 32


@dataclass
class Batch:
    """Latents (B, 16, T, h, w), scaled; `source` is None for text-to-video; one text each."""

    target: Tensor
    source: Tensor | None
    texts: list[str]


class LatentStream:
    """The batches of a run, in the order of its steps."""

    def __init__(self, vae: AutoencoderKLHunyuanVideo, config: EditorConfig) -> None:
        self.vae = vae
        self.config = config
        self._chunk: tuple[tuple[Phase, int], Batch] | None = None  # the last one: steps go through them in order

    def batch(self, phase: Phase, step: int) -> Batch:
        """The batch of one step."""
        c = self.config
        number, within = divmod(step, max(1, c.chunk * c.chunk_epochs // phase.batch))
        if self._chunk is None or self._chunk[0] != (phase, number):
            self._chunk = (phase, number), encode_chunk(self.vae, c, phase, number)
        chunk = self._chunk[1]
        epoch, position = divmod(within * phase.batch, c.chunk)
        order = generator(c.seed, number, epoch, 3).permutation(c.chunk)
        rows = [int(i) for i in np.take(order, range(position, position + phase.batch), mode="wrap")]
        source = None if chunk.source is None else chunk.source[rows]
        return Batch(chunk.target[rows], source, [chunk.texts[i] for i in rows])


def encode_chunk(vae: AutoencoderKLHunyuanVideo, config: EditorConfig, phase: Phase, number: int) -> Batch:
    """Draw and encode `config.chunk` samples of one size."""
    height, width = pick(generator(config.seed, number, 4), [(64, 64)] * 4 + [(48, 80), (80, 48)])
    sources: list[np.ndarray] = []
    targets: list[np.ndarray] = []
    texts: list[str] = []
    for i in range(config.chunk):
        seed = (config.seed, number, i, 5)
        split = "full" if generator(*seed, 8).random() < config.full_share else "core"
        if config.data == "text_to_video":
            rng = generator(*seed)
            scene = sample_scene_with_look(rng, split)
            targets.append(render(scene, phase.frames, height, width))
            texts.append(caption(rng, scene))
            continue
        edit = sample_edit(seed, split=split, operation=_operation(config, phase, seed))
        if config.data == "unpaired":
            edit = unpaired(edit, seed)
        sources.append(render(edit.source, phase.frames, height, width))
        targets.append(render(edit.target, phase.frames, height, width))
        texts.append(edit.instruction)
    return Batch(encode(vae, targets), encode(vae, sources) if sources else None, texts)


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
