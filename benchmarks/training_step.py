"""Targets trained a second with one noise level for each sample and with four that share its source.

    python benchmarks/training_step.py [--model mini] [--rounds 5]

A step is forward, backward and the optimizer's update, with `naming_weight`, on random latents of the world's size;
the two ways take turns in one run, and the fastest round of each counts.
"""

import argparse
import time
from pathlib import Path

import torch

from icve.pipelines.edit import InContextVideoEditPipeline
from icve.training.config import EditorConfig
from icve.training.editor import DTYPE, InContextFlowMatching
from icve.training.latents import Batch
from icve.training.naming import COLOUR_CLASSES, Naming
from icve.training.precision import MasterOptimizer

TEXTS = ("turn the red star blue", "remove the circle", "make it darker", "put a large green heart at the top left")
TARGETS = {1: 64, 3: 32}  # a step, by latent frames: 1 and 9 frames
DRAWS = (1, 4)


def seconds(method: InContextFlowMatching, optimizer: MasterOptimizer, batch: Batch) -> float:
    """One step."""
    start = time.perf_counter()
    loss, _ = method.loss(batch, torch.Generator().manual_seed(0))
    loss.backward()
    optimizer.step(lr=1e-6, clip=1.0)
    return time.perf_counter() - start


def main() -> None:
    """Print a table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    pipe = InContextVideoEditPipeline.from_pretrained(args.model).to(DTYPE)
    naming = Naming(pipe.transformer).to(DTYPE)
    modules = [pipe.transformer, pipe.text_encoder, pipe.text_encoder_2, naming]
    optimizer = MasterOptimizer(modules, kind="muon", lr=1e-6, weight_decay=0.01, ema=0.99)
    print("| latent frames | draws | samples | targets a second |\n|---|---|---|---|")
    for frames, targets in TARGETS.items():
        methods, batches = {}, {}
        for draws in DRAWS:
            config = EditorConfig(
                kind="editor",
                data="paired",
                output=Path("unused"),
                lr=1e-6,
                phases=[],
                changed_weight=4,
                naming_weight=0.1,
                draws=draws,
            )
            size = targets // draws
            names = torch.randint(COLOUR_CLASSES, (size, frames, 8, 8, 2)).clamp_max(8)
            latents = torch.randn(2, size, 16, frames, 16, 16)
            methods[draws] = InContextFlowMatching(pipe, config, naming)
            batches[draws] = Batch(latents[0], latents[1], [TEXTS[i % 4] for i in range(size)], names, names)
        best = dict.fromkeys(DRAWS, float("inf"))
        for _ in range(args.rounds):
            for draws in DRAWS:
                best[draws] = min(best[draws], seconds(methods[draws], optimizer, batches[draws]))
        for draws in DRAWS:
            print(f"| {frames} | {draws} | {targets // draws} | {targets / best[draws]:.1f} |")
        print(f"ratio {best[1] / best[4]:.2f}", flush=True)


if __name__ == "__main__":
    main()
