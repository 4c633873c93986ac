"""What scores an edited clip: a metric or a judge. Both are asked in the same way, case by case."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips


@dataclass(frozen=True)
class Figure:
    """One number that a scorer gives.

    Attributes:
        name: the column of reports, unique among all scorers: "psnr_outside".
        better: whether a higher or a lower value is better; None where neither is.
        low, high: the range of values; None where there is no bound.
        unit: "dB", "%" or nothing.
        about: one sentence for a reader of the report.
    """

    name: str
    better: Literal["higher", "lower"] | None
    low: float | None
    high: float | None
    unit: str = ""
    about: str = ""


class Scores(dict[str, float]):
    """Figures by name, with what the scorer says about them.

    Attributes:
        reasons: sentences for a reader of the report ("the circle is still there"); never empty strings.
        votes: of a judge that votes several times, each vote's figures: the figures are their means.
    """

    def __init__(
        self, figures: Mapping[str, float], reasons: Sequence[str] = (), votes: Sequence[Mapping[str, float]] = ()
    ) -> None:
        super().__init__(figures)
        self.reasons = tuple(reasons)
        self.votes = tuple(votes)


class MissingError(Exception):
    """A scorer cannot score, all or one case: says why in one sentence. Reported as missing, never as zero."""


class Scorer(Protocol):
    """A metric or a judge.

    Attributes:
        name: of one kind of scorer ("ssim"), as named on the command line.
        version: goes into the cache's key: change it when the definition, the weights or the prompt change.
        figures: every number that `score` may give.
        heavy: needs a model; run in the main process, where model-free scorers run in a pool.
    """

    name: str
    version: str
    figures: tuple[Figure, ...]
    heavy: bool

    def load(self) -> None:
        """Get ready (weights into memory). Called once before the first score; raises MissingError if it cannot."""
        ...

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:
        """Figures by name; some may be left out. `Scores` where there is something to say about them.

        Raises:
            MissingError: this case cannot be scored (no mask).
            InputError: a file of the case cannot be read.
        """
        ...
