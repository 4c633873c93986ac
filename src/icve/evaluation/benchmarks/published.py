"""Figures that others have published on these benchmarks, so that a report can show where an editor would stand.

published/<benchmark>.csv, a row a figure. Figures by different judges, or over another number of categories, cannot be
compared: ICVE's overall on OpenVE-Bench is 2.07 by Gemini-2.5-Pro and 3.76 by Qwen3-VL.
"""

import csv
from dataclasses import dataclass
from pathlib import Path

FOLDER = Path(__file__).with_name("published")


@dataclass(frozen=True)
class PublishedRow:
    """One published figure.

    Attributes:
        method: the editor, as its authors call it, with its size.
        category: as the benchmark counts it; "overall" for all that the source evaluates.
        figure: the name that this figure has here ("openve_overall"), in the same unit and range.
        judge: the model that judged; "" for figures without one.
        categories: over how many the source's table goes; None where it does not say.
        source: the paper or page, and the table in it.
        checked: whether the number was read in that source itself, and not where it is quoted.
        note: what limits a comparison, or "".
    """

    method: str
    category: str
    figure: str
    value: float
    judge: str
    categories: int | None
    source: str
    checked: bool
    note: str


def published(benchmark: str) -> list[PublishedRow]:
    """The rows of a benchmark (its name in the registry), in the file's order; none where nothing is on file."""
    path = FOLDER / f"{benchmark}.csv"
    if not path.is_file():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        return [
            PublishedRow(
                method=row["method"],
                category=row["category"],
                figure=row["figure"],
                value=float(row["value"]),
                judge=row["judge"],
                categories=int(row["categories"]) if row["categories"] else None,
                source=row["source"],
                checked=row["checked"] == "yes",
                note=row["note"],
            )
            for row in csv.DictReader(file)
        ]
