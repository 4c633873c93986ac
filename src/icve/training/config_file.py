"""Reads a training config."""

from collections.abc import Iterable
from pathlib import Path

from icve.config_file import read_values, validate
from icve.errors import InputError
from icve.training.config import CONFIGS, AnyConfig


def load_config(path: Path, overrides: Iterable[str] = ()) -> AnyConfig:
    """Read a YAML config and apply dotted `key=value` overrides (values are YAML too; `data.sets.0.path=…` works).

    Raises:
        InputError: no such file, not YAML, an unknown key (the nearest known one is named) or a wrong value.
    """
    values = read_values(path, overrides)
    kind = values.get("kind")
    if kind not in CONFIGS:
        raise InputError(f"{path}: kind must be one of {', '.join(CONFIGS)}, not {kind!r}.")
    return validate(CONFIGS[kind], values, path)
