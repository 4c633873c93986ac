"""A small run of `icve train` that goes wrong: its sizes, and what is in its folder."""

import json

from safetensors.torch import load_file
from tests.data.shard_samples import BUCKET

from icve.data.encode import encode_clips, encode_texts
from icve.training.checkpoint import Checkpointer

WEIGHTS = "diffusion_pytorch_model.safetensors"
STEPS, BATCH, PAIRS = 6, 4, 8
NAN = float("nan")


def bucket(size=BUCKET, **values) -> dict:
    return {"size": str(size), "batch": BATCH} | values


def encode(folder, pipe) -> None:
    encode_texts(folder, pipe, "other", progress=lambda _: None)
    encode_clips(folder, pipe, "other", progress=lambda _: None)


def rows(run) -> list[dict]:
    return [json.loads(row) for row in (run / "log.jsonl").read_text().splitlines()]


def checkpoints(run) -> list[str]:
    """Their names, and of whatever else is there."""
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def assert_good(run, step: int) -> None:
    """The newest checkpoint is that of a step, and can be loaded whole."""
    newest = Checkpointer(run / "checkpoints").latest()
    assert newest.name == f"step-{step:08d}"
    tensors = {name: tensor for file in newest.glob("*.safetensors") for name, tensor in load_file(file).items()}
    assert len([name for name in tensors if name.startswith("master.")]) > 10
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def weights(run) -> bytes:
    return (run / "model/transformer" / WEIGHTS).read_bytes()
