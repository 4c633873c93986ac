"""`icve data world`: the procedural world as a set or as footage, for tests, tutorials and first experiments."""

import argparse
from pathlib import Path

from icve.commands.arguments import FULL_ONLY, OPERATIONS, SPLITS, positive, seed
from icve.errors import InputError


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the arguments of `icve data world`."""
    parser.epilog = "The same command goes on where it was stopped; a larger --pairs adds to the set."
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="SET", help="the set's folder")
    amount = parser.add_mutually_exclusive_group(required=True)
    amount.add_argument("--pairs", type=positive, metavar="N", help="how many pairs of a set")
    amount.add_argument(
        "--footage", type=positive, metavar="N", help="how many long takes, as video files for `icve data curate`"
    )
    parser.add_argument(
        "--unpaired", action="store_true", help="source and target are two moments of a scene, as in stage 1"
    )
    parser.add_argument(
        "--split",
        choices=SPLITS,
        default="core",
        help="full: photographs and moving cameras too; plain: one-colour backgrounds only",
    )
    parser.add_argument(
        "--operation",
        action="append",
        default=[],
        choices=OPERATIONS,
        help="only this; may be repeated (default: all of the split; footage shows those of core)",
    )
    parser.add_argument("--seed", type=seed, default=0, help="the same seed makes the same set (0)")
    parser.add_argument(
        "--buckets",
        type=_buckets,
        default="9x64x64",
        metavar="FxHxW,…",
        help="sizes, drawn equally often; footage has the first one's (9x64x64)",
    )


def _buckets(text: str) -> list[tuple[int, int, int]]:
    buckets = []
    for name in text.split(","):
        try:
            frames, height, width = map(int, name.split("x"))
        except ValueError:
            raise argparse.ArgumentTypeError(f"{name!r} is not FRAMESxHEIGHTxWIDTH, such as 9x64x64") from None
        buckets.append((frames, height, width))
    return buckets


def run(args: argparse.Namespace) -> int:
    """Writes the set or the footage; returns 0."""
    if (args.split != "full" or args.footage) and (outside := [name for name in args.operation if name in FULL_ONLY]):
        raise InputError(f"--operation {outside[0]} is only in the split full; add --split full (pairs only).")
    from tqdm import tqdm

    if args.footage:
        from icve.data.world_footage import export_footage

        size = args.buckets[0][1:]
        with tqdm(total=args.footage, unit="take") as bar:
            export_footage(
                args.output,
                args.footage,
                split=args.split,
                operations=args.operation,
                seed=args.seed,
                size=size,
                progress=bar.update,
            )
        return 0

    from icve.data.samples import Bucket
    from icve.data.world_export import export_world

    buckets = [Bucket(*size) for size in args.buckets]
    with tqdm(total=args.pairs, unit="pair") as bar:
        export_world(
            args.output,
            args.pairs,
            buckets,
            unpaired_clips=args.unpaired,
            split=args.split,
            operations=args.operation,
            seed=args.seed,
            progress=bar.update,
        )
    return 0
