"""OpenVE-Bench's three scores."""

from collections.abc import Mapping, Sequence
from typing import Any

from icve.evaluation.cases import Case
from icve.evaluation.judges.rubric import Ask, OneToFive, Reasoned, Rubric, instruction, mean
from icve.evaluation.scorers import Figure


class Verdict(Reasoned):
    """The answer."""

    compliance: OneToFive
    consistency: OneToFive
    quality: OneToFive


class OpenVE(Rubric):
    """Instruction compliance, consistency & detail fidelity, visual quality & stability, 1 to 5, and their mean.

    The last two are capped by the first: a clip that does not show the edit gains nothing by looking good. The judge
    is told so, and its scores are cut where it forgets. Source: OpenVE-3M, arXiv 2512.07826. Its authors word the
    scales anew for each category; here one prompt says what counts in which.
    """

    name = "openve"
    prompts = ("openve",)
    main = "openve_compliance"
    figures = (
        Figure("openve_compliance", "higher", 1, 5, about="Whether the edit does what the instruction says."),
        Figure("openve_consistency", "higher", 1, 5, about="Whether all else is kept; at most the compliance."),
        Figure("openve_quality", "higher", 1, 5, about="Looks and steadiness; at most the compliance."),
        Figure("openve_overall", "higher", 1, 5, about="The mean of OpenVE-Bench's three scores."),
    )

    def asks(self, case: Case) -> Sequence[Ask]:
        """See `Rubric`."""
        return [Ask("openve", Verdict, f"Kind of edit: {case.category}\n{instruction(case)}")]

    def score(self, case: Case, answers: Sequence[Any]) -> Mapping[str, float]:  # noqa: ARG002
        """See `Rubric`."""
        (verdict,) = answers
        first = verdict.compliance
        scores = [first, min(first, verdict.consistency), min(first, verdict.quality)]
        return dict(zip((figure.name for figure in self.figures), [*scores, mean(scores)], strict=True))
