"""What a preview shows of a set, gathered in one pass over its indices; memory does not grow with the set."""

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from icve.data.buckets import Bucket
from icve.data.curation.preview_charts import Histogram
from icve.data.curation.randomness import generator
from icve.data.shard_index import Members, SetFiles
from icve.data.shard_layout import LOCATION, MEDIA, NULLABLE, PAIRS, QUARANTINE_FILE
from icve.errors import InputError

ROWS = 8192  # of a file at once
MOST = 48  # histograms, and types: a damaged set must not make a page of millions
# Numbers that say where something is, not how good it is.
NO_SCORES = {*LOCATION.names, *MEDIA.names, "scene", "start", "end"}
NO_SCORES |= {f"{clip}_{edge}" for clip in ("source", "target") for edge in ("start", "end")}
MOTION = ("motion_source", "motion_target")  # of pairs: the clips' own


@dataclass
class StoredClip:
    """A clip and where it is: row `row` of `members`."""

    bucket: Bucket
    fps: float
    caption: str | None
    source: str | None
    members: Members
    row: int


@dataclass
class Scan:
    """What is known of a set.

    Attributes:
        pairs, clips, seconds, quarantined: how many there are; the seconds are those of all clips.
        types: pairs of each type; those beyond the first few count as "other".
        words: of instructions.
        durations: of clips, in seconds.
        clip_scores, pair_scores: each numeric column, and each number in the columns `scores`.
        sample: some pairs at random, each a row with all its columns, in the set's order.
        found: the clips of the sample, by id.
    """

    pairs: int = 0
    clips: int = 0
    seconds: float = 0.0
    quarantined: int = 0
    types: Counter[str] = field(default_factory=Counter)
    words: Histogram = field(default_factory=lambda: Histogram(1))
    durations: Histogram = field(default_factory=Histogram)
    clip_scores: dict[str, Histogram] = field(default_factory=dict)
    pair_scores: dict[str, Histogram] = field(default_factory=dict)
    sample: list[dict[str, Any]] = field(default_factory=list)
    found: dict[str, StoredClip] = field(default_factory=dict)


def scan_set(folder: Path, pairs: int, seed: int) -> Scan:
    """Reads the indices of a set.

    Args:
        folder: a set on this machine.
        pairs: size of the sample.
        seed: of the sample.

    Raises:
        InputError: an index is damaged.
    """
    files = SetFiles(str(folder))
    scan = Scan()
    _scan_pairs(files, scan, pairs, generator(seed, "preview"))
    _scan_clips(files, scan)
    if "motion" in scan.clip_scores:
        for name in MOTION:
            scan.pair_scores.pop(name, None)
    if (folder / QUARANTINE_FILE).is_file():
        with (folder / QUARANTINE_FILE).open("rb") as lines:
            scan.quarantined = sum(1 for _ in lines)
    return scan


def _scan_pairs(files: SetFiles, scan: Scan, size: int, random: np.random.Generator) -> None:
    # Every pair draws a number; those with the smallest are the sample, whatever the files they come in.
    drawn: list[tuple[float, int, dict[str, Any]]] = []
    for _, table in _tables(files, "pairs", PAIRS):
        numbers = random.random(len(table))
        limit = drawn[-1][0] if len(drawn) >= size else 1.0
        rows = np.flatnonzero(numbers < limit)
        rows = rows[np.argsort(numbers[rows])[:size]]
        drawn += zip(numbers[rows], scan.pairs + rows, table.take(rows).to_pylist(), strict=True)
        drawn = sorted(drawn, key=lambda item: item[0])[:size]
        scan.pairs += len(table)
        for entry in pc.value_counts(table["type"]).to_pylist():
            known = entry["values"] in scan.types or len(scan.types) < MOST
            scan.types[entry["values"] if known else "other"] += entry["counts"]
        scan.words.add(pc.count_substring_regex(table["instruction"], r"\S+").to_numpy())
        _count(table, scan.pair_scores)
    scan.sample = [row for _, _, row in sorted(drawn, key=lambda item: item[1])]


def _scan_clips(files: SetFiles, scan: Scan) -> None:
    ids = {row[name] for row in scan.sample for name in ("source_clip", "target_clip")} - {None}
    wanted = pa.array(sorted(ids), pa.string())
    for bucket in files.buckets("media"):
        folder = f"media/{bucket}"
        for shard, table in _tables(files, folder, MEDIA):
            with np.errstate(divide="ignore", invalid="ignore"):
                seconds = table["frames"].to_numpy() / table["fps"].to_numpy()
            scan.clips += len(table)
            scan.seconds += float(seconds[np.isfinite(seconds)].sum())
            scan.durations.add(seconds)
            _count(table, scan.clip_scores)
            here = table.filter(pc.is_in(table["clip_id"], value_set=wanted))
            members = Members.of(folder, [(shard, here)])
            for row, clip in enumerate(here.select(["clip_id", "fps", "caption", "source"]).to_pylist()):
                stored = StoredClip(bucket, clip["fps"], clip["caption"], clip["source"], members, row)
                scan.found.setdefault(clip["clip_id"], stored)


def _tables(files: SetFiles, folder: str, schema: pa.Schema) -> Iterator[tuple[str, pa.Table]]:
    """(name, part of its index) of each shard of a folder."""
    for name in files.names(folder):
        if name.endswith(".parquet"):
            for table in _read(Path(files.path) / folder / name, schema):
                yield name.removesuffix(".parquet"), table


def _read(path: Path, schema: pa.Schema) -> Iterator[pa.Table]:
    """An index in parts, with all its columns; those of `schema` have its types."""
    try:
        with pq.ParquetFile(path) as file:
            for batch in file.iter_batches(ROWS, use_threads=False):
                table = pa.Table.from_batches([batch])
                table.validate(full=True)
                for wanted in schema:
                    place = table.schema.get_field_index(wanted.name)
                    if place < 0 or (table[place].null_count and wanted.name not in NULLABLE):
                        raise ValueError(wanted.name)
                    table = table.set_column(place, wanted, table[place].cast(wanted.type))
                yield table
    except (OSError, ValueError, KeyError, pa.ArrowException) as error:
        raise InputError(f"{path} is damaged: it is no index with the right columns; copy it again.") from error


def _count(table: pa.Table, scores: dict[str, Histogram]) -> None:
    """Adds each column of numbers to its histogram, and the numbers in the JSON column `scores` to theirs."""
    for column in table.schema:
        if column.name not in NO_SCORES and (pa.types.is_integer(column.type) or pa.types.is_floating(column.type)):
            values = table[column.name].drop_null().to_numpy()
            # Rates and flags of whole numbers read better in bars of one.
            _histogram(scores, column.name, 1 if pa.types.is_integer(column.type) else None, values)
    if "scores" in table.column_names:
        found: dict[str, list[float]] = {}
        for text in table["scores"].to_pylist():
            for name, value in flatten(text).items():
                if isinstance(value, int | float) and not isinstance(value, bool):
                    found.setdefault(name, []).append(min(max(value, -1e300), 1e300))
        for name, numbers in found.items():
            _histogram(scores, name, None, np.array(numbers, np.float64))


def _histogram(scores: dict[str, Histogram], name: str, width: float | None, values: np.ndarray) -> None:
    if name in scores or len(scores) < MOST:
        scores.setdefault(name, Histogram() if width is None else Histogram(width)).add(values)


def flatten(text: Any) -> dict[str, Any]:
    """The entries of a JSON object, those of objects in it as "outer.inner"; none where it is no such text."""
    try:
        value = json.loads(text)
    except (ValueError, TypeError, RecursionError):
        return {}
    entries: dict[str, Any] = {}
    for name, item in value.items() if isinstance(value, dict) else ():
        if isinstance(item, dict):
            entries.update({f"{name}.{inner}": each for inner, each in item.items()})
        else:
            entries[name] = item
    return entries
