"""Ulysses context parallelism: each rank of a group holds a slice of every video's tokens, and some of the heads.

Outside of attention a rank works on its slice of the target's and of the source's tokens; in attention, on all tokens
of its share of the heads. One all-to-all a block leads there and one back (DeepSpeed-Ulysses, arXiv 2309.14509). The
short text stream is computed on every rank, and only its attention is shared out.

Every rank is given the same whole inputs and returns the whole velocity. Backward of each exchange is its adjoint, so
with the same loss on every rank a parameter's gradient, averaged over the group, is that of one process.

Why not diffusers' `_cp_plan` and `enable_parallelism`: they slice `[source | target]` as one sequence, so that a rank
may hold source tokens alone while modulation and output tell the two apart by position; they start on an accelerator
only; and their modes for lengths that do not divide are forward-only. Here target and source are sliced each, which
keeps the ranks alike, and lengths must divide.

Shapes: S tokens of a stream, H heads, R ranks of the group.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
import torch.distributed as dist
from torch import Tensor


@dataclass(frozen=True)
class ContextParallel:
    """The exchanges of one group's rank; all ranks must make the same ones in the same order."""

    group: dist.ProcessGroup
    rank: int
    degree: int

    @classmethod
    def of(cls, group: dist.ProcessGroup) -> "ContextParallel":
        """Of this process in a group."""
        return cls(group, dist.get_rank(group), dist.get_world_size(group))

    def own_tokens(self, tokens: Tensor, dim: int = 1) -> Tensor:
        """This rank's slice of S tokens.

        Raises:
            ValueError: S is not a multiple of R.
        """
        if tokens.shape[dim] % self.degree:
            raise ValueError(
                f"{tokens.shape[dim]} video tokens cannot be shared by {self.degree} context-parallel ranks: choose "
                "frames, height and width whose number of patches is a multiple of the degree."
            )
        return tokens.chunk(self.degree, dim)[self.rank]

    def all_tokens(self, tokens_BSD: Tensor) -> Tensor:
        """(B, S / R, D) of each rank to (B, S, D) on every rank."""
        return self._all(tokens_BSD).movedim(0, 1).flatten(1, 2)

    def own_heads(self, states_BSHD: Tensor) -> Tensor:
        """This rank's share of the heads."""
        return states_BSHD.chunk(self.degree, 2)[self.rank]

    def all_heads(self, states_BSHD: Tensor) -> Tensor:
        """(B, S, H / R, D) of each rank to (B, S, H, D) on every rank."""
        return self._all(states_BSHD).movedim(0, 2).flatten(2, 3)

    def tokens_to_heads(self, states: Sequence[Tensor]) -> list[Tensor]:
        """(B, S / R, H, D) each, some heads of all tokens instead of all heads of some: (B, S, H / R, D)."""
        parts = [state.unflatten(2, (self.degree, -1)).movedim(2, 0) for state in states]
        exchanged = _Exchange.apply(torch.stack(parts, dim=1), self.group)
        return [part.movedim(0, 1).flatten(1, 2) for part in exchanged.unbind(1)]

    def heads_to_tokens(self, states: Sequence[Tensor]) -> list[Tensor]:
        """(B, S, H / R, D) each back to (B, S / R, H, D)."""
        parts = [state.unflatten(1, (self.degree, -1)).movedim(1, 0) for state in states]
        exchanged = _Exchange.apply(torch.stack(parts, dim=1), self.group)
        return [part.movedim(0, 2).flatten(2, 3) for part in exchanged.unbind(1)]

    def _all(self, x: Tensor) -> Tensor:
        # As an exchange of equal parts: as much traffic as an all-gather, and the adjoint comes by itself.
        return _Exchange.apply(x.expand(self.degree, *x.shape).contiguous(), self.group)


class _Exchange(torch.autograd.Function):
    """Row i of rank j becomes row j of rank i; its own adjoint."""

    @staticmethod
    def forward(ctx: Any, rows: Tensor, group: dist.ProcessGroup) -> Tensor:
        ctx.group = group
        output = torch.empty_like(rows)
        dist.all_to_all_single(output, rows, group=group)
        return output

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:
        rows = gradient.contiguous()
        output = torch.empty_like(rows)
        dist.all_to_all_single(output, rows, group=ctx.group)
        return output, None
