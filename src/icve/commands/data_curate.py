"""`icve data curate VIDEOS… -o OUT [key=value …]`: raw footage to unpaired clip pairs with instructions."""

import argparse
from pathlib import Path
from typing import Any


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.epilog = (
        "The same command goes on where it was stopped. Keys are those of icve.data.curation.config and of "
        "configs/curation/*.yaml, such as instructor=camera, seed=1, buckets=[33x480x832], executor=ray."
    )
    parser.add_argument(
        "videos",
        nargs="+",
        metavar="VIDEOS|key=value",
        help="files, folders, globs, CSV or Parquet lists, addresses (s3://…), and keys of the config",
    )
    parser.add_argument("-o", "--output", type=Path, required=True, metavar="OUT", help="the set's folder")
    parser.add_argument("--config", type=Path, metavar="FILE.yaml", help="a config; see configs/curation/")
    parser.add_argument("--dry-run", action="store_true", help="list the sources and the stages, and write nothing")


def run(args: argparse.Namespace) -> int:
    """Curates; 0 when the set holds pairs, else 1."""
    from icve.config_file import apply_override, read_values, validate
    from icve.data.curation.config import CurationConfig
    from icve.data.curation.inspecting import describe_run, number_of_pairs
    from icve.data.curation.run import curate
    from icve.errors import InputError

    overrides = [each for each in args.videos if is_override(each)]
    videos = [each for each in args.videos if not is_override(each)]
    if not videos:
        raise InputError("Name the videos: files, folders, globs, lists of them or addresses.")
    values: dict[str, Any] = read_values(args.config) if args.config else {}
    for override in overrides:
        apply_override(values, override)
    config = validate(CurationConfig, values, args.config or "the command line")
    if args.dry_run:
        from icve.data.curation.plan import print_plan

        print_plan(videos, config)
        return 0
    curate(videos, args.output, config)
    print(describe_run(args.output))
    return 0 if number_of_pairs(args.output) else 1


def is_override(text: str) -> bool:
    """Whether an argument is a key of the config: a file of that name would have to be written ./key=value."""
    key, equals, _ = text.partition("=")
    return bool(equals) and all(part.isidentifier() or part.isdecimal() for part in key.split("."))
