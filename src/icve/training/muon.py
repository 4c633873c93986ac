"""Muon over parameters of any shape, whole or sharded: a sharded matrix is gathered for its orthogonalisation."""

import math
from collections.abc import Iterable

import torch
from torch import Tensor
from torch.distributed.tensor import DTensor, distribute_tensor

from icve.pipelines.models import device_and_dtype

# Quintic Newton-Schulz iteration as Keller Jordan published it: https://kellerjordan.github.io/posts/muon/
COEFFICIENTS = (3.4445, -4.7750, 2.0315)
ITERATIONS = 5
EPSILON = 1e-7
MOMENTUM = 0.95
# Updates get the usual size of AdamW's, so that both take the same learning rates ("Muon is Scalable for LLM
# Training", arXiv 2502.16982).
UPDATE_RMS = 0.2


class Muon(torch.optim.Optimizer):
    """Orthogonalised momentum, numerically `torch.optim.Muon` with `adjust_lr_fn="match_rms_adamw"`.

    torch's own takes matrices only, and its products of sharded matrices round differently on another number of
    ranks, or fail. Here kernels (out, in, ...) are matrices (out, rest), and every rank orthogonalises the same whole
    matrix, so the result does not depend on how parameters are sharded.

    Args:
        params: fp32, at least two dimensions, plain or DTensor.
    """

    def __init__(self, params: Iterable[Tensor], lr: float, weight_decay: float) -> None:
        super().__init__(params, {"lr": lr, "weight_decay": weight_decay})
        for group in self.param_groups:
            for param in group["params"]:
                self.state[param]["momentum_buffer"] = torch.zeros_like(param)

    @torch.no_grad()
    def step(self) -> None:
        """One step over the parameters that have a gradient."""
        for group in self.param_groups:
            for param in group["params"]:
                if param.grad is not None:
                    self._update(param, group["lr"], group["weight_decay"])

    def _update(self, param: Tensor, lr: float, weight_decay: float) -> None:
        momentum = self.state[param]["momentum_buffer"]
        momentum.lerp_(param.grad, 1 - MOMENTUM)
        # bf16 is all that the iteration needs: gathered so, it is half the traffic
        update = param.grad.lerp(momentum, MOMENTUM).bfloat16()
        whole = update.full_tensor() if isinstance(update, DTensor) else update
        matrix = whole.flatten(1)
        direction = orthogonalize(matrix).view(param.shape)
        if isinstance(param, DTensor):
            # every rank has the whole of it: None takes this rank's part without communication
            direction = distribute_tensor(direction, param.device_mesh, param.placements, src_data_rank=None)
        param.mul_(1 - lr * weight_decay)
        param.add_(direction, alpha=-lr * UPDATE_RMS * math.sqrt(max(matrix.shape)))


def orthogonalize(matrix: Tensor) -> Tensor:
    """The nearest matrix with orthogonal rows or columns, roughly: (M, N) to (M, N), singular values near 1.

    Computed in bf16, or in fp32 on a CPU that is no faster with bf16 (without its products, 50 times slower).
    """
    tall = matrix.shape[0] > matrix.shape[1]
    slow = matrix.device.type == "cpu" and device_and_dtype()[1] == torch.float32
    x = matrix.to(torch.float32 if slow else torch.bfloat16)
    x = x.T if tall else x
    x = x / x.norm().clamp(min=EPSILON)  # at most 1 as spectral norm, where the iteration converges
    x = _iterate_gram(x) if slow and x.shape[1] > 2 * x.shape[0] else _iterate(x)
    return (x.T if tall else x).contiguous()


def _iterate(x: Tensor) -> Tensor:
    a, b, c = COEFFICIENTS
    for _ in range(ITERATIONS):
        gram = x @ x.T
        x = torch.addmm(x, torch.addmm(gram, gram, gram, beta=b, alpha=c), x, beta=a)
    return x


def _iterate_gram(x: Tensor) -> Tensor:
    """`_iterate` of a wide matrix on its small Gram matrix alone, in fewer products; for fp32, as it squares values."""
    a, b, c = COEFFICIENTS
    gram = x @ x.T
    factor = torch.eye(len(x), dtype=x.dtype, device=x.device)
    for _ in range(ITERATIONS):
        polynomial = torch.addmm(gram, gram, gram, beta=b, alpha=c)
        polynomial.diagonal().add_(a)
        factor = polynomial @ factor
        gram = polynomial @ gram @ polynomial
    return factor @ x
