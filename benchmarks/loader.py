"""How fast latents come from shards, and how long a training step waits for them.

    python benchmarks/loader.py [--sizes mini 240p 480p] [--workers 0 1 2] [--step 0.2] [--batch 8] [--steps 15]

Each set is written first, in the shard format: bf16 latents and text embeddings of random values. "samples/s" is
without any training; "waits" is what a step waits for its batch when it then computes for --step seconds elsewhere (a
sleep, as on a GPU). The files have just been written, so they come from the page cache, not from a disk.
"""

import argparse
import json
import statistics
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save

from icve.data.buckets import Bucket
from icve.data.loader import Loader
from icve.data.mixing import BucketPlan
from icve.data.shard_layout import ENCODER_FILE, LATENTS, TEXT, text_key
from icve.data.shard_media import encode_clip
from icve.data.shard_tar import TarShard
from icve.data.shards import ShardSet, ShardWriter

CLIPS = 48


@dataclass(frozen=True)
class Size:
    """A model's inputs: clips, latent channels, and widths and length of its text."""

    bucket: Bucket
    width: int
    pooled_width: int
    length: int


SIZES = {
    "mini": Size(Bucket(9, 64, 64), 256, 64, 12),
    "240p": Size(Bucket(33, 240, 416), 4096, 768, 40),
    "480p": Size(Bucket(33, 480, 832), 4096, 768, 40),
}
CHANNELS = 16


def write_set(folder: Path, size: Size) -> int:
    """Write CLIPS / 2 pairs; returns the bytes of a sample."""
    bucket = size.bucket
    blank = encode_clip(np.zeros((*bucket, 3), np.uint8), 24, quality=30, lossless=False)
    with ShardWriter(folder, name="random", licence="none") as writer:
        for i in range(CLIPS):
            writer.add_encoded_clip(f"c{i}", blank, bucket=bucket, fps=24)
        for i in range(0, CLIPS, 2):
            writer.add_pair(f"p{i}", f"c{i}", f"c{i + 1}", f"edit number {i}", "random")

    shape = (CHANNELS, 1 + bucket.frames // 4, bucket.height // 8, bucket.width // 8)
    latents = TarShard(folder / "latents" / str(bucket), "shard-000000", LATENTS)
    texts = TarShard(folder / "text", "text-000000", TEXT)
    for i in range(CLIPS):
        clip = save({"latents": torch.randn(shape).bfloat16()})
        latents.add(f"c{i}.safetensors", clip, clip_id=f"c{i}")
    states, pooled = torch.randn(size.length, size.width), torch.randn(size.pooled_width)
    embedding = save({"states": states.bfloat16(), "pooled": pooled.bfloat16()})
    for text in ("", *(f"edit number {i}" for i in range(0, CLIPS, 2))):
        texts.add(f"{text_key(text)}.safetensors", embedding, text_key=text_key(text), text=text)
    latents.close()
    texts.close()
    encoder = {"channels": CHANNELS, "temporal_compression": 4, "spatial_compression": 8}
    (folder / "latents" / ENCODER_FILE).write_text(json.dumps(encoder))
    text_encoder = {"width": size.width, "pooled_width": size.pooled_width, "max_length": size.length}
    (folder / "text" / ENCODER_FILE).write_text(json.dumps(text_encoder))
    return 2 * len(clip) + len(embedding)


def read(shards: ShardSet, bucket: Bucket, batch: int, steps: int, workers: int, compute: float) -> list[float]:
    """Seconds that each of the steps waits for its batch; the first includes the start of the workers."""
    loader = Loader([(shards, 1.0)], [BucketPlan(bucket, batch)], seed=0, workers=workers)
    waits = []
    start = time.perf_counter()
    for _ in loader.batches(0, steps):
        waits.append(time.perf_counter() - start)
        time.sleep(compute)
        start = time.perf_counter()
    return waits


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=["mini", "240p", "480p"])
    parser.add_argument("--workers", nargs="+", type=int, default=[0, 1, 2])
    parser.add_argument("--step", type=float, default=0.2, help="seconds that a step computes")
    parser.add_argument("--batch", type=int, default=8)
    parser.add_argument("--steps", type=int, default=15)
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(f"batch {args.batch}, steps of {args.step:g} s")
    print(
        f"{'size':6}{'kB/sample':>10}{'workers':>9}{'samples/s':>11}{'first batch':>13}{'waits':>10}{'of a step':>11}"
    )
    for name in args.sizes:
        with tempfile.TemporaryDirectory() as folder:
            bytes_each = write_set(Path(folder) / "set", SIZES[name])
            shards = ShardSet(Path(folder) / "set", text="embedded", clips="latents")
            for workers in args.workers:
                bucket = SIZES[name].bucket
                fast = read(shards, bucket, args.batch, args.steps, workers, 0.0)
                rate = args.batch * (args.steps - 1) / sum(fast[1:])
                waits = read(shards, bucket, args.batch, args.steps, workers, args.step)
                wait = statistics.mean(waits[1:])
                print(
                    f"{name:6}{bytes_each / 1000:10.0f}{workers:9}{rate:11.0f}{waits[0]:11.2f} s"
                    f"{wait * 1000:7.1f} ms{wait / (wait + args.step):11.1%}",
                    flush=True,
                )
