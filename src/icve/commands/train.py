"""`icve train CONFIG.yaml [key=value …]`: train the autoencoder or one stage of an editor."""

import argparse
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("config", type=Path, help="a YAML file; see configs/")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides, such as model.heads=8")
    parser.add_argument("--threads", type=int, help="CPU threads (default: all)")


def run(args: argparse.Namespace) -> int:
    """Train to the end, or until interrupted; the same command goes on."""
    import torch

    from icve.training.config import AutoencoderConfig, load_config

    config = load_config(args.config, args.overrides)
    if args.threads:
        torch.set_num_threads(args.threads)
    if isinstance(config, AutoencoderConfig):
        from icve.training.autoencoder import train_autoencoder

        train_autoencoder(config)
    else:
        from icve.training.editor import train_editor

        train_editor(config)
    return 0
