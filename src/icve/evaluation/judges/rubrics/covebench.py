"""CoVEBench's checklist."""

import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from icve.evaluation.cases import Case
from icve.evaluation.judges.rubric import Ask, LowerWord, OneToTen, Reasoned, Rubric, instruction, mean, words
from icve.evaluation.scorers import Figure, MissingError
from icve.vlm.schema import Answer

BOTH = ("Dual-TF", "Score-MCQ")  # types that compare the clips; the others look at the edited one alone
IFS, VRS, SEM = "Execution Accuracy", "Physical Logic", "Semantic Preservation"
MOST = 100  # questions of a case; the benchmark has about 16


class Item(BaseModel):
    """A question as the benchmark publishes it."""

    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    type: str = Field(pattern="^(Single-TF|Dual-TF|AB-MCQ|Score-MCQ)$")
    dimension: str = Field(pattern=f"^({IFS}|{VRS}|{SEM})$")
    question: str = Field(min_length=1, max_length=2000)
    options: dict[str, str] = Field(default={}, max_length=8)
    expected_answer: str = Field(max_length=20)


@dataclass(frozen=True)
class Part:
    """The questions that one message asks; `places` are theirs in the checklist."""

    both: bool
    places: tuple[int, ...]


class CoVEBench(Rubric):
    """Questions from the case's details, answered and compared with what the benchmark expects.

    IFS and VRS are the shares of right answers about the edits' execution and about physical logic, UAS says whether
    all of both are right, and SEM is the mean of scores from 1 to 10 for what was to be kept. Questions about the
    edited clip alone, and those that compare, are asked in one message each. Source: CoVEBench, arXiv 2606.08415, and
    its repository's metrics/subjective.
    """

    name = "covebench"
    prompts = ("covebench_edited", "covebench_both")
    main = "covebench_ifs"
    figures = (
        Figure("covebench_uas", "higher", 0, 100, "%", "Edits with every question of IFS and VRS right."),
        Figure("covebench_ifs", "higher", 0, 100, "%", "Right answers about the edits' execution."),
        Figure("covebench_vrs", "higher", 0, 100, "%", "Right answers about physical logic."),
        Figure("covebench_sem", "higher", 1, 10, about="How well what was not to be edited is kept."),
    )

    def asks(self, case: Case) -> Sequence[Ask]:
        """See `Rubric`."""
        items = checklist(case)
        return [
            Ask(
                "covebench_both" if part.both else "covebench_edited",
                shape(tuple(kind(items[place]) for place in part.places)),
                "\n".join([instruction(case), *(_text(number, items[p]) for number, p in enumerate(part.places, 1))]),
                source=part.both,
            )
            for part in parts(items)
        ]

    def score(self, case: Case, answers: Sequence[Any]) -> Mapping[str, float]:
        """See `Rubric`."""
        items = checklist(case)
        right: dict[str, list[float]] = {IFS: [], VRS: [], SEM: []}
        for part, answer in zip(parts(items), answers, strict=True):
            for number, place in enumerate(part.places, 1):
                item, given = items[place], getattr(answer, f"q{number}")
                if item.type == "Score-MCQ":
                    right[SEM].append(given)
                elif item.dimension != SEM:
                    right[item.dimension].append(given == item.expected_answer.strip().lower())
        figures = {
            "covebench_ifs": [100 * value for value in right[IFS]],
            "covebench_vrs": [100 * value for value in right[VRS]],
            "covebench_sem": right[SEM],
        }
        if right[IFS] and right[VRS]:
            figures["covebench_uas"] = [100.0 * all(right[IFS] + right[VRS])]
        return {name: mean(values) for name, values in figures.items() if values}


def checklist(case: Case) -> list[Item]:
    """All questions of a case, in order.

    Raises:
        MissingError: there are none, too many, or one is not as the benchmark publishes them.
    """
    groups = case.details.get("evaluation_groups")
    try:
        raw = [question for group in groups or () for question in group["questions"]]
        items = [Item.model_validate(question) for question in raw[: MOST + 1]]
    except (TypeError, KeyError, ValidationError):
        raise MissingError(f"The case {case.id} has a checklist that is not in CoVEBench's layout.") from None
    if not 0 < len(items) <= MOST:
        raise MissingError(f"The case {case.id} has no checklist, or one of more than {MOST} questions.")
    return items


def parts(items: Sequence[Item]) -> list[Part]:
    """The messages that a checklist makes: at most two."""
    split = [
        Part(both, tuple(place for place, item in enumerate(items) if (item.type in BOTH) == both))
        for both in (False, True)
    ]
    return [part for part in split if part.places]


def kind(item: Item) -> str:
    """What may be answered: "score", or words apart by "|"."""
    if item.type == "Score-MCQ":
        return "score"
    words = [key.strip().lower() for key in item.options] if item.type == "AB-MCQ" else ["yes", "no"]
    if len(words) < 2 or any(not word.isalnum() or not word.isascii() for word in words):
        raise MissingError("A question of the checklist lacks the letters of its options.")
    return "|".join(words)


@functools.lru_cache(maxsize=256)
def shape(kinds: tuple[str, ...]) -> type[Answer]:
    """The answer to questions of these kinds: q1, q2 and so on."""
    fields: dict[str, Any] = {
        f"q{number}": (OneToTen if name == "score" else Annotated[str, LowerWord, words(*name.split("|"))], ...)
        for number, name in enumerate(kinds, 1)
    }
    return create_model("Checklist", __base__=Reasoned, **fields)


def _text(number: int, item: Item) -> str:
    options = " ".join(f"{key.strip().lower()}) {text[:500]}" for key, text in item.options.items())
    answer = "score 1 to 10" if item.type == "Score-MCQ" else kind(item).replace("|", " or ")
    return " ".join(filter(None, [f"q{number}: {item.question}", options, f"[{answer}]"]))
