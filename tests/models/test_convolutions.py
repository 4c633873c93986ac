"""The fast convolutions are the same function, with the same gradients; inflation keeps what stills taught."""

import json

import pytest
import torch
from diffusers import AutoencoderKLHunyuanVideo

from icve.models.convolutions import use_fast_convolutions
from icve.training.autoencoder import build_autoencoder, inflate
from icve.training.autoencoder_run import train_autoencoder
from icve.training.config import AutoencoderConfig
from icve.training.parts import load_autoencoder

CONFIG = {
    "kind": "autoencoder",
    "output": "unused",
    "steps": 3,
    "channels": [8, 8, 16],
    "data": {"sets": [{"kind": "stills"}], "buckets": [{"size": "5x32x32", "batch": 2}]},
    "optimizer": {"kind": "muon", "lr": 1e-3},
    "log": {"tensorboard": False},
}


def autoencoder() -> AutoencoderKLHunyuanVideo:
    torch.manual_seed(0)
    return build_autoencoder(AutoencoderConfig.model_validate(CONFIG))


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


def test_an_autoencoders_run_makes_what_a_new_model_takes(tmp_path):
    stills = AutoencoderConfig.model_validate(CONFIG | {"output": tmp_path / "stills"})
    assert train_autoencoder(stills)
    clips = CONFIG | {"output": tmp_path / "clips", "start": str(tmp_path / "stills"), "inflate": True}
    assert train_autoencoder(AutoencoderConfig.model_validate(clips))
    history = json.loads((tmp_path / "clips/model/training.json").read_text())
    assert [(stage["name"], stage["samples"]) for stage in history] == [("stills", 6), ("clips", 6)]
    vae = load_autoencoder(str(tmp_path / "clips"))
    assert vae.config.block_out_channels == [8, 8, 16]
    assert vae.config.scaling_factor not in (0.476986, 1.0)  # measured on its own latents
