"""A benchmark's sources as files that any other tool can edit."""

import csv
import os
from collections.abc import Sequence
from pathlib import Path

from icve.evaluation.cases import Case
from icve.video.files import replacing, write_errors


def export_cases(cases: Sequence[Case], folder: Path) -> Path:
    """Writes `folder`/edits.csv with the columns id, source (relative to the folder) and instruction; returns its path.

    What an editor makes of a row is then ID.mp4 in a folder for `icve evaluate BENCH --edits`.
    """
    path = folder / "edits.csv"
    with write_errors(folder):
        folder.mkdir(parents=True, exist_ok=True)
        with replacing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(("id", "source", "instruction"))
            for case in cases:
                source = os.path.relpath(case.source.resolve(), folder.resolve())
                writer.writerow((case.id, source, case.instruction))
    return path
