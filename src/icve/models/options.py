"""Other ways for the source to enter a transformer that exists, to train them from its weights."""

from typing import Any

import torch

from icve.models.transformer import SOURCE_OPTIONS, InContextHunyuanVideoTransformer3DModel

TYPE_EMBEDDING = "type_embedder.weight"
PATCHES = "x_embedder.proj.weight"


def with_options(
    transformer: InContextHunyuanVideoTransformer3DModel, **options: Any
) -> InContextHunyuanVideoTransformer3DModel:
    """The same weights (shared, not copied) in a model with other `SOURCE_OPTIONS`.

    What is new starts at zero: a type embedding, and the patch embedding's weights for the source's channels.

    To be called on a model as it was loaded: hooks, adapters and gradient checkpointing are not carried over.

    Raises:
        ValueError: A value is not a choice, or trained weights (of the type embedding, of the source's channels)
            would be lost.
        TypeError: Another key is given, which would need other weights.
    """
    if unknown := set(options) - set(SOURCE_OPTIONS):
        raise TypeError(f"with_options() got unexpected arguments: {', '.join(sorted(unknown))}")
    weights = transformer.state_dict()
    config = {**transformer.config, **options}
    if TYPE_EMBEDDING in weights and not config["type_embedding"]:
        raise ValueError("`type_embedding` must stay True: the model was trained with it.")
    if transformer.config.source_entry == "channels" != config["source_entry"]:
        raise ValueError("`source_entry` must stay 'channels': the model was trained with it.")
    with torch.device("meta"):  # no second copy of 13 billion parameters
        model = InContextHunyuanVideoTransformer3DModel.from_config(config)
    if config["type_embedding"] and TYPE_EMBEDDING not in weights:
        like = transformer.x_embedder.proj.weight
        weights[TYPE_EMBEDDING] = like.new_zeros(model.type_embedder.weight.shape)
    if transformer.config.source_entry != "channels" == config["source_entry"]:
        weights[PATCHES] = torch.cat([weights[PATCHES], torch.zeros_like(weights[PATCHES])], dim=1)
    model.load_state_dict(weights, assign=True)
    return model.train(transformer.training)
