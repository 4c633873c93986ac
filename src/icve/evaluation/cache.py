"""Scores that were made already, by the content that they depend on: no name, place or date of a file counts."""

import json
from dataclasses import asdict
from pathlib import Path

from icve.evaluation.cases import Case
from icve.evaluation.content import digest, file_content
from icve.evaluation.scorers import Scorer, Scores
from icve.video.files import write_errors


class ScoreCache:
    """OUT/cache.jsonl: a line for each scored clip and scorer, appended as it is made, so that a kill loses one line.

    Only figures are kept. What was missing is asked for again by the next run: a server may answer then, and a
    damaged file may have been replaced.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.rows: dict[str, Scores] = {}
        if not path.exists():
            return
        with write_errors(path), path.open("rb+") as file:
            end = 0
            for line in file:
                if not line.endswith(b"\n"):  # a killed run wrote half of it
                    file.truncate(end)
                    break
                end += len(line)
                self._take(line)

    def _take(self, line: bytes) -> None:
        try:
            row = json.loads(line)
            figures, *votes = map(_numbers, [row["figures"], *row.get("votes", ())])
            self.rows[str(row["key"])] = Scores(figures, [str(reason) for reason in row["reasons"]], votes)
        except (ValueError, TypeError, KeyError, AttributeError):
            return  # a damaged line costs its own score, which is made again

    def get(self, key: str) -> Scores | None:
        """The scores of a key, or None."""
        return self.rows.get(key)

    def put(self, key: str, scorer: str, scores: Scores) -> None:
        """Keeps scores, on the disk too. `scorer` is for who reads the file."""
        self.rows[key] = scores
        votes = {"votes": scores.votes} if scores.votes else {}
        row = {"key": key, "scorer": scorer, "figures": scores, "reasons": scores.reasons} | votes
        with write_errors(self.path), self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(row) + "\n")


def _numbers(row: dict[str, float]) -> dict[str, float]:
    return {str(name): float(value) for name, value in row.items()}


def score_key(scorer: Scorer, case: str, edited: str) -> str:
    """The key of one score, from `case_content` and the edited file's `file_content`."""
    return digest(scorer.name, scorer.version, case, edited)


def case_content(case: Case) -> str:
    """What a case is: its texts and details, and the bytes of its files.

    Raises:
        OSError: a file cannot be read.
    """
    texts = {key: value for key, value in asdict(case).items() if not isinstance(value, Path | None)}
    files = [file_content(path) if path else "" for path in (case.source, case.target, case.mask)]
    return digest(json.dumps(texts, sort_keys=True, default=str), *files)
