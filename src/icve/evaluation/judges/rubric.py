"""What a rubric is: which questions it asks about an edited clip, and the figures that follow from the answers."""

import functools
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar

from pydantic import BeforeValidator, Field

from icve.evaluation.cases import Case
from icve.evaluation.scorers import Figure
from icve.vlm.questions import Prompt
from icve.vlm.schema import Answer

PROMPTS = Path(__file__).with_name("prompts")
REASON_LENGTH = 600  # characters that are kept of a judge's reason


def _whole(value: Any) -> Any:
    """Models without constrained decoding write "4" or 4.0."""
    if isinstance(value, str) and value.strip().isdecimal():
        return int(value.strip()) if len(value) < 9 else value
    return int(value) if isinstance(value, float) and value.is_integer() else value


def _word(value: Any) -> Any:
    if isinstance(value, bool):
        return "yes" if value else "no"
    return value.strip().lower().rstrip(".)") if isinstance(value, str) else value


def _short(value: Any) -> str:
    text = " ".join(value.split()) if isinstance(value, str) else ""
    return "".join(character for character in text if character.isprintable())[:REASON_LENGTH]


def _scale(low: int, high: int) -> Any:
    return Field(ge=low, le=high, json_schema_extra={"enum": [*range(low, high + 1)]})


ZeroToThree = Annotated[int, BeforeValidator(_whole), _scale(0, 3)]
OneToFive = Annotated[int, BeforeValidator(_whole), _scale(1, 5)]
ZeroToTen = Annotated[int, BeforeValidator(_whole), _scale(0, 10)]
OneToTen = Annotated[int, BeforeValidator(_whole), _scale(1, 10)]
Reason = Annotated[str, BeforeValidator(_short)]


def words(*choices: str) -> Any:
    """The field of a word that is one of these, in lower case; behind `LowerWord` in an annotation."""
    return Field(pattern=f"^({'|'.join(choices)})$", json_schema_extra={"enum": [*choices]})


LowerWord = BeforeValidator(_word)
YesNo = Annotated[str, LowerWord, words("yes", "no")]


class Reasoned(Answer):
    """An answer that begins with its reason: a model that writes on has thought before it scores."""

    reason: Reason = ""


@dataclass(frozen=True)
class Ask:
    """One question about a case.

    Attributes:
        prompt: name of its file in prompts/.
        shape: of the answer.
        text: what goes behind the prompt: the instruction, the questions.
        source: whether the source is shown too, before the edited clip.
        at: places of the frames to show, from 0 to 1; the judge's own number, evenly spaced, when empty.
    """

    prompt: str
    shape: type[Answer]
    text: str
    source: bool = True
    at: tuple[float, ...] = ()


class Rubric(ABC):
    """Scores by one benchmark's definition.

    Attributes:
        name: as a benchmark's `scorers` name it.
        revision: goes into the cache's key: change it when the definition changes. Prompts count by themselves.
        prompts: names of its files in prompts/.
        figures: every number that `score` may give.
        main: the figure that must tell the true edit from the unedited source.
    """

    name: ClassVar[str]
    revision: ClassVar[int] = 1
    prompts: ClassVar[tuple[str, ...]]
    figures: ClassVar[tuple[Figure, ...]]
    main: ClassVar[str]

    @abstractmethod
    def asks(self, case: Case) -> Sequence[Ask]:
        """What is asked about one edit of this case.

        Raises:
            MissingError: the case lacks what the rubric needs.
        """

    @abstractmethod
    def score(self, case: Case, answers: Sequence[Any]) -> Mapping[str, float]:
        """The figures of one vote: the answers to `asks(case)`, in order."""


def instruction(case: Case) -> str:
    """The instruction as messages give it."""
    return f"Instruction: {case.instruction}"


@functools.cache
def prompt(name: str) -> Prompt:
    """The prompt of that name."""
    return Prompt.read(PROMPTS / f"{name}.txt")


def mean(values: Sequence[float]) -> float:
    """The arithmetic mean."""
    return sum(values) / len(values)
