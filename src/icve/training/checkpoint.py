"""Checkpoints of a run: sharded safetensors, written in the background, loaded by any number of ranks.

    FOLDER/step-00000200/shard-….safetensors    what each rank wrote (torch.distributed.checkpoint's layout)
    FOLDER/step-00000200/trainer.json           step, files and their sizes, and what is no tensor
    FOLDER/step-00000300.tmp/                   being written, or left by a killed run

Nothing is unpickled on reading.
"""

import json
import os
import shutil
import sys
import warnings
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path
from typing import Any, TypeVar

import torch
import torch.distributed as dist
import torch.distributed.checkpoint as dcp
from safetensors import SafetensorError, safe_open
from torch import Tensor
from torch.distributed.checkpoint import HuggingFaceStorageReader, HuggingFaceStorageWriter

from icve.errors import InputError

T = TypeVar("T")
VERSION = 1
UNFINISHED = ".tmp"
# torch makes a second copy of a file's tensors in memory to write it; parts of this many bytes a rank bound that
PART_BYTES = 2 * 2**30


class Checkpointer:
    """Writes, finds and loads the checkpoints of one folder, which all ranks see. All ranks call every method.

    Unfinished checkpoints that a killed run left are removed at once.

    Args:
        folder: made when it is not there.
        keep: how many checkpoints stay on disk.

    Raises:
        InputError: the folder cannot be written.
    """

    def __init__(self, folder: Path, keep: int = 3) -> None:
        self.folder = folder
        self.keep = keep
        self._ranks = _Ranks()
        # one process is meant; set for good because filters of a with-block are not for threads
        warnings.filterwarnings("ignore", message="torch.distributed is disabled, unavailable or uninitialized")
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None
        self._ranks.first(self._prepare)

    def _prepare(self) -> None:
        try:
            self.folder.mkdir(parents=True, exist_ok=True)
            for left in self.folder.glob(f"*{UNFINISHED}"):
                shutil.rmtree(left)
        except OSError as error:
            raise InputError(
                f"{self.folder} cannot hold checkpoints ({error.strerror}): give another output folder."
            ) from error

    def save(self, step: int, tensors: Mapping[str, Tensor], extra: dict[str, Any]) -> None:
        """Copy the tensors and begin to write them; waits for a write that is still going on, and raises as `wait`.

        Args:
            step: how many steps are done.
            tensors: DTensors and plain tensors of any dtype; plain ones are equal on all ranks.
            extra: what is no tensor, as JSON; that of the first rank is written.
        """
        self.wait()
        copies = {n: t.detach().to("cpu", copy=True, memory_format=torch.contiguous_format) for n, t in tensors.items()}
        self._writing = self._thread.submit(self._write, step, copies, json.dumps(extra))

    def poll(self) -> None:
        """Raise what went wrong in the background, if anything did; returns at once.

        Raises:
            InputError: a checkpoint could not be written; the ones before are still there.
        """
        if self._writing is not None and self._writing.done():
            self.wait()

    def wait(self) -> None:
        """Return when nothing is being written any more; raises as `poll` does."""
        if self._writing is not None:
            writing, self._writing = self._writing, None
            writing.result()

    def _write(self, step: int, tensors: dict[str, Tensor], extra: str) -> None:
        beside = self.folder / f"{_name(step)}{UNFINISHED}"
        try:
            writer = HuggingFaceStorageWriter(str(beside), fqn_to_index_mapping=_parts(tensors), save_distributed=True)
            dcp.save(tensors, storage_writer=writer, process_group=self._ranks.group)
            self._ranks.first(lambda: self._publish(beside, step, extra))
        except (Exception, dcp.CheckpointException) as error:  # the latter is no Exception
            self._ranks.first(lambda: shutil.rmtree(beside, ignore_errors=True))
            cause = _os_error(error)
            if cause is None:
                raise
            raise InputError(
                f"The checkpoint of step {step} could not be written to {self.folder} ({cause.strerror}): "
                "make room there and run the same command, which goes on from the last checkpoint before it."
            ) from error

    def _publish(self, beside: Path, step: int, extra: str) -> None:
        files = {file.name: file.stat().st_size for file in beside.glob("*.safetensors")}
        description = {"version": VERSION, "step": step, "files": files, "extra": json.loads(extra)}
        with (beside / "trainer.json").open("w") as file:
            json.dump(description, file)
            file.flush()
            os.fsync(file.fileno())
        _sync_folder(beside)
        final = self.folder / _name(step)
        if final.exists():  # a corrupt one, or one of the same step
            _remove(final)
        beside.rename(final)
        _sync_folder(self.folder)
        done = sorted(self.folder.glob(f"step-{'[0-9]' * 8}"))
        # later ones could not be loaded, or this run would not have come by here again
        for other in done[: done.index(final) + 1][: -self.keep] + done[done.index(final) + 1 :]:
            _remove(other)

    def latest(self) -> Path | None:
        """The newest checkpoint that is complete; says so when a newer one is not."""
        return self._ranks.first(self._latest)

    def _latest(self) -> Path | None:
        for folder in sorted(self.folder.glob(f"step-{'[0-9]' * 8}"), reverse=True):
            problem = _problem(folder)
            if problem is None:
                return folder
            print(f"{folder} is not used, it is damaged: {problem}.", file=sys.stderr)
        return None

    def read_extra(self, folder: Path) -> dict[str, Any]:
        """What was given to `save` as `extra`."""
        extra: dict[str, Any] = _description(folder)["extra"]
        return extra

    def load(self, folder: Path, tensors: dict[str, Tensor]) -> dict[str, Any]:
        """Fill tensors in place from a checkpoint, each rank its parts, however many ranks wrote it; gives `extra`.

        Raises:
            InputError: a tensor is not in the checkpoint or has another shape there.
        """
        reader = HuggingFaceStorageReader(str(folder))
        stored = reader.read_metadata().state_dict_metadata
        for name, tensor in tensors.items():
            problem = None
            if name not in stored:
                problem = f"has no {name}"
            elif stored[name].size != tensor.shape:
                problem = f"has {name} of shape {tuple(stored[name].size)}, not {tuple(tensor.shape)}"
            if problem is not None:
                raise InputError(
                    f"{folder} {problem}, it is of another model or optimizer: "
                    "give another output folder, or delete this one."
                )
        dcp.load(tensors, storage_reader=reader, process_group=self._ranks.group)
        return self.read_extra(folder)


class _Ranks:
    """The ranks of a run, with a group of their own: background writes must not mix with the training's messages."""

    def __init__(self) -> None:
        self.group = dist.new_group(backend="gloo") if dist.is_initialized() else None

    def first(self, act: Callable[[], T]) -> T:
        """What the first rank's `act` gives, on all ranks; when it raises, all do."""
        if self.group is None:
            return act()
        outcome: list[Any] = [None, None]
        if dist.get_rank() == 0:
            try:
                outcome[0] = act()
            except Exception as error:
                outcome[1] = error
        dist.broadcast_object_list(outcome, src=0, group=self.group)
        if outcome[1] is not None:
            raise outcome[1]
        result: T = outcome[0]
        return result


def _name(step: int) -> str:
    return f"step-{step:08d}"


def _parts(tensors: Mapping[str, Tensor]) -> dict[str, int]:
    """Which file, counted from 1, a tensor goes to."""
    limit = PART_BYTES * (dist.get_world_size() if dist.is_initialized() else 1)
    parts, part, size = {}, 1, 0
    for name, tensor in tensors.items():
        if size and size + tensor.nbytes > limit:
            part, size = part + 1, 0
        parts[name] = part
        size += tensor.nbytes
    return parts


def _description(folder: Path) -> dict[str, Any]:
    description: dict[str, Any] = json.loads((folder / "trainer.json").read_text())
    return description


def _problem(folder: Path) -> str | None:
    """What keeps a checkpoint from being loaded, or None."""
    try:
        files: dict[str, int] = _description(folder)["files"]
    except (OSError, ValueError, LookupError, TypeError):
        return "trainer.json cannot be read"
    for name, size in files.items():
        file = folder / Path(name).name
        if not file.is_file() or file.stat().st_size != size:
            return f"{name} is missing or cut short"
        try:
            with safe_open(file, "pt"):
                pass
        except SafetensorError:
            return f"{name} is no safetensors file"
    return None


def _os_error(error: BaseException | None) -> OSError | None:
    """The file system's error behind an error, on any rank."""
    if isinstance(error, OSError):
        return error
    if isinstance(error, dcp.CheckpointException):
        return next((found for e, _ in error.failures.values() if (found := _os_error(e)) is not None), None)
    return None


def _remove(folder: Path) -> None:
    """Delete a checkpoint so that a kill in the middle leaves nothing that looks like one."""
    doomed = folder.with_name(f"{folder.name}.old{UNFINISHED}")
    folder.rename(doomed)
    shutil.rmtree(doomed)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
