"""Judges: vision-language models asked for verdicts, by prompts in versioned files."""

from icve.evaluation.judges.config import JudgeConfig, read_judges
from icve.evaluation.judges.judge import Judge, JudgeScorer, open_judges
from icve.evaluation.judges.rubrics import RUBRICS

__all__ = ["RUBRICS", "Judge", "JudgeConfig", "JudgeScorer", "open_judges", "read_judges"]
