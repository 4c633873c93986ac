"""AdamW with 8-bit state (torchao): which parameters take it, and its state as tensors that can be resharded."""

import math
from collections.abc import Iterator, Sequence

import torch
from torch import Tensor, nn
from torch.distributed.tensor import DTensor

from icve.errors import InputError

BLOCK = 256  # values that share a scale: torchao's and bitsandbytes' default
SMALLEST = 4096  # smaller tensors keep fp32 state, as in torchao and bitsandbytes


def takes_eight_bits(param: Tensor) -> bool:
    """Whether a parameter's state is quantised: a large matrix or kernel whose rows are whole blocks.

    Whole blocks a row make the codes and scales shard by rows as the parameter does, on any number of ranks.
    """
    return param.ndim > 1 and param.numel() >= SMALLEST and math.prod(param.shape[1:]) % BLOCK == 0


class AdamW8bit(torch.optim.Optimizer):
    """torchao's AdamW over parameters that take 8 bits, sharded or not, its state there from the start.

    torchao is given each rank's part as a plain tensor: for DTensors it compiles one kernel for all ranks, which fails
    where their parts differ in size.

    Raises:
        InputError: torchao is not installed.
    """

    def __init__(self, params: Sequence[Tensor], weight_decay: float, betas: tuple[float, float]) -> None:
        super().__init__(params, {"lr": 0.0})
        try:
            from torchao.optim import AdamW8bit as Inner
            from torchao.optim.subclass_8bit import OptimState8bit
        except ImportError as error:
            raise InputError(
                "optimizer.kind: adamw8bit needs torchao: pip install 'icve[adam8bit]', or choose adamw."
            ) from error
        # A rank may have no rows of a matrix; a block of nothing has no size.
        self._parts = {p: nn.Parameter(part, requires_grad=False) for p in params if (part := _local(p)).numel()}
        groups = [{"params": list(self._parts.values())}]  # as a group, it may be empty
        self._inner = Inner(groups, lr=0.0, betas=betas, weight_decay=weight_decay, block_size=BLOCK)
        for param in params:
            part = _local(param)
            self.state[param] = {"step": torch.tensor(0.0)}
            for key, signed in (("exp_avg", True), ("exp_avg_sq", False)):
                if part.numel():
                    zeros = OptimState8bit.zeros(part.shape, signed, BLOCK, part.device, dtype=part.dtype)
                else:
                    zeros = torch.zeros_like(part)
                self.state[param][key] = zeros
            if part.numel():
                self._inner.state[self._parts[param]] = self.state[param]

    @torch.no_grad()
    def step(self) -> None:
        """One step over the parameters that have a gradient."""
        for group in self._inner.param_groups:
            group["lr"].fill_(self.param_groups[0]["lr"])
        for param in self.state:
            if param in self._parts:
                part = self._parts[param]
                part.data = _local(param)  # FSDP may have moved it
                part.grad = None if param.grad is None else _local(param.grad)
            elif param.grad is not None:
                self.state[param]["step"] += 1
        self._inner.step()
        for part in self._parts.values():
            part.grad = None


def plain_state(param: Tensor, key: str, value: Tensor) -> Iterator[tuple[str, Tensor]]:
    """An optimizer state of a parameter as plain tensors that share its memory, with their names.

    Quantised state is `key.codes`, uint8 of the parameter's shape, and `key.scale`, fp32 (rows, blocks a row); both
    DTensors where the parameter is one.
    """
    blocks = math.prod(param.shape[1:]) // BLOCK
    if hasattr(value, "codes"):
        codes, scale = value.codes, value.scale.view(-1, blocks)
    elif value.ndim and isinstance(param, DTensor) and not isinstance(value, DTensor):  # a rank without rows of it
        codes, scale = value.to(torch.uint8), value.new_zeros(0, blocks)
    else:
        yield key, value
        return
    if isinstance(param, DTensor):
        codes, scale = _placed(param, codes, param.shape), _placed(param, scale, torch.Size((len(param), blocks)))
    yield f"{key}.codes", codes
    yield f"{key}.scale", scale


def _local(tensor: Tensor) -> Tensor:
    return tensor.detach().to_local() if isinstance(tensor, DTensor) else tensor.detach()


def _placed(param: DTensor, part: Tensor, shape: torch.Size) -> DTensor:
    """A DTensor of this shape, placed as the parameter is, with `part` as this rank's part."""
    strides = tuple(math.prod(shape[i + 1 :]) for i in range(len(shape)))
    return DTensor.from_local(part, param.device_mesh, param.placements, run_check=False, shape=shape, stride=strides)
