"""EditVerseBench's score of editing quality."""

from collections.abc import Mapping, Sequence
from typing import Any

from icve.evaluation.cases import Case
from icve.evaluation.judges.rubric import Ask, Reasoned, Rubric, ZeroToThree, instruction, mean
from icve.evaluation.scorers import Figure

PLACES = (0.0, 0.5, 1.0)  # of the three frames


class Verdict(Reasoned):
    """The answer about one frame."""

    following: ZeroToThree
    quality: ZeroToThree
    preservation: ZeroToThree


class EditVerse(Rubric):
    """Three frames, each judged beside its source frame by three criteria from 0 to 3; the sum, 0 to 9, averaged over
    the frames. Source: the description in EditVerse, arXiv 2509.20360; its code's licence forbids a look at more."""

    name = "editverse"
    prompts = ("editverse",)
    main = "editverse_vlm"
    figures = (
        Figure("editverse_vlm", "higher", 0, 9, about="EditVerse's sum of three criteria, mean of three frames."),
        Figure("editverse_following", "higher", 0, 3, about="Whether frames show what the instruction says."),
        Figure("editverse_quality", "higher", 0, 3, about="Whether the edited part looks right."),
        Figure("editverse_preservation", "higher", 0, 3, about="Whether all else is as it was."),
    )

    def asks(self, case: Case) -> Sequence[Ask]:
        """See `Rubric`."""
        return [Ask("editverse", Verdict, instruction(case), at=(place,)) for place in PLACES]

    def score(self, case: Case, answers: Sequence[Any]) -> Mapping[str, float]:  # noqa: ARG002
        """See `Rubric`."""
        parts = {
            "editverse_following": mean([answer.following for answer in answers]),
            "editverse_quality": mean([answer.quality for answer in answers]),
            "editverse_preservation": mean([answer.preservation for answer in answers]),
        }
        return {"editverse_vlm": sum(parts.values())} | parts
