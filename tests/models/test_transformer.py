"""The transformer computes what the reference and diffusers' HunyuanVideo compute."""

import pytest
import torch
from diffusers import FlowMatchEulerDiscreteScheduler, HunyuanVideoTransformer3DModel
from safetensors.torch import load_file

from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.models.attention import rotate, short_attention
from tests.models.samples import CONFIG, GOLDEN, golden_inputs, golden_model, inputs, one, run, transformer


def test_golden_velocity():
    arguments, velocity = golden_inputs()
    assert (run(golden_model(), arguments) - velocity).abs().max() <= 1e-5


def test_golden_velocity_with_padded_texts():
    arguments, velocity = golden_inputs()
    padding = torch.randn(2, 6, arguments["encoder_hidden_states"].shape[2])
    arguments["encoder_hidden_states"] = torch.cat([arguments["encoder_hidden_states"], padding], dim=1)
    arguments["encoder_attention_mask"] = torch.nn.functional.pad(arguments["encoder_attention_mask"], (0, 6))
    assert (run(golden_model(), arguments) - velocity).abs().max() <= 1e-5


def test_golden_model_takes_texts_of_unequal_length():
    model, (arguments, _) = golden_model(), golden_inputs()
    arguments["encoder_attention_mask"][0, 7:] = 0
    batch = run(model, arguments)
    singles = torch.cat([run(model, one(arguments, index)) for index in range(2)])
    assert (batch - singles).abs().max() <= 1e-5


@pytest.mark.parametrize(("shift", "steps"), [(1.0, 4), (5.0, 20), (7.0, 50)])
def test_golden_schedule(shift: float, steps: int):
    golden = load_file(GOLDEN / "icve_reference_schedule.safetensors")
    scheduler = FlowMatchEulerDiscreteScheduler(shift=shift)
    scheduler.set_timesteps(sigmas=torch.linspace(1, 0, steps + 1)[:-1].numpy())
    for name in ("sigmas", "timesteps"):
        ours, expected = getattr(scheduler, name), golden[f"{name}.shift{shift}.steps{steps}"]
        torch.testing.assert_close(ours, expected, rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("source_attention", ["full", "self"])
def test_texts_of_unequal_length_equal_one_by_one(source_attention: str):
    """In float64: outputs of 16 differ by 1e-5 in float32 by rounding alone, on CPUs that sum in another order."""
    model, arguments = transformer(source_attention=source_attention), inputs(3, lengths=(2, 9, 5), text_length=12)
    arguments = {name: value.double() if value.is_floating_point() else value for name, value in arguments.items()}
    singles = torch.cat([run(model.double(), one(arguments, index)) for index in range(3)])
    torch.testing.assert_close(run(model, arguments), singles, rtol=0, atol=1e-10)


@pytest.mark.parametrize("size", [(1, 1), (2, 1), (2, 2)])
@pytest.mark.parametrize("lengths", [(9, 9), (4, 7)])
def test_without_source_it_is_hunyuanvideo(size: tuple[int, int], lengths: tuple[int, int]):
    patch = {"patch_size": size[0], "patch_size_t": size[1]}
    model = transformer(**patch)
    upstream = HunyuanVideoTransformer3DModel(**CONFIG, **patch)
    upstream.load_state_dict(model.state_dict())
    arguments = inputs(lengths=lengths) | {"source_hidden_states": None}
    ours = run(model, arguments)
    del arguments["source_hidden_states"]
    torch.testing.assert_close(ours, run(upstream, arguments), rtol=0, atol=1e-5)


def test_loads_a_hunyuanvideo_folder(tmp_path):
    upstream = HunyuanVideoTransformer3DModel(**CONFIG)
    upstream.save_pretrained(tmp_path)
    model = InContextHunyuanVideoTransformer3DModel.from_pretrained(tmp_path)
    assert model.config.source_attention == "full"
    assert model.config.num_single_layers == CONFIG["num_single_layers"]
    for name, tensor in upstream.state_dict().items():
        assert torch.equal(model.state_dict()[name], tensor)


def test_saves_and_loads_itself(tmp_path):
    model = transformer(source_attention="self", patch_size=1)
    model.save_pretrained(tmp_path)
    loaded = InContextHunyuanVideoTransformer3DModel.from_pretrained(tmp_path)
    assert loaded.config.source_attention == "self"
    assert torch.equal(run(loaded, inputs()), run(model, inputs()))


def test_every_input_matters():
    model, arguments = transformer(), inputs()
    output = run(model, arguments)
    for name, value in arguments.items():
        if name == "encoder_attention_mask":
            changed = value.clone()
            changed[:, -1] = False
        else:
            changed = value * 0.5
        assert (run(model, arguments | {name: changed}) - output).abs().max() > 1e-3, name


def test_without_guidance_embedding_it_is_the_model_whose_guidance_adds_nothing():
    model = golden_model()
    torch.nn.init.zeros_(model.time_text_embed.guidance_embedder.linear_2.weight)
    torch.nn.init.zeros_(model.time_text_embed.guidance_embedder.linear_2.bias)
    stripped = InContextHunyuanVideoTransformer3DModel(**(dict(model.config) | {"guidance_embeds": False})).eval()
    state_dict = {name: t for name, t in model.state_dict().items() if "guidance_embedder" not in name}
    stripped.load_state_dict(state_dict)
    arguments, _ = golden_inputs()
    expected = run(model, arguments)
    del arguments["guidance"]
    torch.testing.assert_close(run(stripped, arguments), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"hidden_states": torch.zeros(2, 4, 2, 4, 6)}, "`hidden_states` must be"),
        ({"hidden_states": torch.zeros(2, 16, 2, 5, 6)}, "multiple"),
        ({"source_hidden_states": torch.zeros(2, 16, 1, 4, 6)}, "`source_hidden_states` must have shape"),
        ({"encoder_hidden_states": torch.zeros(2, 9, 8)}, "`encoder_hidden_states` must have shape"),
        ({"encoder_attention_mask": torch.ones(2, 8)}, "`encoder_attention_mask` must have shape"),
        ({"encoder_attention_mask": torch.zeros(2, 9)}, "at least one token"),
        ({"pooled_projections": torch.zeros(1, 20)}, "`pooled_projections` must have shape"),
        ({"guidance": None}, "`guidance` is needed"),
        ({"guidance": torch.ones(1)}, "`guidance` must have shape"),
        ({"timestep": torch.ones(3)}, "`timestep` must have shape"),
    ],
)
def test_wrong_input_is_refused(change: dict, message: str):
    with pytest.raises(ValueError, match=message):
        run(transformer(), inputs() | change)


def test_wrong_config_is_refused():
    with pytest.raises(ValueError, match="source_attention"):
        transformer(source_attention="none")
    with pytest.raises(ValueError, match="image_condition_type"):
        transformer(image_condition_type="token_replace")


def test_short_attention_is_softmax_attention():
    query, key, value = (torch.randn(2, 7, 3, 8, dtype=torch.float64) for _ in range(3))
    mask = torch.rand(2, 1, 1, 7) < 0.7
    mask[..., 0] = True
    heads_first = [x.transpose(1, 2) for x in (query, key, value)]
    expected = torch.nn.functional.scaled_dot_product_attention(*heads_first, attn_mask=mask).transpose(1, 2)
    torch.testing.assert_close(short_attention(query, key, value, mask), expected)


def test_rotate_keeps_norms_and_depends_on_distance_only():
    turn = torch.polar(torch.ones(6, 1, 4), torch.arange(6.0)[:, None, None] * torch.tensor([0.1, 0.5, 1.0, 2.0]))
    query, key = (torch.randn(1, 1, 2, 8).expand(1, 6, 2, 8) for _ in range(2))
    scores = torch.einsum("bqhd,bkhd->bhqk", rotate(query, turn), rotate(key, turn))
    torch.testing.assert_close(scores[..., 1:, 1:], scores[..., :-1, :-1])
    torch.testing.assert_close(rotate(query, turn).norm(dim=-1), query.norm(dim=-1))
