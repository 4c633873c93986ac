"""The training step: flow matching on the target's tokens, the clean source in context.

x_s = (1 - s) target + s noise; the model predicts the velocity noise - target; the loss is on target tokens. One step
serves the text-to-video base (no source), stage 1 (unpaired clips) and stage 2 (edit pairs): a stage is data and
config.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from icve.data.buckets import Bucket
from icve.data.samples import Batch
from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.pipelines.windows import latent_frames
from icve.training import timesteps
from icve.training.conditions import Conditions
from icve.training.config import FlowConfig
from icve.training.method import Loss
from icve.training.naming import Naming

LEVELS = 4  # equal parts of the noise levels by which the loss is logged


class Draw(NamedTuple):
    """The randomness of a batch: B samples, n draws each."""

    sigma: Tensor
    """(B, n) noise levels."""
    noise: Tensor
    """(B, n, C, T, h, w)."""
    dropped: list[bool]
    """Whether each sample's text is left out."""


@dataclass
class InContextFlowMatching:
    """The method; `device` is where the transformer runs, `dtype` what it computes in."""

    transformer: InContextHunyuanVideoTransformer3DModel
    conditions: Conditions
    config: FlowConfig
    seed: int
    device: torch.device
    dtype: torch.dtype
    naming: Naming | None = None

    def loss(self, batch: Batch, share: int) -> Loss:
        """The loss of a batch; samples that could not be read count 0.

        Args:
            batch: samples of one bucket, pixels or latents.
            share: samples of the rank's whole share of the step, of which this batch is a part: `total` is the
                part's contribution to the mean over the share.
        """
        target, source = self.conditions.latents(batch)
        return self.loss_at(batch, target, source, self.draw(batch, tuple(target.shape[1:])), share)

    def draw(self, batch: Batch, shape: tuple[int, ...]) -> Draw:
        """Noise for each sample from (seed, step, slot) alone, on the CPU: it depends neither on the number of ranks
        nor on the device."""
        c = self.config
        sigmas, noises, dropped = [], [], []
        for slot in batch.slots:
            generator = sample_generator(self.seed, batch.step, slot)
            dropped.append(bool(torch.rand((), generator=generator) < c.text_dropout))
            sigmas.append(timesteps.sample(c.timesteps, c.draws, self.tokens(batch.bucket), generator))
            noises.append(torch.randn(c.draws, *shape, generator=generator))
        return Draw(torch.stack(sigmas), torch.stack(noises), dropped)

    def loss_at(self, batch: Batch, target: Tensor, source: Tensor | None, draw: Draw, share: int) -> Loss:
        """The loss with given randomness."""
        draws = draw.sigma.shape[1]

        def per_draw(per_sample: Tensor) -> Tensor:
            return per_sample.repeat_interleave(draws, dim=0)

        sigma_N = draw.sigma.flatten().to(self.device)
        noise = draw.noise.flatten(0, 1).to(self.device)
        target_N = per_draw(target)
        sigma = sigma_N.view(-1, 1, 1, 1, 1)
        noisy = (1 - sigma) * target_N + sigma * noise
        texts = ["" if drop else text for drop, text in zip(draw.dropped, batch.texts, strict=True)]
        states, mask, pooled = self.conditions.text(batch, texts, draw.dropped)
        guidance = self.conditions.guidance(len(texts))
        velocity = self.transformer(
            hidden_states=noisy.to(self.dtype),
            **self._source(source, pooled, guidance, draws),
            timestep=sigma_N * 1000,
            encoder_hidden_states=per_draw(states),
            encoder_attention_mask=per_draw(mask),
            pooled_projections=per_draw(pooled),
            guidance=None if guidance is None else per_draw(guidance),
            return_dict=False,
        )[0].float()
        error = (velocity - (noise - target_N)).square()
        valid = per_draw(batch.valid.to(self.device, torch.float32))
        plain = error.detach().mean((1, 2, 3, 4)) * valid
        if source is not None and self.config.changed_weight != 1:
            # Most of an edit is a copy; without this weight the named thing is a small part of the loss.
            changed = (target - source).abs().mean(1, keepdim=True) > self.config.changed_threshold
            error = error * per_draw(1 + (self.config.changed_weight - 1) * changed.float())
        total = (error.mean((1, 2, 3, 4)) * valid).sum() / (share * draws)
        sums: dict[str, tuple[Tensor, Tensor | float]] = {"loss": (plain.sum(), valid.sum())}
        sums |= _by_level(plain, sigma_N, valid)
        if self.naming is not None:
            names = {key: value.to(self.device) for key, value in batch.labels.items()}
            wrong = self.naming(per_draw(names["target_names"]), names.get("source_names")) * valid
            total = total + self.config.naming_weight * wrong.sum() / (share * draws)
            sums["naming"] = (wrong.detach().sum(), valid.sum())
        return Loss(total, sums)

    def tokens(self, bucket: Bucket) -> int:
        """Target tokens of a clip."""
        side = self.conditions.spatial_compression * self.transformer.config.patch_size
        return latent_frames(bucket.frames) * (bucket.height // side) * (bucket.width // side)

    def _source(self, source: Tensor | None, pooled: Tensor, guidance: Tensor | None, draws: int) -> dict[str, Any]:
        """What the transformer is given of the source: with several draws its keys and values, computed once."""
        if source is None:
            return {"source_hidden_states": None}
        source = source.to(self.dtype)
        if draws == 1 or not self.transformer.can_cache_source:
            return {"source_hidden_states": source.repeat_interleave(draws, dim=0)}
        cache = self.transformer.encode_source(source, pooled, guidance)
        cache = [tuple(part.repeat_interleave(draws, dim=0) for part in key_value) for key_value in cache]
        return {"source_hidden_states": None, "source_cache": cache}


def sample_generator(seed: int, step: int, slot: int) -> torch.Generator:
    """The randomness of one sample of one step."""
    number = int(np.random.SeedSequence((seed, step, slot)).generate_state(1, np.uint64)[0])
    return torch.Generator().manual_seed(number >> 1)  # torch takes 63 bits


def _by_level(plain_N: Tensor, sigma_N: Tensor, valid_N: Tensor) -> dict[str, tuple[Tensor, Tensor | float]]:
    """The unweighted loss in equal parts of the noise levels: "loss/0.25-0.50" and so on."""
    part_N = (sigma_N * LEVELS).long().clamp(0, LEVELS - 1)
    table = torch.zeros(LEVELS, 2, device=plain_N.device)
    table.index_add_(0, part_N, torch.stack([plain_N, valid_N], dim=1))
    return {f"loss/{i / LEVELS:.2f}-{(i + 1) / LEVELS:.2f}": (row[0], row[1]) for i, row in enumerate(table)}
