"""`icve ablate CONFIG.yaml`: a grid of training runs and seeds, each resumable, then one table with intervals."""

import argparse
import json
from pathlib import Path

from icve.commands.arguments import positive


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Declare the command's arguments."""
    parser.epilog = (
        "The same command goes on where it was stopped. Ablations that share -o train equal runs once.\n"
        "Writes OUT/CONFIG.html, .json and .md; runs, sets, verdicts and logs lie beside them."
    )
    parser.add_argument("config", type=Path, help="a YAML file, such as configs/ablations/two_stage.yaml")
    parser.add_argument("overrides", nargs="*", metavar="key=value", help="dotted overrides, such as seeds=[0,1]")
    parser.add_argument("-o", "--output", type=Path, default=Path("runs/ablations"), metavar="OUT", help="a folder")
    parser.add_argument(
        "--jobs", type=positive, metavar="N", help="runs at a time (default: a core each, one on a GPU)"
    )
    parser.add_argument("--dry-run", action="store_true", help="print the runs, train nothing")


def run(args: argparse.Namespace) -> int:
    """Do what is missing, print the table and return the exit code."""
    import psutil
    import torch
    from tqdm import tqdm

    from icve.evaluation.ablation.config import load_ablation
    from icve.evaluation.ablation.plan import plan, runs_in_order
    from icve.evaluation.ablation.report import write_report
    from icve.evaluation.ablation.results import summarise, table
    from icve.evaluation.ablation.runner import Folders, do_runs
    from icve.evaluation.ablation.sets import clips_to_make, make_sets
    from icve.evaluation.judging import without_nan
    from icve.video.files import replacing, write_errors

    config = load_ablation(args.config, args.overrides)
    cells = plan(config)
    runs = runs_in_order(cells)
    folders = Folders(args.output)
    for each in runs:
        each.config(folders.runs, folders.sets)  # what is no config is refused before hours of work
    if args.dry_run:
        print(f"{len(cells)} editors of {len(config.arms)} arms need {len(runs)} runs:")
        for each in runs:
            after = f" after {each.parent.name}" if each.parent else ""
            print(f"  {each.name}: {folders.steps_done(each)} of {each.steps} steps{after}")
        return 0
    cores = psutil.cpu_count(logical=False) or 1
    jobs = args.jobs or (1 if torch.cuda.is_available() else cores)
    with write_errors(args.output):
        folders.sets.mkdir(parents=True, exist_ok=True)
    missing = clips_to_make(config.sets, folders.sets)
    with tqdm(total=missing, unit="clip", disable=not missing) as bar:

        def made(name: str, count: int) -> None:
            bar.set_description(name, refresh=False)
            bar.update(count)

        make_sets(config.sets, folders.sets, str(config.autoencoder), made)
    with tqdm(total=sum(each.steps for each in runs), unit="step", smoothing=0.05) as bar:

        def stepped(steps: int, names: str) -> None:
            bar.set_description(names, refresh=False)
            bar.update(steps - bar.n)

        if not do_runs(config, folders, jobs=jobs, cores=cores, progress=stepped):
            raise KeyboardInterrupt
    summary = summarise(config, cells, folders)
    text = table(summary, next(iter(config.vary), None))
    write_report(config, cells, summary, folders, args.output / f"{args.config.stem}.html")
    files = {".json": json.dumps(without_nan(summary), indent=1), ".md": f"# {config.title}\n\n{text}\n"}
    for suffix, content in files.items():
        path = args.output / f"{args.config.stem}{suffix}"
        with write_errors(path), replacing(path) as partial:
            partial.write_text(content)
    print(text)
    return 0
