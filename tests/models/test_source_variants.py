"""The ways for the source to enter: its timestep, its positions, its type; the defaults are the paper's."""

from typing import Any

import pytest
import torch
from torch.utils.checkpoint import checkpoint

from icve.models import InContextHunyuanVideoTransformer3DModel, with_options
from tests import tiny
from tests.models.samples import golden_inputs, golden_model, inputs, run, transformer

VARIANTS: list[dict[str, Any]] = [
    {"source_timestep": "target"},
    {"source_positions": "shifted"},
    {"type_embedding": True},
    {"source_attention": "self", "source_timestep": "target"},
    {"source_attention": "self", "source_positions": "shifted", "type_embedding": True},
]
each_variant = pytest.mark.parametrize("options", VARIANTS, ids=lambda options: "-".join(map(str, options.values())))


def source_cache(model: torch.nn.Module, arguments: dict) -> list:
    return model.encode_source(
        arguments["source_hidden_states"], arguments["pooled_projections"], arguments["guidance"]
    )


@each_variant
def test_each_variant_computes_something_else(options: dict):
    default = transformer(source_attention=options.get("source_attention", "full"))
    variant = with_options(default, **options)
    if "type_embedding" in options:
        torch.nn.init.normal_(variant.type_embedder.weight)
    assert (run(variant, inputs()) - run(default, inputs())).abs().max() > 1e-2


def test_a_new_type_embedding_changes_nothing_but_is_learned():
    default = transformer()
    variant = with_options(default, type_embedding=True)
    assert torch.equal(run(variant, inputs()), run(default, inputs()))
    variant(**inputs()).sample.square().mean().backward()
    assert (variant.type_embedder.weight.grad.abs().sum(dim=1) > 1e-3).all()


def test_a_type_embedding_tells_target_and_source_apart():
    model = transformer(type_embedding=True)
    outputs = []
    for row in (0, 1):
        with torch.no_grad():
            model.type_embedder.weight.zero_()[row] = torch.linspace(-1, 1, 32)
        outputs.append(run(model, inputs()))
    assert (outputs[0] - outputs[1]).abs().max() > 1e-2


def test_shifted_positions_are_those_of_the_next_frames():
    """In time the source lies where the target's frames would go on: what T frames of a video of 2T have in it."""
    model = transformer(source_positions="shifted")
    arguments = inputs()
    target, source = model._rotary_embeddings(arguments["hidden_states"])
    whole, _ = transformer()._rotary_embeddings(arguments["hidden_states"].repeat(1, 1, 2, 1, 1))
    assert torch.equal(torch.cat([target, source]), whole)


def test_the_targets_timestep_reaches_the_source():
    model = transformer(source_timestep="target")
    seen: list[torch.Tensor] = []
    block = model.transformer_blocks[0]
    block.norm1.register_forward_hook(lambda _, __, kwargs, ___: seen.append(kwargs["emb"]), with_kwargs=True)
    run(model, inputs())
    assert torch.equal(*seen)


@pytest.mark.parametrize(
    "options", [{}, {"source_positions": "shifted"}, {"type_embedding": True, "source_positions": "shifted"}]
)
def test_cached_equals_uncached(options: dict):
    model, arguments = transformer(source_attention="self", **options), inputs(lengths=(4, 7))
    assert model.can_cache_source
    with torch.no_grad():
        cached = arguments | {"source_hidden_states": None, "source_cache": source_cache(model, arguments)}
    torch.testing.assert_close(run(model, cached), run(model, arguments), rtol=0, atol=1e-5)


@pytest.mark.parametrize("options", [{}, {"source_attention": "self", "source_timestep": "target"}])
def test_a_source_that_changes_with_the_step_is_not_cached(options: dict):
    model, arguments = transformer(**options), inputs()
    assert not model.can_cache_source
    with pytest.raises(ValueError, match="`encode_source` needs a model with `source_attention='self'` and `source_t"):
        source_cache(model, arguments)
    with pytest.raises(ValueError, match="`source_cache` needs"):
        run(model, arguments | {"source_hidden_states": None, "source_cache": []})


@pytest.mark.parametrize("options", [*VARIANTS, {"source_attention": "self"}])
def test_the_pipeline_edits_with_every_variant(options: dict):
    """Three steps whose source is given anew each time, or comes from the cache, as the model allows."""
    pipe = tiny.pipeline(**options)
    pipe.set_progress_bar_config(disable=True)
    calls: list[dict] = []
    pipe.transformer.register_forward_pre_hook(lambda _, __, kwargs: calls.append(kwargs), with_kwargs=True)
    arguments = {"video": tiny.video(), "prompt": "make it red", "output_type": "latent", "guidance_scale": 1.0}
    latents = pipe(**arguments, generator=torch.Generator().manual_seed(0)).videos
    assert latents.isfinite().all()
    assert len(calls) == 3
    for call in calls:
        assert ("source_cache" in call) == (call["source_hidden_states"] is None) == pipe.transformer.can_cache_source


@each_variant
def test_saved_and_loaded_with_its_options(options: dict, tmp_path):
    model = transformer(**options)
    model.save_pretrained(tmp_path)
    loaded = InContextHunyuanVideoTransformer3DModel.from_pretrained(tmp_path)
    assert {name: loaded.config[name] for name in options} == options
    assert torch.equal(run(loaded, inputs()), run(model, inputs()))


def test_options_keep_the_golden_velocity_and_the_keys():
    model, (arguments, velocity) = golden_model(), golden_inputs()
    same = with_options(model, source_timestep="zero", source_positions="same")
    assert (run(same, arguments) - velocity).abs().max() <= 1e-5
    assert list(same.state_dict()) == list(model.state_dict())
    there_and_back = with_options(with_options(model, source_positions="shifted"), source_positions="same")
    assert (run(there_and_back, arguments) - velocity).abs().max() <= 1e-5
    typed = with_options(model, type_embedding=True)
    assert set(typed.state_dict()) - set(model.state_dict()) == {"type_embedder.weight"}
    assert (run(typed, arguments) - velocity).abs().max() <= 1e-5


def test_options_share_weights_and_keep_dtype_and_mode():
    model = transformer().bfloat16()
    other = with_options(model, type_embedding=True)
    assert {parameter.dtype for parameter in other.parameters()} == {torch.bfloat16}
    assert other.proj_out.weight.data_ptr() == model.proj_out.weight.data_ptr()
    assert not other.training
    assert with_options(model.train(), source_timestep="target").training


def test_wrong_options_are_refused():
    for name in ("source_timestep", "source_positions", "source_attention"):
        with pytest.raises(ValueError, match=f"`{name}` must be"):
            transformer(**{name: "none"})
    with pytest.raises(TypeError, match="num_layers"):
        with_options(transformer(), num_layers=1)
    with pytest.raises(ValueError, match="`type_embedding` must stay True"):
        with_options(transformer(type_embedding=True), type_embedding=False)


def gradients(model: torch.nn.Module, arguments: dict) -> dict[str, torch.Tensor]:
    model.zero_grad()
    if model.can_cache_source:
        cache = source_cache(model, arguments)
        arguments = arguments | {"source_hidden_states": None, "source_cache": cache}
    model(**arguments).sample.square().mean().backward()
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@each_variant
def test_gradient_checkpointing_gives_the_same_gradients(options: dict):
    model, calls = transformer(**options), []

    def counted(function: Any, *args: Any) -> Any:
        calls.append(function)
        return checkpoint(function, *args, use_reentrant=False)

    expected = gradients(model, inputs())
    model.enable_gradient_checkpointing(counted)
    torch.testing.assert_close(gradients(model, inputs()), expected, rtol=1e-5, atol=1e-7)
    assert len(calls) == 5 * (2 if model.can_cache_source else 1), "of encode_source too"


def test_blocks_compile_without_a_graph_break():
    options = {"source_attention": "self", "source_positions": "shifted", "type_embedding": True}
    model = transformer(**options, num_layers=0, num_single_layers=2)
    expected = gradients(model, inputs(lengths=(4, 7)))
    torch.compiler.reset()
    model.compile_repeated_blocks(fullgraph=True, backend="aot_eager")
    torch.testing.assert_close(gradients(model, inputs(lengths=(4, 7))), expected, rtol=1e-4, atol=1e-5)


def test_new_channels_for_the_source_change_nothing_but_are_learned():
    default = transformer()
    alone = inputs() | {"source_hidden_states": None}
    variant = with_options(default, source_entry="channels")
    assert torch.equal(run(variant, inputs()), run(variant, alone))  # their weights are zero
    torch.testing.assert_close(run(variant, alone), run(default, alone))
    variant(**inputs()).sample.square().mean().backward()
    assert variant.x_embedder.proj.weight.grad[:, 16:].abs().sum() > 1e-3
    with torch.no_grad():
        variant.x_embedder.proj.weight[:, 16:] = variant.x_embedder.proj.weight[:, :16]
    assert (run(variant, inputs()) - run(variant, alone)).abs().max() > 1e-2
    with pytest.raises(ValueError, match="trained with it"):
        with_options(variant, source_entry="context")


def test_a_source_that_does_not_enter_changes_nothing():
    model = with_options(transformer(), source_entry="none")
    arguments = inputs()
    other = arguments | {"source_hidden_states": arguments["source_hidden_states"] + 1}
    assert torch.equal(run(model, arguments), run(model, other))
    assert not model.can_cache_source
