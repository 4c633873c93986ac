"""What every test starts from, and fixtures it may use: the tiny model of real components, built once a session."""

import logging
import signal
from pathlib import Path

import pytest
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from icve import InContextVideoEditPipeline
from tests import tiny
from tests.vlm_server import vlm_server  # noqa: F401  (a fixture: started once, when a test first needs it)

# A shell's background job ignores Ctrl-C, and so would the commands that tests start and interrupt.
signal.signal(signal.SIGINT, signal.default_int_handler)
torch.set_num_threads(1)  # tiny tensors: more threads only wait for each other
for library_logging in (diffusers_logging, transformers_logging):
    library_logging.disable_progress_bar()
    library_logging.set_verbosity(logging.ERROR)


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of a tiny random model with source attention "full"; do not change it."""
    return tiny.save_tiny_model(tmp_path_factory.mktemp("models") / "tiny")


@pytest.fixture(scope="session")
def tiny_hunyuan_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The same weights as a HunyuanVideo text-to-video folder in diffusers' layout; do not change it."""
    return tiny.save_hunyuan_model(tmp_path_factory.mktemp("models") / "hunyuan")


@pytest.fixture(scope="module")
def tiny_pipeline() -> InContextVideoEditPipeline:
    """A tiny pipeline for the tests of one module, silent; a test that changes it undoes that."""
    pipe = tiny.pipeline()
    pipe.set_progress_bar_config(disable=True)
    return pipe
