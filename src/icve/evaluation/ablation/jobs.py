"""What the processes of an ablation do: train one run, judge one editor."""

import functools
import json
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch
from diffusers.utils import logging as diffusers_logging
from transformers.utils import logging as transformers_logging

from icve.errors import InputError
from icve.evaluation.ablation.config import EvaluationSpec
from icve.training.config import EditorConfig
from icve.video.files import replacing

SHOWN = 9
"""How many of an editor's outputs are kept to look at."""
PICTURES = ".png"


STOP = signal.SIGUSR1
"""Asks a process of an ablation to save and to end its job. Not SIGTERM: an idle process would die of it, a pool that
misses one sends SIGTERM to all others, and a trainer takes its second for "at once"."""


def _stoppable(job: Callable[..., bool]) -> Callable[..., bool]:
    """`job`, which returns False when it was stopped."""

    @functools.wraps(job)
    def stoppable(*args: Any) -> bool:
        signal.signal(STOP, _stop)
        try:
            return job(*args)
        except KeyboardInterrupt:
            return False
        finally:
            signal.signal(STOP, signal.SIG_IGN)

    return stoppable


def _stop(*_: Any) -> None:
    if signal.getsignal(signal.SIGTERM) == signal.SIG_DFL:
        raise KeyboardInterrupt  # there is nothing to save
    signal.raise_signal(signal.SIGTERM)  # the trainer saves


@_stoppable
def train_run(config: EditorConfig, threads: int, log: Path) -> bool:
    """Trains, or goes on; False when it was asked to stop and has saved. What it prints goes to `log`."""
    from icve.training.editor import train_editor

    torch.set_num_threads(threads)
    if config.parallel.compile:
        torch.compiler.reset()  # what this process compiled for other runs would count against the compiler's limit
    try:
        with _printing_to(log):
            return train_editor(config)
    finally:
        signal.signal(signal.SIGTERM, signal.SIG_DFL)  # the trainer's handler would go on swallowing it
        parent = multiprocessing.parent_process()
        if parent is not None and not parent.is_alive():
            os._exit(1)  # killed: nobody waits for what this process does next, nor would end it


@_stoppable
def judge_run(model: Path, spec: EvaluationSpec, result: Path, threads: int, log: Path) -> bool:
    """Edits held-out samples of the world with a model and judges them; False when it was asked to stop.

    Args:
        result: the file that appears when all are judged: {"success": [...], "preservation": [...], "operation":
            [...]}, one value a sample, preservation in dB. Beside it, with PICTURES for .json, the first SHOWN outputs
            from left to right, of a clip its middle frame.
    """
    from icve.evaluation.editors import pipeline_editor
    from icve.evaluation.loop import as_pixels, evaluate_edits, held_out_edit
    from icve.pipelines.edit import InContextVideoEditPipeline
    from icve.pipelines.models import device_and_dtype

    torch.set_num_threads(threads)
    with _printing_to(log):
        device, dtype = device_and_dtype()
        pipe = InContextVideoEditPipeline.from_pretrained(str(model), torch_dtype=dtype).to(device)
        pipe.set_progress_bar_config(disable=True)
        edits = [
            held_out_edit(i, seed=spec.seed, split=spec.split, operations=spec.operations) for i in range(spec.samples)
        ]
        size = tuple(pipe.config.sizes[0])
        judged = list(evaluate_edits(edits, pipeline_editor(pipe), size=size, batch=spec.batch))
    rows: dict[str, list[Any]] = {
        "operation": [each.edit.operation for each in judged],
        "success": [bool(each.verdict.success) for each in judged],
        "preservation": [each.verdict.preservation_psnr for each in judged],
    }
    result.parent.mkdir(parents=True, exist_ok=True)
    strip = np.hstack([as_pixels(each.output[len(each.output) // 2]) for each in judged[:SHOWN]])
    with replacing(result.with_suffix(PICTURES)) as partial:
        partial.write_bytes(cv2.imencode(PICTURES, cv2.cvtColor(strip, cv2.COLOR_RGB2BGR))[1].tobytes())
    with replacing(result) as partial:
        partial.write_text(json.dumps(rows))
    return True


def read_judged(result: Path) -> dict[str, np.ndarray]:
    """A file of `judge_run` as arrays; preservation that cannot be measured is nan."""
    rows = json.loads(result.read_text())
    return {
        "operation": np.array(rows["operation"]),
        "success": np.array(rows["success"], dtype=float),
        "preservation": np.array(rows["preservation"], dtype=float),
    }


@contextmanager
def _printing_to(log: Path) -> Iterator[None]:
    log.parent.mkdir(parents=True, exist_ok=True)
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
    with log.open("a", buffering=1) as file, redirect_stdout(file), redirect_stderr(file):
        try:
            yield
        except InputError:
            raise
        except Exception as error:
            traceback.print_exc(file=file)
            raise InputError(f"a run has failed ({type(error).__name__}); see {log}.") from None
        finally:
            sys.stdout.flush()
