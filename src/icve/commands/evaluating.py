"""What `icve evaluate` does: cases, their edits, their scores, and the report."""

import argparse
import os
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from tqdm import tqdm

from icve.errors import InputError
from icve.evaluation.benchmarks.benchmark import Benchmark
from icve.evaluation.benchmarks.registry import find_benchmark
from icve.evaluation.benchmarks.world import World
from icve.evaluation.cache import ScoreCache
from icve.evaluation.cases import Case
from icve.evaluation.edits import Edits, check_names, find_edits, named
from icve.evaluation.export import export_cases
from icve.evaluation.judges import Judge, JudgeScorer, open_judges, read_judges
from icve.evaluation.judges.controls import Controls, ask_controls, summarise
from icve.evaluation.judges.judge import usage_of
from icve.evaluation.judging import Duel, Judging, duel, judging, own_votes
from icve.evaluation.report.page import write_report
from icve.evaluation.results import Results, collect, read_results, write_results
from icve.evaluation.run import Run
from icve.evaluation.scorer_choice import choose_scorers
from icve.evaluation.summary import Summary, join
from icve.video.files import write_errors

REPORT = "report.html"


def evaluate(args: argparse.Namespace) -> int:
    """Edits, scores, reports."""
    if args.results:
        raise InputError(f"{args.results[0]} is one argument too many; name a folder of clips with --data or --edits.")
    benchmark = _benchmark(args)
    if args.export is not None:
        cases = _cases(benchmark, args, args.export)
        print(export_cases(cases, args.export))
        return 0
    output = _output(args)
    configs = [config for path in args.judges for config in read_judges(path)]
    with open_judges(configs, output / "judges") as judges:
        _evaluate(benchmark, judges, args, output)
    return 0


def _evaluate(benchmark: Benchmark, judges: Sequence[Judge], args: argparse.Namespace, output: Path) -> None:
    named_scorers = [name.strip() for name in args.metrics.split(",")] if args.metrics else []
    scorers, notes = choose_scorers(benchmark, named_scorers, judges, dict(_weights(text) for text in args.models))
    given = [find_edits(argument, getattr(benchmark, "edited", "{id}.mp4")) for argument in args.edits]
    models = args.model or ([] if given else ["mini"])
    if args.pairwise and (not judges or len(models) + len(given) < 2):
        raise InputError("--pairwise needs --judges and two editors or more; name them with --model and --edits.")
    if args.controls and not judges:
        raise InputError("--controls needs judges; name a file of vision models with --judges.")
    check_names([*(named(model)[0] for model in models), *(edits.name for edits in given)])
    cases = _cases(benchmark, args, output)
    edited, settings = _edit(models, cases, args, output)
    for edits, argument in zip(given, args.edits, strict=True):
        settings[edits.name] = {"edits": str(named(argument)[1])}
        notes += _strangers(edits, cases)
    run = Run(cases, [*edited, *given], scorers, ScoreCache(output / "cache.jsonl"))
    run.score(workers=args.workers or os.cpu_count() or 1, bar=_bar)
    results = collect(run, benchmark.name, benchmark.title, settings)
    results.notes += notes
    duels = _duels(judges if args.pairwise else [], cases, run.editors, results.notes)
    asked = [scorer for scorer in scorers if isinstance(scorer, JudgeScorer)] if args.controls else []
    controls = _controls(asked, cases, results.notes)
    judged = judging(results, votes=own_votes(run.outcomes.values()), duels=duels, controls=controls)
    _finish(results, judged, output, {"usage": usage_of(judges)} if judges else {})


def _duels(judges: Sequence[Judge], cases: Sequence[Case], editors: Sequence[Edits], notes: list[str]) -> list[Duel]:
    """What each judge chooses between every two editors; one that cannot be asked costs its own choices."""
    found: list[Duel] = []
    for judge in judges:
        try:
            found += duel([judge], cases, editors)
        except InputError as error:
            notes.append(f"The choices of {judge.name} are missing: {error}")
    return found


def _controls(scorers: Sequence[JudgeScorer], cases: Sequence[Case], notes: list[str]) -> list[Controls]:
    """What each judge makes of the cases' sources and true edits; one that cannot be asked costs its own figures."""
    found = []
    for scorer in scorers:
        try:
            given = list(_bar(ask_controls(scorer, cases), len(cases), f"asking {scorer.name} about controls"))
        except InputError as error:
            notes.append(f"The controls of {scorer.name} are missing: {error}")
        else:
            found.append(summarise(scorer, given))
    return found


def _weights(argument: str) -> tuple[str, str]:
    name, equals, folder = argument.partition("=")
    if not (name and equals and folder):
        raise InputError(f"{argument!r} does not say where a metric's weights are: write --models NAME=FOLDER.")
    return name, folder


def compare(args: argparse.Namespace) -> int:
    """One report of several evaluations."""
    if len(args.results) < 2:
        raise InputError(
            "To compare, name the folders of two evaluations or more: icve evaluate compare OUT1 OUT2 -o …"
        )
    results = join([read_results(folder) for folder in args.results])
    _finish(results, judging(results), _output(args))
    return 0


def print_benchmarks() -> int:
    """The table of `icve evaluate list`."""
    from icve.evaluation.benchmarks.describing import describe_benchmarks

    print(describe_benchmarks())
    return 0


def _benchmark(args: argparse.Namespace) -> Benchmark:
    if args.benchmark != World.name:
        return find_benchmark(args.benchmark)
    return World(
        count=args.limit or World.count,
        seed=args.seed,
        split=args.split,
        operations=tuple(args.operation),
        unseen=args.wording == "unseen",
        clip=_model_size(args.model[0]) if args.model else World.clip,
    )


def _model_size(model: str) -> tuple[int, int, int]:
    """The world is drawn at the (first) model's own size; `World.clip` is the bundled model's."""
    from icve.pipelines.models import fetch_model
    from icve.pipelines.summary import summarise

    frames, height, width = summarise(fetch_model(str(named(model)[1]), skip=set())).settings["sizes"][0]
    return frames, height, width


def _cases(benchmark: Benchmark, args: argparse.Namespace, output: Path) -> Sequence[Case]:
    if isinstance(benchmark, World):
        root = output / "cases"
    elif args.data is None:
        raise InputError(f"{benchmark.title} is not bundled: name its folder with --data ({benchmark.needs}).")
    else:
        root = args.data
    return list(benchmark.cases(root))[: args.limit]


def _output(args: argparse.Namespace) -> Path:
    if args.output is None:
        raise InputError("Name a folder for the results with -o.")
    with write_errors(args.output):
        args.output.mkdir(parents=True, exist_ok=True)
    return args.output


def _edit(
    models: Sequence[str], cases: Sequence[Case], args: argparse.Namespace, output: Path
) -> tuple[list[Edits], dict[str, Any]]:
    """Every model's edits, and the settings that they were made with."""
    if not models:
        return [], {}
    from diffusers.utils import logging as diffusers_logging
    from transformers.utils import logging as transformers_logging

    from icve.evaluation.editing import ModelEditor

    for library in (diffusers_logging, transformers_logging):
        library.disable_progress_bar()
    edited, settings = [], {}
    for argument in models:
        name, model = named(argument)
        editor = ModelEditor(
            name,
            argument if str(model) == argument else str(model),
            seed=args.seed,
            steps=args.steps,
            guidance=args.guidance,
            preserve=args.preserve == "auto",
            batch=args.batch,
        )
        settings[name] = editor.settings
        edited.append(editor.edit(cases, output, _bar))
    return edited, settings


def _strangers(edits: Edits, cases: Sequence[Case]) -> list[str]:
    """Says so where edits are of no case: their names are often wrong."""
    if not (others := sorted({*edits.files} - {case.id for case in cases})):
        return []
    return [f"{len(others)} edits of {edits.name} are of no case here (such as {others[0][:80]})."]


def _finish(results: Results, judged: Judging, output: Path, more: Mapping[str, Any] | None = None) -> None:
    summary = Summary(results)
    write_results(results, output, summary.as_dict() | judged.as_dict() | dict(more or {}))
    write_report(results, summary, judged, output / REPORT)
    for note in results.notes:
        print(f"icve: {note}", file=sys.stderr)
    print_summary(results, summary)
    print(f"\n{output / REPORT}")


def print_summary(results: Results, summary: Summary) -> None:
    """Each editor's figures by category on stdout; the first figure in full, the others in a line each."""
    first = next(iter(results.figures))
    width = max(12, *(len(name) + 2 for name in [*results.categories, *results.figures]))
    for editor in results.editors:
        print(f"\n{editor}\n{'category':<{width}}{'n':>6}{first:>12}   95% interval")
        for category in [*results.categories, None]:
            mean = summary.mean(editor, first, category)
            print(f"{category or 'all':<{width}}{mean.n:>6}", _told(results, first, mean))
        for name in list(results.figures)[1:]:
            print(f"{name:<{width}}{summary.mean(editor, name).n:>6}", _told(results, name, summary.mean(editor, name)))
    for versus in summary.comparisons():
        if versus.figure == first and versus.p is not None:
            print(f"\n{versus.first} minus {versus.second}, {first}: {versus.difference:+.3g} (p = {versus.p:.2g})")


def _told(results: Results, name: str, mean: Any) -> str:
    if mean.mean is None:
        return f"{'missing':>11}"
    rate = results.is_rate(name)

    def shown(value: float) -> str:
        return f"{value:.1%}" if rate else f"{value:.4g}"

    interval = "" if mean.low is None else f"   {shown(mean.low)} to {shown(mean.high)}"
    lacking = f"   ({mean.missing} missing)" if mean.missing else ""
    return f"{shown(mean.mean):>11}{interval}{lacking}"


def _bar(things: Iterable[Any], count: int, what: str) -> Iterable[Any]:
    return tqdm(things, total=count, desc=what, unit="clip", leave=False, disable=None if count else True)
