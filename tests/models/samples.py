"""Tiny transformers and inputs for the tests of the model."""

from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from icve.models import InContextHunyuanVideoTransformer3DModel, convert_reference_state_dict

GOLDEN = Path(__file__).parents[1] / "golden"
CONFIG: dict[str, Any] = {
    "num_attention_heads": 2,
    "attention_head_dim": 16,
    "num_layers": 2,
    "num_single_layers": 3,
    "num_refiner_layers": 1,
    "text_embed_dim": 24,
    "pooled_projection_dim": 20,
    "rope_axes_dim": (4, 6, 6),
}


def transformer(**config: Any) -> InContextHunyuanVideoTransformer3DModel:
    """A random model; its weights are large enough for every input to matter to the output."""
    torch.manual_seed(0)
    model = InContextHunyuanVideoTransformer3DModel(**(CONFIG | config)).eval()
    for parameter in model.parameters():
        if parameter.dim() > 1:
            torch.nn.init.normal_(parameter, std=1.5 * parameter[0].numel() ** -0.5)
    return model


def inputs(batch_size: int = 2, lengths: tuple[int, ...] | None = None, text_length: int = 9, seed: int = 1) -> dict:
    """Arguments of `forward`: 2x4x6 latents, texts of `lengths` (all `text_length` by default) padded with noise."""
    generator = torch.Generator().manual_seed(seed)

    def noise(*shape: int) -> Tensor:
        return torch.randn(batch_size, *shape, generator=generator)

    lengths = lengths or (text_length,) * batch_size
    return {
        "hidden_states": noise(16, 2, 4, 6),
        "source_hidden_states": noise(16, 2, 4, 6),
        "timestep": torch.linspace(800, 300, batch_size),
        "encoder_hidden_states": noise(text_length, CONFIG["text_embed_dim"]),
        "encoder_attention_mask": torch.arange(text_length)[None] < torch.tensor(lengths)[:, None],
        "pooled_projections": noise(CONFIG["pooled_projection_dim"]),
        "guidance": torch.full((batch_size,), 1000.0),
    }


def run(model: InContextHunyuanVideoTransformer3DModel, arguments: dict) -> Tensor:
    with torch.no_grad():
        return model(**arguments, return_dict=False)[0]


def one(arguments: dict, index: int) -> dict:
    """Sample `index` of a batch, its text without padding."""
    single = {name: value[index : index + 1] for name, value in arguments.items()}
    length = int(single["encoder_attention_mask"].sum())
    for name in ("encoder_hidden_states", "encoder_attention_mask"):
        single[name] = single[name][:, :length]
    return single


def golden_state_dict() -> dict[str, Tensor]:
    """The golden file's weights under their original keys."""
    tensors = load_file(GOLDEN / "icve_reference_cfgdistill.safetensors")
    return {name.removeprefix("w."): tensor for name, tensor in tensors.items() if name.startswith("w.")}


def golden_model() -> InContextHunyuanVideoTransformer3DModel:
    config, state_dict = convert_reference_state_dict(golden_state_dict())
    model = InContextHunyuanVideoTransformer3DModel(**config).eval()
    model.load_state_dict(state_dict)
    return model


def golden_inputs() -> tuple[dict, Tensor]:
    """Arguments of `forward`, and the velocity that the reference returns."""
    tensors = load_file(GOLDEN / "icve_reference_cfgdistill.safetensors")
    names = {
        "hidden_states": "noisy_latents",
        "source_hidden_states": "source_latents",
        "timestep": "timestep",
        "encoder_hidden_states": "text",
        "encoder_attention_mask": "text_mask",
        "pooled_projections": "pooled",
        "guidance": "guidance",
    }
    return {name: tensors[f"in.{golden}"] for name, golden in names.items()}, tensors["out.velocity"]
