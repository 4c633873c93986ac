"""Spreads training over processes, from outside the modules: activation checkpointing, then compiling, then sharding.

The ranks of a run form a grid of replicate x shard x ulysses. The ranks of one ulysses group (neighbours, so that they
share a machine) work on the same samples, see `icve.models.context_parallel`; weights are sharded over shard x ulysses
(FSDP2) and replicated over the rest (HSDP). Gradients are averaged over all ranks. One process needs none of it: no
process group is made, and modules stay as they are.

    layout = Layout.create(config.parallel)
    parallel.apply(modules, layout, precision="bf16", checkpointing="selective", compile=True)
    for part, last in …:
        parallel.micro_batch(modules, last)
        loss(part).backward()
"""

import os
import warnings
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Protocol

import torch
import torch.distributed as dist
from diffusers import ModelMixin
from torch import nn
from torch.distributed.device_mesh import DeviceMesh, init_device_mesh
from torch.distributed.fsdp import FSDPModule, MixedPrecisionPolicy, fully_shard, register_fsdp_forward_method
from torch.distributed.tensor import DTensor
from torch.utils.checkpoint import CheckpointPolicy, checkpoint, create_selective_checkpoint_contexts

from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel

Checkpointing = Literal["none", "full", "selective"]
Precision = Literal["bf16", "fp32"]

# A block is compiled anew for each size of clips, the source's and the target's pass, the last block, and with or
# without gradients; torch's own limit of 8 ended a process that trained on two sizes.
RECOMPILE_LIMIT = 64


class Sizes(Protocol):
    """What `Layout.create` reads of a config; `shard` -1 means all ranks that are left."""

    replicate: int
    shard: int
    ulysses: int


@dataclass(frozen=True)
class Layout:
    """Where this process stands among the ranks of a run.

    Attributes:
        replicate, shard, ulysses: sizes of the grid; their product is `world_size`.
        device: this rank's.
        data_rank, data_ranks: which share of a batch it loads; the ranks of one ulysses group load the same.
        mesh: what weights are sharded over, ("shard",) or ("replicate", "shard"); None in a single process.
        ulysses_group: those who share this rank's samples; None where it has them alone.
        made_group: whether the process group was set up for this layout, and ends with it.
    """

    rank: int
    world_size: int
    replicate: int
    shard: int
    ulysses: int
    device: torch.device
    mesh: DeviceMesh | None = None
    ulysses_group: dist.ProcessGroup | None = None
    made_group: bool = False

    @property
    def data_rank(self) -> int:
        """See the class."""
        return self.rank // self.ulysses

    @property
    def data_ranks(self) -> int:
        """See the class."""
        return self.world_size // self.ulysses

    @classmethod
    def create(cls, sizes: Sizes) -> "Layout":
        """The layout of this process, from torchrun's environment; without that, of a single one.

        With more than one process their group is set up, over NCCL on GPUs (and gloo for what lies on the CPU), over
        gloo elsewhere.

        Raises:
            InputError: the sizes do not multiply to the number of processes.
        """
        world_size = int(os.environ.get("WORLD_SIZE", "1"))
        replicate, shard, ulysses = _resolve(sizes, world_size)
        device = torch.device("cpu")
        if torch.cuda.is_available():
            device = torch.device("cuda", int(os.environ.get("LOCAL_RANK", "0")))
            torch.cuda.set_device(device)
        if world_size == 1:
            return cls(0, 1, replicate, shard, ulysses, device)

        made_group = not dist.is_initialized()
        if made_group:
            dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
        mesh = init_device_mesh(device.type, (replicate, shard * ulysses), mesh_dim_names=("replicate", "shard"))
        group = None
        if ulysses > 1:
            dims = ("data", "ulysses")
            group = init_device_mesh(device.type, (replicate * shard, ulysses), mesh_dim_names=dims).get_group(dims[1])
        return cls(
            dist.get_rank(),
            world_size,
            replicate,
            shard,
            ulysses,
            device,
            mesh if replicate > 1 else mesh["shard"],
            group,
            made_group,
        )

    def close(self) -> None:
        """Leave the other ranks, at the end of a run."""
        if self.made_group:
            dist.destroy_process_group()


def _resolve(sizes: Sizes, world_size: int) -> tuple[int, int, int]:
    fixed = sizes.replicate * sizes.ulysses
    shard = world_size // fixed if sizes.shard == -1 else sizes.shard
    if fixed * shard != world_size or shard < 1:
        needed = f"a multiple of {fixed}" if sizes.shard == -1 else str(fixed * shard)
        raise InputError(
            f"parallel: replicate {sizes.replicate} x shard {sizes.shard} x ulysses {sizes.ulysses} needs {needed} "
            f"processes, not {world_size}: start so many with torchrun --nproc-per-node, or change the sizes."
        )
    return sizes.replicate, shard, sizes.ulysses


def apply(
    modules: Mapping[str, nn.Module],
    layout: Layout,
    *,
    precision: Precision,
    checkpointing: Checkpointing = "none",
    compile: bool = False,  # noqa: A002 - its name in torch
    shard_frozen: bool = False,
) -> None:
    """Prepare modules, in place, for training under a layout. Every rank must hold the same weights.

    With several ranks and "bf16", trained parameters become float32 shards, gathered as bf16, their gradients reduced
    in float32. Inputs are not cast: give bf16 latents and embeddings, but timesteps in float32, which bf16 rounds to
    eight bits. In a single process dtypes stay as they are.

    Args:
        modules: name to module. diffusers models get activation checkpointing and, where they name repeated blocks,
            selective checkpointing and compiling. What has no trainable parameter stays whole on every rank.
        checkpointing: "full" recomputes each block in backward; "selective" keeps what attention returned and
            recomputes the rest, which is cheap beside it in long videos, for one more tensor of tokens a block.
        compile: compile repeated blocks, each kind once.
        shard_frozen: shard modules without trainable parameters too.
    """
    for module in modules.values():
        if checkpointing != "none" and isinstance(module, ModelMixin):
            _checkpoint(module, checkpointing)
        if compile and isinstance(module, ModelMixin) and module._repeated_blocks:
            torch._dynamo.config.recompile_limit = max(torch._dynamo.config.recompile_limit, RECOMPILE_LIMIT)
            module.compile_repeated_blocks(fullgraph=True)
        if layout.ulysses_group is not None and isinstance(module, InContextHunyuanVideoTransformer3DModel):
            module.set_context_parallel(layout.ulysses_group)
        trained = any(parameter.requires_grad for parameter in module.parameters())
        if layout.mesh is not None and (trained or shard_frozen):
            _shard(module, layout.mesh, precision)


def _checkpoint(module: ModelMixin, checkpointing: Checkpointing) -> None:
    if checkpointing == "full":
        module.enable_gradient_checkpointing(partial(checkpoint, use_reentrant=False))
        return
    # Inside of the blocks and not, as diffusers does it, around them: only so does the compiler see what to keep.
    for block in _parts(module, module._repeated_blocks):
        block.forward = _selective(block.forward)


def _selective(forward: Callable[..., Any]) -> Callable[..., Any]:
    contexts = partial(create_selective_checkpoint_contexts, _keep_attention)

    def checkpointed(*args: Any, **kwargs: Any) -> Any:  # a function, since the compiler skips a partial of torch's
        return checkpoint(forward, *args, use_reentrant=False, context_fn=contexts, **kwargs)

    return checkpointed


def _parts(module: nn.Module, class_names: Iterable[str] | None) -> list[nn.Module]:
    names = set(class_names or ())
    return [part for part in module.modules() if type(part).__name__ in names and part is not module]


def _keep_attention(_context: Any, operator: Any, *_args: Any, **_kwargs: Any) -> CheckpointPolicy:
    # By name: torch's kernels, and those that attention backends register ("flash_attn_3::fwd").
    if "attention" in str(operator) or "attn" in str(operator):
        return CheckpointPolicy.MUST_SAVE
    return CheckpointPolicy.PREFER_RECOMPUTE


def _shard(module: nn.Module, mesh: DeviceMesh, precision: Precision) -> None:
    # A warning about in-place changes of what a module returned, which nothing here makes.
    warnings.filterwarnings("ignore", "FSDP2-wrapped module .* returned a view tensor")
    policy = MixedPrecisionPolicy(cast_forward_inputs=False)
    if precision == "bf16":
        policy = MixedPrecisionPolicy(torch.bfloat16, reduce_dtype=torch.float32, cast_forward_inputs=False)
    parts = [*_parts(module, getattr(module, "_no_split_modules", ())), module]
    for part in parts:  # one by one: no device ever holds all that is not sharded yet in float32
        if precision == "bf16":
            _to_float32(part.parameters())
        fully_shard(part, mesh=mesh, mp_policy=policy)
    if isinstance(module, InContextHunyuanVideoTransformer3DModel):
        register_fsdp_forward_method(module, "encode_source")  # beside `forward`, what is called and needs the weights
        module.compute_dtype = policy.param_dtype


def _to_float32(parameters: Iterable[nn.Parameter]) -> None:
    for parameter in parameters:
        if parameter.requires_grad:
            parameter.data = parameter.data.float()


def micro_batch(modules: Mapping[str, nn.Module], last: bool) -> None:
    """Announce a backward, and whether it is the last one before the optimizer's step.

    Where weights are replicated only, gradients wait for the last backward to be averaged. Where they are sharded,
    each backward averages and shards them, since whole gradients of all weights would not fit; to let only the sum
    over replicas wait (`set_requires_all_reduce`) mixes up gradients as soon as two backwards of a block reach
    different parameters of it, as those of `encode_source` and `forward` do.
    """
    for module in modules.values():
        if isinstance(module, FSDPModule) and _is_replicated_only(module):
            module.set_requires_gradient_sync(last)


def _is_replicated_only(module: nn.Module) -> bool:
    return any(isinstance(p, DTensor) and p.device_mesh.shape[-1] == 1 for p in module.parameters())


def reshard(modules: Mapping[str, nn.Module]) -> None:
    """Drop the gathered weights that a forward without backward leaves; needed before weights are changed."""
    for module in modules.values():
        if isinstance(module, FSDPModule):
            module.reshard()


def reduce_sum(layout: Layout, values: list[float]) -> list[float]:
    """Sums over all ranks; one small exchange, for which all of them wait."""
    return _reduce(layout, values, dist.ReduceOp.SUM)


def reduce_mean(layout: Layout, values: list[float]) -> list[float]:
    """Means over all ranks, as `reduce_sum`."""
    return [value / layout.world_size for value in reduce_sum(layout, values)]


def reduce_max(layout: Layout, values: list[float]) -> list[float]:
    """Maxima over all ranks, as `reduce_sum`."""
    return _reduce(layout, values, dist.ReduceOp.MAX)


def _reduce(layout: Layout, values: list[float], operation: Any) -> list[float]:
    if layout.world_size == 1:
        return list(values)
    tensor = torch.tensor(values, dtype=torch.float64, device=layout.device)
    dist.all_reduce(tensor, operation)
    return tensor.tolist()


def is_lost_rank(error: RuntimeError) -> bool:
    """Whether an exchange failed because another rank is not there any more."""
    return isinstance(error, dist.DistBackendError) or "gloo/transport" in str(error)
