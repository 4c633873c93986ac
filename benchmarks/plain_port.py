"""A plain port of the reference, to measure against: diffusers' own blocks driven as the authors drive theirs.

Source and target are one sequence, texts keep their padding, a mask hides it, and both branches of classifier-free
guidance go through as one batch. The weights are those of our transformer, under the same keys.
"""

import torch
from diffusers import HunyuanVideoTransformer3DModel
from torch import Tensor


class PlainPort(HunyuanVideoTransformer3DModel):
    """The in-context model on diffusers' token-replace blocks (`image_condition_type="token_replace"`)."""

    def forward(
        self,
        hidden_states: Tensor,
        source_hidden_states: Tensor,
        timestep: Tensor,
        encoder_hidden_states: Tensor,
        encoder_attention_mask: Tensor,
        pooled_projections: Tensor,
    ) -> Tensor:
        """Predict the velocity, for a model with patches of one and without guidance embedding."""
        size = hidden_states.shape[2:]
        cos, sin = self.rope(hidden_states)
        image_rotary_emb = (torch.cat([cos, cos]), torch.cat([sin, sin]))
        # Without guidance, token-replace's conditioning is the reference's: time 0 and pooled text.
        temb, clean_temb = self.time_text_embed(timestep, pooled_projections)
        source = self.x_embedder(source_hidden_states)
        hidden_states = torch.cat([source, self.x_embedder(hidden_states)], dim=1)
        text = self.context_embedder(encoder_hidden_states, timestep, encoder_attention_mask)
        mask = torch.nn.functional.pad(encoder_attention_mask.bool(), (hidden_states.shape[1], 0), value=True)
        arguments = (temb, mask[:, None, None], image_rotary_emb, clean_temb, source.shape[1])
        for block in [*self.transformer_blocks, *self.single_transformer_blocks]:
            hidden_states, text = block(hidden_states, text, *arguments)
        hidden_states = self.proj_out(self.norm_out(hidden_states[:, source.shape[1] :], temb))
        return hidden_states.transpose(1, 2).unflatten(2, size)
