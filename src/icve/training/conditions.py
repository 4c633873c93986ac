"""What the transformer is given besides noise: latents and text, from disk as they are or encoded in the step."""

from dataclasses import dataclass
from typing import Any

import torch
from diffusers import AutoencoderKLHunyuanVideo
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence
from transformers import CLIPTextModel, LlamaModel, PreTrainedTokenizerBase

from icve.data.samples import Batch, TextEmbedding
from icve.errors import InputError
from icve.pipelines.text import encode_pooled, encode_prompts

ENCODE_BATCH = 32  # clips that the autoencoder takes at once


@dataclass
class Conditions:
    """The frozen (or, the text encoders of a small model, trained) parts around the transformer.

    `settings` are the model's own defaults (`icve.pipelines.models.SETTINGS`): how prompts are read.
    `vae`, `text_encoder` and `text_encoder_2` may be None where the data holds what they would compute.
    `empty` is the embedding of the empty prompt, for text dropout of embedded texts.
    """

    settings: dict[str, Any]
    tokenizer: PreTrainedTokenizerBase
    tokenizer_2: PreTrainedTokenizerBase
    text_encoder: LlamaModel | None
    text_encoder_2: CLIPTextModel | None
    vae: AutoencoderKLHunyuanVideo | None
    spatial_compression: int
    guidance_embeds: bool
    device: torch.device
    dtype: torch.dtype
    empty: TextEmbedding | None = None

    def latents(self, batch: Batch) -> tuple[Tensor, Tensor | None]:
        """Scaled latents (B, C, T, h, w), float32, of target and source."""
        if batch.target.dtype != torch.uint8:
            source = None if batch.source is None else batch.source.to(self.device, torch.float32)
            return batch.target.to(self.device, torch.float32), source
        if batch.source is None:
            return self.encode(batch.target), None
        target, source = self.encode(torch.cat([batch.target, batch.source])).chunk(2)
        return target, source

    @torch.no_grad()
    def encode(self, clips_BFHWC: Tensor) -> Tensor:
        """Clips uint8 (B, F, H, W, 3) to scaled latents (B, C, T, h, w), float32."""
        if self.vae is None:
            raise InputError("the data holds pixels and no autoencoder is loaded; run `icve data encode` on it first.")
        parts = []
        for clips in clips_BFHWC.split(ENCODE_BATCH):
            video = clips.to(self.device).permute(0, 4, 1, 2, 3).float() / 127.5 - 1
            video = video.to(self.vae.dtype, memory_format=torch.channels_last_3d)  # as `convolutions.py` says why
            parts.append(self.vae.encode(video).latent_dist.mode().float())
        return torch.cat(parts) * self.vae.config.scaling_factor

    def text(self, batch: Batch, texts: list[str], dropped: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
        """Token states (B, L, D), their mask (B, L) and pooled text (B, P); gradients flow where encoders are trained.

        Args:
            texts: what to encode, the dropped ones empty already; read only where the batch holds no embeddings.
        """
        if batch.text_embeddings is not None:
            return self._embedded(batch.text_embeddings, dropped)
        if self.text_encoder is None or self.text_encoder_2 is None:
            raise InputError("the data holds plain text and no text encoder is loaded; run `icve data encode` first.")
        s = self.settings
        trained = any(p.requires_grad for p in self.text_encoder.parameters())
        with torch.set_grad_enabled(trained and torch.is_grad_enabled()):
            states, mask = encode_prompts(
                self.tokenizer,
                self.text_encoder,
                texts,
                template=s["prompt_template"],
                crop_start=s["prompt_crop_start"],
                max_length=s["max_text_length"],
                layer_skip=s["text_layer_skip"],
                device=self.device,
            )
            pooled = encode_pooled(self.tokenizer_2, self.text_encoder_2, texts, self.device)
        return states.to(self.dtype), mask, pooled.to(self.dtype)

    def _embedded(self, embeddings: list[TextEmbedding], dropped: list[bool]) -> tuple[Tensor, Tensor, Tensor]:
        if any(dropped) and self.empty is None:
            raise InputError(
                "text dropout needs the empty prompt's embedding; run `icve data encode` on the set again."
            )
        chosen = [self.empty if drop else e for e, drop in zip(embeddings, dropped, strict=True)]
        states = pad_sequence([e.states for e in chosen if e is not None], batch_first=True)
        lengths = torch.tensor([len(e.states) for e in chosen if e is not None])
        mask = torch.arange(states.shape[1]) < lengths[:, None]
        pooled = torch.stack([e.pooled for e in chosen if e is not None])
        return states.to(self.device, self.dtype), mask.to(self.device), pooled.to(self.device, self.dtype)

    def guidance(self, count: int) -> Tensor | None:
        """The distilled base's guidance input, (B,), at the value that editing uses; None for models without."""
        if not self.guidance_embeds:
            return None
        return torch.full((count,), 1000.0 * self.settings["embedded_guidance_scale"], device=self.device)
