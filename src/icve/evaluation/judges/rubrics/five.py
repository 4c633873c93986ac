"""FiVE-Bench's accuracy by a vision-language model."""

from collections.abc import Mapping, Sequence
from typing import Annotated, Any

from icve.evaluation.cases import Case
from icve.evaluation.judges.rubric import Ask, LowerWord, Reasoned, Rubric, YesNo, mean, words
from icve.evaluation.scorers import Figure, MissingError

TARGET, CHOICE, SOURCE = "target_yes_no_question", "multiple_choice_question", "source_yes_no_question"
LONGEST = 2000  # characters of a question


class Fact(Reasoned):
    """The answer to a yes-no question."""

    answer: YesNo


class Choice(Reasoned):
    """The answer to a question with the choices a, the source's, and b, the target's."""

    answer: Annotated[str, LowerWord, words("a", "b")]


class FiVE(Rubric):
    """Yes-no and multiple-choice questions about the edited clip alone, from the case's details.

    Yes-no is right where the target's question gets "yes" and the source's, where there is one, "no"; multiple choice
    where b is chosen. Union is either, intersection both, and FiVE-Acc the mean of all four. Source: FiVE-Bench,
    arXiv 2503.13684, and its repository's README.md.
    """

    name = "five"
    prompts = ("five_yes_no", "five_choice")
    main = "five_acc"
    figures = (
        Figure("five_acc", "higher", 0, 100, "%", "FiVE-Acc: the mean of the other four."),
        Figure("five_yes_no", "higher", 0, 100, "%", "Edits whose yes-no questions are answered right."),
        Figure("five_choice", "higher", 0, 100, "%", "Edits where the target's choice is taken."),
        Figure("five_union", "higher", 0, 100, "%", "Edits that are right by either."),
        Figure("five_intersection", "higher", 0, 100, "%", "Edits that are right by both."),
    )

    def asks(self, case: Case) -> Sequence[Ask]:
        """See `Rubric`."""
        texts = {name: case.details.get(name) for name in (TARGET, CHOICE, SOURCE)}
        for name in (TARGET, CHOICE):
            if not isinstance(texts[name], str) or not texts[name]:
                raise MissingError(f"The case {case.id} has no {name}; FiVE-Acc needs FiVE-Bench's questions.")
        asks = [
            Ask("five_yes_no", Fact, _question(texts[TARGET]), source=False),
            Ask("five_choice", Choice, _question(texts[CHOICE]), source=False),
        ]
        if texts[SOURCE]:
            asks.append(Ask("five_yes_no", Fact, _question(texts[SOURCE]), source=False))
        return asks

    def score(self, case: Case, answers: Sequence[Any]) -> Mapping[str, float]:  # noqa: ARG002
        """See `Rubric`."""
        target, choice, *source = (answer.answer for answer in answers)
        yes_no, right = target == "yes" and source in ([], ["no"]), choice == "b"
        parts = {
            "five_yes_no": 100.0 * yes_no,
            "five_choice": 100.0 * right,
            "five_union": 100.0 * (yes_no or right),
            "five_intersection": 100.0 * (yes_no and right),
        }
        return {"five_acc": mean(list(parts.values()))} | parts


def _question(text: Any) -> str:
    return f"Question: {str(text)[:LONGEST]}"
