"""What the trainer costs beside the model: waiting for data, and its steps against a bare loop's.

    python benchmarks/trainer.py [--model mini] [--steps 40] [--batch 32] [--workers 0]

Writes a set of world pairs, encodes it, and trains a copy of the model on its latents and text embeddings. After each
of the trainer's steps a bare loop does one on a copy of its own (forward, backward, optimizer; its batch in memory), so
both meet the same moments of a noisy machine. Checkpoints are written meanwhile, as in any run.
"""

import argparse
import math
import statistics
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import torch

from icve.data.buckets import Bucket
from icve.data.encode import encode_clips, encode_texts
from icve.data.world_export import export_world
from icve.pipelines.edit import InContextVideoEditPipeline
from icve.training.config import EditorConfig
from icve.training.editor import build
from icve.training.log import Log
from icve.training.optimizer import MasterOptimizer
from icve.training.parallel import Layout
from icve.training.run_folder import RunFolder
from icve.training.trainer import Trainer

WARM_UP = 5  # steps


def make_set(model: str, folder: Path, bucket: Bucket, pairs: int) -> None:
    """World pairs as latents and text embeddings."""
    pipe = InContextVideoEditPipeline.from_pretrained(model)
    pipe.set_progress_bar_config(disable=True)
    export_world(folder, pairs, [bucket], progress=_silent)
    encode_clips(folder, pipe, model, progress=_silent)
    encode_texts(folder, pipe, model, progress=_silent)


def _silent(*_: object) -> None:
    pass


def config(model: str, folder: Path, bucket: Bucket, args: argparse.Namespace) -> EditorConfig:
    """A run that never ends by itself in the time of the benchmark."""
    return EditorConfig.model_validate(
        {
            "kind": "editor",
            "output": folder / "run",
            "start": model,
            "steps": args.steps + WARM_UP,
            "data": {
                "sets": [{"kind": "shards", "path": str(folder / "set")}],
                "buckets": [{"size": str(bucket), "batch": args.batch}],
                "workers": args.workers,
            },
            "optimizer": {"kind": "adamw", "lr": 1e-6},
            "checkpoint": {"every": 20},
            "log": {"every": 1, "tensorboard": True},
        }
    )


def bare_steps(run_config: EditorConfig) -> Iterator[float]:
    """Seconds of each step of the loop that one would write by hand, on the run's first batch."""
    layout = Layout.create(run_config.parallel)
    run = build(run_config, layout)
    transformer = run.parts.transformer
    optimizer = MasterOptimizer({"transformer": transformer}, kind="adamw", weight_decay=0.01, ema=0.999)
    batch = next(run.loader(run_config, layout).batches(0, 1))
    target, source = run.method.conditions.latents(batch)
    states, mask, pooled = run.method.conditions.text(batch, batch.texts, [False] * len(batch.texts))
    while True:
        start = time.perf_counter()
        sigma = torch.rand(len(target))
        noise = torch.randn(target.shape)
        s = sigma.view(-1, 1, 1, 1, 1)
        velocity = transformer(
            hidden_states=((1 - s) * target + s * noise).bfloat16(),
            source_hidden_states=source.bfloat16(),
            timestep=sigma * 1000,
            encoder_hidden_states=states,
            encoder_attention_mask=mask,
            pooled_projections=pooled,
            return_dict=False,
        )[0]
        (velocity.float() - (noise - target)).square().mean().backward()
        optimizer.step(1e-6, clip=1.0)
        yield time.perf_counter() - start


def main() -> None:
    """Print the table and the ratios."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--model", default="mini")
    parser.add_argument("--steps", type=int, default=40)
    parser.add_argument("--batch", type=int, default=32)
    parser.add_argument("--pairs", type=int, default=256)
    parser.add_argument("--workers", type=int, default=0)
    args = parser.parse_args()
    bucket = Bucket(9, 64, 64)
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        make_set(args.model, folder / "set", bucket, args.pairs)
        run_config = config(args.model, folder, bucket, args)
        layout = Layout.create(run_config.parallel)
        run = build(run_config, layout)
        bare = bare_steps(run_config)
        pairs: list[tuple[float, float, float]] = []

        def measure(trainer: Trainer, step: int) -> None:
            row = trainer.folder.rows("log.jsonl")[-1]
            seconds = 1 / row["steps_per_s"]
            other = next(bare)
            if step > WARM_UP:
                pairs.append((seconds, row["waiting"] * seconds, other))

        run_folder = RunFolder(run_config)
        log = Log(run_config.log, run_folder, work=run.work(run_config), peak=math.inf)
        loader = run.loader(run_config, layout)
        Trainer(run_config, run.method, run.modules, run.optimizer, loader, layout, run_folder, log, [measure]).run()
    trainer, waiting, bare_loop = (statistics.median(column) for column in zip(*pairs, strict=True))
    print(f"| a step of {args.batch} x {bucket} | ms, median of {len(pairs)} |\n|---|---|")
    print(f"| trainer | {1000 * trainer:.0f} |")
    print(f"| of it waiting for data | {1000 * waiting:.1f} |")
    print(f"| bare loop | {1000 * bare_loop:.0f} |")
    ratio = statistics.median(other / seconds for seconds, _, other in pairs)
    print(f"waiting {waiting / trainer:.1%} of a step; bare loop / trainer {ratio:.3f}; overhead {1 - ratio:.1%}")


if __name__ == "__main__":
    main()
