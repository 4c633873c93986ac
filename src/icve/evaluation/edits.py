"""Edited clips made by any tool: a folder with files named after the cases, or a CSV that names them."""

import csv
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from icve.errors import InputError
from icve.evaluation.cases import GOOD_ID

VIDEOS = {".avi", ".gif", ".m4v", ".mkv", ".mov", ".mp4", ".mpeg", ".mpg", ".ts", ".webm"}
MAX_ROWS = 1_000_000


@dataclass(frozen=True)
class Edits:
    """One editor's clips: `files` by case id; `missing` says of further cases why they have none."""

    name: str
    files: Mapping[str, Path]
    missing: Mapping[str, str] = field(default_factory=dict)

    def reason(self, case_id: str) -> str:
        """Why a case that is not in `files` has no clip."""
        return self.missing.get(case_id, "There is no edited clip.")


def find_edits(argument: str) -> Edits:
    """The edits that `[NAME=]FOLDER` or `[NAME=]FILE.csv` names.

    Raises:
        InputError: it does not exist, holds no video, or is no CSV with the columns `id` and `edited`.
    """
    name, path = named(argument)
    if path.is_dir():
        return _in_folder(name, path)
    if path.suffix.lower() == ".csv" and path.is_file():
        return _in_csv(name, path)
    raise InputError(f"{path} is neither a folder of edited videos nor a CSV file; name one with --edits.")


def named(argument: str) -> tuple[str, Path]:
    """NAME=PATH, or PATH alone: its last part is then the name."""
    name, equals, path = argument.partition("=")
    if equals and GOOD_ID.fullmatch(name) and path and not Path(argument).exists():
        return name, Path(path)
    stem = Path(argument).resolve().name.removesuffix(".csv")
    return re.sub(r"[^A-Za-z0-9._-]+", "-", stem).lstrip("._-")[:60] or "edits", Path(argument)


def check_names(names: Sequence[str]) -> None:
    """Raises InputError where two editors have one name."""
    if twice := [name for i, name in enumerate(names) if name in names[:i]]:
        raise InputError(f"Two editors are called {twice[0]}; name them, as in --edits {twice[0]}-2=FOLDER.")


def _in_folder(name: str, folder: Path) -> Edits:
    files: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for path in sorted(folder.iterdir()):
        if path.suffix.lower() not in VIDEOS or path.name.startswith("."):
            continue
        if path.stem in files:
            missing[path.stem] = f"{folder} holds several files named {path.stem}."
        files[path.stem] = path
    if not files:
        raise InputError(f"{folder} holds no video; it must hold CASE_ID.mp4 (or .mkv, .webm, …) for each case.")
    return Edits(name, {stem: path for stem, path in files.items() if stem not in missing}, missing)


def _in_csv(name: str, path: Path) -> Edits:
    """Paths in it are relative to its folder."""
    files: dict[str, Path] = {}
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            if lacking := {"id", "edited"} - set(reader.fieldnames or ()):
                raise InputError(f"{path} lacks the column {' and '.join(sorted(lacking))} in its first line.")
            for number, row in enumerate(reader):
                case_id, edited = (row["id"] or "").strip(), (row["edited"] or "").strip()
                if case_id in files:
                    raise InputError(f"{path} names the case {case_id[:80]!r} twice; keep one row for each case.")
                if number >= MAX_ROWS:
                    raise InputError(f"{path} has more than {MAX_ROWS} rows; give the rows of one benchmark.")
                if edited:
                    files[case_id] = path.parent / edited
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InputError(f"{path} cannot be read as a CSV file in UTF-8 ({error}).") from error
    if not files:
        raise InputError(f"{path} has no row with an edited file below its first line.")
    return Edits(name, files)
