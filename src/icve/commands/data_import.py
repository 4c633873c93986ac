"""`icve data import SET FOLDER -o OUT --buckets …`: a public set of paired videos as shards."""

import argparse
from pathlib import Path

from icve.commands.arguments import positive
from icve.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the action's arguments."""
    parser.add_argument("set", metavar="SET", help="senorita-2m, insvie-1m, openve-3m, ditto-1m or reco-data")
    parser.add_argument("folder", metavar="FOLDER", type=Path, help="the set as its authors publish it, unpacked")
    parser.add_argument("-o", "--output", metavar="OUT", type=Path, required=True, help="the folder of the shards")
    parser.add_argument(
        "--buckets",
        required=True,
        metavar="FxHxW,…",
        help="frames x height x width to choose from, such as 33x480x832,33x832x480,1x480x832",
    )
    parser.add_argument("--fps", type=rate, help="thin faster videos out to this rate (default: each source's own)")
    parser.add_argument("--processes", type=positive, default=1, help="workers that decode (default: 1)")


def rate(text: str) -> float:
    """Frames a second, above 0."""
    value = float(text)
    if not 0 < value <= 1000:
        raise argparse.ArgumentTypeError(f"{text} is not a frame rate between 0 and 1000")
    return value


def run(args: argparse.Namespace) -> int:
    """Import; 0 when the shards hold pairs of the set afterwards, else 1."""
    from icve.data.importing import import_set
    from icve.data.samples import Bucket

    try:
        buckets = [Bucket.parse(text) for text in args.buckets.split(",")]
    except (ValueError, TypeError):
        raise InputError(
            f"--buckets {args.buckets} is not a list of sizes; write frames x height x width, such as "
            "33x480x832,1x480x832."
        ) from None
    summary = import_set(args.set, args.folder, args.output, buckets, fps=args.fps, processes=args.processes)
    return 0 if summary.imported or summary.present else 1
