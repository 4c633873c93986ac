"""What of a config must fit together: said in one sentence before anything is trained."""

from typing import Any

import torch

from icve.data.encode import fingerprint
from icve.data.shard_layout import TIME
from icve.data.shards import ShardSet
from icve.errors import InputError
from icve.pipelines.models import load_component
from icve.training.config import EditorConfig, ShardSetConfig, WorldSetConfig
from icve.training.parts import Parts


def check_choices(config: EditorConfig) -> None:
    """Refuse keys that exclude each other.

    Raises:
        InputError: they do.
    """
    if config.model is not None and config.train.what == "lora":
        raise InputError(
            "train.what: lora adapts a model that is there, and `model` begins a new one: set train.what: full."
        )
    if config.flow.naming_weight and not all(isinstance(s, WorldSetConfig) for s in config.data.sets):
        raise InputError(
            "flow.naming_weight needs to know what is in the clips, which sets of kind world alone say: set it to 0."
        )


def check_sizes(config: EditorConfig, side: int) -> None:
    """Refuse clips that the model cannot cut into tokens.

    Args:
        side: pixels of a token's side.

    Raises:
        InputError: a bucket's size is none for this model.
    """
    for size in (bucket.size for bucket in config.data.buckets):
        if size.height % side or size.width % side or size.frames % TIME != 1:
            raise InputError(
                f"the model cannot take clips of {size}: sides must be multiples of {side}, and frames 1 or "
                f"{TIME}n + 1."
            )


def check_embeddings(config: EditorConfig, transformer: Any) -> None:
    """Refuse text embeddings that the transformer cannot read.

    Args:
        transformer: its config.

    Raises:
        InputError: they have other widths.
    """
    needed = (transformer.text_embed_dim, transformer.pooled_projection_dim)
    for each in _shards(config):
        encoder = ShardSet(each.path, kind=each.pairs).text_encoder
        if encoder is not None and (encoder["width"], encoder["pooled_width"]) != needed:
            raise InputError(
                f"the text embeddings of {each.path} are {encoder['width']} and {encoder['pooled_width']} wide, and "
                f"the model reads {needed[0]} and {needed[1]}: run `icve data encode` with --model {config.start}."
            )


def check_latents(config: EditorConfig, parts: Parts) -> None:
    """Refuse latents of another autoencoder than the model's: they would train it wrongly, and nothing would show.

    Raises:
        InputError: a set holds such latents.
    """
    vae = parts.loaded.get("vae")
    for each in _shards(config):
        made_by = ShardSet(each.path, kind=each.pairs).latent_encoder
        if made_by is None:
            continue
        if vae is None:
            assert parts.folder is not None
            vae = load_component(parts.folder, "vae", torch.float32)
        if made_by["vae"] != fingerprint(vae):
            raise InputError(
                f"the latents of {each.path} were made by another autoencoder ({made_by.get('model', 'unknown')}): "
                f"run `icve data encode` with --model {config.start}."
            )


def _shards(config: EditorConfig) -> list[ShardSetConfig]:
    return [each for each in config.data.sets if isinstance(each, ShardSetConfig)]
