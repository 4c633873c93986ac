"""Training with bf16 weights and fp32 masters: on CPU about twice as fast as autocast, which casts at every use."""

from collections.abc import Iterable
from typing import Literal

import torch
from torch import Tensor, nn

OptimizerName = Literal["adamw", "muon"]
BETAS = (0.9, 0.98)  # a shorter memory of squared gradients than 0.999: these runs last thousands of steps


class MasterOptimizer:
    """AdamW or Muon over fp32 copies of the modules' (bf16 or fp32) parameters, with clipping and averaged weights.

    "muon" orthogonalises the update of every matrix and convolution kernel (as out x rest) and leaves vectors to
    AdamW; its updates are scaled to AdamW's usual size, so both take the same learning rates.

    Args:
        modules: their trainable parameters are optimised.
        ema: decay of the averaged weights; they follow quickly at first: decay is min(ema, (1 + n) / (10 + n)).
    """

    def __init__(
        self, modules: Iterable[nn.Module], *, kind: OptimizerName, lr: float, weight_decay: float, ema: float
    ) -> None:
        named = [(f"{i}.{n}", p) for i, m in enumerate(modules) for n, p in m.named_parameters() if p.requires_grad]
        self.names = [n for n, _ in named]
        self.params = [p for _, p in named]
        # Kernels are kept as matrices (out, in * taps): Muon takes no other shape, and nothing else looks at it.
        self.masters = [
            p.detach().float().clone().flatten(1) if p.ndim > 2 else p.detach().float().clone() for p in self.params
        ]
        self.averages = [m.clone() for m in self.masters]
        self.ema = ema
        self.steps = 0
        matrices = [m for m in self.masters if m.ndim > 1]
        vectors = [m for m in self.masters if m.ndim <= 1]
        self.optimizers: list[torch.optim.Optimizer]
        if kind == "muon":
            self.optimizers = [
                torch.optim.Muon(matrices, lr=lr, weight_decay=weight_decay, adjust_lr_fn="match_rms_adamw"),
                torch.optim.AdamW(vectors, lr=lr, weight_decay=0.0, betas=BETAS, fused=True),
            ]
        else:
            groups = [
                {"params": matrices, "weight_decay": weight_decay},
                {"params": vectors, "weight_decay": 0.0},
            ]
            self.optimizers = [torch.optim.AdamW(groups, lr=lr, betas=BETAS, fused=True)]

    @torch.no_grad()
    def step(self, lr: float, clip: float) -> float:
        """One step at this learning rate; returns the gradient norm before clipping, and clears the gradients."""
        for master, param in zip(self.masters, self.params, strict=True):
            master.grad = None if param.grad is None else param.grad.float().reshape(master.shape)
            param.grad = None
        norm = float(nn.utils.clip_grad_norm_(self.masters, clip))
        for optimizer in self.optimizers:
            for group in optimizer.param_groups:
                group["lr"] = lr
            optimizer.step()
        self.steps += 1
        self.load_masters()
        decay = min(self.ema, (1 + self.steps) / (10 + self.steps))
        torch._foreach_lerp_(self.averages, self.masters, 1 - decay)
        return norm

    def load_averages(self) -> None:
        """Put the averaged weights into the modules (for sampling and saving); undo with `load_masters`."""
        self._load(self.averages)

    def load_masters(self) -> None:
        """Put the trained weights into the modules."""
        self._load(self.masters)

    @torch.no_grad()
    def _load(self, weights: list[Tensor]) -> None:
        for param, weight in zip(self.params, weights, strict=True):
            param.copy_(weight.view(param.shape))

    def state_tensors(self) -> dict[str, Tensor]:
        """Everything needed to go on, as named tensors for one safetensors file."""
        tensors: dict[str, Tensor] = {"steps": torch.tensor(self.steps)}
        for name, master, average in zip(self.names, self.masters, self.averages, strict=True):
            tensors[f"master.{name}"] = master
            tensors[f"average.{name}"] = average
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(master, {}).items():
                    tensors[f"state.{name}.{key}"] = value
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: dict[str, Tensor]) -> None:
        """Restore what `state_tensors` gave."""
        self.steps = int(tensors["steps"])
        owner = {m: o for o in self.optimizers for group in o.param_groups for m in group["params"]}
        for name, master, average in zip(self.names, self.masters, self.averages, strict=True):
            master.copy_(tensors[f"master.{name}"])
            average.copy_(tensors[f"average.{name}"])
            prefix = f"state.{name}."
            state = {
                key.removeprefix(prefix): value.clone() for key, value in tensors.items() if key.startswith(prefix)
            }
            if state:
                owner[master].state[master] = state
        self.load_masters()
