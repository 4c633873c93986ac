"""The edit pipeline: a video and an instruction in, the edited video out.

Shapes: B videos, F frames, H x W pixels; latents (B, 16, T, h, w), T = (F - 1) / 4 + 1, h = H / 8, w = W / 8.
Defaults are those of the published in-context editor (arXiv 2510.14648, its inference code); a model's own
folder overrides them in its model_index.json.
"""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple, Self, TypeAlias

import numpy as np
import torch
from diffusers import AutoencoderKLHunyuanVideo, DiffusionPipeline, FlowMatchEulerDiscreteScheduler
from diffusers.loaders import HunyuanVideoLoraLoaderMixin
from diffusers.utils import BaseOutput
from diffusers.utils.torch_utils import randn_tensor
from diffusers.video_processor import VideoProcessor
from PIL import Image
from transformers import CLIPTextModel, LlamaModel, PreTrainedTokenizerBase

from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.pipelines.adapters import with_adapter
from icve.pipelines.inputs import batched, check_options, latent_shape, video_tensor
from icve.pipelines.models import (
    COMPONENTS,
    HUNYUAN_LICENCE,
    SETTINGS,
    fetch_model,
    load_component,
    open_folder,
    show_licence,
)
from icve.pipelines.text import encode_pooled, encode_prompts, text_overflow

logger = logging.getLogger(__name__)

REFERENCE_NEGATIVE_PROMPT = (
    "Aerial view, aerial view, overexposed, low quality, deformation, a poor composition, bad hands, "
    "bad teeth, bad eyes, bad limbs, distortion"
)
REFERENCE_SIZES = ((61, 768, 480), (61, 480, 768))
HUNYUAN_PIPELINE = "HunyuanVideoPipeline"

Generator: TypeAlias = torch.Generator | list[torch.Generator]
StepCallback: TypeAlias = Callable[["InContextVideoEditPipeline", int, torch.Tensor, dict[str, Any]], dict[str, Any]]


@dataclass
class EditOutput(BaseOutput):
    """`videos`: for "np" (B, F, H, W, 3) and for "pt" (B, F, 3, H, W), float32 in [0, 1]; for "pil" lists of
    frames; for "latent" scaled latents (B, 16, T, h, w)."""

    videos: np.ndarray | torch.Tensor | list[list[Image.Image]]


class Branch(NamedTuple):
    """One side of classifier-free guidance: its name for the step caches and the transformer's arguments."""

    name: str
    inputs: dict[str, Any]


class InContextVideoEditPipeline(DiffusionPipeline, HunyuanVideoLoraLoaderMixin):
    """Edits videos by instruction with an in-context HunyuanVideo transformer.

    The keyword arguments behind the components are the model's own defaults, kept in model_index.json:
    `prompt_template` with `{}` for the prompt and `prompt_crop_start`, the number of its tokens that are
    dropped; `negative_prompt`, `num_inference_steps`, `guidance_scale`, `embedded_guidance_scale` as in
    `__call__`; `text_layer_skip` and `max_text_length` as in `encode_prompts`; `sizes`, the [frames, height,
    width] that the model was made for; `licence`, a sentence shown when the model is loaded, or None.
    The noise schedule's shift is the scheduler's (7 in the reference).
    """

    model_cpu_offload_seq = "text_encoder->text_encoder_2->transformer->vae"
    _callback_tensor_inputs = ["latents"]  # noqa: RUF012 - diffusers declares it so

    def __init__(
        self,
        text_encoder: LlamaModel,
        tokenizer: PreTrainedTokenizerBase,
        text_encoder_2: CLIPTextModel,
        tokenizer_2: PreTrainedTokenizerBase,
        vae: AutoencoderKLHunyuanVideo,
        transformer: InContextHunyuanVideoTransformer3DModel,
        scheduler: FlowMatchEulerDiscreteScheduler,
        prompt_template: str = "{}",
        prompt_crop_start: int = 0,
        negative_prompt: str = REFERENCE_NEGATIVE_PROMPT,
        num_inference_steps: int = 50,
        guidance_scale: float = 6.0,
        embedded_guidance_scale: float = 1.0,
        text_layer_skip: int = 2,
        max_text_length: int = 256,
        sizes: list[list[int]] | tuple[tuple[int, int, int], ...] = REFERENCE_SIZES,
        licence: str | None = None,
    ) -> None:
        super().__init__()
        self.register_modules(
            text_encoder=text_encoder,
            tokenizer=tokenizer,
            text_encoder_2=text_encoder_2,
            tokenizer_2=tokenizer_2,
            vae=vae,
            transformer=transformer,
            scheduler=scheduler,
        )
        self.register_to_config(
            prompt_template=prompt_template,
            prompt_crop_start=prompt_crop_start,
            negative_prompt=negative_prompt,
            num_inference_steps=num_inference_steps,
            guidance_scale=guidance_scale,
            embedded_guidance_scale=embedded_guidance_scale,
            text_layer_skip=text_layer_skip,
            max_text_length=max_text_length,
            sizes=[list(size) for size in sizes],
            licence=licence,
        )
        # HunyuanVideo's own tiles, for encode and decode: 256 x 256 pixels, as diffusers has them, and 64
        # frames (16 in diffusers), so that the reference's 61 have no seam in time. Smaller stays whole.
        self.vae.enable_tiling(tile_sample_min_num_frames=64, tile_sample_stride_num_frames=48)
        self.video_processor = VideoProcessor(do_resize=False, do_convert_rgb=True)
        self._interrupt = False

    @classmethod
    def from_pretrained(  # type: ignore[override, unused-ignore]
        cls,
        model: str | Path,
        *,
        torch_dtype: torch.dtype | dict[str, torch.dtype] = torch.float32,
        revision: str | None = None,
        cache_dir: str | Path | None = None,
        token: str | bool | None = None,
        local_files_only: bool = False,
        **overrides: Any,
    ) -> Self:
        """Loads a bundled model ("mini"), a folder, or a Hugging Face id, and shows its licence on stderr.

        `model` is a folder that `save_pretrained` wrote, or a HunyuanVideo text-to-video model in diffusers'
        layout (whose prompt template is not used: the reference editor has none), or an adapter folder
        (`icve.pipelines.adapters`): then its base is loaded and the LoRA put on it, active and not fused.
        `torch_dtype` is one for all components, or one for each with "default" for the others (float32 when
        absent). `overrides` are components, used instead of the model's own (`transformer=`), or defaults of
        `__init__`. The rest is for downloads from the hub.

        Raises `InputError` for an unknown model, and for a checkpoint with a missing, unknown or misshapen
        tensor.
        """
        if unknown := set(overrides) - set(COMPONENTS) - set(SETTINGS):
            raise TypeError(f"from_pretrained() got unexpected arguments: {', '.join(sorted(unknown))}")
        hub = {
            "revision": revision,
            "cache_dir": cache_dir,
            "token": token,
            "local_files_only": local_files_only,
        }
        folder = fetch_model(model, skip=set(overrides), **hub)
        files = open_folder(folder, (cls.__name__, HUNYUAN_PIPELINE), skip=set(overrides), **hub)
        index = files.index
        dtypes = torch_dtype if isinstance(torch_dtype, dict) else {"default": torch_dtype}
        default_dtype = dtypes.get("default", torch.float32)
        arguments = {key: index[key] for key in SETTINGS if key in index} | overrides
        if index["_class_name"] == HUNYUAN_PIPELINE:
            arguments.setdefault("licence", HUNYUAN_LICENCE)
        for name in COMPONENTS:
            if name not in arguments:
                arguments[name] = load_component(files.folder, name, dtypes.get(name, default_dtype))
        arguments["transformer"] = with_adapter(arguments["transformer"], files)
        pipe = cls(**arguments)
        pipe.register_to_config(_name_or_path=str(model))
        if pipe.config.licence:
            show_licence(pipe.config.licence)
        return pipe

    @property
    def interrupt(self) -> bool:
        """Set `pipe._interrupt = True` in a step callback to leave the remaining steps out."""
        return self._interrupt

    @torch.no_grad()
    def encode_video(self, video_BCFHW: torch.Tensor) -> torch.Tensor:
        """Scaled latents (B, 16, T, h, w), the mode of the VAE's posterior, of videos in [-1, 1]."""
        pixels = video_BCFHW.to(self._execution_device, self.vae.dtype)
        return self.vae.encode(pixels).latent_dist.mode() * self.vae.config.scaling_factor

    @torch.no_grad()
    def decode_latents(self, latents_BCTHW: torch.Tensor) -> torch.Tensor:
        """Videos (B, 3, F, H, W) in [-1, 1] of scaled latents."""
        latents = latents_BCTHW.to(self._execution_device, self.vae.dtype) / self.vae.config.scaling_factor
        return self.vae.decode(latents, return_dict=False)[0].clamp(-1, 1)

    @torch.no_grad()
    def encode_text(self, prompts: list[str]) -> dict[str, torch.Tensor]:
        """The transformer's text arguments for `prompts`, embeddings in the text encoders' own dtype."""
        config, device = self.config, self._execution_device
        embeds, mask = encode_prompts(
            self.tokenizer,
            self.text_encoder,
            prompts,
            template=config.prompt_template,
            crop_start=config.prompt_crop_start,
            max_length=config.max_text_length,
            layer_skip=config.text_layer_skip,
            device=device,
        )
        pooled = encode_pooled(self.tokenizer_2, self.text_encoder_2, prompts, device)
        return {"encoder_hidden_states": embeds, "encoder_attention_mask": mask, "pooled_projections": pooled}

    @torch.no_grad()
    def __call__(
        self,
        video: Any = None,
        prompt: str | list[str] = "",
        negative_prompt: str | list[str] | None = None,
        num_inference_steps: int | None = None,
        guidance_scale: float | None = None,
        embedded_guidance_scale: float | None = None,
        source_latents: torch.Tensor | None = None,
        prefix_latents: torch.Tensor | None = None,
        latents: torch.Tensor | None = None,
        generator: Generator | None = None,
        output_type: str = "np",
        callback_on_step_end: StepCallback | None = None,
        callback_on_step_end_tensor_inputs: list[str] | None = None,
        return_dict: bool = True,
    ) -> EditOutput | tuple[Any]:
        """Edits `video` as `prompt` says. What is None is the model's default (`pipe.config`).

        Args:
            video: what diffusers' `VideoProcessor.preprocess_video` takes, uint8 too; see `video_tensor`. It
                must have 4n + 1 frames and sides divisible by 16 (the factors of the VAE and of the patches).
            prompt: the instruction, one for all videos or one for each.
            negative_prompt: what to move away from; used when `guidance_scale` > 1.
            num_inference_steps: Euler steps, at least 1.
            guidance_scale: classifier-free guidance; at most 1 means none, and half the work.
            embedded_guidance_scale: the guidance that a guidance-distilled transformer takes as an input.
            source_latents: scaled latents of the source (B, 16, T, h, w) instead of `video`. With neither,
                the transformer draws a video from text, starting from `latents`.
            prefix_latents: (B, 16, K, h, w), K < T: the result's first K latent frames, when they are known
                already (the end of the window before).
            latents: the initial noise (B, 16, T, h, w), drawn when None.
            generator: one generator, or one for each video: then a batch gives what single calls give.
            output_type: "np", "pt", "pil" or "latent"; see `EditOutput`.
            callback_on_step_end: called as (pipe, step, timestep, {"latents": ...}); returns a dict, which
                may hold other latents to go on with.
            callback_on_step_end_tensor_inputs: the tensors that the callback gets: ["latents"], the default.
            return_dict: False returns a tuple with the videos.

        Raises `InputError` (a `ValueError`) when an input cannot be used.
        """
        config, device = self.config, self._execution_device
        steps = config.num_inference_steps if num_inference_steps is None else num_inference_steps
        scale = config.guidance_scale if guidance_scale is None else guidance_scale
        embedded = config.embedded_guidance_scale if embedded_guidance_scale is None else embedded_guidance_scale
        tensor_inputs = callback_on_step_end_tensor_inputs
        if tensor_inputs is None:
            tensor_inputs = self._callback_tensor_inputs
        check_options(steps, output_type, tensor_inputs, self._callback_tensor_inputs)
        self._check_prompts([prompt] if isinstance(prompt, str) else prompt)
        patch = self.transformer.config.patch_size
        self._interrupt = False

        if video is not None:
            if source_latents is not None:
                raise InputError("Give `video` or `source_latents`, not both.")
            side = self.vae.spatial_compression_ratio * patch
            pixels_BCFHW = video_tensor(self.video_processor, video, self.vae.temporal_compression_ratio, side)
            source_latents = self.encode_video(pixels_BCFHW)
        shape = latent_shape(source_latents, latents, prefix_latents, self.transformer.config.in_channels, patch)
        if isinstance(generator, list) and len(generator) != shape[0]:
            raise InputError(f"`generator` has {len(generator)} generators for {shape[0]} videos; give one for each.")

        texts = {"cond": self.encode_text(batched("prompt", prompt, shape[0]))}
        if scale > 1:
            negative = config.negative_prompt if negative_prompt is None else negative_prompt
            texts["uncond"] = self.encode_text(batched("negative_prompt", negative, shape[0]))
        if latents is None:
            noise_dtype = texts["cond"]["encoder_hidden_states"].dtype
            latents = randn_tensor(shape, generator=generator, device=device, dtype=noise_dtype)
        # the transformer runs in its own dtype, everything between its calls in float32
        noise = latents.to(device, torch.float32)
        prefix = None if prefix_latents is None else prefix_latents.to(device, torch.float32)
        branches = [self._branch(name, text, source_latents, embedded) for name, text in texts.items()]

        latents = noise
        self.scheduler.set_timesteps(sigmas=np.linspace(1, 0, steps + 1)[:-1], device=device)
        self.scheduler.set_begin_index(0)
        with self.progress_bar(total=steps) as progress_bar:
            for i, t in enumerate(self.scheduler.timesteps):
                if self._interrupt:
                    continue
                if prefix is not None:
                    latents = _with_prefix(latents, prefix, noise, self.scheduler.sigmas[i])
                velocity = self._guided_velocity(branches, latents, t, scale)
                latents = self.scheduler.step(velocity, t, latents, return_dict=False)[0]
                if callback_on_step_end is not None:
                    tensors = {"latents": latents} if "latents" in tensor_inputs else {}
                    latents = callback_on_step_end(self, i, t, tensors).get("latents", latents)
                progress_bar.update()
        if prefix is not None:
            latents = _with_prefix(latents, prefix, noise, 0.0)

        videos = latents
        if output_type != "latent":
            videos = self.video_processor.postprocess_video(self.decode_latents(latents).float(), output_type)
        self.maybe_free_model_hooks()
        return EditOutput(videos=videos) if return_dict else (videos,)

    def _branch(
        self, name: str, text: dict[str, torch.Tensor], source: torch.Tensor | None, embedded_guidance: float
    ) -> Branch:
        """What does not change from step to step in one guidance branch, in the transformer's dtype."""
        dtype = self.transformer.dtype
        inputs: dict[str, Any] = {key: x if x.dtype == torch.bool else x.to(dtype) for key, x in text.items()}
        pooled = inputs["pooled_projections"]
        if self.transformer.config.guidance_embeds:
            inputs["guidance"] = pooled.new_full((len(pooled),), embedded_guidance) * 1000
        source = None if source is None else source.to(pooled.device, dtype)
        if source is not None and self.transformer.can_cache_source:
            inputs["source_cache"] = self.transformer.encode_source(source, pooled, inputs.get("guidance"))
            source = None
        return Branch(name, inputs | {"source_hidden_states": source})

    def _guided_velocity(
        self, branches: list[Branch], latents: torch.Tensor, timestep: torch.Tensor, scale: float
    ) -> torch.Tensor:
        """The velocity in float32, one pass a branch so that each has its own text length."""
        velocities = []
        for branch in branches:
            with self.transformer.cache_context(branch.name):
                velocity = self.transformer(
                    hidden_states=latents.to(self.transformer.dtype),
                    timestep=timestep.expand(len(latents)),
                    return_dict=False,
                    **branch.inputs,
                )[0]
            velocities.append(velocity.float())
        if len(velocities) == 1:
            return velocities[0]
        cond, uncond = velocities
        return uncond + scale * (cond - uncond)

    def _check_prompts(self, prompts: list[str]) -> None:
        for prompt in prompts:
            if not prompt.strip():
                raise InputError("`prompt` is empty; say what to edit.")
            cut = text_overflow(
                self.tokenizer,
                prompt,
                self.config.prompt_template,
                self.config.max_text_length,
                self.config.prompt_crop_start,
            )
            if cut is not None:
                logger.warning("The prompt is too long: %d of its %d tokens are used.", *cut)


def _with_prefix(
    latents: torch.Tensor, prefix: torch.Tensor, noise: torch.Tensor, sigma: torch.Tensor | float
) -> torch.Tensor:
    """`latents`, the first frames replaced by the known ones, noised to `sigma` with the run's own noise."""
    frames = prefix.shape[2]
    return torch.cat([(1 - sigma) * prefix + sigma * noise[:, :, :frames], latents[:, :, frames:]], dim=2)
