"""Scores one edited clip with several scorers; what the processes of a run do. Imports little: workers start fast."""

import math
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from icve.data.worker_pool import Ask
from icve.errors import InputError
from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.scorers import MissingError, Scorer, Scores
from icve.memory import keep_freed_memory

Outcome = Scores | str
"""A scorer's figures, or why it has none."""


@dataclass(frozen=True)
class ScoringJob:
    """Score one edited clip of a case with these scorers, in this order."""

    case: Case
    edited: Path
    scorers: Sequence[Scorer]


def score_clip(job: ScoringJob, ask: Ask | None = None) -> tuple[list[Outcome], str | None]:  # noqa: ARG001
    """An outcome for each scorer of the job, and why the edited clip cannot be read, or None.

    A scorer's failure, whatever it is, costs its own figures of this clip and says why.
    """
    if torch := sys.modules.get("torch"):
        torch.set_num_threads(1)  # there are as many of these processes as cores
    keep_freed_memory()
    clips = Clips(job.case, job.edited)
    try:
        _ = clips.edited
    except (InputError, MemoryError) as error:
        reason = why(error)
        return [reason] * len(job.scorers), reason
    return [outcome(scorer, job.case, clips) for scorer in job.scorers], None


def outcome(scorer: Scorer, case: Case, clips: Clips) -> Outcome:
    """What one scorer says; numbers that are not finite are left out."""
    try:
        figures = scorer.score(case, clips)
    except Exception as error:
        return why(error)
    finite = {name: float(value) for name, value in figures.items() if math.isfinite(value)}
    return Scores(finite, figures.reasons, figures.votes) if isinstance(figures, Scores) else Scores(finite)


def why(error: Exception) -> str:
    """An exception as one sentence in one line."""
    told = str(error) if isinstance(error, InputError | MissingError) else f"{type(error).__name__}: {error}"
    return " ".join(told.split())[:500]
