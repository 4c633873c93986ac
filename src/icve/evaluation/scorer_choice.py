"""Which scorers an evaluation asks: those that were named, or those that the benchmark's authors report."""

from collections.abc import Sequence
from pathlib import Path

from icve.errors import InputError
from icve.evaluation.benchmarks.benchmark import Benchmark
from icve.evaluation.metrics.registry import METRICS, make_metric
from icve.evaluation.scorers import Scorer
from icve.evaluation.world.scorer import WorldScorer


def choose_scorers(
    benchmark: Benchmark, metrics: str | None, judges: Sequence[Path], models: Sequence[str]
) -> tuple[list[Scorer], list[str]]:
    """The scorers, and notes for the reader of the report.

    Args:
        metrics: names with commas between them; the benchmark's own when None.
        judges: YAML files, a judge or more in each.
        models: NAME=FOLDER, where the weights of a metric are.

    Raises:
        InputError: a name is unknown, or a file is none of a judge.
    """
    folders = dict(_folder(model) for model in models)
    scorers: list[Scorer] = []
    notes = []
    for name in dict.fromkeys(metrics.split(",") if metrics else benchmark.scorers):
        if name == WorldScorer.name:
            scorers.append(WorldScorer())
        elif name in METRICS or metrics:
            scorers.append(make_metric(name, folders))
        elif not judges:
            notes.append(f"{benchmark.title}'s own judge ({name}) was not asked: name vision models with --judges.")
    if judges:
        from icve.evaluation.judges.registry import read_judges

        scorers += [judge for path in judges for judge in read_judges(path, benchmark.name)]
    if not scorers:
        raise InputError("There is nothing to score with; name metrics with --metrics or judges with --judges.")
    names = [figure.name for scorer in scorers for figure in scorer.figures]
    if twice := [name for number, name in enumerate(names) if name in names[:number]]:
        raise InputError(f"Two scorers give the figure {twice[0]}; name each once.")
    return scorers, notes


def _folder(argument: str) -> tuple[str, str]:
    name, equals, folder = argument.partition("=")
    if not (name and equals and folder):
        raise InputError(f"{argument!r} does not say where a metric's weights are: write --models NAME=FOLDER.")
    return name, folder
