"""After all sources are done: the words of every pair, from its instructor through the rewriter and the filter.

Everything here goes over the parcels in the order of the list of sources, so it does not matter in which order they
were made, and what is found goes to a file: memory does not grow with the number of pairs.
"""

import sqlite3
import time
from collections import deque
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Protocol

from icve.data.curation.config import CurationConfig
from icve.data.curation.parcels import Parcels, StoredParcel
from icve.data.curation.randomness import generator
from icve.data.curation.records import Instruction, Pair, StageCount
from icve.data.curation.selecting import Selection, SelectionWriter
from icve.data.curation.text.instruction_filter import check_instruction
from icve.data.curation.text.verbs import VerbRewriter
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
    yields, rewriter = Yields(), VerbRewriter(config.rewrite)
    with SelectionWriter(folder) as writer:
        for parcel, place, pair, instruction in _pairs(config, parcels, count, folder, yields, quarantine):
            progress(1)
            start = time.monotonic()
            filtered = yields.stage("filter")
            filtered.entered += 1
            words = _words(config, rewriter, pair, instruction, filtered)
            if words is not None:
                filtered.left += 1
                writer.add(parcel, place, words, instruction.text)
            filtered.seconds += time.monotonic() - start
    return Selection(folder, config, yields)


def _words(
    config: CurationConfig, rewriter: VerbRewriter, pair: Pair, instruction: Instruction, count: StageCount
) -> Instruction | None:
    """The instruction in other words, or None if it is not kept."""
    reason = check_instruction(instruction.text, instruction.type, config.filter)
    if reason is not None:
        count.drop(reason)
        return None
    text = rewriter.rewrite(instruction.text, instruction.type, generator(config.seed, "verbs", pair.id))
    if check_instruction(text, instruction.type, config.filter) is not None:
        text = instruction.text
    return replace(instruction, text=text)


Instructed = tuple[StoredParcel, int, Pair, Instruction]


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
        yields.usage = asdict(instructor.usage)
