"""Conversion of original HunyuanVideo and ICVE checkpoints to diffusers' keys; shapes decide the config."""

import re
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from icve.errors import InputError
from icve.models.transformer import InContextHunyuanVideoTransformer3DModel

# Original module -> diffusers modules. Several targets share the rows of one original matrix, in this order.
# `{}` is a block's index. The mapping is the one that diffusers publishes for HunyuanVideo.
_MODULES: dict[str, list[str]] = {
    "img_in.proj": ["x_embedder.proj"],
    "txt_in.input_embedder": ["context_embedder.proj_in"],
    "txt_in.t_embedder.mlp.0": ["context_embedder.time_text_embed.timestep_embedder.linear_1"],
    "txt_in.t_embedder.mlp.2": ["context_embedder.time_text_embed.timestep_embedder.linear_2"],
    "txt_in.c_embedder.linear_1": ["context_embedder.time_text_embed.text_embedder.linear_1"],
    "txt_in.c_embedder.linear_2": ["context_embedder.time_text_embed.text_embedder.linear_2"],
    "time_in.mlp.0": ["time_text_embed.timestep_embedder.linear_1"],
    "time_in.mlp.2": ["time_text_embed.timestep_embedder.linear_2"],
    "vector_in.in_layer": ["time_text_embed.text_embedder.linear_1"],
    "vector_in.out_layer": ["time_text_embed.text_embedder.linear_2"],
    "guidance_in.mlp.0": ["time_text_embed.guidance_embedder.linear_1"],
    "guidance_in.mlp.2": ["time_text_embed.guidance_embedder.linear_2"],
    "final_layer.linear": ["proj_out"],
    "final_layer.adaLN_modulation.1": ["norm_out.linear"],
}
_REFINER = "txt_in.individual_token_refiner.blocks"
_BLOCK_MODULES: dict[str, tuple[str, dict[str, list[str]]]] = {
    _REFINER: (
        "context_embedder.token_refiner.refiner_blocks",
        {
            "norm1": ["norm1"],
            "self_attn_qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
            "self_attn_proj": ["attn.to_out.0"],
            "norm2": ["norm2"],
            "mlp.fc1": ["ff.net.0.proj"],
            "mlp.fc2": ["ff.net.2"],
            "adaLN_modulation.1": ["norm_out.linear"],
        },
    ),
    "double_blocks": (
        "transformer_blocks",
        {
            "img_mod.linear": ["norm1.linear"],
            "img_attn_qkv": ["attn.to_q", "attn.to_k", "attn.to_v"],
            "img_attn_q_norm": ["attn.norm_q"],
            "img_attn_k_norm": ["attn.norm_k"],
            "img_attn_proj": ["attn.to_out.0"],
            "img_mlp.fc1": ["ff.net.0.proj"],
            "img_mlp.fc2": ["ff.net.2"],
            "txt_mod.linear": ["norm1_context.linear"],
            "txt_attn_qkv": ["attn.add_q_proj", "attn.add_k_proj", "attn.add_v_proj"],
            "txt_attn_q_norm": ["attn.norm_added_q"],
            "txt_attn_k_norm": ["attn.norm_added_k"],
            "txt_attn_proj": ["attn.to_add_out"],
            "txt_mlp.fc1": ["ff_context.net.0.proj"],
            "txt_mlp.fc2": ["ff_context.net.2"],
        },
    ),
    "single_blocks": (
        "single_transformer_blocks",
        {
            "modulation.linear": ["norm.linear"],
            "linear1": ["attn.to_q", "attn.to_k", "attn.to_v", "proj_mlp"],
            "linear2": ["proj_out"],
            "q_norm": ["attn.norm_q"],
            "k_norm": ["attn.norm_k"],
        },
    ),
}


# diffusers name -> shape, for each tensor made from one original tensor
Layout = dict[str, dict[str, torch.Size]]


def convert_reference_state_dict(state_dict: Mapping[str, Any]) -> tuple[dict[str, Any], dict[str, Tensor]]:
    """Convert an original checkpoint in memory; `icve.models.checkpoint_files` converts one that does not fit there.

    Args:
        state_dict: Tensors under HunyuanVideo's original keys (ICVE's file has the same), or such a dictionary under
            "module" or "ema", as HunyuanVideo's `.pt` has.

    Returns:
        The constructor arguments of `InContextHunyuanVideoTransformer3DModel` and its state dict; the tensors share
        the given ones' memory.

    Raises:
        InputError: A key is missing, unknown, or has the wrong shape; the message names it.
    """
    tensors = unwrap(state_dict)
    shapes = {name: tensor.shape for name, tensor in tensors.items()}
    config = reference_config(shapes)
    layout = reference_layout(config)
    check_reference_shapes(shapes, layout)
    converted: dict[str, Tensor] = {}
    for name, tensor in tensors.items():
        converted.update(convert_reference_tensor(name, tensor, layout))
    return config, converted


def unwrap(state_dict: Mapping[str, Any]) -> Mapping[str, Tensor]:
    """Return the tensors of a state dict, whether bare or under "module" or "ema"; raise `InputError` on others."""
    for wrapper in ("module", "ema"):
        if isinstance(state_dict.get(wrapper), Mapping):
            state_dict = state_dict[wrapper]
            break
    for name, value in state_dict.items():
        if not isinstance(value, Tensor):
            raise InputError(f"The checkpoint's entry {name!r} is no tensor; give an original HunyuanVideo checkpoint.")
    return state_dict


def reference_config(shapes: Mapping[str, torch.Size]) -> dict[str, Any]:
    """Return the transformer's constructor arguments, read from the shapes of an original checkpoint.

    RoPE leaves no trace in the weights. An eighth of a head's channels, at least 8, is taken for time and the rest
    for height and width in halves: that is HunyuanVideo's (16, 56, 56) at its head width of 128.
    """
    hidden_size, in_channels, patch_size_t, patch_size, _ = _shape(shapes, "img_in.proj.weight", 5)
    num_layers, num_single_layers, num_refiner_layers = (
        len({m[1] for name in shapes if (m := re.match(rf"{re.escape(stem)}\.(\d+)\.", name))})
        for stem in ("double_blocks", "single_blocks", _REFINER)
    )
    if num_layers:
        (head_dim,) = _shape(shapes, "double_blocks.0.img_attn_q_norm.weight", 1)
        mlp_dim = _shape(shapes, "double_blocks.0.img_mlp.fc1.weight", 2)[0]
    else:
        (head_dim,) = _shape(shapes, "single_blocks.0.q_norm.weight", 1)
        mlp_dim = _shape(shapes, "single_blocks.0.linear1.weight", 2)[0] - 3 * hidden_size
    if hidden_size % head_dim:
        raise InputError(f"The norm of {head_dim} query channels does not divide the checkpoint's width {hidden_size}.")
    time_dim = max(8, head_dim // 8)
    return {
        "in_channels": in_channels,
        "out_channels": _shape(shapes, "final_layer.linear.weight", 2)[0] // (patch_size_t * patch_size**2),
        "num_attention_heads": hidden_size // head_dim,
        "attention_head_dim": head_dim,
        "num_layers": num_layers,
        "num_single_layers": num_single_layers,
        "num_refiner_layers": num_refiner_layers,
        "mlp_ratio": mlp_dim / hidden_size,
        "patch_size": patch_size,
        "patch_size_t": patch_size_t,
        "guidance_embeds": any(name.startswith("guidance_in.") for name in shapes),
        "text_embed_dim": _shape(shapes, "txt_in.input_embedder.weight", 2)[1],
        "pooled_projection_dim": _shape(shapes, "vector_in.in_layer.weight", 2)[1],
        "rope_axes_dim": (time_dim, (head_dim - time_dim) // 2, (head_dim - time_dim) // 2),
    }


def reference_layout(config: Mapping[str, Any]) -> Layout:
    """Return which original tensors a model of this config has, and what each becomes."""
    with torch.device("meta"):
        model = InContextHunyuanVideoTransformer3DModel(**config)
    shapes = {name: tensor.shape for name, tensor in model.state_dict().items()}
    modules = dict(_MODULES)
    for stem, (target_stem, block_modules) in _BLOCK_MODULES.items():
        for index in range(len(model.get_submodule(target_stem))):
            for module, targets in block_modules.items():
                modules[f"{stem}.{index}.{module}"] = [f"{target_stem}.{index}.{target}" for target in targets]
    return {
        f"{module}.{leaf}": {f"{target}.{leaf}": shapes[f"{target}.{leaf}"] for target in targets}
        for module, targets in modules.items()
        for leaf in ("weight", "bias")
        if f"{targets[0]}.{leaf}" in shapes  # norms of queries and keys have no bias, some models no guidance
    }


def check_reference_shapes(shapes: Mapping[str, torch.Size], layout: Layout) -> None:
    """Raise `InputError`, naming the key, unless names and shapes are exactly the layout's."""
    missing = [name for name in layout if name not in shapes]
    if missing:
        raise InputError(f"The checkpoint lacks the tensor {_name(missing)}; give a complete original checkpoint.")
    unknown = [name for name in shapes if name not in layout]
    if unknown:
        raise InputError(f"The checkpoint has an unknown tensor {_name(unknown)}; give an original HunyuanVideo one.")
    for name, targets in layout.items():
        first = next(iter(targets.values()))
        expected = (sum(shape[0] for shape in targets.values()), *first[1:])
        if tuple(shapes[name]) != expected:
            raise InputError(
                f"The tensor {name!r} must have shape {expected} in this model, not {tuple(shapes[name])}."
            )


def convert_reference_tensor(name: str, tensor: Tensor, layout: Layout) -> dict[str, Tensor]:
    """Return what one original tensor becomes: views of its rows, but for the final layer's modulation."""
    targets = layout[name]
    if name.startswith("final_layer.adaLN_modulation.1."):
        shift, scale = tensor.chunk(2)
        tensor = torch.cat([scale, shift])  # the order that diffusers reads them in
    return dict(zip(targets, tensor.split([shape[0] for shape in targets.values()]), strict=True))


def _shape(shapes: Mapping[str, torch.Size], name: str, dimensions: int) -> torch.Size:
    if name not in shapes:
        raise InputError(f"The checkpoint lacks the tensor {name!r}; give an original HunyuanVideo or ICVE checkpoint.")
    if len(shapes[name]) != dimensions or 0 in shapes[name]:
        raise InputError(f"The tensor {name!r} must have {dimensions} dimensions, not shape {tuple(shapes[name])}.")
    return shapes[name]


def _name(names: list[str]) -> str:
    return repr(names[0]) if len(names) == 1 else f"{names[0]!r} (and {len(names) - 1} more)"
