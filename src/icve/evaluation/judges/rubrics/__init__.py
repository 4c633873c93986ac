"""Rubrics: each one benchmark's definition of what its judge is asked and what follows from the answers."""

from icve.evaluation.judges.rubric import Rubric
from icve.evaluation.judges.rubrics.covebench import CoVEBench
from icve.evaluation.judges.rubrics.editverse import EditVerse
from icve.evaluation.judges.rubrics.five import FiVE
from icve.evaluation.judges.rubrics.ivebench import IVEBench
from icve.evaluation.judges.rubrics.openve import OpenVE
from icve.evaluation.judges.rubrics.reco import ReCo
from icve.evaluation.judges.rubrics.videocof import VideoCoF

RUBRICS: dict[str, Rubric] = {
    rubric.name: rubric for rubric in (OpenVE(), EditVerse(), VideoCoF(), IVEBench(), CoVEBench(), ReCo(), FiVE())
}
"""By name, as benchmarks name their scorers."""
