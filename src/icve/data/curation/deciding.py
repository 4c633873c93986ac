"""After all sources are done: the words of every pair, from its instructor through the rewriter and the filter.

Everything here goes over the parcels in the order of the list of sources, so it does not matter in which order they
were made, and what is found goes to a file: memory does not grow with the number of pairs.
"""

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict
from pathlib import Path
from typing import Any, Protocol

from icve.data.curation.config import CurationConfig
from icve.data.curation.parcels import Parcels, StoredParcel
from icve.data.curation.records import Instruction, Pair
from icve.data.curation.selecting import Selection, SelectionWriter
from icve.data.curation.text.instruction_filter import check_instruction
from icve.data.curation.text.rewriting import TableRewriting
from icve.data.curation.yields import Yields
from icve.video.files import write_errors


class Quarantine(Protocol):
    """Takes what cannot be used."""

    def __call__(self, source: str, reason: str) -> None:
        """Notes a file or a pair, and why."""


def decide(
    config: CurationConfig,
    parcels: Parcels,
    count: int,
    folder: Path,
    quarantine: Quarantine,
    progress: Callable[[int], Any],
) -> Selection:
    """Goes over all parcels once, and finds the words of every pair.

    Args:
        config: of the run.
        parcels: all are done.
        count: of sources.
        folder: of the run, where the decisions and the answers of a model are kept.
        quarantine: is told of files and pairs that cannot be used.
        progress: called with 1 for each pair.

    Raises:
        InputError: a parcel is damaged, the disk is full, or the model's endpoint does not answer.
    """
    yields = Yields()
    pairs = _pairs(config, parcels, count, folder, yields, quarantine)
    with SelectionWriter(folder) as writer:
        for (parcel, place, original), instruction in _reworded(
            config, _checked(config, pairs, yields), folder, yields
        ):
            writer.add(parcel, place, instruction, original)
            progress(1)
    return Selection(folder, config, yields)


Instructed = tuple[StoredParcel, int, Pair, Instruction]
Checked = tuple[tuple[StoredParcel, int, str], str, Instruction]  # what else `SelectionWriter` needs, the pair's name


def _checked(config: CurationConfig, pairs: Iterator[Instructed], yields: Yields) -> Iterator[Checked]:
    """The pairs whose instruction passes the filter."""
    count = yields.stage("filter")
    for parcel, place, pair, instruction in pairs:
        start = time.monotonic()
        count.entered += 1
        reason = check_instruction(instruction.text, instruction.type, config.filter)
        count.seconds += time.monotonic() - start
        if reason is not None:
            count.drop(reason)
        else:
            count.left += 1
            yield (parcel, place, instruction.text), pair.id, instruction


def _reworded(
    config: CurationConfig, checked: Iterator[Checked], folder: Path, yields: Yields
) -> Iterator[tuple[tuple[StoredParcel, int, str], Instruction]]:
    """The pairs with their instructions in other words, or as they are."""
    table = TableRewriting(config.rewrite, config.filter, config.seed)
    if config.rewrite.model is None:
        yield from table.run(checked)
        return
    from icve.data.curation.text.model_rewriting import ModelRewriting

    start = time.monotonic()
    with ModelRewriting(config.rewrite.model, table, folder / "wordings.sqlite") as rewriting:
        yield from rewriting.run(checked)
        rewriting.count.seconds = time.monotonic() - start
        yields.add([rewriting.count])
        yields.usages["rewrite"] = asdict(rewriting.usage)


def _pairs(
    config: CurationConfig, parcels: Parcels, count: int, folder: Path, yields: Yields, quarantine: Quarantine
) -> Iterator[Instructed]:
    """Every pair with its instruction, in order."""
    usable = _usable(parcels, count, folder, yields, quarantine)
    plain = ((parcel, place, pair) for parcel in usable for place, pair in enumerate(parcel.pairs))
    if config.instructor == "vlm":
        yield from _ask_model(config, plain, folder, yields, quarantine)
        return
    for parcel, place, pair in plain:
        assert pair.instruction is not None
        yield parcel, place, pair, pair.instruction


def _usable(
    parcels: Parcels, count: int, folder: Path, yields: Yields, quarantine: Quarantine
) -> Iterator[StoredParcel]:
    """The parcels of files that could be read, each content once."""
    seen = folder / "contents.sqlite"
    seen.unlink(missing_ok=True)
    duplicates = yields.stage("duplicates")
    with write_errors(seen), closing(sqlite3.connect(seen)) as database:
        database.execute("PRAGMA synchronous = OFF")  # it is made anew by every run
        database.execute("CREATE TABLE contents (content TEXT PRIMARY KEY) WITHOUT ROWID")
        for parcel in parcels.all(count):
            yields.add(parcel.stages[:1])
            if parcel.quarantined is not None:
                quarantine(parcel.source.uri, parcel.quarantined)
                continue
            duplicates.entered += 1
            if database.execute("INSERT OR IGNORE INTO contents VALUES (?)", (parcel.content,)).rowcount:
                duplicates.left += 1
                yields.add(parcel.stages[1:])
                yield parcel
            else:
                duplicates.drop("a file with the same bytes")
    seen.unlink()


def _ask_model(
    config: CurationConfig,
    pairs: Iterator[tuple[StoredParcel, int, Pair]],
    folder: Path,
    yields: Yields,
    quarantine: Quarantine,
) -> Iterator[Instructed]:
    from icve.data.curation.model_answers import frames_of
    from icve.data.curation.vlm import Refused, VlmInstructor

    asked: deque[tuple[StoredParcel, int, Pair]] = deque()

    def ask() -> Iterator[Any]:
        for parcel, place, pair in pairs:
            asked.append((parcel, place, pair))
            yield frames_of(parcel, pair, config)

    assert config.vlm is not None  # the config checks it
    count, start = yields.stage("vlm"), time.monotonic()
    with VlmInstructor(config.vlm, folder / "answers.sqlite") as instructor:
        for pair_id, answer in instructor.run(ask()):
            parcel, place, pair = asked.popleft()
            assert pair.id == pair_id
            count.entered += 1
            count.seconds = time.monotonic() - start
            if isinstance(answer, Refused):
                count.drop(answer.kind)
                quarantine(f"{parcel.source.uri} pair {pair_id}", answer.reason)
            else:
                count.left += 1
                yield parcel, place, pair, answer
        yields.usages["vlm"] = asdict(instructor.usage)
