"""The frozen base of adapters: held in 8 bits, on the device or in CPU memory, and whole one matrix at a time only.

A frozen matrix is needed twice a step, in forward and in backward (and once more where activations are recomputed).
Here it is stored quantised, and brought to the device and dequantised right before each use, by an autograd function
that keeps the stored form for backward. So at no time is more than one matrix of the base there in the compute dtype,
with activation checkpointing or without. (diffusers' layerwise casting trains too, but autograd keeps each matrix that
it has cast until its backward, and it casts to fp8 without a scale.)
"""

from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from icve.models import InContextHunyuanVideoTransformer3DModel

Storage = Literal["fp8", "int8"]

# dtype and largest number
FORMATS = {"fp8": (torch.float8_e4m3fn, 448.0), "int8": (torch.int8, 127.0)}
# CPU memory is taken in pieces of this size: torch rounds each pinned allocation up to a power of two, which would
# waste about two thirds of the 13B's size again if every matrix were one.
PIECE = 2**30


def quantise(weight: Tensor, storage: Storage, dtype: torch.dtype) -> tuple[Tensor, Tensor]:
    """A matrix (out, in) in 8 bits and its scale (out, 1), which `dtype` can hold exactly.

    Each output row is scaled to the format's range. Of normally distributed weights the relative root mean square
    error is 2.6% in fp8 (e4m3) and 0.9% in int8 at width 3072; outliers in a row cost int8 more than fp8.
    """
    stored_dtype, largest = FORMATS[storage]
    weight = weight.float()
    scale = (weight.abs().amax(dim=1, keepdim=True) / largest).clamp(min=1e-12).to(dtype)
    scaled = (weight / scale.float()).clamp(-largest, largest)
    return (scaled.round() if storage == "int8" else scaled).to(stored_dtype), scale


def dequantise(stored: Tensor, scale: Tensor | None, device: torch.device, dtype: torch.dtype) -> Tensor:
    """The matrix on `device` in `dtype`; a copy from pinned memory does not wait."""
    weight = stored.to(device, non_blocking=True).to(dtype)
    return weight if scale is None else weight.mul_(scale.to(device, dtype, non_blocking=True))


class _Product(torch.autograd.Function):
    """x W^T + b for frozen W and b, W dequantised again in backward."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, stored: Tensor, scale: Tensor | None, bias: Tensor | None) -> Tensor:
        ctx.save_for_backward(stored, scale)
        return F.linear(x, dequantise(stored, scale, x.device, x.dtype), bias)

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> tuple[Tensor, None, None, None]:
        stored, scale = ctx.saved_tensors
        return grad @ dequantise(stored, scale, grad.device, grad.dtype), None, None, None


class FrozenLinear(nn.Linear):
    """A linear layer whose weight is stored apart.

    `stored` and `scale` are neither parameters nor buffers: `to`, `state_dict`, FSDP and DDP leave them alone.
    """

    def __init__(self, linear: nn.Linear, device: torch.device, dtype: torch.dtype) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = linear.in_features, linear.out_features
        self.device, self.compute_dtype = device, dtype
        self.bias = linear.bias
        self.stored = torch.empty(0)
        self.scale: Tensor | None = None

    def hold(self, weight: Tensor, storage: Storage | None, memory: "CpuMemory | None") -> None:
        """Store a weight, in CPU memory if that is given, else on the device."""
        weight = weight.to(self.device)
        if storage is None:
            self.stored = weight.to(self.compute_dtype)
        else:
            self.stored, self.scale = quantise(weight, storage, self.compute_dtype)
        if memory is not None:
            self.stored = memory.keep(self.stored)

    @property
    def weight(self) -> Tensor:  # type: ignore[override, unused-ignore]
        """The matrix, dequantised anew: PEFT asks for its device and dtype."""
        return dequantise(self.stored, self.scale, self.device, self.compute_dtype)

    def forward(self, x: Tensor) -> Tensor:
        """(…, in) to (…, out); the gradient flows to `x` alone."""
        return _Product.apply(x, self.stored, self.scale, self.bias)


class CpuMemory:
    """Copies of tensors in CPU memory, pinned where the device is a GPU."""

    def __init__(self, device: torch.device) -> None:
        self.pinned = device.type == "cuda"
        self._free = torch.empty(0, dtype=torch.uint8)

    def keep(self, tensor: Tensor) -> Tensor:
        """A copy."""
        size = -(-tensor.nbytes // 64) * 64
        if size > len(self._free):
            self._free = torch.empty(max(size, PIECE), dtype=torch.uint8, pin_memory=self.pinned)
        piece, self._free = self._free[: tensor.nbytes], self._free[size:]
        return piece.view(tensor.dtype).view(tensor.shape).copy_(tensor)


def store_frozen(
    transformer: InContextHunyuanVideoTransformer3DModel,
    *,
    storage: Storage | None,
    offload: bool,
    device: torch.device,
    dtype: torch.dtype,
) -> None:
    """Store every linear layer of the blocks so (adapters excepted) and put what else there is on `device`.

    Before or after `choose_trainable` with `Lora`. Only the adapter can be saved afterwards: the base's own weights
    are gone.

    Args:
        storage: None keeps them in `dtype`.
        offload: in CPU memory; the device then holds one matrix at a time.
        device, dtype: where and in what the transformer computes.
    """
    memory = CpuMemory(device) if offload else None
    for name, linear in block_linears(transformer).items():
        frozen = FrozenLinear(linear, device, dtype)
        frozen.hold(linear.weight.detach(), storage, memory)
        transformer.set_submodule(name, frozen.requires_grad_(False))
    for tensor in (*transformer.parameters(), *transformer.buffers()):
        tensor.data = tensor.data.to(device, dtype if tensor.is_floating_point() else tensor.dtype)


def block_linears(transformer: nn.Module) -> dict[str, nn.Linear]:
    """The plain linear layers of both kinds of block, by name; of an adapted one, the layer under the adapter."""
    return {
        name: module
        for name, module in transformer.named_modules()
        if type(module) is nn.Linear
        and name.startswith(("transformer_blocks.", "single_transformer_blocks."))
        and ".lora_" not in name
    }
