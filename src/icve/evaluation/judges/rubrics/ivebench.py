"""IVEBench's two judged measures, and how its twelve make quality, compliance, fidelity and a total."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from icve.evaluation.cases import Case
from icve.evaluation.judges.rubric import Ask, OneToFive, Reasoned, Rubric, instruction
from icve.evaluation.scorers import Figure


class Verdict(Reasoned):
    """The answer."""

    score: OneToFive


class IVEBench(Rubric):
    """Instruction satisfaction and content fidelity, each a question of its own, 1 to 5.

    Source: IVEBench, arXiv 2510.11647, which asks Qwen2.5-VL-72B about 20 frames of each clip (`frames: 20`,
    `image_side: 426`).
    """

    name = "ivebench"
    prompts = ("ivebench_instruction", "ivebench_content")
    main = "ivebench_instruction"
    figures = (
        Figure("ivebench_instruction", "higher", 1, 5, about="IVEBench's instruction satisfaction."),
        Figure("ivebench_content", "higher", 1, 5, about="IVEBench's content fidelity."),
    )

    def asks(self, case: Case) -> Sequence[Ask]:
        """See `Rubric`."""
        return [Ask(name, Verdict, instruction(case)) for name in self.prompts]

    def score(self, case: Case, answers: Sequence[Any]) -> Mapping[str, float]:  # noqa: ARG002
        """See `Rubric`."""
        satisfaction, fidelity = answers
        return {"ivebench_instruction": satisfaction.score, "ivebench_content": fidelity.score}


@dataclass(frozen=True)
class Measure:
    """How one of the twelve enters its dimension: mapped from [low, high] to [0, 1], with a weight."""

    dimension: str
    weight: float = 1.0
    low: float = 0.0
    high: float = 1.0


MEASURES = {  # the ranges and weights of metrics/get_average_score.py in the authors' repository, January 2026
    "subject_consistency": Measure("quality"),
    "background_consistency": Measure("quality"),
    "temporal_flickering": Measure("quality"),
    "motion_smoothness": Measure("quality"),
    "vtss": Measure("quality", 4, -0.05, 0.1),
    "overall_semantic_consistency": Measure("compliance"),
    "phrase_semantic_consistency": Measure("compliance"),
    "instruction_satisfaction": Measure("compliance", 3, 1, 5),
    "quantity_accuracy": Measure("compliance"),
    "semantic_fidelity": Measure("fidelity"),
    "motion_fidelity": Measure("fidelity"),
    "content_fidelity": Measure("fidelity", 3, 1, 5),
}
DIMENSIONS = ("quality", "compliance", "fidelity")


@dataclass(frozen=True)
class Aggregate:
    """IVEBench's summary; nan where nothing is known.

    Attributes:
        missing: measures that were not given. The authors' own rule is to average the rest, which makes such a total
            another number than theirs; so say it.
    """

    total: float
    quality: float
    compliance: float
    fidelity: float
    missing: tuple[str, ...]


def aggregate(means: Mapping[str, float], weights: Mapping[str, float] | None = None) -> Aggregate:
    """Dimensions and total from the measures' means over all clips.

    Args:
        means: by the names of `MEASURES`, on the measures' own scales; nan counts as missing.
        weights: of the dimensions in the total, all equal by default.
    """
    known = {name: value for name, value in means.items() if name in MEASURES and not math.isnan(value)}
    parts = {}
    for dimension in DIMENSIONS:
        members = {name: measure for name, measure in MEASURES.items() if measure.dimension == dimension}
        parts[dimension] = _weighted(
            [((known[n] - m.low) / (m.high - m.low), m.weight) for n, m in members.items() if n in known]
        )
    wanted = weights or {}
    total = _weighted([(value, wanted.get(name, 1.0)) for name, value in parts.items() if not math.isnan(value)])
    return Aggregate(total, **parts, missing=tuple(name for name in MEASURES if name not in known))


def _weighted(values: Sequence[tuple[float, float]]) -> float:
    weight = sum(weight for _, weight in values)
    return sum(value * weight for value, weight in values) / weight if weight else math.nan
