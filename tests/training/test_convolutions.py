"""The fast convolutions are the same function, with the same gradients; inflation keeps what stills taught."""

import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo

from icve.training.autoencoder import build_autoencoder, inflate
from icve.training.config import AutoencoderConfig, Phase
from icve.training.convolutions import use_fast_convolutions


def autoencoder() -> AutoencoderKLHunyuanVideo:
    torch.manual_seed(0)
    phase = Phase(steps=1, batch=1, frames=1)
    return build_autoencoder(
        AutoencoderConfig(kind="autoencoder", output="unused", phases=[phase], lr=1, channels=[8, 8, 8, 16])
    )


@pytest.mark.parametrize("frames", [1, 9])
def test_same_result_and_gradients(frames):
    plain, fast = autoencoder(), autoencoder()
    use_fast_convolutions(fast)
    video = torch.rand(2, 3, frames, 32, 32)
    results = []
    for vae in (plain, fast):
        decoded = vae.decode(vae.encode(video).latent_dist.mode()).sample
        decoded.square().mean().backward()
        results.append(decoded)
    torch.testing.assert_close(results[0], results[1], atol=1e-5, rtol=1e-4)
    for a, b in zip(plain.parameters(), fast.parameters(), strict=True):
        if a.grad is not None:
            torch.testing.assert_close(a.grad, b.grad, atol=1e-6, rtol=1e-3)


@torch.no_grad()
def test_inflation_keeps_stills_and_looks_at_the_last_frame_only():
    vae = autoencoder()
    still = torch.rand(1, 3, 1, 32, 32)
    before = vae.decode(vae.encode(still).latent_dist.mode()).sample
    inflate(vae)
    torch.testing.assert_close(vae.decode(vae.encode(still).latent_dist.mode()).sample, before, atol=1e-5, rtol=1e-4)
    convolution = vae.encoder.conv_in
    clip = torch.rand(1, 3, 5, 32, 32)
    seen = convolution(clip)
    for t in range(5):
        torch.testing.assert_close(convolution(clip[:, :, t : t + 1])[:, :, 0], seen[:, :, t], atol=1e-5, rtol=1e-4)
