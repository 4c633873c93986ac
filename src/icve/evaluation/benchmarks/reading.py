"""What all adapters share: reads the authors' metadata, finds a row's files, and names every row that is bad.

A benchmark's score over a part of its rows is not its score, so nothing is left out in silence: all rows are read, and
one InputError says how many are bad and which.
"""

import csv
import io
import json
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from icve.data.pairs.base import UnsafePathError, find
from icve.errors import InputError
from icve.evaluation.cases import Case

MAX_METADATA = 64 << 20  # bytes; the largest that is published, CoVEBench's checklist, has 6.3 MB
MAX_CASES = 100_000
SHOWN = 5  # bad rows that an error names
Row = Mapping[str, Any]


def build_cases(title: str, root: Path, rows: Iterable[tuple[str, Any]], build: Callable[[Any], Case]) -> list[Case]:
    """The case of every row, in order.

    Args:
        title: the benchmark, as its authors write it.
        root: its folder.
        rows: where each stands ("test.json row 3") and what it holds.
        build: a row to its case; raises InputError for a row that is none.

    Raises:
        InputError: bad rows, two of one id, or no rows.
    """
    cases: dict[str, Case] = {}
    bad: list[str] = []
    for place, row in rows:
        try:
            case = build(row)
        except InputError as error:
            bad.append(f"{place}: {error}")
            continue
        if case.id in cases:
            bad.append(f"{place}: the id {case.id} stands in an earlier row already.")
        cases[case.id] = case
        if len(cases) > MAX_CASES:
            raise InputError(f"{root} has more than {MAX_CASES:,} rows; that is not {title}.")
    if bad:
        more = f" … and {len(bad) - SHOWN} more." if len(bad) > SHOWN else ""
        raise InputError(
            f"{title} in {root} has {len(bad)} bad rows; download it again, or take them out. "
            + " ".join(bad[:SHOWN])
            + more
        )
    if not cases:
        raise InputError(f"{title} in {root} has no rows; download it again.")
    return list(cases.values())


def read_text(path: Path) -> str:
    """A metadata file's text.

    Raises:
        InputError: it is not there, too large, or no UTF-8.
    """
    if not path.is_file():
        raise InputError(f"{path} is not there; `icve evaluate list` says where the benchmark comes from.")
    try:
        if path.stat().st_size > MAX_METADATA:
            raise InputError(f"{path} has more than {MAX_METADATA >> 20} MB; that is no benchmark's metadata.")
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path} cannot be read ({error.__class__.__name__}); download it again.") from None


def read_json(path: Path) -> Any:
    """A JSON file's value."""
    content = read_text(path)
    try:
        return json.loads(content)
    except (ValueError, RecursionError):
        raise InputError(f"{path} is no JSON, or is cut off; download it again.") from None


def json_list(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) of a JSON list."""
    rows = read_json(path)
    if not isinstance(rows, list):
        raise InputError(f"{path} is not a JSON list of rows; download it again.")
    for number, row in enumerate(rows, 1):
        yield f"{path.name} row {number}", row


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """(place, row) of a file with one JSON value a line; a line that is none is the row None."""
    for number, line in enumerate(read_text(path).splitlines(), 1):
        if line.strip():
            try:
                row = json.loads(line)
            except (ValueError, RecursionError):
                row = None
            yield f"{path.name} line {number}", row


def csv_table(path: Path, columns: Iterable[str]) -> Iterator[tuple[str, Row]]:
    """(place, row) of a CSV file with a header that has these columns."""
    reader = csv.DictReader(io.StringIO(read_text(path), newline=""))
    try:
        if missing := [name for name in columns if name not in (reader.fieldnames or ())]:
            raise InputError(f"{path} has no column {', '.join(missing)}; download it again.")
        for number, row in enumerate(reader, 1):
            yield f"{path.name} row {number}", row
    except csv.Error as error:
        raise InputError(f"{path} is damaged ({error}); download it again.") from None


def text(row: Any, name: str, default: str | None = None) -> str:
    """A row's value as text; numbers are taken as they are written.

    Raises:
        InputError: the row is no object, or has no such text and there is no default.
    """
    value = row.get(name) if isinstance(row, Mapping) else None
    if isinstance(value, str | int | float) and not isinstance(value, bool) and str(value).strip():
        return " ".join(str(value).split())
    if default is not None and isinstance(row, Mapping):
        return default
    raise InputError(f"the row lacks {name!r}.")


def file_in(root: Path, *candidates: str) -> Path:
    """The first of these relative paths that is a file in the benchmark's folder.

    Raises:
        InputError: none is, or one leads out of the folder (a link of the hub's cache does: use --local-dir).
    """
    try:
        path = find(root.resolve(), list(candidates))
    except UnsafePathError as error:
        raise InputError(f"{str(error)[:120]!r} leads out of the folder.") from None
    if path is None:
        raise InputError(f"{candidates[0][:120]} is not there.")
    return path


def case_id(name: str) -> str:
    """A name as a case's id: what no file name should hold becomes an underscore."""
    return re.sub(r"[^A-Za-z0-9._-]+", "_", name).strip("._-")[:200]
