"""Time and memory of one denoising step with classifier-free guidance: our transformer against a plain port of it.

    python benchmarks/denoise_step.py [--sizes mini middle large] [--dtype bfloat16] [--rounds 7] [--threads 2]

All variants have the same weights and take turns in one process, so whatever else the machine does falls on
all of them.
Memory is what a step adds to the process at its peak (Linux's VmHWM, reset before the step).
"""

import argparse
import ctypes
import gc
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from icve.models import InContextHunyuanVideoTransformer3DModel
from plain_port import PlainPort

# Latent size (one token each) and width; blocks, head width and text as in the bundled mini model.
SIZES = {
    "mini": {"latents": (3, 8, 8), "heads": 4},
    "middle": {"latents": (3, 16, 16), "heads": 8},
    "large": {"latents": (5, 20, 15), "heads": 16},
}
TEXT_LENGTH, TEXT_PADDED, TEXT_WIDTH = 20, 256, 256
GUIDANCE_SCALE = 6.0


def variants(size: dict[str, Any], dtype: torch.dtype) -> dict[str, Callable[[], Tensor]]:
    """One denoising step each, on the same weights and inputs."""
    torch.manual_seed(0)
    config = {
        "num_attention_heads": size["heads"],
        "attention_head_dim": 64,
        "num_layers": 2,
        "num_single_layers": 6,
        "patch_size": 1,
        "guidance_embeds": False,
        "text_embed_dim": TEXT_WIDTH,
        "pooled_projection_dim": TEXT_WIDTH,
        "rope_axes_dim": (16, 24, 24),
    }
    full = InContextHunyuanVideoTransformer3DModel(**config).to(dtype)
    alone = InContextHunyuanVideoTransformer3DModel(**config, source_attention="self").to(dtype)
    plain = PlainPort(**config, image_condition_type="token_replace").to(dtype)
    for model in (alone, plain):
        model.load_state_dict(full.state_dict(), assign=True)

    latents, source = (torch.randn(1, 16, *size["latents"], dtype=dtype) for _ in range(2))
    texts = torch.randn(2, TEXT_PADDED, TEXT_WIDTH, dtype=dtype)  # prompt and negative prompt
    mask = (torch.arange(TEXT_PADDED) < TEXT_LENGTH).expand(2, -1)
    pooled = torch.randn(2, TEXT_WIDTH, dtype=dtype)
    timestep = torch.tensor([700.0, 700.0])
    caches = [alone.encode_source(source, pooled[i : i + 1]) for i in range(2)]

    def guided(cond: Tensor, uncond: Tensor) -> Tensor:
        return uncond + GUIDANCE_SCALE * (cond - uncond)

    def step_plain() -> Tensor:
        twice = (torch.cat([x, x]) for x in (latents, source))
        return guided(*plain(*twice, timestep, texts, mask, pooled).chunk(2))

    def step_full() -> Tensor:
        branches = (slice(0, 1), slice(1, 2))
        return guided(*(full(latents, source, timestep[b], texts[b], mask[b], pooled[b])[0] for b in branches))

    def step_self() -> Tensor:
        return guided(
            *(
                alone(latents, None, timestep[b], texts[b], mask[b], pooled[b], source_cache=cache)[0]
                for b, cache in zip((slice(0, 1), slice(1, 2)), caches, strict=True)
            )
        )

    return {"plain port": step_plain, "ours": step_full, "ours, self": step_self}


def peak_memory(step: Callable[[], Tensor]) -> float:
    """MB that the step adds to the process at its peak."""
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    before = _status("VmRSS")
    Path("/proc/self/clear_refs").write_text("5")  # resets VmHWM
    step()
    return (_status("VmHWM") - before) / 1024


def _status(field: str) -> int:
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith(f"{field}:"))


@torch.no_grad()
def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=list(SIZES))
    parser.add_argument("--dtype", choices=("float32", "bfloat16"), default="float32")
    parser.add_argument("--rounds", type=int, default=7, help="steps of each variant (default: %(default)s)")
    parser.add_argument("--threads", type=int, default=torch.get_num_threads())
    args = parser.parse_args()
    torch.set_num_threads(args.threads)

    print(f"torch {torch.__version__}, CPU, {args.threads} threads, {args.dtype}, median of {args.rounds} rounds\n")
    print(f"{'size':8}{'tokens':>10}{'width':>7}  {'variant':12}{'ms/step':>9}{'speed':>8}{'peak MB':>9}{'off by':>9}")
    for name in args.sizes:
        size = SIZES[name]
        steps = variants(size, getattr(torch, args.dtype))
        reference = steps["plain port"]()
        scale = reference.abs().max()
        times: dict[str, list[float]] = {variant: [] for variant in steps}
        for step in steps.values():
            step()  # warm-up
        for _ in range(args.rounds):
            for variant, step in steps.items():
                start = time.perf_counter()
                step()
                times[variant].append(1000 * (time.perf_counter() - start))
        tokens = f"2 x {torch.Size(size['latents']).numel()}"
        for variant, step in steps.items():
            ratio = statistics.median(p / t for p, t in zip(times["plain port"], times[variant], strict=True))
            # "self" is another model with these weights: it is not meant to give the same velocity.
            gap = "" if variant == "ours, self" else f"{float((step() - reference).abs().max() / scale):.1e}"
            print(
                f"{name:8}{tokens:>10}{64 * size['heads']:>7}  {variant:12}{statistics.median(times[variant]):9.1f}"
                f"{ratio:7.2f}x{peak_memory(step):9.1f}{gap:>9}",
                flush=True,
            )


if __name__ == "__main__":
    main()
