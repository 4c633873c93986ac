"""Which scorers an evaluation asks: those that were named, or those that the benchmark's authors report."""

from collections.abc import Mapping, Sequence

from icve.errors import InputError
from icve.evaluation.benchmarks.benchmark import Benchmark
from icve.evaluation.judges import RUBRICS, Judge, JudgeScorer
from icve.evaluation.metrics.registry import make_metric
from icve.evaluation.scorers import Scorer
from icve.evaluation.world.scorer import WorldScorer


def choose_scorers(
    benchmark: Benchmark, named: Sequence[str], judges: Sequence[Judge], models: Mapping[str, str]
) -> tuple[list[Scorer], list[str]]:
    """The scorers, and notes for the reader of the report.

    Args:
        named: metrics and rubrics of judges; the benchmark's own when empty.
        judges: asked by the rubrics that are named, or by the benchmark's own.
        models: where the weights of metrics are, by their name.

    Raises:
        InputError: a name is unknown, or there is nothing to ask a judge or no judge to ask.
    """
    names = dict.fromkeys(named or benchmark.scorers)
    rubrics = [name for name in names if name in RUBRICS]
    if judges and not rubrics:
        rubrics = [name for name in benchmark.scorers if name in RUBRICS]
        if not rubrics:
            raise InputError(
                f"{benchmark.title} has no questions for a judge; name some with --metrics ({', '.join(RUBRICS)})."
            )
    if rubrics and named and not judges:
        raise InputError(f"{rubrics[0]} needs a judge; name a file of vision models with --judges.")
    scorers: list[Scorer] = [JudgeScorer(judge, RUBRICS[rubric]) for rubric in rubrics for judge in judges]
    scorers += [_metric(name, models) for name in names if name not in RUBRICS]
    notes = []
    if rubrics and not judges:
        notes.append(f"{benchmark.title}'s own judge was not asked: name vision models with --judges.")
    if not scorers:
        raise InputError(f"{benchmark.title} is scored by a judge; name vision models with --judges, or --metrics.")
    figures = [figure.name for scorer in scorers for figure in scorer.figures]
    if twice := [name for number, name in enumerate(figures) if name in figures[:number]]:
        raise InputError(f"Two scorers give the figure {twice[0]}; name one of them.")
    return scorers, notes


def _metric(name: str, models: Mapping[str, str]) -> Scorer:
    return WorldScorer() if name == WorldScorer.name else make_metric(name, models)
