"""The pipeline against the reference's procedure, written out again from its description."""

from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from icve.pipelines.edit import REFERENCE_NEGATIVE_PROMPT
from tests import tiny

GOLDEN_SCHEDULE = Path(__file__).parents[1] / "golden" / "icve_reference_schedule.safetensors"


def llama_states(pipe, prompt):
    ids = pipe.tokenizer(prompt, padding="max_length", max_length=256, truncation=True, return_tensors="pt")
    output = pipe.text_encoder(ids.input_ids, attention_mask=ids.attention_mask, output_hidden_states=True)
    return output.hidden_states[-3], ids.attention_mask


def clip_pooled(pipe, prompt):
    ids = pipe.tokenizer_2(prompt, padding="max_length", max_length=77, truncation=True, return_tensors="pt")
    return pipe.text_encoder_2(ids.input_ids).pooler_output


def by_hand(pipe, video_FHWC, prompt, negative, steps, scale, embedded, seed):
    """50 Euler steps of shift 7 with two guidance passes: final latents and the video in [0, 1]."""
    pixels = torch.from_numpy(video_FHWC).permute(3, 0, 1, 2)[None].float() / 127.5 - 1
    source = pipe.vae.encode(pixels).latent_dist.mode() * 0.476986
    latents = torch.randn(source.shape, generator=torch.Generator().manual_seed(seed))
    straight = torch.linspace(1, 0, steps + 1, dtype=torch.float64)
    sigmas = 7 * straight / (1 + 6 * straight)
    for now, then in pairwise(sigmas):
        velocity = {}
        for text in (prompt, negative):
            states, mask = llama_states(pipe, text)
            velocity[text] = pipe.transformer(
                hidden_states=latents,
                source_hidden_states=source,
                timestep=(1000 * now).float()[None],
                encoder_hidden_states=states,
                encoder_attention_mask=mask,
                pooled_projections=clip_pooled(pipe, text),
                guidance=torch.tensor([1000.0 * embedded]),
            ).sample
        guided = velocity[negative] + scale * (velocity[prompt] - velocity[negative])
        latents = latents + (then - now).float() * guided
    video = pipe.vae.decode(latents / 0.476986).sample
    return latents, (video[0] / 2 + 0.5).clamp(0, 1).permute(1, 2, 3, 0)


@pytest.mark.parametrize(
    ("options", "negative", "scale", "embedded"),
    [
        ({}, REFERENCE_NEGATIVE_PROMPT, 6.0, 1.0),
        (
            {"negative_prompt": "ugly", "guidance_scale": 2.5, "embedded_guidance_scale": 3.0},
            "ugly",
            2.5,
            3.0,
        ),
    ],
    ids=["defaults", "overridden"],
)
@torch.no_grad()
def test_two_pass_guidance_equals_the_procedure_by_hand(tiny_pipeline, options, negative, scale, embedded):
    video, prompt = tiny.video(), "Make the square red"
    latents, frames = by_hand(tiny_pipeline, video, prompt, negative, 3, scale, embedded, seed=5)

    def edit(output_type):
        generator = torch.Generator().manual_seed(5)
        return tiny_pipeline(video, prompt, generator=generator, output_type=output_type, **options).videos

    assert (edit("latent") - latents).abs().max() < 1e-4
    assert np.abs(edit("np")[0] - frames.numpy()).max() < 1e-4


@pytest.mark.parametrize(("shift", "steps"), [(7.0, 50), (5.0, 20), (1.0, 4)])
def test_the_schedule_is_the_reference_schedule(tiny_pipeline, shift, steps):
    golden = load_file(GOLDEN_SCHEDULE)
    timesteps = []

    def keep(_pipe, _step, timestep, tensors):
        timesteps.append(timestep)
        return tensors

    tiny_pipeline.scheduler.set_shift(shift)
    try:
        tiny_pipeline(
            tiny.video(frames=1, height=16, width=16),
            "Make it red",
            num_inference_steps=steps,
            guidance_scale=1,
            output_type="latent",
            callback_on_step_end=keep,
        )
    finally:
        tiny_pipeline.scheduler.set_shift(7.0)
    name = f"shift{shift}.steps{steps}"
    assert (tiny_pipeline.scheduler.sigmas - golden[f"sigmas.{name}"]).abs().max() < 1e-6
    assert ((torch.stack(timesteps) - golden[f"timesteps.{name}"]) / 1000).abs().max() < 1e-6
