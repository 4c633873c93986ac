"""Trains the mini model's autoencoder (AutoencoderKLHunyuanVideo at small size) on world clips and photographs."""

import math
from dataclasses import dataclass

import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor

from icve.data.buckets import Bucket
from icve.data.samples import Batch
from icve.data.stills_set import StillsSet
from icve.data.world.sampling import generator
from icve.data.world.stills import sample_still
from icve.training.config import AutoencoderConfig
from icve.training.flow_matching import sample_generator
from icve.training.method import Loss


def build_autoencoder(config: AutoencoderConfig) -> AutoencoderKLHunyuanVideo:
    """A random HunyuanVideo autoencoder: 4 in time, 2 per level but one in space, 16 latent channels."""
    channels = config.channels
    return AutoencoderKLHunyuanVideo(
        block_out_channels=tuple(channels),
        layers_per_block=1,
        norm_num_groups=config.norm_groups,
        spatial_compression_ratio=2 ** (len(channels) - 1),
        down_block_types=("HunyuanVideoDownBlock3D",) * len(channels),
        up_block_types=("HunyuanVideoUpBlock3D",) * len(channels),
    )


@torch.no_grad()
def inflate(vae: AutoencoderKLHunyuanVideo) -> None:
    """Move every kernel's weight to its last tap in time: stills come out as before, and of a clip the last frame of
    every latent does. Stills train only the taps' sum; without this they smear a clip, and motion is learned slowly
    (measured on a model after 1,200 steps of stills and 240 of clips: 21.0 dB as it was, 25.2 moved, 27.8 on the
    batches that followed within 100 steps).
    """
    for module in vae.modules():
        if isinstance(module, torch.nn.Conv3d):
            total = module.weight.sum(2)
            module.weight.zero_()
            module.weight[:, :, -1] = total


@dataclass
class Reconstruction:
    """The method: encode, decode, compare."""

    vae: AutoencoderKLHunyuanVideo
    config: AutoencoderConfig

    def loss(self, batch: Batch, share: int) -> Loss:
        """The loss of uint8 clips (B, F, H, W, 3)."""
        video = batch.target.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
        pixels = video.to(self.vae.dtype, memory_format=torch.channels_last_3d)
        latents = self.vae.encode(pixels).latent_dist.mean
        noise = torch.stack(
            [
                torch.randn(latents.shape[1:], generator=sample_generator(self.config.seed, batch.step, slot))
                for slot in batch.slots
            ]
        )
        # Latents near unit size and a decoder that bears a little noise: what a denoiser needs. (Sampling the
        # posterior instead, whose deviation starts at 1, cost thousands of steps.)
        decoded = self.vae.decode(latents + self.config.latent_noise * noise.to(self.vae.dtype)).sample
        size = latents.float().square().mean()
        reconstruction = reconstruction_loss(video, decoded, self.config.edge_weight)
        count = len(batch.slots)
        total = (reconstruction + self.config.size_weight * size) * count / share
        figures = {"loss": reconstruction.detach(), "size": size.detach(), "psnr": torch.tensor(psnr(decoded, video))}
        return Loss(total, {name: (value * count, count) for name, value in figures.items()})


def reconstruction_loss(video: Tensor, decoded: Tensor, edge_weight: float) -> Tensor:
    """Mean absolute and squared error, heavier on edges and on what moves, where the eye and the judge look."""
    across = F.pad((video[..., 1:] - video[..., :-1]).abs(), (0, 1))
    down = F.pad((video[..., 1:, :] - video[..., :-1, :]).abs(), (0, 0, 0, 1))
    moving = F.pad((video[:, :, 1:] - video[:, :, :-1]).abs(), (0, 0, 0, 0, 1, 0))
    edges = F.max_pool3d((across + down + 2 * moving).amax(1), (1, 3, 3), 1, (0, 1, 1)).clamp(max=1)
    weight = 1 + edge_weight * edges[:, None]
    error = decoded.float() - video
    return (weight * (error.abs() + 2 * error.square())).mean()


@torch.no_grad()
def psnr(a: Tensor, b: Tensor) -> float:
    """Peak signal-to-noise ratio in dB of two clips in [-1, 1]."""
    return -10 * math.log10(float((a - b).float().square().mean()) / 4)


@torch.no_grad()
def measure(vae: AutoencoderKLHunyuanVideo, seed: int, count: int = 48, frames: int = 9) -> float:
    """PSNR (dB) of world clips that no training step draws, through encode and decode."""
    video = _stack([sample_still(generator(seed, 10**9, i), frames, 64, 64) for i in range(count)])
    decoded = torch.cat([vae.decode(vae.encode(v.to(vae.dtype)).latent_dist.mode()).sample for v in video.split(8)])
    return psnr(decoded.clamp(-1, 1), video)


@torch.no_grad()
def scaling_factor(vae: AutoencoderKLHunyuanVideo, seed: int, count: int = 64) -> float:
    """One over the latents' deviation on clips that no training step draws."""
    clips = StillsSet("scale", [], seed + 10**6)
    video = _stack([clips.load(Bucket(9, 64, 64), i).target for i in range(count)])
    latents = torch.cat([vae.encode(v.to(vae.dtype)).latent_dist.mode() for v in video.split(8)])
    return round(1 / float(latents.float().std()), 4)


def _stack(clips: list[np.ndarray]) -> Tensor:
    return torch.stack([torch.from_numpy(clip) for clip in clips]).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
