"""`source_attention="self"`: the source is computed once, and steps that use it equal those that compute it."""

import pytest
import torch
from diffusers.hooks import FirstBlockCacheConfig

from tests.models.samples import inputs, run, transformer


def cached(model: torch.nn.Module, arguments: dict) -> dict:
    """The same arguments with the source's cache in its place."""
    with torch.no_grad():
        source_cache = model.encode_source(
            arguments["source_hidden_states"], arguments["pooled_projections"], arguments["guidance"]
        )
    return arguments | {"source_hidden_states": None, "source_cache": source_cache}


@pytest.mark.parametrize("layers", [(2, 3), (2, 0), (0, 2)])
@pytest.mark.parametrize("lengths", [(9, 9), (4, 7)])
def test_cached_equals_uncached(layers: tuple[int, int], lengths: tuple[int, int]):
    model = transformer(source_attention="self", num_layers=layers[0], num_single_layers=layers[1])
    arguments = inputs(lengths=lengths)
    with_cache = cached(model, arguments)
    for timestep in (900.0, 10.0):  # one cache, several steps
        step = {"timestep": torch.full((2,), timestep), "hidden_states": torch.randn(2, 16, 2, 4, 6)}
        uncached = run(model, arguments | step)
        torch.testing.assert_close(run(model, with_cache | step), uncached, rtol=0, atol=1e-5)


def test_attention_of_the_source_makes_a_difference():
    full, alone = transformer(), transformer(source_attention="self")
    assert (run(full, inputs()) - run(alone, inputs())).abs().max() > 1e-2


def test_the_source_matters_through_the_cache():
    model, arguments = transformer(source_attention="self"), inputs()
    other = arguments | {"source_hidden_states": arguments["source_hidden_states"].flip(-1)}
    assert (run(model, cached(model, arguments)) - run(model, cached(model, other))).abs().max() > 1e-2


@pytest.mark.parametrize("source_attention", ["full", "self"])
def test_the_last_block_computes_the_target_only(source_attention: str):
    model, tokens = transformer(source_attention=source_attention), []
    model.single_transformer_blocks[-1].proj_mlp.register_forward_pre_hook(lambda _, x: tokens.append(x[0].shape[1]))
    run(model, inputs())
    assert tokens == [2 * 2 * 3]
    if source_attention == "self":
        cached(model, inputs())
        assert len(tokens) == 1, "encode_source needs the last block's keys and values only"


def test_a_cached_step_computes_no_source():
    model, tokens = transformer(source_attention="self"), set()
    arguments = cached(model, inputs())
    for block in model.single_transformer_blocks:
        block.attn.to_k.register_forward_pre_hook(lambda _, x: tokens.add(x[0].shape[1]))
    run(model, arguments)
    assert tokens == {12, 9}


def test_first_block_cache_does_not_disturb_the_source():
    model = transformer(source_attention="self")
    first, second = inputs(seed=1), inputs(seed=2)
    expected = run(model, cached(model, second))
    model.enable_cache(FirstBlockCacheConfig(threshold=1e9))  # skips whatever it may
    for arguments in (first, second):  # two edits one after the other
        arguments = cached(model, arguments)
        with model.cache_context("cond"):
            output = run(model, arguments)
    assert torch.equal(output, expected)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda a, c: a | {"source_cache": c}, "not both"),
        (lambda a, c: a | {"source_hidden_states": None, "source_cache": c[1:]}, "holds 4 blocks, the model has 5"),
        (
            lambda a, c: a | {"source_hidden_states": None, "source_cache": [(k[:1], v[:1]) for k, v in c]},
            "source_cache",
        ),
    ],
)
def test_wrong_cache_is_refused(change, message: str):
    model, arguments = transformer(source_attention="self"), inputs()
    source_cache = cached(model, arguments)["source_cache"]
    with pytest.raises(ValueError, match=message):
        run(model, change(arguments, source_cache))


def test_full_attention_has_no_cache():
    arguments = inputs()
    source_cache = cached(transformer(source_attention="self"), arguments)["source_cache"]
    model = transformer()
    with pytest.raises(ValueError, match="encode_source"):
        cached(model, arguments)
    with pytest.raises(ValueError, match="source_cache"):
        run(model, arguments | {"source_hidden_states": None, "source_cache": source_cache})
