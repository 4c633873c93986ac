"""A tiny random model of real components, in the hub's folder layout, for every test that needs one.

`save_tiny_model(folder)` writes what `InContextVideoEditPipeline.from_pretrained` reads; `tests/conftest.py`
keeps one for the session in the fixture `tiny_model`. All is built from configs with fixed seeds: 0.4 M
parameters.
"""

import json
from pathlib import Path

import numpy as np
import torch
from diffusers import AutoencoderKLHunyuanVideo, FlowMatchEulerDiscreteScheduler
from safetensors.torch import load_file, save_file
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors
from transformers import (
    CLIPTextConfig,
    CLIPTextModel,
    CLIPTokenizer,
    LlamaConfig,
    LlamaModel,
    PreTrainedTokenizerFast,
)

from icve.models import InContextHunyuanVideoTransformer3DModel
from icve.pipelines.edit import InContextVideoEditPipeline

BYTES = sorted(pre_tokenizers.ByteLevel.alphabet())
TEXT_WIDTH, POOLED_WIDTH = 32, 24


def tokenizer() -> PreTrainedTokenizerFast:
    """As Llama 3's: byte-level, a prompt opens with <bos>. One token a byte."""
    vocabulary = {token: i for i, token in enumerate([*BYTES, "<pad>", "<bos>", "<eos>"])}
    backend = Tokenizer(models.BPE(vocab=vocabulary, merges=[]))
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    backend.add_special_tokens(["<pad>", "<bos>", "<eos>"])
    backend.post_processor = processors.TemplateProcessing(
        single="<bos> $A", special_tokens=[("<bos>", vocabulary["<bos>"])]
    )
    return PreTrainedTokenizerFast(tokenizer_object=backend, pad_token="<pad>", bos_token="<bos>", eos_token="<eos>")


def clip_vocabulary() -> dict[str, int]:
    """CLIP's layout: bytes, bytes that end a word, then the two special tokens."""
    tokens = [*BYTES, *(f"{byte}</w>" for byte in BYTES), "<|startoftext|>", "<|endoftext|>"]
    return {token: i for i, token in enumerate(tokens)}


def tokenizer_2() -> CLIPTokenizer:
    return CLIPTokenizer(vocab=clip_vocabulary(), merges=[])


def text_encoder() -> LlamaModel:
    torch.manual_seed(1)
    config = LlamaConfig(
        vocab_size=len(BYTES) + 3,
        hidden_size=TEXT_WIDTH,
        intermediate_size=64,
        num_hidden_layers=3,
        num_attention_heads=2,
        initializer_range=0.2,
    )
    return LlamaModel(config).eval()


def text_encoder_2() -> CLIPTextModel:
    torch.manual_seed(2)
    vocabulary = clip_vocabulary()
    config = CLIPTextConfig(
        vocab_size=len(vocabulary),
        hidden_size=POOLED_WIDTH,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=2,
        bos_token_id=vocabulary["<|startoftext|>"],
        eos_token_id=vocabulary["<|endoftext|>"],
    )
    return CLIPTextModel(config).eval()


def vae() -> AutoencoderKLHunyuanVideo:
    torch.manual_seed(3)
    return AutoencoderKLHunyuanVideo(block_out_channels=(8, 8, 16, 16), layers_per_block=1, norm_num_groups=4).eval()


def transformer(**overrides) -> InContextHunyuanVideoTransformer3DModel:
    torch.manual_seed(4)
    config = {
        "num_attention_heads": 2,
        "attention_head_dim": 16,
        "num_layers": 2,
        "num_single_layers": 2,
        "num_refiner_layers": 1,
        "mlp_ratio": 2.0,
        "text_embed_dim": TEXT_WIDTH,
        "pooled_projection_dim": POOLED_WIDTH,
        "rope_axes_dim": (4, 6, 6),
    }
    return InContextHunyuanVideoTransformer3DModel(**config | overrides).eval()


def pipeline(**transformer_overrides) -> InContextVideoEditPipeline:
    """A fresh tiny pipeline, 3 steps by default; keyword arguments change the transformer's config."""
    return InContextVideoEditPipeline(
        text_encoder=text_encoder(),
        tokenizer=tokenizer(),
        text_encoder_2=text_encoder_2(),
        tokenizer_2=tokenizer_2(),
        vae=vae(),
        transformer=transformer(**transformer_overrides),
        scheduler=FlowMatchEulerDiscreteScheduler(shift=7.0),
        num_inference_steps=3,
        sizes=[[5, 32, 32]],
        licence="Random weights, free for any use.",
    )


def save_tiny_model(folder: Path, **transformer_overrides) -> Path:
    """Writes `pipeline()` to `folder` and returns the folder."""
    pipeline(**transformer_overrides).save_pretrained(folder)
    return folder


def save_hunyuan_model(folder: Path) -> Path:
    """The same weights as a HunyuanVideo text-to-video folder: diffusers' class names, none of our keys."""
    save_tiny_model(folder)
    components = {
        "scheduler": ["diffusers", "FlowMatchEulerDiscreteScheduler"],
        "text_encoder": ["transformers", "LlamaModel"],
        "text_encoder_2": ["transformers", "CLIPTextModel"],
        "tokenizer": ["transformers", "LlamaTokenizerFast"],
        "tokenizer_2": ["transformers", "CLIPTokenizer"],
        "transformer": ["diffusers", "HunyuanVideoTransformer3DModel"],
        "vae": ["diffusers", "AutoencoderKLHunyuanVideo"],
    }
    index = {"_class_name": "HunyuanVideoPipeline", "_diffusers_version": "0.32.0", **components}
    (folder / "model_index.json").write_text(json.dumps(index))
    _edit_json(
        folder / "transformer" / "config.json",
        "source_attention",
        _class_name="HunyuanVideoTransformer3DModel",
    )
    _edit_json(folder / "tokenizer" / "tokenizer_config.json", tokenizer_class="LlamaTokenizerFast")
    _edit_json(folder / "tokenizer_2" / "tokenizer_config.json", tokenizer_class="CLIPTokenizer")
    clip_file = folder / "text_encoder_2" / "model.safetensors"
    clip = {f"text_model.{key}": tensor for key, tensor in load_file(clip_file).items()}
    save_file(clip | {"text_model.embeddings.position_ids": torch.arange(77)[None]}, clip_file, {"format": "pt"})
    (folder / "tokenizer_2" / "tokenizer.json").unlink()  # that folder holds CLIP's older two files
    (folder / "tokenizer_2" / "vocab.json").write_text(json.dumps(clip_vocabulary()))
    (folder / "tokenizer_2" / "merges.txt").write_text("#version: 0.2\n")
    return folder


def _edit_json(file: Path, *drop: str, **values: str) -> None:
    content = {key: value for key, value in json.loads(file.read_text()).items() if key not in drop}
    file.write_text(json.dumps(content | values))


def video(frames: int = 5, height: int = 32, width: int = 32, seed: int = 0) -> np.ndarray:
    """(F, H, W, 3) uint8: a smooth moving colour gradient with a square, different for each seed."""
    rng = np.random.default_rng(seed)
    f, y, x = np.meshgrid(np.arange(frames), np.arange(height), np.arange(width), indexing="ij")
    phase = rng.uniform(0, 2 * np.pi, 3)
    colours = 0.5 + 0.5 * np.sin(0.3 * f[..., None] + (x[..., None] + 2 * y[..., None]) * 0.1 + phase)
    colours[:, height // 4 : height // 2, width // 4 : width // 2] = rng.uniform(0, 1, 3)
    return (255 * colours).round().astype(np.uint8)
