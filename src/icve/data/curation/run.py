"""One run of the data engine, from a list of files to a set; it goes on where it was stopped."""

import fcntl
import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from shutil import rmtree
from typing import Any

from tqdm import tqdm

from icve.data.curation.config import CurationConfig
from icve.data.curation.deciding import decide
from icve.data.curation.executors import EXECUTORS
from icve.data.curation.packing import pack
from icve.data.curation.parcels import Parcels
from icve.data.curation.preview import write_preview
from icve.data.curation.selecting import VECTORS, WORDS
from icve.data.curation.source_run import Job
from icve.data.curation.sources import digest, read_sources, write_sources
from icve.data.curation.yields import Yields
from icve.data.shard_layout import FORMAT, QUARANTINE_FILE, SET_FILE, VERSION, write_once
from icve.errors import InputError
from icve.video.files import replacing, write_errors

FOLDER = "curation"  # in the set's: what a run needs to go on, and its record
CONFIG, SOURCES, DONE, YIELD, PREVIEW = "config.json", "sources.jsonl", "done.json", "yield.json", "preview.html"

# What may differ when a run goes on: it changes how the work is done, not what comes of it.
ENDPOINT = {
    "base_url",
    "api_key_env",
    "concurrency",
    "timeout",
    "retries",
    "backoff",
    "longest_wait",
    "give_up",
    "ask_refused",
    "price_in",
    "price_out",
}
FREE = {
    (): {"executor", "workers"},
    ("read",): {"timeout", "memory"},
    ("vlm",): ENDPOINT,
    ("rewrite", "model"): ENDPOINT,
}


def curate(videos: Sequence[str], output: Path, config: CurationConfig, *, progress: bool = True) -> None:
    """Makes a set of unpaired clip pairs; the same call goes on with one that was stopped.

    Args:
        videos: see `icve.data.curation.sources.write_sources`.
        output: the set's folder: new, empty, or of an earlier call with the same videos and config.
        config: of the run.
        progress: whether to show bars.

    Raises:
        InputError: there is nothing to curate, the folder holds something else, or the disk is full.
    """
    folder = output / FOLDER
    with write_errors(output):
        if not folder.exists() and output.exists() and any(output.iterdir()):
            raise InputError(f"{output} is not empty and was not made by `icve data curate`; choose a new folder.")
        folder.mkdir(parents=True, exist_ok=True)
    with _locked(folder):
        for place in ("", f"{FOLDER}/", "pairs/", "media/*/"):
            for partial in output.glob(f"{place}.*.part"):
                partial.unlink()  # of a run that was killed
        count = _prepare(videos, folder, config)
        if (folder / DONE).exists():
            _remove_work(folder)
            return
        parcels = Parcels(folder / "parcels")
        _work_on_sources(folder, parcels, count, config, progress)
        _pack(output, folder, parcels, count, config, progress)


def _prepare(videos: Sequence[str], folder: Path, config: CurationConfig) -> int:
    """Writes down what the run is, or checks that it is what it was; the number of sources."""
    found = write_once(folder / CONFIG, _fixed(config))
    if found != _fixed(config):
        key, old, new = _difference(found, _fixed(config))
        raise InputError(f"{folder.parent} was begun with {key}={old}, not {new}; choose another folder.")
    listed = folder / SOURCES
    fresh = listed.with_name(f".{SOURCES}.new")
    count = write_sources(videos, fresh)
    if listed.exists() and digest(listed) != digest(fresh):
        fresh.unlink()
        raise InputError(f"{folder.parent} was begun with another list of videos; choose another folder for these.")
    fresh.replace(listed)
    return count


def _fixed(config: CurationConfig) -> dict[str, Any]:
    values = config.model_dump(mode="json")
    for sections, keys in FREE.items():
        part = values
        for section in sections:
            part = part[section] or {}
        for key in keys & set(part):
            del part[key]
    return values


def _difference(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> tuple[str, Any, Any]:
    key = next(key for key in sorted({*old, *new}) if old.get(key) != new.get(key))
    a, b = old.get(key), new.get(key)
    if isinstance(a, dict) and isinstance(b, dict):
        return _difference(a, b, f"{prefix}{key}.")
    return prefix + key, json.dumps(a), json.dumps(b)


def _work_on_sources(folder: Path, parcels: Parcels, count: int, config: CurationConfig, progress: bool) -> None:
    rmtree(folder / "downloads", ignore_errors=True)  # of a run that was killed
    done = parcels.done(count)
    jobs = (Job(source, folder, config) for source in read_sources(folder / SOURCES) if not done[source.number])
    with tqdm(total=count, initial=sum(done), unit="file", disable=not progress, desc="sources") as bar:
        pairs = quarantined = 0
        for result in EXECUTORS[config.executor](jobs, config):
            pairs += result.pairs
            quarantined += result.quarantined
            bar.set_postfix(pairs=pairs, quarantined=quarantined, refresh=False)
            bar.update()


def _pack(output: Path, folder: Path, parcels: Parcels, count: int, config: CurationConfig, progress: bool) -> None:
    """Decides over all sources together, and writes the set."""
    write_once(
        output / SET_FILE,
        {
            "format": FORMAT,
            "version": VERSION,
            "name": config.name,
            "licence": config.licence,
            "source": config.source or "icve data curate",
        },
    )
    path = output / QUARANTINE_FILE
    with (
        tqdm(unit="pair", disable=not progress, desc="instructions") as bar,
        write_errors(path),
        replacing(path) as partial,
        partial.open("w", encoding="utf-8") as file,
    ):

        def quarantine(source: str, reason: str) -> None:
            file.write(json.dumps({"source": source, "reason": reason}, ensure_ascii=False) + "\n")

        selection = decide(config, parcels, count, folder, quarantine, bar.update)
    with tqdm(unit="pair", disable=not progress, desc="packing") as bar:
        pack(output, parcels, selection.kept(), config.shard_bytes, bar.update)
    finish(output, folder, selection.yields)


def finish(output: Path, folder: Path, yields: Yields) -> None:
    """Writes the run's record, and removes what only an unfinished run needs."""
    yields.write(folder / YIELD)
    write_preview(output, output / PREVIEW)
    with write_errors(folder / DONE), replacing(folder / DONE) as partial:
        partial.write_text("{}\n")
    _remove_work(folder)


def _remove_work(folder: Path) -> None:
    rmtree(folder / "parcels", ignore_errors=True)
    rmtree(folder / "downloads", ignore_errors=True)
    for name in (WORDS, VECTORS):
        (folder / name).unlink(missing_ok=True)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    with (folder / ".lock").open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # ends with the process, however it ends
        except BlockingIOError:
            raise InputError(f"Another `icve data curate` works on {folder.parent}; wait for it.") from None
        yield
