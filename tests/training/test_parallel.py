"""Several ranks compute the loss and gradients of one process on the whole batch, however they share the work."""

from dataclasses import dataclass
from functools import partialmethod
from typing import Any

import pytest
import torch
import torch.distributed as dist
from peft import LoraConfig
from tests import tiny
from tests.distributed import run
from tests.models.samples import inputs, transformer
from torch import Tensor, nn
from torch.distributed.tensor import DTensor
from torch.utils._python_dispatch import TorchDispatchMode

from icve.errors import InputError
from icve.training import parallel
from icve.training.parallel import Layout

SAMPLES = 4
COMPILE = nn.Module.compile


@dataclass
class Sizes:
    replicate: int = 1
    shard: int = -1
    ulysses: int = 1


@dataclass
class Case:
    """How the work is shared, and what else is on."""

    sizes: Sizes
    accumulate: int = 1
    draws: int = 1
    lora: bool = False
    checkpointing: parallel.Checkpointing = "none"


TWO_RANKS = {
    "shard 2": Case(Sizes()),
    "shard 2, accumulated": Case(Sizes(), accumulate=2),
    "shard 2, draws": Case(Sizes(), draws=2),
    "shard 2, checkpointing": Case(Sizes(), checkpointing="full"),
    "shard 2, draws, selective, accumulated": Case(Sizes(), 2, draws=2, checkpointing="selective"),
    "shard 2, LoRA": Case(Sizes(), accumulate=2, lora=True),
    "replicate 2": Case(Sizes(replicate=2)),
    "replicate 2, draws, accumulated": Case(Sizes(replicate=2), accumulate=2, draws=2),
    "ulysses 2": Case(Sizes(ulysses=2)),
    "ulysses 2, accumulated": Case(Sizes(ulysses=2), accumulate=2),
    "ulysses 2, draws, selective": Case(Sizes(ulysses=2), draws=2, checkpointing="selective"),
}
FOUR_RANKS = {
    "replicate 2 x shard 2": Case(Sizes(replicate=2), draws=2),
    "shard 2 x ulysses 2": Case(Sizes(shard=2, ulysses=2), accumulate=2, checkpointing="full"),
}


def make_modules(case: Case) -> dict[str, nn.Module]:
    """A transformer, a text encoder that is trained with it (all but its vocabulary), and a head."""
    model = transformer(source_attention="self", text_embed_dim=tiny.TEXT_WIDTH)
    llama = tiny.text_encoder()
    llama.get_input_embeddings().weight.requires_grad_(False)
    if case.lora:
        model.add_adapter(LoraConfig(r=2, target_modules=["to_q", "to_k", "proj_mlp"], init_lora_weights=False))
        llama.requires_grad_(False)
    return {"transformer": model, "text_encoder": llama, "head": nn.Linear(16, 16)}


def loss(modules: dict[str, nn.Module], rows: slice, draws: int) -> Tensor:
    """Mean over the samples of `rows`, each with `draws` timesteps."""
    arguments = {name: value[rows] for name, value in inputs(SAMPLES, lengths=(4, 9, 7, 2)).items()}
    tokens = torch.arange(SAMPLES * 9).view(SAMPLES, 9)[rows]
    states = modules["text_encoder"](tokens, attention_mask=arguments["encoder_attention_mask"]).last_hidden_state
    arguments["encoder_hidden_states"] = states
    source = arguments["source_hidden_states"]
    if draws > 1:
        cache = modules["transformer"].encode_source(source, arguments["pooled_projections"], arguments["guidance"])
        arguments = {name: value.repeat_interleave(draws, 0) for name, value in arguments.items()}
        arguments["source_hidden_states"] = None
        arguments["source_cache"] = [tuple(x.repeat_interleave(draws, 0) for x in pair) for pair in cache]
        arguments["timestep"] = torch.linspace(100, 900, SAMPLES * draws)[rows.start * draws : rows.stop * draws]
    velocity = modules["transformer"](**arguments, return_dict=False)[0]
    velocity = velocity + modules["head"](velocity.movedim(1, -1)).movedim(-1, 1)
    return (velocity - source.repeat_interleave(draws, 0)).square().mean()


def accumulated(modules: dict[str, nn.Module], case: Case, rank: int, ranks: int) -> float:
    """Gradients of a rank's share of the batch, in micro-batches; its mean loss."""
    share, total = SAMPLES // ranks, 0.0
    size = share // case.accumulate
    for i in range(case.accumulate):
        parallel.micro_batch(modules, last=i == case.accumulate - 1)
        start = rank * share + i * size
        part = loss(modules, slice(start, start + size), case.draws) / case.accumulate
        part.backward()
        total += part.item()
    return total


def gradients(modules: dict[str, nn.Module]) -> dict[str, Tensor]:
    whole = {}
    for module_name, module in modules.items():
        for name, parameter in module.named_parameters():
            if (gradient := parameter.grad) is not None:
                full = gradient.full_tensor() if isinstance(gradient, DTensor) else gradient
                whole[f"{module_name}.{name}"] = full.detach().clone()
    return whole


def differences(cases: dict[str, Case]) -> dict[str, tuple[float, float]]:
    """Of each case: how far loss and gradients (as a part of the largest gradient) are from one process's."""
    results = {}
    for name, case in cases.items():
        alone = make_modules(case)
        expected_loss = accumulated(alone, Case(Sizes(), draws=case.draws), 0, 1)
        expected = gradients(alone)

        modules, layout = make_modules(case), Layout.create(case.sizes)
        parallel.apply(modules, layout, precision="fp32", checkpointing=case.checkpointing)
        part = accumulated(modules, case, layout.data_rank, layout.data_ranks)
        (mean,) = parallel.reduce_mean(layout, [part])
        found = gradients(modules)
        assert found.keys() == expected.keys()
        if case.lora:
            assert all("lora" in key or key.startswith("head") for key in found)
            assert not any(isinstance(p, DTensor) for p in modules["text_encoder"].parameters()), "nothing to train"
        else:
            shards = [p.to_local().numel() for module in modules.values() for p in module.parameters()]
            assert sum(shards) < 0.6 * sum(p.numel() for m in alone.values() for p in m.parameters()) or (
                case.sizes.replicate == dist.get_world_size()
            )
        error = max((found[key] - gradient).abs().max().item() for key, gradient in expected.items())
        largest = max(gradient.abs().max().item() for gradient in expected.values())
        results[name] = abs(mean - expected_loss) / expected_loss, error / largest
    return results


@pytest.fixture(scope="module")
def found() -> dict[str, tuple[float, float]]:
    return run(differences, 2, TWO_RANKS)[0] | run(differences, 4, FOUR_RANKS)[0]


@pytest.mark.parametrize("name", [*TWO_RANKS, *FOUR_RANKS])
def test_ranks_compute_the_loss_and_gradients_of_one_process(found: dict[str, tuple[float, float]], name: str):
    loss_error, gradient_error = found[name]
    assert loss_error < 1e-5
    assert gradient_error < 1e-5


def in_bf16() -> tuple[bool, set[torch.dtype], float]:
    """Whether the velocity is that of a bf16 model; dtypes of weights and gradients; the gradients' direction."""
    arguments = inputs() | {"timestep": torch.tensor([987.3, 3.17])}  # bf16 would round them
    low = {
        name: value.bfloat16() if value.is_floating_point() and name != "timestep" else value
        for name, value in arguments.items()
    }
    model = transformer().bfloat16()
    expected = model(**low).sample
    exact = model.float()
    exact(**arguments).sample.square().mean().backward()
    reference = torch.cat([p.grad.flatten() for p in exact.parameters()])

    model, layout = transformer().bfloat16(), Layout.create(Sizes())
    parallel.apply({"transformer": model}, layout, precision="bf16")
    velocity = model(**low).sample
    velocity.float().square().mean().backward()
    dtypes = {x.dtype for p in model.parameters() for x in (p, p.grad)}
    gradient = torch.cat([p.grad.full_tensor().flatten() for p in model.parameters()])
    cosine = torch.nn.functional.cosine_similarity(gradient, reference, dim=0).item()
    return torch.equal(velocity, expected), dtypes, cosine


def test_bf16_keeps_float32_weights_and_gradients():
    for equal, dtypes, cosine in run(in_bf16, 2):
        assert equal
        assert dtypes == {torch.float32}
        assert cosine > 0.98


def edited_in_bf16() -> bool:
    """Whether a sharded bf16 model edits as a whole one."""
    arguments = {"video": tiny.video(), "prompt": "make it red", "output_type": "latent"}
    pipe = tiny.pipeline(source_attention="self").to(torch.bfloat16)
    pipe.set_progress_bar_config(disable=True)
    expected = pipe(**arguments, generator=torch.Generator().manual_seed(0)).videos
    modules = {
        "transformer": pipe.transformer,
        "text_encoder": pipe.text_encoder,
        "text_encoder_2": pipe.text_encoder_2,
    }
    parallel.apply(modules, Layout.create(Sizes()), precision="bf16")
    assert all(isinstance(p, DTensor) for module in modules.values() for p in module.parameters())
    return torch.equal(pipe(**arguments, generator=torch.Generator().manual_seed(0)).videos, expected)


def test_a_sharded_model_edits_as_a_whole_one():
    assert run(edited_in_bf16, 2) == [True, True]


def reductions() -> list[list[float]]:
    layout = Layout.create(Sizes())
    values = [1.0 + layout.rank, 1e9 + layout.rank]
    reductions = (parallel.reduce_sum, parallel.reduce_mean, parallel.reduce_max)
    return [reduce(layout, values) for reduce in reductions]


def test_figures_are_reduced_over_ranks():
    assert run(reductions, 2) == [[[3.0, 2e9 + 1], [1.5, 1e9 + 0.5], [2.0, 1e9 + 1]]] * 2


def shares() -> list[tuple[int, int]]:
    layouts = [Layout.create(Sizes(**sizes)) for sizes in ({}, {"ulysses": 2}, {"replicate": 2})]
    return [(layout.data_rank, layout.data_ranks) for layout in layouts]


def test_ranks_of_a_ulysses_group_load_the_same_samples():
    assert run(shares, 2) == [[(0, 2), (0, 1), (0, 2)], [(1, 2), (0, 1), (1, 2)]]


def validated() -> bool:
    """Whether weights written after a forward without backward are those that the next forward uses."""
    model, layout = transformer(), Layout.create(Sizes())
    modules = {"transformer": model}
    parallel.apply(modules, layout, precision="fp32")
    with torch.no_grad():
        model(**inputs())
        parallel.reshard(modules)
        model.proj_out.weight.zero_()
        model.proj_out.bias.zero_()
        return model(**inputs()).sample.eq(0).all().item()


def test_weights_can_be_written_after_a_validation():
    assert run(validated, 2) == [True, True]


def test_a_single_process_has_no_group_and_plain_modules(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("WORLD_SIZE", raising=False)
    layout = Layout.create(Sizes())
    case = Case(Sizes(), accumulate=2)
    modules = make_modules(case)
    parallel.apply(modules, layout, precision="fp32")
    assert not dist.is_initialized()
    assert not any(isinstance(p, DTensor) for module in modules.values() for p in module.parameters())
    value = accumulated(modules, case, layout.data_rank, layout.data_ranks)
    assert parallel.reduce_mean(layout, [value]) == [value]
    layout.close()


@pytest.mark.parametrize(
    ("sizes", "processes", "message"),
    [
        (Sizes(shard=8), 1, "replicate 1 x shard 8 x ulysses 1 needs 8 processes, not 1: start"),
        (Sizes(replicate=2, shard=2), 6, "needs 4 processes, not 6"),
        (Sizes(replicate=2, ulysses=2), 6, "needs a multiple of 4 processes, not 6"),
        (Sizes(ulysses=4), 2, "needs a multiple of 4 processes, not 2"),
    ],
)
def test_sizes_that_do_not_fit_are_refused(sizes: Sizes, processes: int, message: str, monkeypatch: Any):
    monkeypatch.setenv("WORLD_SIZE", str(processes))
    with pytest.raises(InputError, match=message):
        Layout.create(sizes)


def compile_quickly() -> None:
    """As `apply` compiles, but the machine code, which takes half a minute."""
    nn.Module.compile = partialmethod(COMPILE, backend="aot_eager")


class Calls(TorchDispatchMode):
    """Counts attention and linear layers, forward."""

    def __init__(self) -> None:
        super().__init__()
        self.attention = self.linear = 0

    def __torch_dispatch__(self, function: Any, types: Any, args: tuple = (), kwargs: dict | None = None) -> Any:
        name = str(function)
        self.attention += "attention" in name and "backward" not in name
        self.linear += name == "aten.addmm.default"
        return function(*args, **(kwargs or {}))


def recomputed(checkpointing: parallel.Checkpointing, **options: Any) -> tuple[int, int]:
    """How often attention and linear layers run in backward."""
    model = transformer(num_layers=0, num_single_layers=1, num_refiner_layers=0)
    parallel.apply(
        {"transformer": model}, Layout.create(Sizes()), precision="fp32", checkpointing=checkpointing, **options
    )
    value = model(**inputs()).sample.square().mean()
    with Calls() as calls:
        value.backward()
    return calls.attention, calls.linear


def test_selective_checkpointing_recomputes_all_but_attention():
    assert recomputed("none") == (0, 0)
    attention, linear = recomputed("full")
    assert attention == 1
    assert recomputed("selective") == (0, linear)
    assert linear >= 5


def test_selective_checkpointing_reaches_into_compiled_blocks(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(nn.Module, "compile", COMPILE)  # undoes the next line at the end
    compile_quickly()
    attention, linear = recomputed("selective", compile=True)
    assert attention == 0
    assert linear >= 5


def compiled() -> tuple[float, float]:
    """All at once; the difference of loss and gradient (as a part of it)."""
    compile_quickly()
    model, alone = (transformer(num_layers=0, num_single_layers=1) for _ in range(2))
    for either in (model, alone):
        either.single_transformer_blocks[0].last = False  # one block that does all that blocks do
    expected = alone(**inputs()).sample.square().mean()
    expected.backward()
    layout = Layout.create(Sizes(ulysses=2))
    parallel.apply({"transformer": model}, layout, precision="fp32", checkpointing="selective", compile=True)
    value = model(**inputs()).sample.square().mean()
    value.backward()
    gradient, reference = model.x_embedder.proj.weight.grad.full_tensor(), alone.x_embedder.proj.weight.grad
    return abs(value - expected).item(), ((gradient - reference).abs().max() / reference.abs().max()).item()


def test_compiled_checkpointed_sharded_and_split_by_tokens():
    for errors in run(compiled, 2):
        assert max(errors) < 1e-5
