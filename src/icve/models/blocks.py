"""HunyuanVideo's two transformer blocks with source tokens beside the target's.

The streams stay apart: `hidden_states` is the target alone, and the source travels in front of the text in
`encoder_hidden_states`. So target and source are not joined and cut again in every block, and diffusers' caches,
which watch `hidden_states`, see the target and not the constant source.
"""

from typing import Literal

import torch
from diffusers.hooks._helpers import TransformerBlockMetadata, TransformerBlockRegistry
from diffusers.models.transformers.transformer_hunyuan_video import (
    HunyuanVideoSingleTransformerBlock,
    HunyuanVideoTransformerBlock,
)
from torch import Tensor, nn

from icve.models.attention import InContextAttnProcessor, KeyValue

BlockOutput = tuple[Tensor, Tensor] | tuple[Tensor, Tensor, KeyValue]


class InContextTransformerBlock(HunyuanVideoTransformerBlock):
    """Dual-stream block: video (target and source) and text have their own weights.

    `last` marks the model's last block, which computes the target only: nothing reads the other streams after it.
    """

    def __init__(
        self,
        num_attention_heads: int,
        attention_head_dim: int,
        mlp_ratio: float,
        qk_norm: str,
        source_attention: Literal["full", "self"],
        last: bool,
    ) -> None:
        super().__init__(num_attention_heads, attention_head_dim, mlp_ratio=mlp_ratio, qk_norm=qk_norm)
        self.attn.set_processor(InContextAttnProcessor(source_attention))
        self.last = last

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        attention_mask: Tensor | None,
        image_rotary_emb: Tensor,
        source_temb: Tensor | None = None,
        source_rotary_emb: Tensor | None = None,
        source_key_value: KeyValue | None = None,
        return_key_value: bool = False,
    ) -> BlockOutput:
        """Update the streams.

        Args:
            hidden_states: Target tokens (B, S, D).
            encoder_hidden_states: Text tokens (B, L, D), behind S source tokens if `source_temb` is given.
            temb: Modulation of target and text (B, D).
            attention_mask: See `InContextAttnProcessor`.
            image_rotary_emb: See `rotate`.
            source_temb: Modulation of the source (B, D).
            source_rotary_emb: The source's positions, as `image_rotary_emb`.
            source_key_value: The source's keys and values, where it is not in `encoder_hidden_states`.
            return_key_value: Return the keys and values of `hidden_states` as a third value.
        """
        source, text = _split_context(hidden_states, encoder_hidden_states, source_temb)
        norm_hidden_states, *modulation = self.norm1(hidden_states, emb=temb)
        norm_text, *text_modulation = self.norm1_context(text, emb=temb)
        norm_source = None
        if source is not None:
            norm_source, *source_modulation = self.norm1(source, emb=source_temb)

        target_output, source_output, text_output, key_value = self.attn(
            norm_hidden_states,
            norm_text,
            attention_mask,
            image_rotary_emb=image_rotary_emb,
            source_hidden_states=norm_source,
            source_rotary_emb=source_rotary_emb,
            source_key_value=source_key_value,
            needed=_needed(self.last, return_key_value),
        )

        if target_output is not None:
            hidden_states = _update(self.norm2, self.ff, hidden_states, target_output, *modulation)
        if text_output is not None:
            context = _update(self.norm2_context, self.ff_context, text, text_output, *text_modulation)
            if source is not None:
                source = _update(self.norm2, self.ff, source, source_output, *source_modulation)
                context = torch.cat([source, context], dim=1)
            encoder_hidden_states = context
        if return_key_value:
            return hidden_states, encoder_hidden_states, key_value
        return hidden_states, encoder_hidden_states


class InContextSingleTransformerBlock(HunyuanVideoSingleTransformerBlock):
    """Single-stream block: target, source and text share the weights. See `InContextTransformerBlock`."""

    def __init__(
        self,
        num_attention_heads: int,
        attention_head_dim: int,
        mlp_ratio: float,
        qk_norm: str,
        source_attention: Literal["full", "self"],
        last: bool,
    ) -> None:
        super().__init__(num_attention_heads, attention_head_dim, mlp_ratio=mlp_ratio, qk_norm=qk_norm)
        self.attn.set_processor(InContextAttnProcessor(source_attention))
        self.last = last

    def forward(
        self,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        temb: Tensor,
        attention_mask: Tensor | None,
        image_rotary_emb: Tensor,
        source_temb: Tensor | None = None,
        source_rotary_emb: Tensor | None = None,
        source_key_value: KeyValue | None = None,
        return_key_value: bool = False,
    ) -> BlockOutput:
        """Update the streams; arguments as in `InContextTransformerBlock.forward`."""
        source, text = _split_context(hidden_states, encoder_hidden_states, source_temb)
        norm_hidden_states, gate = self.norm(hidden_states, emb=temb)
        norm_text, _ = self.norm(text, emb=temb)
        norm_source = None
        if source is not None:
            norm_source, source_gate = self.norm(source, emb=source_temb)

        target_output, source_output, text_output, key_value = self.attn(
            norm_hidden_states,
            norm_text,
            attention_mask,
            image_rotary_emb=image_rotary_emb,
            source_hidden_states=norm_source,
            source_rotary_emb=source_rotary_emb,
            source_key_value=source_key_value,
            needed=_needed(self.last, return_key_value),
        )

        if target_output is not None:
            hidden_states = self._update(hidden_states, norm_hidden_states, target_output, gate)
        if text_output is not None:
            context = self._update(text, norm_text, text_output, gate)
            if source is not None:
                source = self._update(source, norm_source, source_output, source_gate)
                context = torch.cat([source, context], dim=1)
            encoder_hidden_states = context
        if return_key_value:
            return hidden_states, encoder_hidden_states, key_value
        return hidden_states, encoder_hidden_states

    def _update(self, hidden_states: Tensor, norm_hidden_states: Tensor, attn_output: Tensor, gate: Tensor) -> Tensor:
        mlp_output = self.act_mlp(self.proj_mlp(norm_hidden_states))
        return torch.addcmul(hidden_states, gate[:, None], self.proj_out(torch.cat([attn_output, mlp_output], dim=2)))


def _split_context(target: Tensor, context: Tensor, source_temb: Tensor | None) -> tuple[Tensor | None, Tensor]:
    if source_temb is None:
        return None, context
    return context[:, : target.shape[1]], context[:, target.shape[1] :]


def _needed(last: bool, return_key_value: bool) -> Literal["all", "target", "keys"]:
    if not last:
        return "all"
    return "keys" if return_key_value else "target"


def _update(
    norm: nn.Module,
    feed_forward: nn.Module,
    hidden_states: Tensor,
    attn_output: Tensor,
    attn_gate: Tensor,
    shift: Tensor,
    scale: Tensor,
    gate: Tensor,
) -> Tensor:
    hidden_states = torch.addcmul(hidden_states, attn_gate[:, None], attn_output)
    norm_hidden_states = torch.addcmul(shift[:, None], norm(hidden_states), 1 + scale[:, None])
    return torch.addcmul(hidden_states, gate[:, None], feed_forward(norm_hidden_states))


for _block_class in (InContextTransformerBlock, InContextSingleTransformerBlock):
    # diffusers' block caches look a block's class up here.
    TransformerBlockRegistry.register(
        model_class=_block_class,
        metadata=TransformerBlockMetadata(return_hidden_states_index=0, return_encoder_hidden_states_index=1),
    )
