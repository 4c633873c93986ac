"""The `vlm` instructor killed, interrupted and abandoned: what was answered is never asked again."""

import contextlib
import json
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import pytest

from icve.data.curation.vlm import VlmInstructor
from tests.data.curation import endpoint as ours
from tests.data.curation import vlm_runs
from tests.data.curation.endpoint import Endpoint, good
from tests.data.curation.vlm_runs import (
    all_right,
    chain,
    config,
    is_right,
    pair,
    run,
)


@pytest.fixture
def answers(tmp_path: Path) -> Path:
    return tmp_path / "answers.sqlite"


def start(endpoint: Endpoint, answers: Path, count: int, **values: Any) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", vlm_runs.__name__, endpoint.url, str(answers), str(count), json.dumps(values)]
    root = Path(__file__).parents[3]
    return subprocess.Popen(
        command,
        cwd=root,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        # A suite that runs in a shell's background has been told to ignore Ctrl-C, and so would its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL) and None,
    )


def count_kept(answers: Path) -> int:
    """How many answers the file holds; seen in a copy, so that the next run finds it as the kill left it."""
    with tempfile.TemporaryDirectory() as folder:
        for path in answers.parent.glob(f"{answers.name}*"):
            shutil.copy(path, folder)
        with contextlib.closing(sqlite3.connect(Path(folder) / answers.name)) as database:
            return database.execute("SELECT COUNT(*) FROM answers").fetchone()[0]


def test_killed_at_any_moment_only_what_is_missing_is_asked(answers: Path):
    count = 100
    with Endpoint(delay=0.01) as endpoint:
        kills = 0
        for stop_after in (1, 23, 60, 111, 150):
            process = start(endpoint, answers, count)
            while process.poll() is None and len(endpoint.asked) < stop_after:
                time.sleep(0.001)
            process.kill()
            process.communicate()
            kills += process.returncode == -signal.SIGKILL
            kept = count_kept(answers)
            asked = len(endpoint.asked)
            # What was in the air is all that may be lost: one request for each at a time, at each kill.
            assert asked - 4 * kills <= kept <= asked
        assert kills == 5
        process = start(endpoint, answers, count)
        out, err = process.communicate(timeout=60)
        assert (process.returncode, err) == (0, "")
        lines = [json.loads(line) for line in out.splitlines()]
        assert lines.pop() == ["requests", 2 * count + 1 - kept]
        wanted = [[f"{n}-{n + 1}", ours.edit(n, n + 1)["instruction"]] for n in range(count)]
        assert lines == wanted


def test_ctrl_c_leaves_promptly(answers: Path):
    with Endpoint(act=lambda asked: good if asked.clips == (0,) else ours.hang) as endpoint:
        process = start(endpoint, answers, 50, timeout=300)
        while len(endpoint.asked) < 5:  # four at a time, so the first has its answer, and it is kept
            time.sleep(0.01)
        started = time.monotonic()
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
        assert time.monotonic() - started < 4
        assert process.returncode == -signal.SIGINT
        assert out == ""
        assert err.count("Traceback") == 1
        assert err.rstrip().endswith("KeyboardInterrupt")
        endpoint.act = lambda _: good
        results, instructor = run(endpoint, answers, chain(50), timeout=300)
        assert all_right(results)
        assert instructor.usage.requests == 100  # one answer was kept


def test_an_abandoned_run_can_be_run_again(answers: Path):
    with Endpoint(delay=0.01) as endpoint, VlmInstructor(config(endpoint.url), answers) as instructor:
        for number, (pair_id, result) in enumerate(instructor.run(chain(40))):
            assert is_right(pair_id, result)
            if number == 5:
                break
        results = dict(instructor.run(chain(40)))
        assert len(results) == 40
        assert all_right(results)
        assert set(endpoint.answered.values()) == {1}


def test_a_pair_that_cannot_be_loaded_raises_its_own_error(answers: Path):
    def broken() -> Any:
        raise OSError("the parcel is gone")

    with Endpoint() as endpoint, VlmInstructor(config(endpoint.url), answers) as instructor:
        results = instructor.run([pair(0, 1), pair(1, 2), pair(8, 9, broken), pair(3, 4)])
        assert [next(results)[0], next(results)[0]] == ["0-1", "1-2"]
        with pytest.raises(OSError, match="parcel is gone"):
            next(results)
        assert all_right(dict(instructor.run([pair(0, 1), pair(3, 4)])))
