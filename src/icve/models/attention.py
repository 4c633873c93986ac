"""Attention over the three token streams of the in-context transformer: target, source and text."""

from typing import Literal

import torch
from diffusers.models.attention_dispatch import dispatch_attention_fn
from diffusers.models.attention_processor import Attention
from torch import Tensor, nn

from icve.models.context_parallel import ContextParallel

KeyValue = tuple[Tensor, Tensor]
"""Keys (normed and rotated) and values of one stream in one block, (B, S, heads, head_dim) each.

With context parallelism, those of all tokens and of this rank's share of the heads."""

# Longest key sequence for `short_attention`: its scores take batch * heads * tokens^2 numbers.
SHORT_SEQUENCE = 2048


class InContextAttnProcessor:
    """Joint attention of target, source and text tokens.

    Source and target go through the same projections and, in the paper's form, carry the same rotary positions, which
    is what makes the source an example to look at rather than more frames of one video. Streams come in and go out
    apart, so only keys and values (and the queries) are ever concatenated.
    """

    _attention_backend = None
    _parallel_config = None

    def __init__(self, source_attention: Literal["full", "self"] = "full") -> None:
        self.source_attention = source_attention
        self.context_parallel: ContextParallel | None = None

    def __call__(
        self,
        attn: Attention,
        hidden_states: Tensor,
        encoder_hidden_states: Tensor,
        attention_mask: Tensor | None = None,
        image_rotary_emb: Tensor | None = None,
        source_hidden_states: Tensor | None = None,
        source_rotary_emb: Tensor | None = None,
        source_key_value: KeyValue | None = None,
        needed: Literal["all", "target", "keys"] = "all",
    ) -> tuple[Tensor | None, Tensor | None, Tensor | None, KeyValue]:
        """Attend. With context parallelism, S is this rank's share of the tokens.

        Args:
            attn: The attention module, whose projections and norms are used.
            hidden_states: Target tokens (B, S, D).
            encoder_hidden_states: Text tokens (B, L, D); L may be 0.
            attention_mask: Boolean (B, 1, 1, keys), true where a key counts, all keys ordered target, source, text.
            image_rotary_emb: Complex (S, 1, head_dim / 2), see `rotate`.
            source_hidden_states: Source tokens (B, S, D).
            source_rotary_emb: The source's positions, as `image_rotary_emb`.
            source_key_value: Stands in for `source_hidden_states`, where that is not given.
            needed: Whose output is needed; "keys" means that of none.

        Returns:
            Attended target, source and text (None where not needed or not given) and the target's keys and values.
        """
        video_modules = (attn.to_k, attn.norm_k, attn.to_v, attn.to_q, attn.norm_q)
        text_modules = video_modules
        if attn.add_q_proj is not None:  # a dual-stream block
            text_modules = (
                attn.add_k_proj,
                attn.norm_added_k,
                attn.add_v_proj,
                attn.add_q_proj,
                attn.norm_added_q,
            )

        # Of each stream [key, value, query], the query only where its output is needed.
        target = _project(hidden_states, *video_modules, attn.heads, needed != "keys", image_rotary_emb)
        source = []
        if source_hidden_states is not None:
            source = _project(source_hidden_states, *video_modules, attn.heads, needed == "all", source_rotary_emb)
        parallel = self.context_parallel
        if parallel is not None:
            exchanged = parallel.tokens_to_heads([*target, *source])
            target, source = exchanged[: len(target)], exchanged[len(target) :]
        target_key_value = (target[0], target[1])
        if needed == "keys":
            return None, None, None, target_key_value
        text = _project(encoder_hidden_states, *text_modules, attn.heads, needed == "all")
        if parallel is not None:
            text = [parallel.own_heads(states) for states in text]

        queries = target[2:]
        source_output = None
        if needed == "all":
            if source:
                source_key, source_value, source_query = source
                if self.source_attention == "self":
                    source_output = self._attend(source_query, source_key, source_value)
                else:
                    queries = [*queries, source_query]
            queries = [*queries, text[2]]

        context = [source[:2] or source_key_value, text]
        keys = torch.cat([target[0], *(states[0] for states in context if states)], dim=1)
        values = torch.cat([target[1], *(states[1] for states in context if states)], dim=1)
        output = self._attend(torch.cat(queries, dim=1), keys, values, attention_mask)
        target_output, *outputs = output.split([query.shape[1] for query in queries], dim=1)
        text_output = outputs.pop() if needed == "all" else None
        if outputs:
            source_output = outputs.pop()

        if parallel is not None:
            video_outputs = [states for states in (target_output, source_output) if states is not None]
            target_output, *outputs = parallel.heads_to_tokens(video_outputs)
            if outputs:
                source_output = outputs.pop()
            if text_output is not None:
                text_output = parallel.all_heads(text_output)

        outputs = [None if x is None else x.flatten(2) for x in (target_output, source_output, text_output)]
        if not attn.pre_only:  # a dual-stream block; single-stream blocks project together with their MLP
            projections = (attn.to_out[0], attn.to_out[0], attn.to_add_out)
            outputs = [None if x is None else project(x) for x, project in zip(outputs, projections, strict=True)]
        target_output, source_output, text_output = outputs
        return target_output, source_output, text_output, target_key_value

    def _attend(self, query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None) -> Tensor:
        short = self._attention_backend is None and query.device.type == "cpu" and key.shape[1] <= SHORT_SEQUENCE
        # Measured on CPU, forward and backward in bfloat16: 90 ms against 174 ms at batch 16, 4 heads, 404 tokens.
        # In float32, or forward only, torch's own kernel is as fast or faster.
        if short and query.requires_grad and query.dtype == torch.bfloat16:
            return short_attention(query, key, value, attention_mask)
        return dispatch_attention_fn(
            query,
            key,
            value,
            attn_mask=attention_mask,
            backend=self._attention_backend,
            parallel_config=self._parallel_config,
        )


def short_attention(query: Tensor, key: Tensor, value: Tensor, attention_mask: Tensor | None = None) -> Tensor:
    """Softmax attention on (B, S, heads, head_dim) by two matrix products; `attention_mask` is true where kept."""
    query, key, value = (x.transpose(1, 2) for x in (query, key, value))
    scores = (query * query.shape[-1] ** -0.5) @ key.transpose(-1, -2)
    if attention_mask is not None:
        scores = scores.masked_fill(~attention_mask, float("-inf"))
    return (scores.softmax(dim=-1) @ value).transpose(1, 2)


def rotate(hidden_states: Tensor, rotary_emb: Tensor) -> Tensor:
    """Turn neighbouring channels of (B, S, heads, head_dim) by complex (S, 1, head_dim / 2) of length 1.

    Computed in float32 as diffusers' `apply_rotary_emb`, and equal to it, at a quarter of its time on CPU.
    """
    if torch.compiler.is_compiling():  # the compiler generates no code for complex numbers
        cos, sin = torch.view_as_real(rotary_emb).unbind(-1)
        real, imaginary = hidden_states.float().unflatten(-1, (-1, 2)).unbind(-1)
        rotated = torch.stack([real * cos - imaginary * sin, real * sin + imaginary * cos], dim=-1)
    else:
        rotated = torch.view_as_real(torch.view_as_complex(hidden_states.float().unflatten(-1, (-1, 2))) * rotary_emb)
    return rotated.flatten(-2).to(hidden_states.dtype)


def _project(
    hidden_states: Tensor,
    key_projection: nn.Module,
    key_norm: nn.Module,
    value_projection: nn.Module,
    query_projection: nn.Module,
    query_norm: nn.Module,
    heads: int,
    with_query: bool,
    rotary_emb: Tensor | None = None,
) -> list[Tensor]:
    """[key, value] or [key, value, query] of (B, S, D), (B, S, heads, head_dim) each."""

    def project(projection: nn.Module, norm: nn.Module) -> Tensor:
        states = norm(projection(hidden_states).unflatten(2, (heads, -1)))
        return states if rotary_emb is None else rotate(states, rotary_emb)

    states = [project(key_projection, key_norm), value_projection(hidden_states).unflatten(2, (heads, -1))]
    if with_query:
        states.append(project(query_projection, query_norm))
    return states
