"""The yield of a run: for every stage what came in, what went out, and why the rest did not."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from icve.data.curation.records import StageCount
from icve.errors import InputError
from icve.video.files import replacing, write_errors

ORDER = (
    "read",
    "duplicates",
    "basic",
    "scenes",
    "motion",
    "quality",
    "clips",
    "pairs",
    "instruct",
    "encode",
    "vlm",
    "filter",
    "rewrite",
    "near duplicates",
    "balance",
)


class Yields:
    """Counts of all stages, added up over sources."""

    def __init__(self) -> None:
        self.stages: dict[str, StageCount] = {}
        self.usages: dict[str, dict[str, Any]] = {}  # of the stages that ask a model: requests, tokens, cost

    def stage(self, name: str) -> StageCount:
        """The count of a stage."""
        return self.stages.setdefault(name, StageCount(name))

    def add(self, counts: Iterable[StageCount]) -> None:
        """Adds what stages did with one source."""
        for count in counts:
            total = self.stage(count.stage)
            total.entered += count.entered
            total.left += count.left
            total.seconds += count.seconds
            for reason, number in count.dropped.items():
                total.drop(reason, number)

    def rows(self) -> list[dict[str, Any]]:
        """The table in the order of the stages, in plain types; seconds are those of one core."""
        stages = sorted(self.stages.values(), key=lambda count: ORDER.index(count.stage))
        rows: list[dict[str, Any]] = [
            {
                "stage": count.stage,
                "in": count.entered,
                "out": count.left,
                "dropped": dict(sorted(count.dropped.items())),
                "seconds": round(count.seconds, 2),
            }
            for count in stages
        ]
        for row in rows:
            if row["stage"] in self.usages:
                row["usage"] = self.usages[row["stage"]]
        return rows

    def write(self, path: Path) -> None:
        """Writes the table as JSON."""
        with write_errors(path), replacing(path) as partial:
            partial.write_text(json.dumps(self.rows(), indent=1, ensure_ascii=False) + "\n", encoding="utf-8")


def read_yields(path: Path) -> list[dict[str, Any]]:
    """The rows that `Yields.write` wrote.

    Raises:
        InputError: they are missing or damaged.
    """
    try:
        rows = json.loads(path.read_bytes())
        if not all(isinstance(row["dropped"], dict) and row["stage"] in ORDER for row in rows):
            raise ValueError("another file")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{path} is missing or damaged; `icve data curate` writes it when it is done.") from error
    return rows


def format_yields(rows: list[dict[str, Any]]) -> str:
    """The table as text."""
    lines = [f"{'stage':16}{'in':>12}{'out':>12}{'seconds':>12}{'in/s':>10}  dropped"]
    for row in rows:
        rate = f"{row['in'] / row['seconds']:,.1f}" if row["seconds"] >= 0.01 else ""
        reasons = ", ".join(f"{reason} {number:,}" for reason, number in row["dropped"].items())
        lines.append(
            f"{row['stage']:16}{row['in']:>12,}{row['out']:>12,}{row['seconds']:>12,.1f}{rate:>10}  {reasons}".rstrip()
        )
    return "\n".join(lines)
