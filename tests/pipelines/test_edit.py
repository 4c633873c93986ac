"""The edit pipeline as its caller sees it, on tiny real components."""

import numpy as np
import pytest
import torch
from PIL import Image

from icve.errors import InputError
from tests import tiny

PROMPT = "Make the square red"


def seeded(seed: int = 0) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_same_seed_same_video_other_seed_other_video(tiny_pipeline):
    first, second, other = (tiny_pipeline(tiny.video(), PROMPT, generator=seeded(seed)).videos for seed in (0, 0, 1))
    assert first.shape == (1, 5, 32, 32, 3)
    assert first.dtype == np.float32
    assert first.min() >= 0
    assert first.max() <= 1
    assert np.array_equal(first, second)
    assert np.abs(first - other).mean() > 0.01


def test_source_and_instruction_both_matter(tiny_pipeline):
    edit = tiny_pipeline(tiny.video(), PROMPT, generator=seeded()).videos
    other_source = tiny_pipeline(tiny.video(seed=1), PROMPT, generator=seeded()).videos
    other_prompt = tiny_pipeline(tiny.video(), "Remove the ball", generator=seeded()).videos
    assert np.abs(edit - other_source).max() > 1e-3
    assert np.abs(edit - other_prompt).max() > 1e-3


@pytest.mark.parametrize("source_attention", ["full", "self"])
def test_a_batch_gives_what_single_calls_give(source_attention):
    pipe = tiny.pipeline(source_attention=source_attention)
    pipe.set_progress_bar_config(disable=True)
    videos = np.stack([tiny.video(seed=seed) for seed in range(3)])
    prompts = ["Red", "Remove the blue square on the left of the picture", "Turn it into a painting"]
    negatives = ["bad", "blurred and ugly", "x"]
    together = pipe(videos, prompts, negatives, generator=[seeded(i) for i in range(3)]).videos
    for i in range(3):
        alone = pipe(videos[i], prompts[i], negatives[i], generator=[seeded(i)]).videos
        assert np.abs(together[i] - alone[0]).max() < 1e-4


def test_every_form_of_a_video_gives_one_result(tiny_pipeline):
    uint8 = tiny.video()
    unit = uint8.astype(np.float32) / 255
    tensor = torch.from_numpy(unit).permute(0, 3, 1, 2)
    frames = [Image.fromarray(frame) for frame in uint8]
    forms = [
        uint8,
        unit,
        uint8[None],
        list(uint8),
        tensor,
        tensor[None],
        torch.from_numpy(uint8).permute(0, 3, 1, 2),
    ]
    forms += [frames, [frames], [frame.convert("RGBA") for frame in frames]]
    results = [tiny_pipeline(form, PROMPT, generator=seeded(), num_inference_steps=1).videos for form in forms]
    for result in results[1:]:
        assert np.abs(result - results[0]).max() < 1e-5


def test_output_types_hold_one_video(tiny_pipeline):
    def edit(output_type, **options):
        return tiny_pipeline(tiny.video(), PROMPT, generator=seeded(), output_type=output_type, **options)

    array = edit("np").videos
    assert np.abs(edit("pt").videos.permute(0, 1, 3, 4, 2).numpy() - array).max() < 1e-6
    images = edit("pil").videos
    assert np.abs(np.stack(images[0]) / 255 - array[0]).max() < 1 / 255
    latents = edit("latent").videos
    assert latents.shape == (1, 16, 2, 4, 4)
    decoded = tiny_pipeline.decode_latents(latents)
    assert decoded.shape == (1, 3, 5, 32, 32)
    assert np.abs((decoded / 2 + 0.5).permute(0, 2, 3, 4, 1).numpy() - array).max() < 1e-6
    (videos,) = edit("np", return_dict=False)
    assert np.array_equal(videos, array)


def test_source_latents_stand_for_the_video(tiny_pipeline):
    video = tiny.video()
    pixels = torch.from_numpy(video).permute(3, 0, 1, 2)[None] / 127.5 - 1
    source = tiny_pipeline.encode_video(pixels)
    by_video = tiny_pipeline(video, PROMPT, generator=seeded()).videos
    by_latents = tiny_pipeline(source_latents=source, prompt=PROMPT, generator=seeded()).videos
    assert np.abs(by_video - by_latents).max() < 1e-5


def test_latents_are_the_initial_noise_and_suffice_for_text_to_video(tiny_pipeline):
    noise = torch.randn(1, 16, 2, 4, 4, generator=seeded(3))
    given = tiny_pipeline(tiny.video(), PROMPT, latents=noise).videos
    drawn = tiny_pipeline(tiny.video(), PROMPT, generator=seeded(3)).videos
    assert np.array_equal(given, drawn)
    from_text = tiny_pipeline(prompt=PROMPT, latents=noise).videos
    assert from_text.shape == given.shape
    assert np.abs(from_text - given).max() > 1e-3


def test_a_prefix_is_kept_and_seen_by_the_rest(tiny_pipeline):
    prefix = torch.randn(1, 16, 1, 4, 4, generator=seeded(9))
    noise = torch.randn(1, 16, 3, 4, 4, generator=seeded())
    seen = []
    hook = tiny_pipeline.transformer.register_forward_pre_hook(
        lambda _module, _args, inputs: seen.append(inputs["hidden_states"]), with_kwargs=True
    )

    def edit(**options):
        options |= {"latents": noise, "guidance_scale": 1, "output_type": "latent"}
        return tiny_pipeline(tiny.video(frames=9), PROMPT, **options).videos

    free = edit()
    seen.clear()
    tied = edit(prefix_latents=prefix)
    hook.remove()
    assert torch.equal(tied[:, :, :1], prefix)
    assert (tied[:, :, 1:] - free[:, :, 1:]).abs().max() > 1e-3
    for sigma, latents in zip(tiny_pipeline.scheduler.sigmas[:-1], seen, strict=True):
        expected = (1 - sigma) * prefix + sigma * noise[:, :, :1]
        assert (latents[:, :, :1] - expected).abs().max() < 1e-6


def test_without_guidance_there_is_one_pass(tiny_pipeline):
    calls = []
    hook = tiny_pipeline.transformer.register_forward_hook(lambda *_: calls.append(1))
    for scale, passes in ((1.0, 3), (0.0, 3), (1.5, 6)):
        calls.clear()
        tiny_pipeline(tiny.video(), PROMPT, guidance_scale=scale, output_type="latent")
        assert len(calls) == passes
    hook.remove()


def test_guidance_embeddings_are_only_given_to_a_transformer_that_has_them():
    pipe = tiny.pipeline(guidance_embeds=False)
    pipe.set_progress_bar_config(disable=True)
    assert np.isfinite(pipe(tiny.video(), PROMPT, generator=seeded()).videos).all()


def test_source_that_attends_to_itself_is_encoded_once_a_branch_and_gives_the_same():
    pipe = tiny.pipeline(source_attention="self")
    pipe.set_progress_bar_config(disable=True)
    encode_source = pipe.transformer.encode_source
    encoded = []

    def counting(*args, **kwargs):
        encoded.append(1)
        return encode_source(*args, **kwargs)

    pipe.transformer.encode_source = counting
    cached = pipe(tiny.video(), PROMPT, generator=seeded(), output_type="latent").videos
    assert len(encoded) == 2

    source = pipe.encode_video(torch.from_numpy(tiny.video()).permute(3, 0, 1, 2)[None] / 127.5 - 1)
    cached_inputs = pipe._branch
    pipe._branch = lambda *args: _with_source(cached_inputs(*args), source)
    uncached = pipe(tiny.video(), PROMPT, generator=seeded(), output_type="latent").videos
    assert (cached - uncached).abs().max() < 1e-5


def _with_source(branch, source):
    return branch._replace(inputs=branch.inputs | {"source_hidden_states": source, "source_cache": None})


def test_callback_sees_and_replaces_latents(tiny_pipeline):
    steps = []

    def zero_at_the_end(pipe, step, timestep, tensors):
        assert pipe is tiny_pipeline
        steps.append((step, float(timestep)))
        return {"latents": torch.zeros_like(tensors["latents"])} if step == 2 else {}

    result = tiny_pipeline(tiny.video(), PROMPT, callback_on_step_end=zero_at_the_end, output_type="latent").videos
    assert [step for step, _ in steps] == [0, 1, 2]
    assert steps[0][1] == 1000
    assert result.abs().max() == 0


def test_interrupt_leaves_the_other_steps_out(tiny_pipeline):
    steps = []

    def stop_at_once(pipe, step, _timestep, tensors):
        steps.append(step)
        pipe._interrupt = True
        return tensors

    result = tiny_pipeline(tiny.video(), PROMPT, callback_on_step_end=stop_at_once)
    assert steps == [0]
    assert result.videos.shape == (1, 5, 32, 32, 3)
    steps.clear()
    tiny_pipeline(tiny.video(), PROMPT, num_inference_steps=2, callback_on_step_end=lambda *_: steps.append(1) or {})
    assert len(steps) == 2  # the next call starts anew


def test_progress_bar_counts_steps(tiny_pipeline, capsys):
    tiny_pipeline.set_progress_bar_config(disable=False)
    tiny_pipeline(tiny.video(), PROMPT, num_inference_steps=4)
    tiny_pipeline.set_progress_bar_config(disable=True)
    assert "4/4" in capsys.readouterr().err


def test_a_video_larger_than_a_tile_is_tiled_in_both_directions(tiny_pipeline):
    shapes = []
    hooks = [
        part.register_forward_hook(lambda _module, args, _output: shapes.append(tuple(args[0].shape[3:])))
        for part in (tiny_pipeline.vae.encoder, tiny_pipeline.vae.decoder)
    ]
    latents = tiny_pipeline.encode_video(torch.zeros(1, 3, 1, 272, 256))
    decoded = tiny_pipeline.decode_latents(latents)
    small = tiny_pipeline.encode_video(torch.zeros(1, 3, 61, 32, 32))
    for hook in hooks:
        hook.remove()
    assert latents.shape == (1, 16, 1, 34, 32)
    assert decoded.shape == (1, 3, 1, 272, 256)
    assert small.shape == (1, 16, 16, 4, 4)
    assert shapes == [
        (256, 256),
        (256, 64),
        (80, 256),
        (80, 64),
        (32, 32),
        (32, 8),
        (10, 32),
        (10, 8),
        (32, 32),
    ]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_runs_with_a_full_precision_vae(dtype):
    pipe = tiny.pipeline()
    pipe.set_progress_bar_config(disable=True)
    full = pipe(tiny.video(), PROMPT, latents=(noise := torch.randn(1, 16, 2, 4, 4)), guidance_scale=1).videos
    for name in ("text_encoder", "text_encoder_2", "transformer"):
        getattr(pipe, name).to(dtype)
    half = pipe(tiny.video(), PROMPT, latents=noise, guidance_scale=1).videos
    assert pipe.vae.dtype == torch.float32
    assert half.dtype == np.float32
    assert np.abs(full - half).mean() < 0.02
    pipe.to(dtype)
    assert np.isfinite(pipe(tiny.video(), PROMPT, generator=seeded()).videos).all()


def test_half_precision_draws_noise_in_the_text_encoders_dtype():
    pipe = tiny.pipeline()
    pipe.set_progress_bar_config(disable=True)
    pipe.text_encoder.to(torch.float16)
    noise = torch.randn(1, 16, 2, 4, 4, generator=seeded(), dtype=torch.float16)
    drawn = pipe(tiny.video(), PROMPT, generator=seeded(), output_type="latent").videos
    given = pipe(tiny.video(), PROMPT, latents=noise, output_type="latent").videos
    assert torch.equal(drawn, given)


def test_a_prompt_that_is_cut_says_so(tiny_pipeline, caplog):
    tiny_pipeline(tiny.video(), "red " * 100, num_inference_steps=1, output_type="latent")
    assert "256 of its 401 tokens" in caplog.text


BAD_INPUTS = {
    "no source": ({"video": None}, "Give `video`"),
    "two sources": ({"source_latents": torch.zeros(1, 16, 2, 4, 4)}, "not both"),
    "frames": ({"video": tiny.video(frames=4)}, "4n . 1 frames, got 4"),
    "height": ({"video": tiny.video(height=40)}, "divisible by 16, got 40x32"),
    "grey": ({"video": tiny.video()[..., :1]}, "3 colour channels"),
    "not a video": ({"video": "clip.mp4"}, "cannot be read"),
    "frames of two sizes": ({"video": [tiny.video(), tiny.video(height=16)]}, "cannot be read"),
    "empty prompt": ({"prompt": "  "}, "empty"),
    "prompts": ({"prompt": ["a", "b"]}, "2 texts for 1 videos"),
    "negative prompts": ({"negative_prompt": ["a", "b"]}, "`negative_prompt` has 2"),
    "generators": ({"generator": [seeded(), seeded()]}, "2 generators for 1"),
    "steps": ({"num_inference_steps": 0}, "at least 1"),
    "output": ({"output_type": "gif"}, "output_type"),
    "callback": ({"callback_on_step_end_tensor_inputs": ["prompt"]}, "prompt"),
    "latents": ({"latents": torch.zeros(1, 16, 3, 4, 4)}, "one shape"),
    "odd latents": ({"video": None, "latents": torch.zeros(1, 16, 3, 5, 4)}, "multiples of 2"),
    "long prefix": ({"prefix_latents": torch.zeros(1, 16, 2, 4, 4)}, "fewer frames"),
    "wide prefix": ({"prefix_latents": torch.zeros(1, 16, 1, 4, 8)}, "fewer frames"),
}


@pytest.mark.parametrize("name", BAD_INPUTS)
def test_bad_input_is_named(tiny_pipeline, name):
    inputs, message = BAD_INPUTS[name]
    with pytest.raises(InputError, match=message):
        tiny_pipeline(**{"video": tiny.video(), "prompt": PROMPT} | inputs)
