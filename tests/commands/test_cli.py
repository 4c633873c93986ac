"""The command line itself: quick where nothing is to be done, one sentence and the right exit code where it stops."""

import errno
import os
import resource
import subprocess
import sys

import pytest

from icve import cli
from icve.commands import info
from icve.errors import InputError

HEAVY = "{'torch', 'numpy', 'cv2', 'av', 'PIL', 'diffusers', 'transformers', 'pydantic', 'yaml'}"


def icve(*args: str, **options) -> subprocess.CompletedProcess:
    return subprocess.run(
        [sys.executable, "-m", "icve.cli", *args], capture_output=True, text=True, check=False, **options
    )


@pytest.mark.parametrize("command", ["edit", "info", "convert", "evaluate", "train", "data"])
def test_help_is_quick_and_imports_nothing_heavy(command):
    program = f"""
import sys
from icve.cli import main
for argv in (["--help"], ["{command}", "--help"], ["{command}", "--no-such-option"]):
    try:
        main(argv)
    except SystemExit as stop:
        print("stopped", stop.code)
print("heavy", sorted({HEAVY} & set(sys.modules)))
"""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert [line for line in done.stdout.splitlines() if line.startswith("stopped")] == [
        f"stopped {code}" for code in (0, 0, 2)
    ]
    assert done.stdout.endswith("heavy []\n")
    # processor time, which other programs do not change
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5


def test_each_command_is_explained():
    done = icve("--help")
    assert done.returncode == 0
    for command in cli.COMMANDS:
        assert f"\n    {command} " in done.stdout


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        ([], "COMMAND"),
        (["paint"], "invalid choice: 'paint'"),
        (["edit", "a.mp4", "blue"], "-o/--output"),
        (["edit", "a.mp4", "blue", "-o", "b.mp4", "--steps", "0"], "--steps"),
        (["edit", "a.mp4", "blue", "-o", "b.mp4", "--steps", "many"], "--steps"),
        (["edit", "a.mp4", "blue", "-o", "b.mp4", "--guidance", "nan"], "--guidance"),
        (["edit", "a.mp4", "blue", "-o", "b.mp4", "--seed", "-1"], "--seed"),
        (["edit", "a.mp4", "blue", "-o", "b.mp4", "--size", "100x64"], "multiples of 16"),
        (["edit", "a.mp4", "blue", "-o", "b.mp4", "--size", "64"], "HEIGHTxWIDTH"),
        (["edit", "a.mp4", "blue", "-o", "b.mp4", "--frames", "9:3"], "holds no frame"),
        (["edit", "a.mp4", "blue", "-o", "b.mp4", "--frames", "9"], "A:B"),
        (["edit", "a.mp4", "blue", "-o", "b.mp4", "--quality", "52"], "--quality"),
    ],
)
def test_argument_errors(argv, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(argv)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("error", "code", "words"),
    [
        (InputError("The model\nis wrong."), 2, "icve: error: The model is wrong."),
        (KeyboardInterrupt(), 130, "icve: interrupted"),
        (OSError(errno.ENOSPC, "No space left on device", "out.mp4"), 2, "no room left on the disk for out.mp4"),
        (MemoryError(), 2, "out of memory"),
        (RuntimeError("DefaultCPUAllocator: not enough memory: you tried to allocate 9 bytes"), 2, "out of memory"),
    ],
)
def test_what_stops_a_command_is_one_line(error, code, words, monkeypatch, capsys):
    def stop(_args):
        raise error

    monkeypatch.setattr(info, "run", stop)
    assert cli.main(["info"]) == code
    shown = capsys.readouterr().err
    assert words in shown
    assert shown.count("\n") == 1


def test_a_bug_keeps_its_traceback(monkeypatch):
    def bug(_args):
        raise RuntimeError("a bug")

    monkeypatch.setattr(info, "run", bug)
    with pytest.raises(RuntimeError, match="a bug"):
        cli.main(["info"])


def test_a_reader_that_goes_away_is_no_error():
    reading, writing = os.pipe()
    os.close(reading)
    done = subprocess.run(
        [sys.executable, "-m", "icve.cli", "edit", "--help"], stdout=writing, stderr=subprocess.PIPE, check=False
    )
    os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")
