"""Noise levels that training draws: distributions on (0, 1), each given by its quantile function.

A quantile function makes both uses one: training feeds it random numbers, validation fixed ones.
"""

import math

import torch
from torch import Tensor

from icve.training.config import (
    LogitNormalTimesteps,
    StretchedTimesteps,
    TimestepsConfig,
    UniformTimesteps,
)

LEAST = 1e-3  # no level is nearer to 0 or 1: a velocity at either end is not learnable and never asked for
# Lightricks' LTX-Video trainer: the mean of the logit-normal runs from 0.95 at 1,024 tokens to 2.05 at 4,096 and on
# along that line; its 0.5% and 99.9% quantiles are stretched onto 0 and 1.
LTX_TOKENS, LTX_MEANS = (1024, 4096), (0.95, 2.05)
LTX_QUANTILES = (0.005, 0.999)
# Flux's shift, exp of a line through (256, 0.5) and (4,096, 1.15), for fixed shapes from the number of tokens.
FLUX_TOKENS, FLUX_LOG_SHIFTS = (256, 4096), (0.5, 1.15)


def quantile(config: TimestepsConfig, probability: Tensor, tokens: int) -> Tensor:
    """Noise levels in [LEAST, 1 - LEAST] at these probabilities in (0, 1), without the uniform share.

    Args:
        tokens: of the target, for what follows the sequence length.
    """
    p = probability.double().clamp(1e-6, 1 - 1e-6)
    if isinstance(config, UniformTimesteps):
        level = _shifted(p, config.shift, tokens)
    elif isinstance(config, LogitNormalTimesteps):
        level = _shifted(_logit_normal(p, config.mean, config.std), config.shift, tokens)
    else:
        level = _stretched(config, p, tokens)
    return level.clamp(LEAST, 1 - LEAST).float()


def uniform_share(config: TimestepsConfig) -> float:
    """Share of samples whose level is uniform whatever the distribution."""
    return 0.0 if isinstance(config, UniformTimesteps) else config.uniform


def sample(config: TimestepsConfig, draws: int, tokens: int, generator: torch.Generator) -> Tensor:
    """The noise levels (draws,) of one sample: each from its own of as many equal parts of the distribution."""
    uniform = (torch.arange(draws) + torch.rand(draws, generator=generator)) / draws
    chosen = torch.rand(draws, generator=generator) < uniform_share(config)
    return torch.where(chosen, uniform.clamp(LEAST, 1 - LEAST), quantile(config, uniform, tokens))


def _logit_normal(p: Tensor, mean: float, std: float) -> Tensor:
    return torch.sigmoid(mean + std * torch.special.ndtri(p))


def _shifted(level: Tensor, shift: float | str, tokens: int) -> Tensor:
    """The scheduler's shift: s * level / (1 + (s - 1) * level)."""
    factor = math.exp(_line(tokens, FLUX_TOKENS, FLUX_LOG_SHIFTS)) if isinstance(shift, str) else shift
    return factor * level / (1 + (factor - 1) * level)


def _stretched(config: StretchedTimesteps, p: Tensor, tokens: int) -> Tensor:
    mean = _line(tokens, LTX_TOKENS, LTX_MEANS) if isinstance(config.mean, str) else config.mean
    level = _logit_normal(p, mean, config.std)
    low, high = _logit_normal(torch.tensor(LTX_QUANTILES, dtype=torch.float64), mean, config.std)
    level = (level - low) / (high - low)
    return torch.where(level < LEAST, 2 * LEAST - level, level)  # what falls below is folded back, as theirs is


def _line(x: float, xs: tuple[int, int], ys: tuple[float, float]) -> float:
    return ys[0] + (ys[1] - ys[0]) * (x - xs[0]) / (xs[1] - xs[0])
