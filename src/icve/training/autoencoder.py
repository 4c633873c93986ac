"""Trains the mini model's autoencoder (AutoencoderKLHunyuanVideo at small size) on world clips and photographs."""

import math

import cv2
import numpy as np
import torch
import torch.nn.functional as F
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor

from icve.data.world.render import photo, photo_names
from icve.data.world.sampling import generator, pick
from icve.data.world.stills import sample_still
from icve.training.config import AutoencoderConfig, Phase
from icve.training.convolutions import use_fast_convolutions
from icve.training.loop import Run
from icve.training.precision import MasterOptimizer


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


def clips(seed: int, step: int, phase: Phase) -> Tensor:
    """The batch of one step: (B, 3, F, H, W) in [-1, 1]; the same (seed, step) always gives the same batch."""
    rng = generator(seed, step, 1)
    height, width = pick(rng, [(64, 64)] * 4 + [(48, 80), (80, 48)])
    batch = np.stack(
        [
            photo_clip(generator(seed, step, 2, i), phase.frames, height, width)
            if rng.random() < 0.25
            else sample_still(generator(seed, step, 2, i), phase.frames, height, width)
            for i in range(phase.batch)
        ]
    )
    return torch.from_numpy(batch).permute(0, 4, 1, 2, 3).float() / 127.5 - 1


def photo_clip(rng: np.random.Generator, frames: int, height: int, width: int) -> np.ndarray:
    """A camera that moves over a bundled photograph with changed colours: what the world does not draw."""
    image = photo(pick(rng, photo_names()))
    h, w = image.shape[:2]
    scale = float(np.exp(rng.uniform(np.log(0.5), np.log(min(h / height, w / width)))))  # source pixels per pixel
    room = np.array([w - width * scale, h - height * scale])
    start = rng.random(2) * room
    end = np.clip(start + rng.normal(size=2) * 5 * scale, 0, room)
    if scale > 1:
        image = cv2.GaussianBlur(image, (0, 0), 0.4 * scale)  # no aliasing when the warp shrinks it
    flip = rng.random() < 0.5
    out = np.empty((frames, height, width, 3), np.uint8)
    for i in range(frames):
        x, y = start + (end - start) * (i / max(frames - 1, 1))
        matrix = np.array([[scale, 0, x], [0, scale, y]])
        out[i] = cv2.warpAffine(
            image,
            matrix,
            (width, height),
            flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
            borderMode=cv2.BORDER_REFLECT,
        )
    out = out[:, :, ::-1] if flip else out
    gain, bias = rng.uniform(0.6, 1.4, 3), rng.uniform(-30, 30, 3)
    return np.clip(out * gain + bias, 0, 255).astype(np.uint8)[..., rng.permutation(3)]


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
    video = torch.stack(
        [torch.from_numpy(sample_still(generator(seed, 10**9, i), frames, 64, 64)) for i in range(count)]
    )
    video = video.permute(0, 4, 1, 2, 3).float() / 127.5 - 1
    decoded = torch.cat([vae.decode(vae.encode(v.to(vae.dtype)).latent_dist.mode()).sample for v in video.split(8)])
    return psnr(decoded.clamp(-1, 1), video)


def train_autoencoder(config: AutoencoderConfig) -> None:
    """Train through the phases, then set the scaling factor to one over the latents' deviation and save the folder."""
    torch.manual_seed(config.seed)
    if config.start is None:
        vae = build_autoencoder(config)
    else:
        vae = AutoencoderKLHunyuanVideo.from_pretrained(config.start)
        if config.inflate:
            inflate(vae)
    vae.to(dtype=torch.bfloat16, memory_format=torch.channels_last_3d)
    use_fast_convolutions(vae)
    optimizer = MasterOptimizer([vae], kind=config.optimizer, lr=config.lr, weight_decay=0.0, ema=config.ema)
    run = Run(config, optimizer)
    for step, phase in run.steps(config.phases):
        video = clips(config.seed, step, phase)
        latents = vae.encode(video.to(vae.dtype, memory_format=torch.channels_last_3d)).latent_dist.mean
        noise = torch.randn(latents.shape, generator=torch.Generator().manual_seed(config.seed * 10**6 + step))
        # Latents near unit size and a decoder that bears a little noise: what a denoiser needs. (Sampling the
        # posterior instead, whose deviation starts at 1, cost thousands of steps.)
        decoded = vae.decode(latents + config.latent_noise * noise.to(vae.dtype)).sample
        size = latents.float().square().mean()
        reconstruction = reconstruction_loss(video, decoded, config.edge_weight)
        (reconstruction + config.size_weight * size).backward()
        run.log(loss=reconstruction.item(), size=size.item(), psnr=psnr(decoded, video))
        optimizer.step(run.learning_rate(step), clip=1.0)
        if run.checkpoint_due(step):
            run.save(step)
    optimizer.load_averages()
    with torch.no_grad():
        sample = clips(config.seed, 10**8, Phase(steps=1, batch=64, frames=9))
        latents = torch.cat([vae.encode(v.to(vae.dtype)).latent_dist.mode() for v in sample.split(8)])
    vae.register_to_config(scaling_factor=round(1 / float(latents.float().std()), 4))
    run.finish(vae, figures={"psnr_db": round(measure(vae, config.seed), 2)}, behind=[config.start])
