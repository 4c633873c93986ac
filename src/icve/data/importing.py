"""Turns a public set of paired videos into shards: clips of the wanted sizes, and pairs of them with instructions.

What cannot be used is left out, counted, and listed in the set's quarantine.jsonl. A run that was stopped goes on where
it was when it is started again.
"""

import json
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from tqdm import tqdm

from icve.data.buckets import Bucket
from icve.data.pairs import SETS, BadRow, RawPair
from icve.data.pairs.decoding import Job, PairClips
from icve.data.pairs.workers import attempt, files
from icve.data.shard_layout import QUARANTINE_FILE, check_bucket
from icve.data.shards import ShardWriter
from icve.data.worker_pool import Failure, WorkerPool
from icve.errors import InputError

SECONDS = 120.0  # for one pair; 81 frames of 1080p take about ten on one slow core
FLUSH_EVERY = 500  # pairs: what a power cut may cost
# Rows whose video is not there are counted only: of a set of terabytes, a part is all that most people download.
ONLY_COUNTED = "missing video"


@dataclass
class Summary:
    """What became of a set's rows.

    Attributes:
        imported: pairs added now.
        present: pairs that were in the shards already.
        skipped: rows without a pair, by reason.
        examples: one full sentence for each reason.
    """

    imported: int = 0
    present: int = 0
    skipped: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)

    def skip(self, kind: str, example: str) -> None:
        """Counts a row that gave no pair."""
        self.skipped[kind] += 1
        self.examples.setdefault(kind, example)

    def __str__(self) -> str:
        lines = [f"imported {self.imported:,} pairs"]
        if self.present:
            lines.append(f"already there: {self.present:,}")
        lines += [f"skipped {n:,}: {kind} (such as {self.examples[kind]})" for kind, n in self.skipped.most_common()]
        return "\n".join(lines)


class Importer:
    """One run of an import: hands out pairs to be decoded, stores what comes back."""

    def __init__(self, name: str, folder: Path, writer: ShardWriter, job: Job) -> None:
        """
        Args:
            name: of the set, a key of `icve.data.pairs.SETS`.
            folder: where it lies.
            writer: of the shards.
            job: what each pair's job is like; its paths are replaced.
        """
        self.set, self.folder, self.writer, self.job = SETS[name], folder, writer, job
        self.summary = Summary()
        self.bar: tqdm | None = None
        self.seen: set[int] = set()  # of numbers, a third of the memory that texts take
        self.refused = quarantined(writer.folder)

    def run(self, processes: int, seconds: float) -> None:
        """Imports what is not there yet."""
        pool: WorkerPool[RawPair, Job, PairClips | Failure] = WorkerPool(
            processes, attempt, seconds=seconds, name=files, answer=self.needed
        )
        with pool:
            for pair, result in pool.run(self.jobs()):
                if isinstance(result, Failure):
                    where = f"{pair.id} {self.relative(pair.target)}"
                    self.writer.quarantine(where, result.reason)
                    self.skip(result.kind, result.reason)
                else:
                    self.store(pair, result)

    def jobs(self) -> Iterator[tuple[RawPair, Job]]:
        """The pairs that are to be decoded."""
        for pair in self.set.pairs(self.folder):
            if isinstance(pair, BadRow):
                self.refuse_row(pair)
                continue
            number = int(pair.id.rpartition("-")[2], 16)
            if number in self.seen:
                self.skip("repeated row", pair.id)
            elif pair.id in self.refused:
                self.skip("quarantined before", f"{pair.id}; remove its line from {QUARANTINE_FILE} to try again")
            elif self.writer.has_pair(pair.id):
                self.summary.present += 1
                self.advance()
            else:
                yield pair, Job(pair.source, pair.target, self.job.buckets, self.job.fps, self.job.quality)
            self.seen.add(number)

    def refuse_row(self, row: BadRow) -> None:
        if row.kind != ONLY_COUNTED and row.row not in self.refused:
            self.writer.quarantine(row.row, row.reason)
            self.refused.add(row.row)
        self.skip(row.kind, f"{row.row}: {row.reason}")

    def needed(self, ids: list[str]) -> set[str]:
        """Which clips the shards do not hold yet."""
        return {clip for clip in ids if not self.writer.has_clip(clip)}

    def store(self, pair: RawPair, result: PairClips) -> None:
        files = {result.source.id: (result.source, pair.source), result.target.id: (result.target, pair.target)}
        for name, (clip, path) in files.items():
            # Another pair may have brought the clip while this one was decoded.
            if clip.data is not None and not self.writer.has_clip(name):
                self.writer.add_encoded_clip(
                    name, clip.data, bucket=result.bucket, fps=result.fps, source=self.relative(path)
                )
        self.writer.add_pair(
            pair.id,
            result.source.id,
            result.target.id,
            pair.instruction,
            pair.type,
            origin=pair.place,
            source_file=self.relative(pair.source),
            target_file=self.relative(pair.target),
            extra=json.dumps(pair.extra, ensure_ascii=False, sort_keys=True),
        )
        self.summary.imported += 1
        if self.summary.imported % FLUSH_EVERY == 0:
            self.writer.flush()
        self.advance()

    def skip(self, kind: str, example: str) -> None:
        self.summary.skip(kind, example)
        self.advance()

    def advance(self) -> None:
        if self.bar is not None:
            self.bar.update()
            self.bar.set_postfix(imported=self.summary.imported, skipped=self.summary.skipped.total(), refresh=False)

    def relative(self, path: Path) -> str:
        return path.relative_to(self.folder.resolve()).as_posix()


def import_set(
    name: str,
    folder: str | Path,
    output: str | Path,
    buckets: Sequence[Bucket],
    *,
    fps: float | None = None,
    processes: int = 1,
    seconds: float = SECONDS,
    progress: bool = True,
) -> Summary:
    """Imports a public set into shards; prints its licence first and a summary at the end, also after Ctrl-C.

    A pair goes into the bucket nearest to its shape that both its videos are long enough for, the longest of those;
    both are resized and cropped about the centre in the same way, from their first frames on. Worker processes do the
    decoding: call it from a script's `if __name__ == "__main__":`.

    Args:
        name: a key of `icve.data.pairs.SETS`.
        folder: where the set lies, as its authors publish it, archives unpacked.
        output: the folder of the shards, new or from an earlier import of the same set.
        buckets: the sizes to choose from.
        fps: frames a second to thin faster videos out to.
        processes: how many workers decode.
        seconds: how long one pair may take.
        progress: whether to show a bar.

    Raises:
        InputError: there is no such set, the folder does not hold it, or the output cannot be written.
    """
    folder = Path(folder)
    if name not in SETS:
        raise InputError(f"There is no public set {name!r}; choose one of {', '.join(SETS)}.")
    if not buckets:
        raise InputError("Say into which sizes the videos are to be brought, such as --buckets 33x480x832.")
    for bucket in buckets:
        check_bucket(bucket)
    one = SETS[name]
    if not one.detect(folder):
        raise InputError(f"{folder} does not hold {one.title} as it is published; {one.layout}")
    print(f"{one.title} ({one.url})\nLicence: {one.licence}", flush=True)
    with ShardWriter(output, name=one.name, licence=one.licence, source=one.url) as writer:
        job = Job(folder, folder, tuple(buckets), fps, writer.quality)
        importer = Importer(name, folder, writer, job)
        try:
            with tqdm(unit=" rows", disable=not progress, desc=one.name) as bar:
                importer.bar = bar
                importer.run(processes, seconds)
        finally:
            print(importer.summary, flush=True)
    return importer.summary


def quarantined(folder: Path) -> set[str]:
    """The pair ids and rows that quarantine.jsonl names."""
    path = folder / QUARANTINE_FILE
    names: set[str] = set()
    if path.exists():
        with path.open(encoding="utf-8", errors="replace") as file:
            for line in file:
                try:
                    source = str(json.loads(line)["source"])
                except (ValueError, KeyError, TypeError):
                    continue  # a line cut off by a power cut
                # A pair's line begins with its id; a row's is the row.
                names |= {source, source.partition(" ")[0]}
    return names
