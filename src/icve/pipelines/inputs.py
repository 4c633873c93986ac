"""What a caller of the edit pipeline may give, checked and made uniform: videos, texts, latents."""

from typing import Any

import numpy as np
import torch
from diffusers.video_processor import VideoProcessor

from icve.errors import InputError

OUTPUT_TYPES = ("np", "pt", "pil", "latent")


def video_tensor(processor: VideoProcessor, video: Any, temporal: int, side: int) -> torch.Tensor:
    """(B, 3, F, H, W) float32 in [-1, 1] from what `VideoProcessor.preprocess_video` takes, or from uint8.

    Arrays are (F, H, W, 3) or (B, F, H, W, 3), tensors (F, 3, H, W) or (B, F, 3, H, W), float in [0, 1] or
    uint8 in [0, 255]; or a list of PIL frames; or a list of any of these, all of one size.

    Raises `InputError` for anything else, and unless F is a multiple of `temporal` plus 1 and H and W are
    multiples of `side`.
    """
    try:
        video_BCFHW = processor.preprocess_video(_unit_range(video)).float()
    except (ValueError, TypeError, IndexError, RuntimeError) as error:
        raise InputError(f"`video` cannot be read as RGB frames of one size: {error}") from error
    channels, frames, height, width = video_BCFHW.shape[1:]
    if channels != 3:
        raise InputError(f"`video` must have 3 colour channels, got {channels}.")
    if (frames - 1) % temporal:
        raise InputError(f"`video` must have {temporal}n + 1 frames, got {frames}; cut or pad it.")
    if height % side or width % side:
        raise InputError(f"`video` must have sides divisible by {side}, got {height}x{width}; resize or pad it.")
    return video_BCFHW


def batched(name: str, value: str | list[str], batch_size: int) -> list[str]:
    """A list of `batch_size` texts; one text is repeated."""
    texts = [value] if isinstance(value, str) else list(value)
    if len(texts) not in (1, batch_size):
        raise InputError(f"`{name}` has {len(texts)} texts for {batch_size} videos; give one, or one for each.")
    return texts * (batch_size // len(texts))


def latent_shape(
    source: torch.Tensor | None,
    latents: torch.Tensor | None,
    prefix: torch.Tensor | None,
    channels: int,
    patch: int,
) -> tuple[int, ...]:
    """The shape (B, channels, T, h, w) of an edit's latents, on which all that was given must agree."""
    given = {"source_latents": source, "latents": latents}
    shapes = {name: tuple(tensor.shape) for name, tensor in given.items() if tensor is not None}
    if not shapes:
        raise InputError("Give `video` or `source_latents`; or `latents` alone, to draw a video from text.")
    if len(set(shapes.values())) > 1:
        raise InputError(f"The latents do not have one shape: {shapes}.")
    shape = next(iter(shapes.values()))
    if len(shape) != 5 or shape[1] != channels or shape[3] % patch or shape[4] % patch:
        raise InputError(f"Latents must be (B, {channels}, T, h, w), h and w multiples of {patch}, got {shape}.")
    if prefix is not None:
        got = tuple(prefix.shape)
        if len(got) != 5 or got[:2] + got[3:] != shape[:2] + shape[3:] or not 0 < got[2] < shape[2]:
            raise InputError(f"`prefix_latents` must be latents like {shape} with fewer frames, got {got}.")
    return shape


def check_options(steps: int, output_type: str, tensor_inputs: list[str], known_tensors: list[str]) -> None:
    """Raises `InputError` for a number of steps, an output type or callback tensors that do not exist."""
    if steps < 1:
        raise InputError(f"`num_inference_steps` must be at least 1, got {steps}.")
    if output_type not in OUTPUT_TYPES:
        raise InputError(f"`output_type` must be one of {OUTPUT_TYPES}, got {output_type!r}.")
    if unknown := sorted(set(tensor_inputs) - set(known_tensors)):
        raise InputError(f"`callback_on_step_end_tensor_inputs` may hold {known_tensors}, got {unknown}.")


def _unit_range(video: Any) -> Any:
    """8-bit frames to [0, 1]; diffusers' processor takes every array for float in that range."""
    if isinstance(video, list):
        return [_unit_range(frame) for frame in video]
    if isinstance(video, np.ndarray) and video.dtype == np.uint8:
        return video.astype(np.float32) / 255
    if isinstance(video, torch.Tensor) and video.dtype == torch.uint8:
        return video.float() / 255
    return video
