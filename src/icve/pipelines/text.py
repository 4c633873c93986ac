"""Instructions to text embeddings: Llama's token states and CLIP's pooled vector.

Shapes: B prompts, L text tokens of the longest prompt of the batch, D the width of the encoder.
Both encoders are causal, so what stands right of a prompt's last token changes nothing: prompts are padded
only to the longest of the batch, and no attention mask is needed. Gradients flow when they are enabled:
training calls these functions too.
"""

import torch
from transformers import CLIPTextModel, LlamaModel, PreTrainedTokenizerBase

from icve.errors import InputError

# transformers' CLIP pools at the largest id, not at `eos_token_id`, when a config still has this old default
_CLIP_LEGACY_EOS = 2


def encode_prompts(
    tokenizer: PreTrainedTokenizerBase,
    text_encoder: LlamaModel,
    prompts: list[str],
    *,
    template: str = "{}",
    crop_start: int = 0,
    max_length: int = 256,
    layer_skip: int = 2,
    device: torch.device | str | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token states (B, L, D) of `prompts`, in the encoder's dtype, and their mask (B, L), True on tokens.

    The states are `hidden_states[-(layer_skip + 1)]`: those before the last `layer_skip` layers, without the
    final norm (only with `layer_skip=0` it is applied). `{}` in `template` is where the prompt goes; the
    first `crop_start` tokens, those of the template, are dropped. At most `max_length` tokens are kept after
    the crop, see `text_overflow`. The defaults are how the reference reads Llama.

    Raises `InputError` when a prompt has no token at all.
    """
    texts = [template.replace("{}", prompt) for prompt in prompts]
    ids_BL, mask_BL = _tokenize(tokenizer, texts, max_length + crop_start)
    if not mask_BL[:, crop_start:].any(dim=1).all():
        raise InputError("A prompt has no token for the text encoder; write at least one word.")
    device = device if device is not None else text_encoder.device
    embeds_BLD = _states(text_encoder, ids_BL.to(device), layer_skip)
    return embeds_BLD[:, crop_start:], mask_BL[:, crop_start:].to(device)


def encode_pooled(
    tokenizer_2: PreTrainedTokenizerBase,
    text_encoder_2: CLIPTextModel,
    prompts: list[str],
    device: torch.device | str | None = None,
) -> torch.Tensor:
    """CLIP's pooled vector of each prompt, (B, D): the state at its first end-of-text token.

    A prompt is cut to the encoder's positions (77 for CLIP-L), the end-of-text token included.

    Raises `ValueError` when the tokenizer does not end a prompt with the token that the encoder pools at:
    CLIP would pool at the first token, which is the same for every prompt.
    """
    ids_BL, _ = _tokenize(tokenizer_2, prompts, text_encoder_2.config.max_position_embeddings)
    eos = text_encoder_2.config.eos_token_id
    if eos != _CLIP_LEGACY_EOS and not (ids_BL == eos).any(dim=1).all():
        raise ValueError(f"tokenizer_2 does not end a prompt with token {eos}, where text_encoder_2 pools.")
    device = device if device is not None else text_encoder_2.device
    return text_encoder_2(input_ids=ids_BL.to(device)).pooler_output


def text_overflow(
    tokenizer: PreTrainedTokenizerBase,
    prompt: str,
    template: str = "{}",
    max_length: int = 256,
    crop_start: int = 0,
) -> tuple[int, int] | None:
    """(kept, total) tokens of a prompt that `encode_prompts` would cut; None when it fits."""
    total = len(tokenizer(template.replace("{}", prompt), verbose=False).input_ids) - crop_start
    return (max_length, total) if total > max_length else None


def _states(text_encoder: LlamaModel, ids_BL: torch.Tensor, layer_skip: int) -> torch.Tensor:
    """`hidden_states[-(layer_skip + 1)]`. transformers knows what to record by a model's class, which FSDP changes."""
    if layer_skip == 0:
        return text_encoder(input_ids=ids_BL, use_cache=False).last_hidden_state
    layer = [text_encoder.embed_tokens, *text_encoder.layers][-(layer_skip + 1)]
    states: list[torch.Tensor] = []
    hook = layer.register_forward_hook(lambda _layer, _inputs, output: states.append(output))
    try:
        text_encoder(input_ids=ids_BL, use_cache=False)
    finally:
        hook.remove()
    return states[0]


def _tokenize(
    tokenizer: PreTrainedTokenizerBase, texts: list[str], max_length: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Token ids and mask (B, L), padded on the right whatever the tokenizer's own side and pad token are."""
    rows = [torch.tensor(ids) for ids in tokenizer(texts, truncation=True, max_length=max_length).input_ids]
    ids_BL = torch.nn.utils.rnn.pad_sequence(rows, batch_first=True)
    lengths_B = torch.tensor([len(row) for row in rows])
    return ids_BL.long(), torch.arange(ids_BL.shape[1]) < lengths_B[:, None]
