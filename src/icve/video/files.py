"""Output files that appear whole or not at all."""

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from av.error import FFmpegError

from icve.errors import InputError


def check_output(path: Path, overwrite: bool) -> None:
    """Raises InputError where `path` cannot become a file, before any work is done for it."""
    if path.is_dir():
        raise InputError(f"{path} is a folder; name a file in it.")
    if path.exists() and not overwrite:
        raise InputError(f"{path} exists already; name another file or allow overwriting (--overwrite).")
    if not path.parent.is_dir():
        raise InputError(f"The folder {path.parent} does not exist; create it first.")
    if not os.access(path.parent, os.W_OK | os.X_OK):
        raise InputError(f"{path} cannot be written in {path.parent}; choose a folder that you may write to.")


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path`: becomes `path` at the end, vanishes on any exception (Ctrl-C too)."""
    partial = path.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield partial
        partial.replace(path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise


@contextmanager
def write_errors(path: Path) -> Iterator[None]:
    """Turns refusals of the system (disk full) and of FFmpeg while `path` is written into an InputError."""
    try:
        yield
    except OSError as error:
        reason = error.strerror or type(error).__name__
        raise InputError(f"{path} cannot be written ({reason}); free space or choose another folder.") from error
    except FFmpegError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}); export its source again.") from error
