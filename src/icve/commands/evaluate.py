"""`icve evaluate BENCH`: edits a benchmark's cases or takes any tool's edits, scores them and writes a report."""

import argparse
from pathlib import Path

from icve.commands.arguments import OPERATIONS, SPLITS, positive, seed

EXAMPLES = """\
BENCH is a benchmark's name, or one of
  list      print the benchmarks: what each needs, and where it comes from
  compare   one report of several evaluations: icve evaluate compare OUT1 OUT2 -o REPORT

OUT gets scores.parquet (every score), summary.json and report.html (one file, with the clips). The same command goes
on where it was interrupted; scores are kept by content, so that another metric computes only itself.

examples:
  icve evaluate world --model mini -o out/world
  icve evaluate world --export todo                     sources and edits.csv, for another tool
  icve evaluate world --edits theirs -o out/theirs      its edits: theirs/CASE_ID.mp4
  icve evaluate openve-bench --data OpenVE-Bench --model mini --edits lucy=out/lucy -o out/openve
  icve evaluate compare out/world out/theirs -o out/both
"""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declares the command's arguments."""
    parser.epilog = EXAMPLES
    parser.add_argument("benchmark", metavar="BENCH", help="a benchmark, or: list, compare")
    parser.add_argument("results", nargs="*", type=Path, metavar="OUT", help="compare: folders of evaluations")
    parser.add_argument("-o", "--output", type=Path, metavar="OUT", help="a folder, made if missing")
    parser.add_argument("--data", type=Path, metavar="FOLDER", help="the benchmark, as its authors publish it")
    parser.add_argument("--limit", type=positive, metavar="N", help="the first N cases (default: all; world: 400)")
    parser.add_argument("--export", type=Path, metavar="DIR", help="write sources and edits.csv there, and end")
    parser.add_argument("--workers", type=positive, metavar="N", help="processes that score (default: the cores)")

    editors = parser.add_argument_group("editors (several are compared)")
    editors.add_argument(
        "--model",
        action="append",
        metavar="[NAME=]MODEL",
        help="a bundled model, a folder, or a hub id; may be repeated (default: mini, where there are no --edits)",
    )
    editors.add_argument(
        "--edits",
        action="append",
        default=[],
        metavar="[NAME=]DIR|CSV",
        help="edited clips: DIR/CASE_ID.mp4, or a CSV with the columns id and edited; may be repeated",
    )
    editors.add_argument("--seed", type=seed, default=0, help="of the noise, and of the world's cases (default: 0)")
    editors.add_argument("--steps", type=positive, metavar="N", help="denoising steps (default: the model's)")
    editors.add_argument("--guidance", type=float, metavar="G", help="guidance scale (default: the model's)")
    editors.add_argument(
        "--preserve",
        default="off",
        choices=("off", "auto"),
        help="auto: the source's own pixels wherever nothing changed, as `icve edit` writes it (default: off)",
    )
    editors.add_argument("--batch", type=positive, default=8, metavar="N", help="small clips edited at once (8)")

    scorers = parser.add_argument_group("scorers")
    scorers.add_argument(
        "--metrics", metavar="A,B", help="by these metrics (default: what the benchmark's authors report)"
    )
    scorers.add_argument(
        "--judges", action="append", default=[], type=Path, metavar="FILE.yaml", help="and by these judges"
    )
    scorers.add_argument(
        "--pairwise", action="store_true", help="judges also see two editors side by side, in both orders"
    )
    scorers.add_argument(
        "--controls",
        action="store_true",
        help="judges also see unedited sources and true edits as if they were edits: do they tell them apart?",
    )
    scorers.add_argument(
        "--models", action="append", default=[], metavar="NAME=FOLDER", help="where a metric's weights are"
    )

    world = parser.add_argument_group("world")
    world.add_argument(
        "--split",
        default="core",
        choices=SPLITS,
        help="core (default): single edits, still camera; full: photographs, camera moves, two edits in one "
        "sentence, edits in time too; plain: as core but looks, on one-colour backgrounds",
    )
    world.add_argument(
        "--operation", action="append", default=[], choices=OPERATIONS, help="only this; may be repeated"
    )
    world.add_argument("--wording", default="seen", choices=("seen", "unseen"), help="of the instructions, in training")


def run(args: argparse.Namespace) -> int:
    """Does what was asked, prints the figures and returns the exit code."""
    from icve.commands import evaluating

    if args.benchmark == "list":
        return evaluating.print_benchmarks()
    if args.benchmark == "compare":
        return evaluating.compare(args)
    return evaluating.evaluate(args)
