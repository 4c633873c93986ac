"""A training run's folder: its config, its log, its curve, and whether a checkpoint in it belongs to this config.

OUTPUT/config.json      what is trained, as it was given
OUTPUT/log.jsonl        a row every `log.every` steps
OUTPUT/curve.jsonl      a row every validation
OUTPUT/checkpoints/     to go on from, see checkpoint.py
OUTPUT/samples/         contact sheets of edits
OUTPUT/model/           the result, once the run has ended
OUTPUT/.lock            held by the process that trains
"""

import fcntl
import json
import shutil
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from errno import ENOLCK, ENOSYS, EOPNOTSUPP
from pathlib import Path
from typing import IO, Any, Self

from safetensors import SafetensorError

from icve.errors import InputError
from icve.training.config import RunConfig

# What may differ between a run's parts: where it writes, how the work is shared and what is measured beside it.
FREE = ("output", "accumulate", "parallel", "checkpoint", "validation", "log", "max_skipped", "data.workers")


class RunFolder:
    """The files of a run; only the first rank writes. `claimed` makes one.

    Raises:
        InputError: the folder holds a run of another config, or cannot be written.
    """

    def __init__(self, config: RunConfig, writes: bool = True) -> None:
        self.path = config.output
        self.writes = writes
        self.config = config.model_dump(mode="json")
        file = self.path / "config.json"
        if file.is_file() and (self.path / "checkpoints").is_dir():
            self._check(json.loads(file.read_text()))
        if writes:
            with writing(self.path):
                _write(file, json.dumps(self.config, indent=1))

    @classmethod
    @contextmanager
    def claimed(cls, config: RunConfig, writes: bool = True) -> Iterator[Self]:
        """The folder of a run, where no other process may train until the block ends.

        Raises:
            InputError: another process trains in it, or what the class says.
        """
        with ExitStack() as stack:
            if writes:
                with writing(config.output):
                    config.output.mkdir(parents=True, exist_ok=True)
                    _lock(stack.enter_context((config.output / ".lock").open("w")), config.output)
            yield cls(config, writes)

    @property
    def model(self) -> Path:
        """Where the result goes."""
        return self.path / "model"

    def _check(self, old: dict[str, Any]) -> None:
        before, now = what_counts(old), what_counts(self.config)
        different = sorted(key for key in before | now if before.get(key) != now.get(key))
        if different:
            shown = "; ".join(f"{key}: {before.get(key)!r} there, {now.get(key)!r} here" for key in different[:3])
            more = f" and {len(different) - 3} more" if len(different) > 3 else ""
            raise InputError(
                f"{self.path} holds a run of another config ({shown}{more}): give another output folder, or delete it."
            )

    @contextmanager
    def result(self) -> Iterator[Path]:
        """A folder, not there yet, to write the result into; it becomes `model` when the block ends.

        Raises:
            InputError: it cannot be written.
        """
        beside = self.path / "model.tmp"
        shutil.rmtree(beside, ignore_errors=True)
        try:
            with writing(self.model):
                yield beside
                shutil.rmtree(self.model, ignore_errors=True)
                beside.rename(self.model)
        finally:
            shutil.rmtree(beside, ignore_errors=True)

    def forget_after(self, step: int) -> None:
        """Drop rows of steps that a resumed run does again."""
        for name in ("log.jsonl", "curve.jsonl"):
            file = self.path / name
            if self.writes and file.is_file():
                rows = self.rows(name)
                with writing(file):
                    _write(file, "".join(json.dumps(row) + "\n" for row in rows if row["step"] <= step))

    def add(self, name: str, row: dict[str, Any]) -> None:
        """Append a row to `log.jsonl` or `curve.jsonl`."""
        if self.writes:
            with writing(self.path / name), (self.path / name).open("a") as file:
                file.write(json.dumps(row) + "\n")

    def rows(self, name: str) -> list[dict[str, Any]]:
        """The rows of a file; a last one that was cut short by a crash is left out."""
        file = self.path / name
        rows = []
        for line in file.read_text().splitlines() if file.is_file() else ():
            try:
                rows.append(json.loads(line))
            except ValueError:
                break
        return rows


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Turns what the file system refuses inside the block, which writes `path`, into one sentence."""
    try:
        yield
    except (OSError, SafetensorError) as error:
        raise InputError(
            f"{path} cannot be written ({_reason(error)}): make that possible and run the same command, which goes on "
            "from the last checkpoint, or give another output folder."
        ) from error


def _lock(file: IO[str], folder: Path) -> None:
    try:
        # Ends with the process, however it ends; loader workers, who outlive a killed one, do not inherit it.
        fcntl.lockf(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        raise InputError(
            f"Another process trains in {folder}: wait for its end, or give another output folder."
        ) from None
    except OSError as error:
        if error.errno not in (ENOLCK, ENOSYS, EOPNOTSUPP):  # of a file system without locks, which will do
            raise


def flat(values: Any, prefix: str = "") -> dict[str, Any]:
    """{"data": {"workers": 2}} to {"data.workers": 2}; lists count from 0."""
    items = values.items() if isinstance(values, dict) else enumerate(values)
    result: dict[str, Any] = {}
    for key, value in items:
        name = f"{prefix}{key}"
        if isinstance(value, dict) or (isinstance(value, list) and any(isinstance(v, (dict, list)) for v in value)):
            result |= flat(value, f"{name}.")
        else:
            result[name] = value
    return result


def what_counts(config: dict[str, Any]) -> dict[str, Any]:
    """What a run's result depends on, flat: the config without `FREE`."""
    return {
        key: value
        for key, value in flat(config).items()
        if not any(key == free or key.startswith(f"{free}.") for free in FREE)
    }


def _write(file: Path, text: str) -> None:
    beside = file.with_name(f"{file.name}.tmp")
    beside.write_text(text)
    beside.rename(file)


def _reason(error: Exception) -> str:
    if isinstance(error, shutil.Error):  # of copying a folder: what went wrong with each file
        return str(error.args[0][0][2])
    return getattr(error, "strerror", None) or str(error)
