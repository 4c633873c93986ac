"""Tiny random CLIP and DINO models in the hub's folder layout."""

from pathlib import Path

import torch
from transformers import (
    BitImageProcessorPil,
    CLIPConfig,
    CLIPImageProcessorPil,
    CLIPModel,
    CLIPProcessor,
    Dinov2Config,
    Dinov2Model,
    ViTConfig,
    ViTImageProcessorPil,
    ViTModel,
)

from tests.tiny import tokenizer_2

SMALL = {"hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2, "num_attention_heads": 2}


def save_clip(folder: Path) -> str:
    """CLIP of 2 layers, for frames of 32 pixels."""
    tokenizer = tokenizer_2()
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    torch.manual_seed(0)
    config = CLIPConfig(
        text_config=SMALL | ids | {"vocab_size": len(tokenizer), "pad_token_id": tokenizer.pad_token_id},
        vision_config=SMALL | {"image_size": 32, "patch_size": 8},
        projection_dim=16,
    )
    CLIPModel(config).save_pretrained(folder)
    images = CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32})
    CLIPProcessor(images, tokenizer).save_pretrained(folder)
    return str(folder)


def save_dinov2(folder: Path) -> str:
    """DINOv2 of 2 layers, for frames of 28 pixels."""
    torch.manual_seed(1)
    sizes = {name: value for name, value in SMALL.items() if name != "intermediate_size"}
    Dinov2Model(Dinov2Config(**sizes, image_size=28, patch_size=14)).save_pretrained(folder)
    images = BitImageProcessorPil(size={"shortest_edge": 28}, crop_size={"height": 28, "width": 28})
    images.save_pretrained(folder)
    return str(folder)


def save_vit(folder: Path) -> str:
    """The first DINO's ViT of 2 layers, with patches of 32 pixels so that it is quick."""
    torch.manual_seed(2)
    ViTModel(ViTConfig(**SMALL, image_size=224, patch_size=32, initializer_range=0.2)).save_pretrained(folder)
    ViTImageProcessorPil(size={"height": 224, "width": 224}).save_pretrained(folder)
    return str(folder)
