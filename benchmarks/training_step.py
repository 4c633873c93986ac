"""Targets trained a second with one noise level for each sample and with four that share its source.

    python benchmarks/training_step.py [--model mini] [--rounds 5]

A step is forward, backward and the optimizer's update, with `naming_weight`, on random latents of the world's size;
the two ways take turns in one run, and the fastest round of each counts.
"""

import argparse
import time
from pathlib import Path

import torch

from icve.data.buckets import Bucket
from icve.data.samples import Batch
from icve.training.config import EditorConfig
from icve.training.editor import Run, build
from icve.training.parallel import Layout

TEXTS = ("turn the red star blue", "remove the circle", "make it darker", "put a large green heart at the top left")
TARGETS = {1: 64, 9: 32}  # a step, by frames
DRAWS = (1, 4)


def make_run(model: str, draws: int) -> Run:
    """A model with its optimizer."""
    config = EditorConfig.model_validate(
        {
            "kind": "editor",
            "output": Path("unused"),
            "start": model,
            "steps": 1,
            "train": {"text_encoders": True},
            "data": {
                "sets": [{"kind": "world", "pairs": "paired", "operations": {"add": 1}}],
                "buckets": [{"size": "1x64x64", "batch": 1}],
            },
            "optimizer": {"kind": "muon", "lr": 1e-6, "ema": 0.99},
            "flow": {"changed_weight": 4, "naming_weight": 0.1, "draws": draws},
        }
    )
    return build(config, Layout.create(config.parallel))


def make_batch(frames: int, size: int, channels: int = 16) -> Batch:
    """Random latents of 64 x 64 pixels."""
    latent_frames = 1 + (frames - 1) // 4
    names = torch.randint(0, 9, (size, latent_frames, 8, 8, 2))
    target, source = torch.randn(2, size, channels, latent_frames, 16, 16)
    return Batch(
        step=0,
        bucket=Bucket(frames, 64, 64),
        slots=list(range(size)),
        ids=[""] * size,
        texts=[TEXTS[i % len(TEXTS)] for i in range(size)],
        target=target,
        source=source,
        valid=torch.ones(size, dtype=torch.bool),
        labels={"target_names": names, "source_names": names},
    )


def seconds(run: Run, batch: Batch) -> float:
    """One step."""
    start = time.perf_counter()
    run.method.loss(batch, len(batch.slots)).total.backward()
    run.optimizer.step(lr=1e-6, clip=1.0)
    return time.perf_counter() - start


def main() -> None:
    """Print a table and the ratio."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    runs = {draws: make_run(args.model, draws) for draws in DRAWS}
    print("| frames | draws | samples | targets a second |\n|---|---|---|---|")
    for frames, targets in TARGETS.items():
        batches = {draws: make_batch(frames, targets // draws) for draws in DRAWS}
        best = dict.fromkeys(DRAWS, float("inf"))
        for _ in range(args.rounds):
            for draws in DRAWS:
                best[draws] = min(best[draws], seconds(runs[draws], batches[draws]))
        for draws in DRAWS:
            print(f"| {frames} | {draws} | {targets // draws} | {targets / best[draws]:.1f} |")
        print(f"ratio {best[1] / best[4]:.2f}", flush=True)


if __name__ == "__main__":
    main()
