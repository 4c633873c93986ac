"""`icve convert`: turn an original HunyuanVideo or ICVE checkpoint into a diffusers folder."""

import argparse
import re
from pathlib import Path

from icve.errors import InputError

_UNITS = {"": 1, "K": 10**3, "M": 10**6, "G": 10**9}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.add_argument("checkpoint", type=Path, help="original .safetensors or .pt file")
    parser.add_argument("folder", type=Path, metavar="OUT_DIR", help="diffusers folder to write; must not exist")
    parser.add_argument(
        "--shard-size",
        default="4GB",
        metavar="SIZE",
        help="largest weight file, and about the memory needed (default: %(default)s)",
    )


def run(args: argparse.Namespace) -> int:
    """Convert the checkpoint; return the exit code."""
    shard_size = parse_size(args.shard_size)

    from icve.models.checkpoint_files import convert_checkpoint_file  # imports torch

    parameters = convert_checkpoint_file(args.checkpoint, args.folder, shard_size)
    print(f"{args.folder}: transformer with {parameters:,} parameters")
    return 0


def parse_size(text: str) -> int:
    """Return the bytes of a size such as "4GB" or "500 MB" (powers of 1000)."""
    match = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMG]?)B?", text.strip(), flags=re.IGNORECASE)
    size = int(float(match[1]) * _UNITS[match[2].upper()]) if match else 0
    if size == 0:
        raise InputError(f"--shard-size {text!r} is not a size; write it as 4GB or 500MB.")
    return size
