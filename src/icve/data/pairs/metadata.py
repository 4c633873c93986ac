"""Reads metadata files row by row, so that a file of a million rows takes no more memory than one row.

A row that cannot be read is a `BadRow`, a file that cannot be read at all an `InputError`.
"""

import csv
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

from icve.errors import InputError

CHUNK = 1 << 16  # characters
MAX_ROW = 1 << 24  # characters; a longer one is not metadata, and must not fill the memory


@dataclass(frozen=True)
class BadRow:
    """A row that gives no pair.

    Attributes:
        row: where it stands: the metadata file and the row's number in it, from 1.
        kind: the reason in few words, to count by.
        reason: one sentence that names what is wrong.
    """

    row: str
    kind: str
    reason: str


def json_rows(path: Path, fields: Sequence[str]) -> Iterator[tuple[str, dict[str, str]] | BadRow]:
    """(place, row) for each object of a JSON array of objects.

    Args:
        path: the file: one array, as `json.dump` writes a list.
        fields: what a row must have, as text; other values of it are kept where they are text or numbers.

    Raises:
        InputError: the file is no JSON array, or is cut off.
    """
    with path.open(encoding="utf-8", errors="replace") as file:
        for number, value in enumerate(json_array(file, path), 1):
            place = f"{path.name} row {number}"
            missing = [name for name in fields if not isinstance(value, dict) or not isinstance(value.get(name), str)]
            if missing:
                yield BadRow(place, "incomplete row", f"The row lacks {', '.join(missing)}.")
            else:
                yield place, {k: str(v) for k, v in value.items() if isinstance(v, str | int | float)}


def json_array(file: TextIO, path: Path) -> Iterator[Any]:
    """The elements of a JSON array, one at a time."""
    decoder = json.JSONDecoder()
    text = file.read(CHUNK).lstrip("\ufeff \t\r\n")
    if not text.startswith("["):
        raise InputError(f"{path} is not a JSON list of rows; download it again.")
    position = 1
    while True:
        while position < len(text) and text[position] in ", \t\r\n":
            position += 1
        if text[position : position + 1] == "]":
            return
        try:
            value, position = decoder.raw_decode(text, position)
        except RecursionError:
            raise InputError(f"{path} is not a JSON list of rows; download it again.") from None
        except json.JSONDecodeError:
            more = file.read(CHUNK)
            if not more or len(text) - position > MAX_ROW:
                raise InputError(f"{path} is cut off or damaged; download it again.") from None
            text, position = text[position:] + more, 0
            continue
        yield value


def json_fields(path: Path) -> set[str]:
    """The names of the values of the first rows of a JSON array of objects; empty where the file is something else."""
    names: set[str] = set()
    try:
        with path.open(encoding="utf-8", errors="replace") as file:
            for row in islice(json_array(file, path), 20):
                names |= set(row) if isinstance(row, dict) else set()
    except (InputError, OSError):
        pass  # what is cut off is found when it is read
    return names


def csv_header(path: Path, delimiter: str) -> list[str]:
    """The column names of a CSV file; empty where the file is something else."""
    try:
        with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
            return next(csv.reader([file.readline(CHUNK)], delimiter=delimiter), [])
    except (csv.Error, OSError):
        return []


def csv_rows(path: Path, fields: Sequence[str], delimiter: str) -> Iterator[tuple[str, dict[str, str]] | BadRow]:
    """(place, row) for each row of a CSV file with a header.

    Args:
        path: the file.
        fields: the columns that a row must have.
        delimiter: between two cells.
    """
    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:
        reader = csv.DictReader(file, delimiter=delimiter)
        number = 0
        while True:
            number += 1
            place = f"{path.name} row {number}"
            try:
                row = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                yield BadRow(place, "incomplete row", f"The row cannot be read ({error}).")
                continue
            missing = [name for name in fields if row.get(name) is None]
            if missing:
                yield BadRow(place, "incomplete row", f"The row lacks {', '.join(missing)}.")
            else:
                yield place, {k: v for k, v in row.items() if isinstance(k, str) and isinstance(v, str)}
