"""Updates weights: fp32 masters of what is trained in bf16, clipping, optimizers, averaged weights, learning rates.

Training with bf16 weights and fp32 masters is on CPU about twice as fast as autocast, which casts at every use.
"""

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Literal, NamedTuple

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from icve.training.eight_bit import AdamW8bit, plain_state, takes_eight_bits
from icve.training.muon import Muon

OptimizerName = Literal["adamw", "adamw8bit", "muon"]
Schedule = Literal["cosine", "linear", "constant"]
BETAS = (0.9, 0.98)  # a shorter memory of squared gradients than 0.999: these runs last thousands of steps
# What torch.compile and activation checkpointing put into parameter names; a checkpoint outlives both.
WRAPPERS = ("_orig_mod.", "_checkpoint_wrapped_module.")


def learning_rate(
    step: int, steps: int, lr: float, warmup: int = 0, schedule: Schedule = "cosine", final: float = 0.0
) -> float:
    """The learning rate of a step, counted from 0: a linear warm-up times a cosine, a line (both down to final x lr
    at `steps`) or a constant."""
    done = min(1.0, step / max(1, steps))
    left = {"cosine": 0.5 * (1 + math.cos(math.pi * done)), "linear": 1 - done, "constant": 1.0}[schedule]
    return lr * min(1.0, (step + 1) / max(1, warmup)) * (final + (1 - final) * left)


class StepResult(NamedTuple):
    """What a step did: the gradient's norm before clipping, and whether it was left out because that is not finite."""

    norm: float
    skipped: bool


class MasterOptimizer:
    """An optimizer over the trainable parameters of modules, which may be sharded (FSDP2) or not, in one run.

    A bf16 parameter has an fp32 master, which is updated and copied into it; an fp32 parameter is its own master.
    "muon" orthogonalises the update of every matrix and convolution kernel (as out x rest) and leaves vectors to
    AdamW. "adamw8bit" keeps the state of large matrices in 8 bits. Vectors have no weight decay.

    State exists from the start, so that a checkpoint can be loaded into it in place. All ranks call every method;
    gradients of parameters that are not sharded must be averaged over ranks by then.

    Args:
        modules: name to module, after sharding; they must stay on their device from then on.
        betas: of AdamW.
        ema: decay of the averaged weights, 0 for none; they follow quickly at first: decay is
            min(ema, (1 + n) / (10 + n)) after n steps.

    Raises:
        InputError: "adamw8bit" without torchao.
    """

    def __init__(
        self,
        modules: Mapping[str, nn.Module],
        *,
        kind: OptimizerName,
        weight_decay: float,
        ema: float = 0.0,
        betas: tuple[float, float] = BETAS,
    ) -> None:
        named = {f"{m}.{_unwrapped(n)}": p for m, module in modules.items() for n, p in _trainable(module)}
        self.names = list(named)
        self.params = list(named.values())
        self.masters = [p if p.dtype == torch.float32 else p.detach().float().clone() for p in self.params]
        self.averages = [m.detach().clone() for m in self.masters] if ema else []
        self.ema = ema
        self.steps = 0
        self._averages_loaded = False
        self.optimizers = _optimizers(self.masters, kind, weight_decay, betas)

    @torch.no_grad()
    def accumulate(self) -> None:
        """Add the parameters' gradients to those of their masters, in fp32; call it after each micro-batch."""
        for master, param in zip(self.masters, self.params, strict=True):
            if master is param or param.grad is None:
                continue
            if master.grad is None:
                master.grad = param.grad.float()
            else:
                master.grad.add_(param.grad)
            param.grad = None

    @torch.no_grad()
    def step(self, lr: float, clip: float) -> StepResult:
        """One step at this learning rate over what has been accumulated; clears the gradients.

        Args:
            clip: a longer gradient, over all parameters and ranks, is scaled to this norm.
        """
        self._expect_masters()
        self.accumulate()
        gradients = [m.grad for m in self.masters if m.grad is not None]
        norm = float(total_norm(gradients))
        skipped = not math.isfinite(norm)
        if not skipped:
            if norm > clip:
                torch._foreach_mul_(_local(gradients), clip / (norm + 1e-6))
            for optimizer in self.optimizers:
                for group in optimizer.param_groups:
                    group["lr"] = lr
                optimizer.step()
            self.steps += 1
            self.load_masters()
            self._average()
        for master in self.masters:
            master.grad = None
        return StepResult(norm, skipped)

    def _average(self) -> None:
        if self.averages:
            decay = min(self.ema, (1 + self.steps) / (10 + self.steps))
            torch._foreach_lerp_(_local(self.averages), _local(self.masters), 1 - decay)

    @torch.no_grad()
    def load_averages(self) -> None:
        """Put the averaged weights into the modules (for sampling and saving); undo with `load_masters`.

        Where a parameter is its own master the two change places, one by one, so that it takes no further memory.
        """
        if not self.averages or self._averages_loaded:
            return
        for param, master, average in zip(self.params, self.masters, self.averages, strict=True):
            if master is param:
                _swap(param, average)
            else:
                param.copy_(average)
        self._averages_loaded = True

    @torch.no_grad()
    def load_masters(self) -> None:
        """Put the trained weights into the modules."""
        for i, (param, master) in enumerate(zip(self.params, self.masters, strict=True)):
            if master is not param:
                param.copy_(master)
            elif self._averages_loaded:
                _swap(param, self.averages[i])
        self._averages_loaded = False

    def state_tensors(self) -> dict[str, Tensor]:
        """Everything needed to go on, by names that do not depend on sharding: `master.<parameter>`,
        `average.<parameter>`, `state.<parameter>.<key>` and `steps`.

        All but `steps` are the live tensors (DTensors where the parameter is one): fill them and call
        `load_state_tensors`, or copy them before the next step.
        """
        self._expect_masters()
        tensors = {"steps": torch.tensor(self.steps)}
        for i, (name, master) in enumerate(zip(self.names, self.masters, strict=True)):
            tensors[f"master.{name}"] = master.detach()
            if self.averages:
                tensors[f"average.{name}"] = self.averages[i]
            for optimizer in self.optimizers:
                for key, value in optimizer.state.get(master, {}).items():
                    tensors |= {f"state.{name}.{part}": tensor for part, tensor in plain_state(master, key, value)}
        return tensors

    @torch.no_grad()
    def load_state_tensors(self, tensors: Mapping[str, Tensor]) -> None:
        """Go on from what `state_tensors` gave: the same tensors filled in place, or others of the same shapes."""
        for name, tensor in self.state_tensors().items():
            if tensors[name] is not tensor:
                tensor.copy_(tensors[name])
        self.steps = int(tensors["steps"])
        self.load_masters()

    def _expect_masters(self) -> None:
        if self._averages_loaded:
            raise RuntimeError("The averaged weights are in the modules: call load_masters first.")


def total_norm(tensors: Sequence[Tensor]) -> Tensor:
    """The 2-norm of plain tensors and DTensors taken together, each whole; a plain scalar, equal on all ranks."""
    norms = [nn.utils.get_total_norm(part) for part in _by_sharding(tensors)]
    norms = [n.full_tensor() if isinstance(n, DTensor) else n for n in norms]
    return nn.utils.get_total_norm(norms) if len(norms) != 1 else norms[0]


def _optimizers(
    masters: Sequence[Tensor], kind: OptimizerName, weight_decay: float, betas: tuple[float, float]
) -> list[torch.optim.Optimizer]:
    matrices = [m for m in masters if m.ndim > 1]
    vectors = [m for m in masters if m.ndim <= 1]
    optimizers: list[torch.optim.Optimizer] = []
    if kind == "muon" and matrices:
        optimizers.append(Muon(matrices, lr=0.0, weight_decay=weight_decay))
        matrices = []
    elif kind == "adamw8bit":
        quantised = [m for m in matrices if takes_eight_bits(m)]
        matrices = [m for m in matrices if not takes_eight_bits(m)]
        if quantised:
            optimizers.append(AdamW8bit(quantised, weight_decay, betas))
    groups = [
        {"params": part, "weight_decay": decay}
        for params, decay in ((matrices, weight_decay), (vectors, 0.0))
        for part in _by_sharding(params)  # one fused kernel takes one kind of tensor
    ]
    if groups:
        adamw = torch.optim.AdamW(groups, lr=0.0, betas=betas, fused=True)
        for param in (p for group in adamw.param_groups for p in group["params"]):
            adamw.state[param] = {
                "step": torch.zeros((), dtype=torch.float32, device=param.device),
                "exp_avg": torch.zeros_like(param),
                "exp_avg_sq": torch.zeros_like(param),
            }
        optimizers.append(adamw)
    return optimizers


def _by_sharding(tensors: Sequence[Tensor]) -> list[list[Tensor]]:
    parts = [[t for t in tensors if isinstance(t, DTensor) == sharded] for sharded in (False, True)]
    return [part for part in parts if part]


def _local(tensors: Sequence[Tensor]) -> list[Tensor]:
    """This rank's parts. Taken anew each time: FSDP may move a parameter's memory at its first forward."""
    return [t.to_local() if isinstance(t, DTensor) else t for t in tensors]


def _swap(a: Tensor, b: Tensor) -> None:
    held = a.clone()
    a.copy_(b)
    b.copy_(held)


def _trainable(module: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    return ((n, p) for n, p in module.named_parameters() if p.requires_grad)


def _unwrapped(name: str) -> str:
    for wrapper in WRAPPERS:
        name = name.replace(wrapper, "")
    return name
