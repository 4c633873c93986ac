"""The in-context HunyuanVideo transformer: predicts the edited video's velocity beside the clean source video."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, Literal

import torch
import torch.distributed as dist
from diffusers.configuration_utils import register_to_config
from diffusers.models.modeling_outputs import Transformer2DModelOutput
from diffusers.models.transformers.transformer_hunyuan_video import (
    HunyuanVideoPatchEmbed,
    HunyuanVideoTransformer3DModel,
)
from diffusers.utils import apply_lora_scale
from torch import Tensor, nn

from icve.models.attention import KeyValue
from icve.models.blocks import InContextSingleTransformerBlock, InContextTransformerBlock
from icve.models.context_parallel import ContextParallel

SourceCache = list[KeyValue]
"""The source's keys and values in every block, as `encode_source` returns them."""

SOURCE_OPTIONS = {
    "source_attention": ("full", "self"),
    "source_timestep": ("zero", "target"),
    "source_positions": ("same", "shifted"),
    "type_embedding": (False, True),
    "source_entry": ("context", "channels", "none"),
}
"""How the source enters, and the choices; the first of each is the paper's."""

TARGET, SOURCE = 0, 1  # rows of the type embedder


class InContextHunyuanVideoTransformer3DModel(HunyuanVideoTransformer3DModel):
    """HunyuanVideo with the source video's tokens in context.

    No parameter is added (without `type_embedding`): every checkpoint fits.

    Takes the constructor arguments of diffusers' `HunyuanVideoTransformer3DModel`, of which `image_condition_type`
    must stay None, and

    Args:
        source_attention: "full" lets source tokens attend to all tokens (the paper, and the only choice for released
            weights); "self" to source tokens only, so that `encode_source` serves all denoising steps of an edit.
        source_timestep: The timestep that modulates source tokens: "zero" (the paper) or the "target"'s own.
        source_positions: Rotary positions of the source: the "same" as the target's (the paper), or "shifted" in time
            behind the target's T latent frames, at T to 2T - 1.
        type_embedding: Add one of two learned vectors to target and to source tokens, zero in a new model. It is
            `with_options` that gives it to weights that were trained without.
        source_entry: "context" concatenates the source's tokens to the target's (the paper). For comparisons:
            "channels" concatenates its latents to the noised target's as further channels of the patch embedding, with
            no tokens of its own (the options above are then without effect), and "none" leaves it out.
    """

    _no_split_modules = [  # noqa: RUF012 - an instance never changes it
        "InContextTransformerBlock",
        "InContextSingleTransformerBlock",
        "HunyuanVideoPatchEmbed",
        "HunyuanVideoTokenRefiner",
    ]
    _repeated_blocks = ["InContextTransformerBlock", "InContextSingleTransformerBlock"]  # noqa: RUF012

    @register_to_config
    def __init__(
        self,
        in_channels: int = 16,
        out_channels: int = 16,
        num_attention_heads: int = 24,
        attention_head_dim: int = 128,
        num_layers: int = 20,
        num_single_layers: int = 40,
        num_refiner_layers: int = 2,
        mlp_ratio: float = 4.0,
        patch_size: int = 2,
        patch_size_t: int = 1,
        qk_norm: str = "rms_norm",
        guidance_embeds: bool = True,
        text_embed_dim: int = 4096,
        pooled_projection_dim: int = 768,
        rope_theta: float = 256.0,
        rope_axes_dim: tuple[int, ...] = (16, 56, 56),
        image_condition_type: str | None = None,
        source_attention: Literal["full", "self"] = "full",
        source_timestep: Literal["zero", "target"] = "zero",
        source_positions: Literal["same", "shifted"] = "same",
        type_embedding: bool = False,
        source_entry: Literal["context", "channels", "none"] = "context",
    ) -> None:
        if image_condition_type is not None:
            raise ValueError(f"`image_condition_type` must be None, got {image_condition_type!r}: use a T2V model.")
        chosen = (source_attention, source_timestep, source_positions, type_embedding, source_entry)
        for (name, choices), choice in zip(SOURCE_OPTIONS.items(), chosen, strict=True):
            if choice not in choices:
                raise ValueError(f"`{name}` must be {' or '.join(map(repr, choices))}, got {choice!r}.")
        super().__init__(
            in_channels=in_channels,
            out_channels=out_channels,
            num_attention_heads=num_attention_heads,
            attention_head_dim=attention_head_dim,
            num_layers=0,
            num_single_layers=0,
            num_refiner_layers=num_refiner_layers,
            mlp_ratio=mlp_ratio,
            patch_size=patch_size,
            patch_size_t=patch_size_t,
            qk_norm=qk_norm,
            guidance_embeds=guidance_embeds,
            text_embed_dim=text_embed_dim,
            pooled_projection_dim=pooled_projection_dim,
            rope_theta=rope_theta,
            rope_axes_dim=rope_axes_dim,
        )
        if source_entry == "channels":
            patch = (patch_size_t, patch_size, patch_size)
            self.x_embedder = HunyuanVideoPatchEmbed(patch, 2 * in_channels, num_attention_heads * attention_head_dim)
        # The parent made and registered no blocks: making its own only to drop them would double 13B's start.
        self.register_to_config(num_layers=num_layers, num_single_layers=num_single_layers)
        arguments = (num_attention_heads, attention_head_dim, mlp_ratio, qk_norm, source_attention)
        self.transformer_blocks = nn.ModuleList(
            InContextTransformerBlock(*arguments, last=num_single_layers == 0 and index == num_layers - 1)
            for index in range(num_layers)
        )
        self.single_transformer_blocks = nn.ModuleList(
            InContextSingleTransformerBlock(*arguments, last=index == num_single_layers - 1)
            for index in range(num_single_layers)
        )
        self.type_embedder = nn.Embedding(2, num_attention_heads * attention_head_dim) if type_embedding else None
        if self.type_embedder is not None:
            nn.init.zeros_(self.type_embedder.weight)
        self.context_parallel: ContextParallel | None = None
        self.compute_dtype: torch.dtype | None = None

    @property
    def dtype(self) -> torch.dtype:
        """In which dtype inputs are expected: `compute_dtype`, where weights are gathered in another than they are
        kept in, or that of the weights."""
        return self.compute_dtype or super().dtype

    @property
    def can_cache_source(self) -> bool:
        """Whether the source contributes the same to every step, so that `encode_source` can compute it once."""
        config = self.config
        return bool(
            config.source_attention == "self" and config.source_timestep == "zero" and config.source_entry == "context"
        )

    def set_context_parallel(self, group: dist.ProcessGroup | None) -> None:
        """Share the work on one batch with the other ranks of `group`; None ends it. See `context_parallel`.

        Every rank calls `forward` with the same inputs and gets the same velocity. `encode_source` then returns this
        rank's heads only.

        Raises:
            ValueError: The heads cannot be shared out evenly.
        """
        parallel = None if group is None else ContextParallel.of(group)
        heads = self.config.num_attention_heads
        if parallel is not None and heads % parallel.degree:
            raise ValueError(f"{heads} attention heads cannot be shared by {parallel.degree} context-parallel ranks.")
        self.context_parallel = parallel
        for block in self._blocks:
            block.attn.processor.context_parallel = parallel

    @property
    def _blocks(self) -> list[nn.Module]:
        return [*self.transformer_blocks, *self.single_transformer_blocks]

    @apply_lora_scale("attention_kwargs")
    def forward(
        self,
        hidden_states: Tensor,
        source_hidden_states: Tensor | None,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor,
        pooled_projections: Tensor,
        guidance: Tensor | None = None,
        source_cache: SourceCache | None = None,
        attention_kwargs: dict[str, Any] | None = None,  # noqa: ARG002 - read by the decorator
        return_dict: bool = True,
    ) -> tuple[Tensor] | Transformer2DModelOutput:
        """Predict the velocity (noise - data) of the noised target.

        Args:
            hidden_states: Noised target latents (B, C, T, H, W), sides multiples of the patch size.
            source_hidden_states: Clean source latents of the same shape. None, with no `source_cache`, makes this
                HunyuanVideo's own text-to-video model.
            timestep: (B,) in 0..1000.
            encoder_hidden_states: Text (B, L, text_embed_dim). Columns that are padding in the whole batch are cut.
            encoder_attention_mask: (B, L), nonzero where text is; at least one token each.
            pooled_projections: Pooled text (B, pooled_projection_dim).
            guidance: (B,), the embedded guidance scale times 1000; needed by models with `guidance_embeds`.
            source_cache: `encode_source`'s answer, instead of `source_hidden_states`.
            attention_kwargs: {"scale": float} scales LoRA layers.
            return_dict: Return a `Transformer2DModelOutput` instead of a tuple.

        Returns:
            The velocity (B, C, T, H, W).

        Raises:
            ValueError: Shapes do not fit the model or each other, or the ranks of `set_context_parallel`.
        """
        if self.context_parallel is not None and self.is_cache_enabled:
            raise ValueError(
                "A step cache (`enable_cache`) decides on each rank alone: do without context parallelism."
            )
        self._check_latents("hidden_states", hidden_states)
        _check_shape("timestep", timestep, (hidden_states.shape[0],))
        self._check_conditions(hidden_states.shape[0], pooled_projections, guidance)
        self._check_text(hidden_states.shape[0], encoder_hidden_states, encoder_attention_mask)
        self._check_source(hidden_states, source_hidden_states, source_cache)

        positions, source_positions = self._rotary_embeddings(hidden_states)
        temb, _ = self.time_text_embed(timestep, pooled_projections, guidance)
        text, text_mask = _cut_text(encoder_hidden_states, encoder_attention_mask)
        context = self.context_embedder(text, timestep, text_mask)
        num_frames, height, width = hidden_states.shape[2:]
        if self.config.source_entry == "channels":
            beside = torch.zeros_like(hidden_states) if source_hidden_states is None else source_hidden_states
            hidden_states = torch.cat([hidden_states, beside], dim=1)
        if self.config.source_entry != "context":
            source_hidden_states = None
        hidden_states = self._embed(hidden_states, TARGET)

        source_temb = None
        if source_hidden_states is not None:
            source_temb = temb
            if self.config.source_timestep == "zero":
                # The clean branch keeps the pooled text and the guidance, unlike diffusers' `token_replace`.
                source_temb, _ = self.time_text_embed(torch.zeros_like(timestep), pooled_projections, guidance)
            context = torch.cat([self._embed(source_hidden_states, SOURCE), context], dim=1)

        attention_mask = None
        if text_mask is not None:
            videos = 1 if source_hidden_states is None and source_cache is None else 2
            video_length = videos * num_frames * height * width // self._patch_volume
            attention_mask = nn.functional.pad(text_mask, (video_length, 0), value=True)[:, None, None]

        key_values: Sequence[KeyValue | None] = [None] * len(self._blocks) if source_cache is None else source_cache
        for block, key_value in zip(self._blocks, key_values, strict=True):
            hidden_states, context = self._call(block)(
                hidden_states, context, temb, attention_mask, positions, source_temb, source_positions, key_value
            )

        hidden_states = self.proj_out(self.norm_out(hidden_states, temb))
        if self.context_parallel is not None:
            hidden_states = self.context_parallel.all_tokens(hidden_states)
        output = self._unpatchify(hidden_states, num_frames, height, width)
        return Transformer2DModelOutput(sample=output) if return_dict else (output,)

    def encode_source(
        self, source_hidden_states: Tensor, pooled_projections: Tensor, guidance: Tensor | None = None
    ) -> SourceCache:
        """Compute what the source contributes to every step of one edit and CFG branch.

        Starts an edit: what diffusers' step caches (`enable_cache`) hold from the one before is dropped, so call it
        before the steps and outside of `cache_context`.

        Args:
            source_hidden_states: Clean source latents (B, C, T, H, W).
            pooled_projections: Pooled text (B, pooled_projection_dim) of the branch.
            guidance: (B,), as in `forward`.

        Returns:
            A pair (keys, values) for each block, (B, tokens, heads, head_dim) each, for `forward`'s `source_cache`.

        Raises:
            ValueError: Shapes do not fit, or what the source contributes changes with the target or its timestep: see
                `can_cache_source`.
        """
        self._check_cacheable("encode_source")
        self._check_latents("source_hidden_states", source_hidden_states)
        self._check_conditions(source_hidden_states.shape[0], pooled_projections, guidance)

        _, positions = self._rotary_embeddings(source_hidden_states)
        timestep = torch.zeros(source_hidden_states.shape[0], device=source_hidden_states.device)
        temb, _ = self.time_text_embed(timestep, pooled_projections, guidance)
        hidden_states = self._embed(source_hidden_states, SOURCE)
        no_text = hidden_states[:, :0]
        source_cache = []
        self._reset_stateful_cache()
        with self.cache_context("source"):
            for block in self._blocks:
                hidden_states, _, key_value = self._call(block)(
                    hidden_states, no_text, temb, None, positions, None, None, None, True
                )
                source_cache.append(key_value)
        return source_cache

    def _call(self, block: nn.Module) -> Callable[..., Any]:
        if torch.is_grad_enabled() and self.gradient_checkpointing:
            return partial(self._gradient_checkpointing_func, block)
        return block

    def _embed(self, latents: Tensor, stream: int) -> Tensor:
        tokens = self.x_embedder(latents)
        if self.type_embedder is not None:
            tokens = tokens + self.type_embedder.weight[stream]
        return tokens if self.context_parallel is None else self.context_parallel.own_tokens(tokens)

    def _rotary_embeddings(self, latents: Tensor) -> tuple[Tensor, Tensor]:
        """The target's and the source's, complex (S, 1, head_dim / 2)."""
        shifted = self.config.source_positions == "shifted"
        if shifted:
            latents = latents[:1, :1].repeat(1, 1, 2, 1, 1)
        cos, sin = self.rope(latents)  # each value twice, once for either channel of a pair
        embedding = torch.complex(cos[:, ::2], sin[:, ::2])[:, None]
        streams = embedding.chunk(2) if shifted else (embedding, embedding)
        if self.context_parallel is not None:
            streams = tuple(self.context_parallel.own_tokens(stream, dim=0) for stream in streams)
        return streams

    @property
    def _patch_volume(self) -> int:
        return int(self.config.patch_size_t * self.config.patch_size**2)

    def _unpatchify(self, hidden_states: Tensor, num_frames: int, height: int, width: int) -> Tensor:
        p, p_t = self.config.patch_size, self.config.patch_size_t
        hidden_states = hidden_states.unflatten(1, (num_frames // p_t, height // p, width // p))
        hidden_states = hidden_states.unflatten(4, (-1, p_t, p, p)).permute(0, 4, 1, 5, 2, 6, 3, 7)
        return hidden_states.reshape(len(hidden_states), -1, num_frames, height, width)

    def _check_latents(self, name: str, latents: Tensor) -> None:
        p, p_t, channels = self.config.patch_size, self.config.patch_size_t, self.config.in_channels
        shape = tuple(latents.shape)
        if len(shape) != 5 or shape[1] != channels or shape[2] % p_t or shape[3] % p or shape[4] % p:
            raise ValueError(
                f"`{name}` must be (batch, {channels}, frames, height, width), frames a multiple of {p_t}, height and "
                f"width of {p}, got {shape}."
            )

    def _check_conditions(self, batch_size: int, pooled_projections: Tensor, guidance: Tensor | None) -> None:
        _check_shape("pooled_projections", pooled_projections, (batch_size, self.config.pooled_projection_dim))
        if self.config.guidance_embeds:
            if guidance is None:
                raise ValueError("`guidance` is needed by a model with `guidance_embeds`.")
            _check_shape("guidance", guidance, (batch_size,))

    def _check_text(self, batch_size: int, text: Tensor, mask: Tensor) -> None:
        _check_shape("encoder_hidden_states", text, (batch_size, text.shape[1], self.config.text_embed_dim))
        _check_shape("encoder_attention_mask", mask, (batch_size, text.shape[1]))

    def _check_source(self, target: Tensor, source: Tensor | None, cache: SourceCache | None) -> None:
        if source is not None and cache is not None:
            raise ValueError("Give `source_hidden_states` or `source_cache`, not both.")
        if source is not None:
            _check_shape("source_hidden_states", source, tuple(target.shape))
        if cache is not None:
            self._check_cacheable("source_cache")
            if len(cache) != len(self._blocks):
                raise ValueError(f"`source_cache` holds {len(cache)} blocks, the model has {len(self._blocks)}.")
            tokens, heads = target[0, 0].numel() // self._patch_volume, self.config.num_attention_heads
            if self.context_parallel is not None:
                heads //= self.context_parallel.degree
            shape = (target.shape[0], tokens, heads, self.config.attention_head_dim)
            _check_shape("source_cache's keys", cache[0][0], shape)

    def _check_cacheable(self, name: str) -> None:
        if not self.can_cache_source:
            raise ValueError(f"`{name}` needs a model with `source_attention='self'` and `source_timestep='zero'`.")


def _check_shape(name: str, tensor: Tensor, expected: tuple[int, ...]) -> None:
    if tuple(tensor.shape) != expected:
        raise ValueError(f"`{name}` must have shape {expected}, got {tuple(tensor.shape)}.")


def _cut_text(text: Tensor, mask: Tensor) -> tuple[Tensor, Tensor | None]:
    """Cut columns that are padding in the whole batch; the mask is None if no padding is left."""
    mask = mask.bool()
    if not mask.any(dim=1).all():
        raise ValueError("`encoder_attention_mask` must keep at least one token of every text.")
    length = int(mask.any(dim=0).nonzero().max()) + 1
    text, mask = text[:, :length], mask[:, :length]
    return text, None if mask.all() else mask
