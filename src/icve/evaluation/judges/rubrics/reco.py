"""ReCo-Bench's nine dimensions."""

import math
from collections.abc import Mapping, Sequence
from typing import Any

from icve.evaluation.cases import Case
from icve.evaluation.judges.rubric import Ask, Reasoned, Rubric, ZeroToTen, instruction, mean
from icve.evaluation.scorers import Figure

GROUPS = {
    "accuracy": ("semantics", "scope", "preservation"),
    "quality": ("fidelity", "stability", "persistence"),
    "naturalness": ("appearance", "scale", "motion"),
}
ABOUT = {
    "semantics": "Whether the right thing was added, removed, replaced or styled.",
    "scope": "Whether the edit is at the right place, and there alone.",
    "preservation": "Whether what was not to be edited is as it was.",
    "fidelity": "Whether single frames are clear and free of artefacts.",
    "stability": "Whether nothing flickers or boils.",
    "persistence": "Whether the edit holds from the first frame to the last.",
    "appearance": "Whether the edit has the scene's light, shadows and texture.",
    "scale": "Whether sizes are right.",
    "motion": "Whether movement obeys physics.",
}


class Verdict(Reasoned):
    """The answer."""

    semantics: ZeroToTen
    scope: ZeroToTen
    preservation: ZeroToTen
    fidelity: ZeroToTen
    stability: ZeroToTen
    persistence: ZeroToTen
    appearance: ZeroToTen
    scale: ZeroToTen
    motion: ZeroToTen


class ReCo(Rubric):
    """Nine scores from 1 to 10, all 0 where the clip was not edited; a group of three is their geometric mean, and
    the whole the mean of the three groups. Source: ReCo, arXiv 2512.17650, and its repository's tools/."""

    name = "reco"
    prompts = ("reco",)
    main = "reco_accuracy"
    figures = (
        Figure("reco_overall", "higher", 0, 10, about="The mean of ReCo-Bench's three groups."),
        *(
            Figure(f"reco_{group}", "higher", 0, 10, about=f"The geometric mean of {', '.join(names)}.")
            for group, names in GROUPS.items()
        ),
        *(Figure(f"reco_{name}", "higher", 0, 10, about=about) for name, about in ABOUT.items()),
    )

    def asks(self, case: Case) -> Sequence[Ask]:
        """See `Rubric`."""
        return [Ask("reco", Verdict, f"Kind of edit: {case.category}\n{instruction(case)}")]

    def score(self, case: Case, answers: Sequence[Any]) -> Mapping[str, float]:  # noqa: ARG002
        """See `Rubric`."""
        (verdict,) = answers
        groups = {
            group: math.prod(getattr(verdict, name) for name in names) ** (1 / len(names))
            for group, names in GROUPS.items()
        }
        return {
            "reco_overall": mean(list(groups.values())),
            **{f"reco_{group}": value for group, value in groups.items()},
            **{f"reco_{name}": getattr(verdict, name) for name in ABOUT},
        }
