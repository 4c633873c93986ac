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


def find_edits(argument: str, authors: str = "{id}.mp4") -> Edits:
    """The edits that `[NAME=]FOLDER` or `[NAME=]FILE.csv` names.

    Args:
        authors: what the benchmark's own code calls a case's edit, below a folder ("{id}/generate.mp4"): read too.

    Raises:
        InputError: it does not exist, holds no video, or is no CSV with the columns `id` and `edited`.
    """
    name, path = named(argument)
    if path.is_dir():
        return _in_folder(name, path, authors)
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


def _in_folder(name: str, folder: Path, authors: str) -> Edits:
    before, after = authors.split("{id}")
    ids = {path: _between(path, folder, before, after) for path in folder.glob(f"{before}*{after}")}
    named = {path: case_id for path, case_id in ids.items() if GOOD_ID.fullmatch(case_id)}
    for path in folder.iterdir():
        if path.suffix.lower() in VIDEOS and not path.name.startswith("."):
            named.setdefault(path, path.stem)
    files: dict[str, Path] = {}
    missing: dict[str, str] = {}
    for path, case_id in sorted(named.items()):
        if case_id in files:
            missing[case_id] = f"{folder} holds several edits of {case_id}."
        files[case_id] = path
    if not files:
        raise InputError(f"{folder} holds no video; it must hold CASE_ID.mp4 (or .mkv, .webm, …) for each case.")
    return Edits(name, {case_id: path for case_id, path in files.items() if case_id not in missing}, missing)


def _between(path: Path, folder: Path, before: str, after: str) -> str:
    return path.relative_to(folder).as_posix().removeprefix(before).removesuffix(after)


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
