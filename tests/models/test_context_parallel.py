"""Two ranks that share a batch's tokens compute what one process computes: velocities, gradients, source caches."""

from typing import Any

import pytest
import torch
import torch.distributed as dist
from diffusers.hooks import FirstBlockCacheConfig

from icve.models.context_parallel import ContextParallel
from tests import tiny
from tests.distributed import run
from tests.models.samples import inputs, transformer

DEGREE = 2
CASES: dict[str, dict[str, Any]] = {
    "full": {},
    "self": {"source_attention": "self"},
    "dual blocks": {"num_layers": 2, "num_single_layers": 0},
    "single blocks": {"num_layers": 0, "num_single_layers": 2},
    "self, dual blocks": {"num_layers": 2, "num_single_layers": 0, "source_attention": "self"},
    "without source": {"given": "nothing"},
    "checkpointing": {"checkpointing": True},
    "all options": {"source_timestep": "target", "source_positions": "shifted", "type_embedding": True},
    "source cache": {"source_attention": "self", "given": "cache"},
    "source cache, checkpointing": {"source_attention": "self", "given": "cache", "checkpointing": True},
    "source cache, shifted": {"source_attention": "self", "source_positions": "shifted", "given": "cache"},
    "one long text": {"lengths": (9, 9)},
}


def velocity_and_gradients(model: torch.nn.Module, arguments: dict, given: str) -> tuple[torch.Tensor, dict]:
    """As a training step has it; from a source cache, each sample with two noise draws."""
    model.zero_grad()
    if given == "nothing":
        arguments = arguments | {"source_hidden_states": None}
    if given == "cache":
        source = (arguments["source_hidden_states"], arguments["pooled_projections"], arguments["guidance"])
        cache = [(key.repeat(2, 1, 1, 1), value.repeat(2, 1, 1, 1)) for key, value in model.encode_source(*source)]
        arguments = {name: torch.cat([value, value]) for name, value in arguments.items()}
        arguments |= {"source_hidden_states": None, "source_cache": cache}
        arguments["timestep"] = torch.tensor([900.0, 500.0, 300.0, 100.0])
    velocity = model(**arguments, return_dict=False)[0]
    target = torch.linspace(-1, 1, velocity.numel()).view_as(velocity)
    (velocity - target).square().mean().backward()
    return velocity.detach(), {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


def differences() -> dict[str, tuple[float, float, int]]:
    """Of each case the largest difference of velocity and gradients (as a part of the largest gradient) from one
    process's, and the tokens of a rank."""
    results = {}
    for case, options in CASES.items():
        options = {"num_attention_heads": 4, "given": "source", "checkpointing": False, "lengths": (4, 7)} | options
        given, checkpointing, lengths = options.pop("given"), options.pop("checkpointing"), options.pop("lengths")
        model, arguments, tokens = transformer(**options), inputs(lengths=lengths), []
        if model.type_embedder is not None:
            torch.nn.init.normal_(model.type_embedder.weight)
        velocity, gradients = velocity_and_gradients(model, arguments, given)
        if checkpointing:
            model.enable_gradient_checkpointing()
        model.set_context_parallel(dist.group.WORLD)
        handle = model._blocks[0].register_forward_pre_hook(lambda _, x, t=tokens: t.append(x[0].shape[1]))
        shared_velocity, shared_gradients = velocity_and_gradients(model, arguments, given)
        handle.remove()
        error = (shared_velocity - velocity).abs().max().item()
        gradient_error = 0.0
        assert shared_gradients.keys() == gradients.keys()
        for name, gradient in shared_gradients.items():
            dist.all_reduce(gradient)
            gradient_error = max(gradient_error, (gradient / DEGREE - gradients[name]).abs().max().item())
        gradient_error /= max(gradient.abs().max().item() for gradient in gradients.values())
        model.set_context_parallel(None)
        alone, _ = velocity_and_gradients(model, arguments, given)
        assert torch.equal(alone, velocity), "switched off, nothing is left of it"
        results[case] = error, gradient_error, tokens[0]
    return results


@pytest.fixture(scope="module")
def found() -> list[dict[str, tuple[float, float, int]]]:
    return run(differences, DEGREE)


@pytest.mark.parametrize("case", CASES)
def test_ranks_compute_what_one_process_does(found: list[dict], case: str):
    for rank in found:
        error, gradient_error, tokens = rank[case]
        assert error < 1e-5
        assert gradient_error < 1e-6
        assert tokens == 2 * 2 * 3 / DEGREE


def exchanges() -> None:
    parallel = ContextParallel.of(dist.group.WORLD)
    generator = torch.Generator().manual_seed(0)
    whole = torch.randn(2, 6, 4, 3, generator=generator)
    own = parallel.own_tokens(whole)
    assert own.shape == (2, 3, 4, 3)
    heads, doubled = parallel.tokens_to_heads([own, 2 * own])
    assert torch.equal(heads, parallel.own_heads(whole))
    assert torch.equal(doubled, 2 * heads)
    assert torch.equal(parallel.heads_to_tokens([doubled, heads])[1], own)
    assert torch.equal(parallel.all_heads(heads), whole)
    assert torch.equal(parallel.all_tokens(own.flatten(2)), whole.flatten(2))


def refusals() -> None:
    with pytest.raises(ValueError, match="3 attention heads cannot be shared by 2"):
        transformer(num_attention_heads=3).set_context_parallel(dist.group.WORLD)
    model = transformer()
    model.set_context_parallel(dist.group.WORLD)
    arguments = inputs() | {"hidden_states": torch.zeros(2, 16, 1, 2, 6), "source_hidden_states": None}
    with pytest.raises(ValueError, match="3 video tokens cannot be shared by 2"):
        model(**arguments)
    model.enable_cache(FirstBlockCacheConfig())
    with pytest.raises(ValueError, match="step cache"):
        model(**inputs())


def edited(options: dict) -> torch.Tensor:
    """The difference of an edit by two ranks from the same edit by one."""
    pipe = tiny.pipeline(**options)
    pipe.set_progress_bar_config(disable=True)
    arguments = {"video": tiny.video(), "prompt": "make it red", "output_type": "latent"}
    alone = pipe(**arguments, generator=torch.Generator().manual_seed(0)).videos
    pipe.transformer.set_context_parallel(dist.group.WORLD)
    together = pipe(**arguments, generator=torch.Generator().manual_seed(0)).videos
    return (together - alone).abs().max()


def test_exchanges_keep_order():
    run(exchanges, DEGREE)


def test_what_cannot_be_shared_is_refused():
    run(refusals, DEGREE)


@pytest.mark.parametrize("source_attention", ["full", "self"])
def test_two_ranks_edit_one_video(source_attention: str):
    assert max(run(edited, DEGREE, {"source_attention": source_attention})) < 1e-4
