"""VideoCoF-Bench's scores and its success rate."""

from collections.abc import Mapping, Sequence
from typing import Any

from icve.evaluation.cases import Case
from icve.evaluation.judges.rubric import Ask, OneToTen, Reasoned, Rubric, YesNo, instruction
from icve.evaluation.scorers import Figure

PLACES = (0.0, 0.5, 1.0)  # the authors' three frames; success is judged by the first frame alone


class Verdict(Reasoned):
    """The three scores."""

    follow: OneToTen
    preserve: OneToTen
    quality: OneToTen


class Success(Reasoned):
    """Whether the edit is right."""

    success: YesNo


class VideoCoF(Rubric):
    """Follow, preserve and quality, 1 to 10 from three frames, and success, yes or no from the first frame.

    Source: VideoCoF, arXiv 2512.07469, and its repository's metric/README.md.
    """

    name = "videocof"
    prompts = ("videocof", "videocof_success")
    main = "videocof_follow"
    figures = (
        Figure("videocof_follow", "higher", 1, 10, about="Whether the edit does what the instruction says."),
        Figure("videocof_preserve", "higher", 1, 10, about="Whether all else is kept."),
        Figure("videocof_quality", "higher", 1, 10, about="Whether the edited clip looks natural."),
        Figure("videocof_success", "higher", 0, 100, "%", "Edits that are right, by their first frames."),
    )

    def asks(self, case: Case) -> Sequence[Ask]:
        """See `Rubric`."""
        return [
            Ask("videocof", Verdict, instruction(case), at=PLACES),
            Ask("videocof_success", Success, instruction(case), at=PLACES[:1]),
        ]

    def score(self, case: Case, answers: Sequence[Any]) -> Mapping[str, float]:  # noqa: ARG002
        """See `Rubric`."""
        scores, success = answers
        return {
            "videocof_follow": scores.follow,
            "videocof_preserve": scores.preserve,
            "videocof_quality": scores.quality,
            "videocof_success": 100.0 * (success.success == "yes"),
        }
