"""`icve data preview OUT`: opens the page of random pairs of a curated set, made anew."""

import argparse
import webbrowser
from pathlib import Path

from icve.commands.arguments import positive, seed


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.add_argument("set", metavar="OUT", type=Path, help="a curated set, or any other set in the shard format")
    parser.add_argument("--pairs", type=positive, default=50, metavar="N", help="how many (50)")
    parser.add_argument("--seed", type=seed, default=0, help="another seed shows other pairs (0)")
    parser.add_argument("--no-browser", action="store_true", help="only write OUT/preview.html")


def run(args: argparse.Namespace) -> int:
    """Writes the page and opens it; returns 0."""
    from icve.data.curation.preview import write_preview

    page = args.set / "preview.html"
    write_preview(args.set, page, pairs=args.pairs, seed=args.seed)
    print(page)
    if not args.no_browser:
        webbrowser.open(page.resolve().as_uri())
    return 0
