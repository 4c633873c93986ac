"""Noise levels: each distribution by its definition, its draws and its dependence on the sequence length."""

import math

import pytest
import torch

from icve.training.config import LogitNormalTimesteps, StretchedTimesteps, UniformTimesteps
from icve.training.timesteps import LEAST, quantile, sample

GRID = torch.linspace(0.005, 0.995, 199)


def draws(config, tokens=1024, count=4000, per_sample=1):
    generator = torch.Generator().manual_seed(0)
    return torch.stack([sample(config, per_sample, tokens, generator) for _ in range(count)])


def test_quantiles_are_of_the_named_distributions():
    assert torch.allclose(quantile(UniformTimesteps(kind="uniform"), GRID, 1), GRID, atol=1e-6)
    level = quantile(LogitNormalTimesteps(mean=0.6, std=0.8), GRID, 1)
    assert torch.allclose((torch.logit(level) - 0.6) / 0.8, torch.special.ndtri(GRID), atol=1e-4)


@pytest.mark.parametrize("shift", [3.0, 7.0])
def test_a_fixed_shift_is_the_schedulers(shift):
    from diffusers import FlowMatchEulerDiscreteScheduler

    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=GRID.flip(0).tolist())
    level = quantile(UniformTimesteps(kind="uniform", shift=shift), GRID, 1)
    assert torch.allclose(scheduler.sigmas[:-1].flip(0).clamp(max=1 - LEAST), level, atol=1e-5)


def test_longer_sequences_are_noisier_where_that_is_asked_for():
    flux = UniformTimesteps(kind="uniform", shift="sequence")
    half = torch.tensor([0.5])
    assert quantile(flux, half, 4096).item() == pytest.approx(1 / (1 + math.exp(-1.15)), abs=1e-5)
    for config in (flux, StretchedTimesteps(kind="stretched")):
        medians = [quantile(config, half, tokens).item() for tokens in (1024, 2048, 4096)]
        assert medians == sorted(medians)
        assert medians[-1] - medians[0] > 0.05
    fixed = LogitNormalTimesteps(mean=0.3)
    assert quantile(fixed, half, 10) == quantile(fixed, half, 10_000)


def test_stretched_reaches_both_ends_and_matches_its_definition():
    """A sample-by-sample computation as LTX-Video's trainer describes it."""
    config = StretchedTimesteps(kind="stretched", uniform=0)
    mean = 0.95
    low, high = torch.sigmoid(torch.tensor([mean - 2.5758, mean + 3.0902]))
    expected = (torch.sigmoid(mean + torch.special.ndtri(GRID)) - low) / (high - low)
    expected = torch.where(expected < LEAST, 2 * LEAST - expected, expected).clamp(LEAST, 1 - LEAST)
    assert torch.allclose(quantile(config, GRID, 1024), expected, atol=1e-4)
    assert quantile(config, torch.tensor([0.01, 0.999]), 1024)[1] > 0.99


def test_a_share_is_uniform():
    none, some = (draws(LogitNormalTimesteps(mean=4.0, uniform=u)) for u in (0.0, 0.3))
    assert (none < 0.3).float().mean() < 0.001
    assert (some < 0.3).float().mean() == pytest.approx(0.09, abs=0.015)


def test_the_draws_of_a_sample_are_spread_over_the_noise_levels():
    rows = draws(LogitNormalTimesteps(mean=0.6), per_sample=4, count=5000)
    assert rows.shape == (5000, 4)
    assert torch.logit(rows).median() == pytest.approx(0.6 * 0.95, abs=0.06)  # a tenth is uniform, of median 0
    assert (rows.diff(dim=1) > 0).float().mean() > 0.85  # each from its own quarter, but for the uniform ones
