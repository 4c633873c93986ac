"""Trains an in-context editor: flow matching on the target's tokens, the clean source in context at timestep 0.

One step serves the text-to-video base (no source), stage 1 (unpaired clips) and stage 2 (edit pairs): a stage is data
and configuration.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler
from torch import Tensor

from icve.errors import InputError
from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.pipelines.edit import InContextVideoEditPipeline
from icve.pipelines.text import encode_pooled, encode_prompts
from icve.training.config import EditorConfig, ModelConfig
from icve.training.convolutions import use_fast_convolutions
from icve.training.latents import Batch, LatentStream
from icve.training.loop import Run
from icve.training.naming import Naming
from icve.training.precision import MasterOptimizer
from icve.training.text_encoders import build_text_encoders

DTYPE = torch.bfloat16


def build_pipeline(model: ModelConfig, autoencoder: Path) -> InContextVideoEditPipeline:
    """A pipeline with an untrained transformer and text side around a trained autoencoder."""
    tokenizer, llama, clip = build_text_encoders(model.text_width, model.text_layers, model.pooled_width)
    transformer = InContextHunyuanVideoTransformer3DModel(
        num_attention_heads=model.heads,
        attention_head_dim=model.head_dim,
        num_layers=model.dual_blocks,
        num_single_layers=model.single_blocks,
        num_refiner_layers=1,
        patch_size=model.patch_size,
        guidance_embeds=False,
        text_embed_dim=model.text_width,
        pooled_projection_dim=model.pooled_width,
        rope_axes_dim=tuple(model.rope_axes_dim),
        source_attention=model.source_attention,
    )
    return InContextVideoEditPipeline(
        text_encoder=llama,
        tokenizer=tokenizer,
        text_encoder_2=clip,
        tokenizer_2=tokenizer,
        vae=AutoencoderKLHunyuanVideo.from_pretrained(autoencoder),
        transformer=transformer,
        scheduler=FlowMatchEulerDiscreteScheduler(shift=model.flow_shift),
        negative_prompt="",
        num_inference_steps=model.sampling_steps,
        guidance_scale=model.guidance_scale,
        text_layer_skip=0,
        max_text_length=64,
        sizes=[list(size) for size in model.sizes],
        licence="Apache-2.0",
    )


@dataclass
class InContextFlowMatching:
    """The training step: x_s = (1 - s) target + s noise, velocity noise - target, loss on target tokens."""

    pipe: InContextVideoEditPipeline
    config: EditorConfig
    naming: Naming | None = None

    def loss(self, batch: Batch, generator: torch.Generator) -> tuple[Tensor, dict[str, float]]:
        """The scalar loss of a batch and what to log."""
        c = self.config
        size = len(batch.target)
        target = self._per_draw(batch.target)
        sigma_N = self.sample_sigma(size, generator)
        noise = torch.randn(target.shape, generator=generator)
        sigma = sigma_N.view(-1, 1, 1, 1, 1)
        noisy = (1 - sigma) * target + sigma * noise
        dropped = torch.rand(size, generator=generator) < c.text_dropout
        prompts = ["" if drop else text for drop, text in zip(dropped.tolist(), batch.texts, strict=True)]
        settings = self.pipe.config
        embeds, mask = encode_prompts(
            self.pipe.tokenizer,
            self.pipe.text_encoder,
            prompts,
            template=settings.prompt_template,
            crop_start=settings.prompt_crop_start,
            max_length=settings.max_text_length,
            layer_skip=settings.text_layer_skip,
        )
        pooled = encode_pooled(self.pipe.tokenizer_2, self.pipe.text_encoder_2, prompts)
        guidance = None
        if self.pipe.transformer.config.guidance_embeds:
            # The distilled base's guidance input stays at the value that editing uses.
            guidance = torch.full((size,), 1000.0 * settings.embedded_guidance_scale)
        velocity = self.pipe.transformer(
            hidden_states=noisy.to(DTYPE),
            **self._source(batch, pooled, guidance),
            timestep=sigma_N * 1000,
            encoder_hidden_states=self._per_draw(embeds),
            encoder_attention_mask=self._per_draw(mask),
            pooled_projections=self._per_draw(pooled),
            guidance=None if guidance is None else self._per_draw(guidance),
            return_dict=False,
        )[0].float()
        error = (velocity - (noise - target)).square()
        plain = error.detach().mean()
        if batch.source is not None and c.changed_weight != 1:
            # Most of an edit is a copy; without this weight the named thing is a small part of the loss.
            changed = ((batch.target - batch.source).abs().mean(1, keepdim=True) > c.changed_threshold).float()
            weight = self._per_draw(1 + (c.changed_weight - 1) * changed)
            error = error * weight / weight.mean()
        result = error.mean()
        values = {"loss": plain.item(), "weighted": result.item()}
        if self.naming is not None and batch.target_names is not None:
            naming = self.naming.loss(self._per_draw(batch.target_names), batch.source_names)
            values["naming"] = naming.item()
            result = result + c.naming_weight * naming
        return result, values

    def _per_draw(self, per_sample: Tensor) -> Tensor:
        return per_sample.repeat_interleave(self.config.draws, dim=0)

    def _source(self, batch: Batch, pooled: Tensor, guidance: Tensor | None) -> dict[str, Any]:
        """What the transformer is given of the source: with several draws, its keys and values, computed once."""
        if batch.source is None:
            return {"source_hidden_states": None}
        source = batch.source.to(DTYPE)
        if self.config.draws == 1:
            return {"source_hidden_states": source}
        cache = self.pipe.transformer.encode_source(source, pooled, guidance)
        cache = [(self._per_draw(key), self._per_draw(value)) for key, value in cache]
        return {"source_hidden_states": None, "source_cache": cache}

    def sample_sigma(self, size: int, generator: torch.Generator) -> Tensor:
        """Noise levels in (0, 1), (size * draws,): logit-normal, a tenth of them uniform so that no level is forgotten
        (as LTX does). The draws of a sample come from as many equal parts of the distribution."""
        draws = self.config.draws
        part = torch.arange(draws).repeat(size)
        uniform = ((part + torch.rand(size * draws, generator=generator)) / draws).clamp(1e-6, 1 - 1e-6)
        normal = torch.sigmoid(torch.special.ndtri(uniform) + self.config.logit_mean)
        chosen = torch.rand(size * draws, generator=generator) < 0.1
        return torch.where(chosen, uniform, normal).clamp(1e-3, 1 - 1e-3)


def train_editor(config: EditorConfig) -> None:
    """Run one stage; its result is OUTPUT/model, a folder that `icve edit --model` takes."""
    torch.manual_seed(config.seed)
    if config.start is not None:
        pipe = InContextVideoEditPipeline.from_pretrained(config.start)
    elif config.autoencoder is not None:
        pipe = build_pipeline(config.model, config.autoencoder)
    else:
        raise InputError("a new model needs an autoencoder: set `autoencoder` to its folder, or `start` to a model's.")
    if config.draws > 1 and config.data != "text_to_video" and pipe.transformer.config.source_attention != "self":
        raise InputError(f"draws: {config.draws} needs a model whose source_attention is self; set draws: 1.")
    pipe.to(DTYPE)
    pipe.vae.to(memory_format=torch.channels_last_3d)
    use_fast_convolutions(pipe.vae)
    pipe.set_progress_bar_config(disable=True)
    trained = [pipe.transformer, pipe.text_encoder, pipe.text_encoder_2]
    for encoder in (pipe.text_encoder, pipe.text_encoder_2):
        encoder.get_input_embeddings().weight.requires_grad_(False)
    naming = None
    if config.naming_weight:
        naming = Naming(pipe.transformer).to(DTYPE)
        trained.append(naming)
    optimizer = MasterOptimizer(
        trained, kind=config.optimizer, lr=config.lr, weight_decay=config.weight_decay, ema=config.ema
    )
    run = Run(config, optimizer)
    method = InContextFlowMatching(pipe, config, naming)
    stream = LatentStream(pipe.vae, config, pipe.transformer.config.patch_size)
    for module in trained:
        module.train()
    for step, phase in run.steps(config.phases):
        batch = stream.batch(phase, step)
        generator = torch.Generator().manual_seed(config.seed * 10**7 + step)
        loss, values = method.loss(batch, generator)
        loss.backward()
        norm = optimizer.step(run.learning_rate(step), clip=config.clip)
        run.log(**values, norm=norm)
        if run.checkpoint_due(step):
            run.save(step)
            optimizer.load_averages()
            pipe.save_pretrained(run.folder / "model")
            optimizer.load_masters()
    optimizer.load_averages()
    run.finish(pipe, figures={}, behind=[config.autoencoder, config.start])
