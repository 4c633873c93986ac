"""What the tests of failing runs share: a model and sets, and `icve train` as a call."""

import shutil
import signal
from pathlib import Path

import pytest
import yaml
from tests import tiny
from tests.data.shard_samples import write_set
from tests.training.failures.run_files import PAIRS, STEPS, bucket, encode

from icve import cli


@pytest.fixture(scope="package")
def folder(tmp_path_factory):
    """A model `start` and the sets `set`, encoded by it, and `raw`; do not change them."""
    folder = tmp_path_factory.mktemp("failures")
    tiny.save_tiny_model(folder / "start")
    shutil.copytree(write_set(folder / "raw", PAIRS), folder / "set")
    encode(folder / "set", tiny.pipeline())
    return folder


@pytest.fixture(autouse=True)
def handlers():
    """A run takes SIGTERM and SIGINT over."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def damaged(folder, tmp_path):
    """A copy of `set` to damage."""
    return shutil.copytree(folder / "set", tmp_path / "set")


@pytest.fixture
def train(folder, tmp_path, capsys):
    """Calls `icve train` with values over those of a small run; returns exit code and what is on stderr."""

    def run(data_set="set", **values) -> tuple[int, str]:
        path = data_set if isinstance(data_set, Path) else folder / data_set
        config = {
            "kind": "editor",
            "output": str(tmp_path / "run"),
            "start": str(folder / "start"),
            "steps": STEPS,
            "data": {"sets": [{"kind": "shards", "path": str(path)}], "buckets": [bucket()]},
            "optimizer": {"lr": 1e-3, "ema": 0.9},
            "checkpoint": {"every": 1000},
            "log": {"every": 1, "tensorboard": False},
        }
        for key, value in values.items():
            config[key] = config[key] | value if isinstance(value, dict) and key in config else value
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(config))
        capsys.readouterr()
        code = cli.main(["train", str(file)])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def refused(train):
    """As `train`, for what must be refused; returns the sentence."""

    def run(*args, **values) -> str:
        code, errors = train(*args, **values)
        assert code == cli.EXIT_REFUSED
        sentence = errors.splitlines()[-1]
        assert sentence.startswith("icve: error: ")
        assert "Traceback" not in errors
        return sentence.removeprefix("icve: error: ")

    return run
