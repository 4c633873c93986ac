"""`icve data inspect OUT`: what a curation gave, and why it dropped the rest."""

import argparse
import json
from pathlib import Path


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("set", metavar="OUT", type=Path, help="the folder that `icve data curate` wrote")
    parser.add_argument("--json", action="store_true", help="print the yield table as JSON")


def run(args: argparse.Namespace) -> int:
    """Prints it; returns 0."""
    from icve.data.curation.inspecting import describe_run, yields_of

    print(json.dumps(yields_of(args.set), indent=1, ensure_ascii=False) if args.json else describe_run(args.set))
    return 0
