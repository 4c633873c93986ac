"""The `icve` command: finds the subcommand, and turns whatever stops it into one line and an exit code.

Each subcommand is a module of `icve.commands` with `add_arguments(parser)` and `run(args) -> exit code`. Those
modules import nothing heavy at their top, and only the one that is asked for is imported at all, so help and
argument errors answer at once.
"""

import argparse
import contextlib
import errno
import importlib
import os
import signal
import sys
import threading
from collections.abc import Iterator, Sequence
from types import ModuleType

from icve import __version__
from icve.errors import InputError

COMMANDS = {
    "edit": "edit videos by instruction",
    "info": "say what a model is, what it takes and what it needs",
    "convert": "convert an original ICVE or HunyuanVideo checkpoint to a model folder",
    "evaluate": "measure a model on a benchmark",
    "train": "train a model",
    "ablate": "train and compare editors over a grid and seeds",
    "data": "make, encode and describe training sets",
}

EXIT_REFUSED = 2
EXIT_INTERRUPTED = 130  # 128 + SIGINT, what shells expect

OPTIONAL = {
    "pyarrow": "train",
    "tensorboard": "train",
    "httpx2": "curate",
    "scipy": "evaluate",
}  # their extras

# EFBIG is what a file size limit (ulimit -f) gives, EDQUOT a full quota: the remedy is the same.
_NO_SPACE = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


def build_parser(prog: str, description: str, commands: dict[str, str]) -> argparse.ArgumentParser:
    """The parser of what stands before a command: it knows the commands' names, not their arguments."""
    parser = argparse.ArgumentParser(prog=prog, description=description)
    parser.add_argument("--version", action="version", version=f"icve {__version__}")
    subparsers = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, summary in commands.items():
        subparsers.add_parser(name, help=summary)
    return parser


def parse(argv: list[str]) -> tuple[ModuleType, argparse.Namespace]:
    """The module of the command in `argv`, and the command's arguments.

    A module with `COMMANDS` of its own (`icve data`) has its subcommands in modules named after both: `data_info`.
    """
    prog, description, commands, module = "icve", "Instruction-based video editing.", COMMANDS, "icve.commands."
    while True:
        if not argv or argv[0] not in commands:
            build_parser(prog, description, commands).parse_args(argv)
        name, *argv = argv
        prog, module = f"{prog} {name}", module + name
        description = f"{commands[name][0].upper()}{commands[name][1:]}."
        command = importlib.import_module(module)
        if not hasattr(command, "COMMANDS"):
            break
        commands, module = command.COMMANDS, f"{module}_"
    parser = argparse.ArgumentParser(
        prog=prog, description=description, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    command.add_arguments(parser)
    # intermixed: `icve edit clip.mp4 -o out.mp4 "make it blue"`, which argparse cannot do below a subparser
    return command, parser.parse_intermixed_args(argv)


def _is_out_of_memory(error: BaseException) -> bool:
    # torch raises its own class on accelerators and a bare RuntimeError on CPU; importing it to ask would be slow
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or (isinstance(error, RuntimeError) and "not enough memory" in str(error))
    )


def _refuse(sentence: str) -> int:
    # a sentence in one line, whatever a library or a file name put into it
    print("icve: error:", " ".join(sentence.split()), file=sys.stderr)
    return EXIT_REFUSED


@contextlib.contextmanager
def _sigterm_interrupts() -> Iterator[None]:
    """The SIGTERM of a scheduler ends a command as Ctrl-C does: what is done is kept, nothing partial stays. The
    trainer puts handlers of its own in place, since it ends after the step."""
    if threading.current_thread() is not threading.main_thread():  # only there can signals be handled
        yield
        return
    previous = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; the return value is the exit code.

    0: done. 1: some rows of a batch failed. 2: refused, with one sentence on stderr. 130: interrupted, by Ctrl-C or
    SIGTERM.
    Raises SystemExit as argparse does (help, version, argument errors).
    """
    argv = list(sys.argv[1:] if argv is None else argv)
    try:
        try:
            command, args = parse(argv)
            with _sigterm_interrupts():
                return command.run(args)
        finally:
            sys.stdout.flush()  # here, where a reader that has gone is no error
    except InputError as error:
        return _refuse(str(error))
    except KeyboardInterrupt:
        print("icve: interrupted", file=sys.stderr)
        return EXIT_INTERRUPTED
    except ModuleNotFoundError as error:
        if error.name not in OPTIONAL:
            raise
        return _refuse(f"this needs {error.name}, which is not installed: pip install 'icve[{OPTIONAL[error.name]}]'")
    except BrokenPipeError:
        # The reader of our output (head, less) has gone: nothing is wrong, and Python's flush at exit must not
        # complain about it either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except (OSError, MemoryError, RuntimeError) as error:
        if isinstance(error, OSError) and error.errno in _NO_SPACE:
            where = f" for {error.filename}" if error.filename else ""
            return _refuse(f"no room left on the disk{where}: free some space or choose another folder with -o")
        if _is_out_of_memory(error):
            return _refuse("out of memory: choose a smaller --size or fewer frames, or close other programs")
        raise


if __name__ == "__main__":
    sys.exit(main())
