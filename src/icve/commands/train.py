"""`icve train CONFIG.yaml [key=value …]`: train the autoencoder or one stage of an editor."""

import argparse
import threading
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = (
        "The same command goes on where a run was stopped. On several GPUs or hosts: torchrun … -m icve.cli train "
        "CONFIG.yaml. A run ends in OUTPUT/model, which `icve edit --model` takes."
    )
    parser.add_argument("config", type=Path, help="a YAML file; see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides, such as optimizer.lr=1e-4")
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="load a batch of every bucket, print parameters, tokens, memory and the plan, and train nothing",
    )
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")


def run(args: argparse.Namespace) -> int:
    """Train to the end, or until interrupted; the same command goes on."""
    import torch
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    from icve.training.config import AutoencoderConfig
    from icve.training.config_file import load_config

    config = load_config(args.config, args.overrides)
    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
        library.set_verbosity_error()
    threading.excepthook = _tell_unless_told
    if args.threads:
        torch.set_num_threads(args.threads)
    if isinstance(config, AutoencoderConfig):
        from icve.training.autoencoder_run import train_autoencoder

        train_autoencoder(config)
    elif args.dry_run:
        from icve.training.plan import print_plan

        print_plan(config)
    else:
        from icve.training.editor import train_editor

        train_editor(config, judge)
    return 0  # also where it was asked to stop: it has saved, and the same command goes on


def _tell_unless_told(failure: Any) -> None:
    """TensorBoard's thread gives an error of the file system to the next call of it, which says it in one sentence."""
    if not issubclass(failure.exc_type, OSError):
        threading.__excepthook__(failure)


def judge(pipe: Any, count: int) -> dict[str, Any]:
    """The world's exact judge on `count` held-out edits of the split core, for a run's curve."""
    from icve.evaluation.editors import pipeline_editor
    from icve.evaluation.loop import evaluate_edits, held_out_edit, summarise

    edits = [held_out_edit(i, seed=1) for i in range(count)]  # not the samples of `icve evaluate world`
    size = tuple(pipe.config.sizes[0])
    rows = [sample.row() for sample in evaluate_edits(edits, pipeline_editor(pipe), size=size)]
    summary = summarise(rows)
    return {
        "success": summary["success"]["mean"],
        "judged": count,
        "operations": {name: figures["success"]["mean"] for name, figures in summary["operations"].items()},
    }
