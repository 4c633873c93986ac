"""Small scorers for tests of the engine; workers import them by this module's name."""

import os
import signal
from dataclasses import dataclass, field

from icve.evaluation.scorers import Figure, MissingError, Scores


@dataclass
class Brightness:
    """The mean of the edited clip's pixels; notes each call in a file, as it may be made in another process."""

    calls: str
    name: str = "brightness"
    version: str = "1"
    heavy: bool = False
    at_once: int = 1
    figures: tuple[Figure, ...] = ()
    broken: str = ""
    loaded: list[int] = field(default_factory=list)

    def __post_init__(self):
        self.figures = (Figure(self.name, "higher", 0, 255),)

    def load(self):
        self.loaded.append(1)
        if self.broken:
            raise MissingError(self.broken)

    def score(self, case, clips):
        with open(self.calls, "a") as file:  # noqa: PTH123 - appends must not be mixed
            file.write(f"{self.name} {case.id}\n")
        if case.id == "killer" and not self.heavy:
            os.kill(os.getpid(), signal.SIGKILL)
        if case.id == "wrong":
            raise ValueError("two\nlines")
        if case.id == "infinite":
            return {self.name: float("inf")}
        return Scores({self.name: float(clips.edited.mean())}, [f"seen {case.id}"])
