"""Pipelines as the plain functions that `evaluate_edits` takes."""

from collections.abc import Callable

import numpy as np
import torch

from icve.evaluation.loop import Editor
from icve.pipelines.edit import InContextVideoEditPipeline
from icve.pipelines.preservation import preserve
from icve.video import Fit

Array = np.ndarray


def pipeline_editor(
    pipe: InContextVideoEditPipeline, *, steps: int | None = None, guidance: float | None = None
) -> Editor:
    """An editor with one noise generator for each sample; `steps` and `guidance` are the model's own when None."""

    def edit(sources: list[Array], instructions: list[str], seeds: list[int]) -> list[Array]:
        result = pipe(
            video=sources,
            prompt=instructions,
            generator=[torch.Generator().manual_seed(seed) for seed in seeds],
            num_inference_steps=steps,
            guidance_scale=guidance,
        )
        return list(result.videos)

    return edit


def preserving(pipe: InContextVideoEditPipeline) -> Callable[[Array, Array], Array]:
    """(source, output) to the output with the source's pixels wherever nothing changed, as `icve edit` writes it."""

    def compose(source: Array, output: Array) -> Array:
        pixels_BCFHW = pipe.video_processor.preprocess_video(source.astype(np.float32) / 255)
        decoded = pipe.decode_latents(pipe.encode_video(pixels_BCFHW)).float()
        round_trip = pipe.video_processor.postprocess_video(decoded, "np")[0]
        size = source.shape[1], source.shape[2]
        return preserve(source, output, round_trip, Fit(size, size))

    return compose
