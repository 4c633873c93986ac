"""The memory estimate against what a step and its optimizer really take."""

import pytest
import torch
from tests import tiny
from torch._C._profiler import _EventType
from torch.profiler import ProfilerActivity, profile
from torch.profiler._utils import traverse_dfs

from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.training import memory, parallel
from icve.training.frozen import store_frozen
from icve.training.lora import Full, Layers, Lora, choose_trainable
from icve.training.memory import Plan, estimate
from icve.training.optimizer import MasterOptimizer

CPU = torch.device("cpu")
CONFIG = {
    "num_attention_heads": 4,
    "attention_head_dim": 32,
    "num_layers": 2,
    "num_single_layers": 3,
    "num_refiner_layers": 1,
    "text_embed_dim": tiny.TEXT_WIDTH,
    "pooled_projection_dim": tiny.POOLED_WIDTH,
    "rope_axes_dim": (8, 12, 12),
}
SHALLOW = CONFIG | {"num_layers": 1, "num_single_layers": 1}


def build(plan: Plan) -> InContextHunyuanVideoTransformer3DModel:
    dtype = torch.bfloat16 if plan.precision == "bf16" else torch.float32
    transformer = InContextHunyuanVideoTransformer3DModel.from_config(dict(plan.config)).to(dtype)
    choose_trainable(transformer, plan.what)
    if plan.storage:
        store_frozen(transformer, storage=plan.storage, offload=plan.offload, device=CPU, dtype=dtype)
    parallel.apply(
        {"transformer": transformer}, memory.ALONE, precision=plan.precision, checkpointing=plan.checkpointing
    )
    return transformer.train()


def most_allocated(run) -> int:
    """The largest number of bytes held at once of what `run` has PyTorch's allocator give."""
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        run()
    events = traverse_dfs(profiler.profiler.kineto_results.experimental_event_tree())
    held: dict[int, int] = {}
    most = 0
    for event in sorted(events, key=lambda event: event.start_time_ns):
        if event.tag != _EventType.Allocation:
            continue
        block = event.typed[1]
        if block.alloc_size > 0:
            held[block.ptr] = block.alloc_size
        else:
            # What was given before is not there: no part of it, whatever size PyTorch says. It takes such a block for
            # one of an earlier profile that lay at the same address, if there was one.
            held.pop(block.ptr, None)
        most = max(most, sum(held.values()))
    return most


def test_what_was_held_before_is_no_part_of_the_most():
    size = 2**26
    blocks = []
    assert most_allocated(lambda: blocks.append(torch.empty(size, dtype=torch.uint8))) == size
    blocks.clear()
    blocks.append(torch.empty(size, dtype=torch.uint8))  # PyTorch takes its end for that of the first one

    def run() -> None:
        blocks.clear()
        torch.empty(size // 2, dtype=torch.uint8)

    assert most_allocated(run) == size // 2


@pytest.mark.parametrize(
    ("what", "precision", "storage", "checkpointing"),
    [
        (Full(), "bf16", None, "none"),
        (Full(), "fp32", None, "full"),
        (Lora(4, 4), "bf16", "fp8", "full"),
        (Lora(4, 4), "fp32", "int8", "selective"),
    ],
)
def test_activations_are_what_the_allocator_holds(what, precision, storage, checkpointing):
    plan = Plan(CONFIG, what, precision=precision, storage=storage, checkpointing=checkpointing, compute="cpu")
    estimated = estimate(plan, tokens=4 * 64, text_tokens=16, batch=1).device["activations"]
    transformer = build(plan)
    dtype = transformer.dtype
    for parameter in transformer.parameters():
        if parameter.requires_grad:
            parameter.register_post_accumulate_grad_hook(lambda parameter: setattr(parameter, "grad", None))

    def step() -> None:
        target = torch.randn(1, 16, 4, 16, 16)
        velocity = transformer(
            hidden_states=target.to(dtype),
            source_hidden_states=target.to(dtype),
            timestep=torch.tensor([500.0]),
            encoder_hidden_states=torch.randn(1, 16, tiny.TEXT_WIDTH, dtype=dtype),
            encoder_attention_mask=torch.ones(1, 16),
            pooled_projections=torch.randn(1, tiny.POOLED_WIDTH, dtype=dtype),
            guidance=torch.tensor([1000.0]),
            return_dict=False,
        )[0]
        (velocity.float() - target).square().mean().backward()

    assert estimated == pytest.approx(most_allocated(step), rel=0.02)


@pytest.mark.parametrize(("what", "checkpointing"), [(Full(), "none"), (Lora(4, 4), "full")])
def test_a_deep_model_is_estimated_from_a_shallow_one(what, checkpointing):
    plan = Plan(CONFIG | {"num_layers": 4, "num_single_layers": 7}, what, checkpointing=checkpointing)
    whole, _ = memory._run(plan, 256, 16, 2, True)
    assert estimate(plan, tokens=256, text_tokens=16, batch=2).device["activations"] == pytest.approx(whole, rel=0.001)


@pytest.mark.parametrize("kind", ["adamw", "adamw8bit", "muon"])
@pytest.mark.parametrize("what", [Full(), Lora(8, 8)])
def test_weights_and_optimizer_are_what_they_hold(kind, what):
    if kind == "adamw8bit":
        pytest.importorskip("torchao")
    plan = Plan(SHALLOW | {"attention_head_dim": 64, "rope_axes_dim": (16, 24, 24)}, what, optimizer=kind)
    parts = estimate(plan, tokens=16, text_tokens=4, batch=1).device
    transformer = build(plan)
    optimizer = MasterOptimizer({"transformer": transformer}, kind=kind, weight_decay=0.0, ema=0.99)
    tensors = optimizer.state_tensors()

    def size(prefix: str) -> int:
        return sum(tensor.nbytes for name, tensor in tensors.items() if name.startswith(prefix))

    assert parts["weights"] == sum(parameter.nbytes for parameter in transformer.parameters())
    assert parts["fp32 masters"] == size("master.")
    assert parts["averaged weights"] == size("average.")
    assert parts[f"optimizer state ({kind})"] == pytest.approx(size("state."), rel=0.03)  # steps, scales of blocks


def test_a_frozen_base_is_where_it_is_put():
    sizes = {}
    for storage, offload in (("fp8", False), ("fp8", True), (None, False), (None, True)):
        parts = estimate(Plan(SHALLOW, Lora(4, 4), storage=storage, offload=offload), tokens=16, text_tokens=4, batch=1)
        sizes[storage, offload] = parts
    transformer = build(Plan(SHALLOW, Lora(4, 4), storage="fp8"))
    held = sum(m.stored.nbytes for m in transformer.modules() if hasattr(m, "stored"))
    assert sizes["fp8", False].device["frozen base"] == sizes["fp8", True].host["frozen base"] == held
    assert sizes[None, True].host["frozen base"] == 2 * held
    assert sizes["fp8", True].device["weights"] == sum(p.nbytes for p in transformer.parameters())
    assert sizes[None, False].device["weights"] == sizes["fp8", True].device["weights"] + 2 * held
    assert sizes["fp8", True].total < sizes["fp8", False].total < sizes[None, False].total
    text = str(sizes["fp8", True])
    assert "all on the device" in text
    assert "in CPU memory" in text


def test_more_ranks_need_less_each():
    one = estimate(Plan(SHALLOW, Full()), tokens=256, text_tokens=16, batch=1)
    eight = estimate(Plan(SHALLOW, Full(), shard=4, ulysses=2), tokens=256, text_tokens=16, batch=1)
    numbers = sum(p.numel() for p in build(Plan(SHALLOW)).parameters())
    assert one.device["weights"] + one.device["fp32 masters"] == 6 * numbers
    assert eight.device["weights"] == eight.device["gradients"] == eight.device["averaged weights"] == 4 * numbers // 8
    assert eight.device["activations"] == pytest.approx(one.device["activations"] / 2, rel=0.1)


def test_layers_of_deep_blocks_can_be_estimated():
    config = CONFIG | {"num_single_layers": 8}
    last, first = (Layers((f"single_transformer_blocks.{i}.*",)) for i in (7, 0))
    activations = [
        estimate(Plan(config, what), tokens=64, text_tokens=4, batch=1).device["activations"] for what in (last, first)
    ]
    assert activations[0] < 0.5 * activations[1]  # backward ends where nothing before learns


def test_the_hunyuan_lora_fits_24_gb():
    plan = Plan({}, Lora(), checkpointing="full", storage="fp8", offload=True)
    memory_of_it = estimate(plan, tokens=9 * 30 * 52, text_tokens=256, batch=1)  # 33x480x832
    assert 15e9 < memory_of_it.total < 22e9
    assert memory_of_it.host["frozen base"] == pytest.approx(12.46e9, rel=0.01)
