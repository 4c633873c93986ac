"""Tiny training configs for tests."""

from pathlib import Path
from typing import Any

from icve.training.config import EditorConfig

BUCKETS = [{"size": "1x32x32", "batch": 4, "stop": 3}, {"size": "5x32x32", "batch": 2, "start": 3}]
WORLD = {"kind": "world", "pairs": "paired", "operations": {"recolour": 1, "background": 1}}


def world(**values: Any) -> dict[str, Any]:
    """A `data` group with one set of the world."""
    return {"sets": [WORLD | values], "buckets": BUCKETS}


def config(folder: Path, **values: Any) -> EditorConfig:
    """Five tiny steps on the world; `values` replace whole groups."""
    defaults: dict[str, Any] = {
        "kind": "editor",
        "output": folder,
        "steps": 5,
        "data": world(),
        "optimizer": {"lr": 1e-3, "ema": 0.9},
        "checkpoint": {"every": 2},
        "log": {"every": 1, "tensorboard": False},
    }
    values = {key: str(value) if key in ("start", "autoencoder") else value for key, value in values.items()}
    return EditorConfig.model_validate(defaults | values)
