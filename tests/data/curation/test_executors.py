"""Where sources are worked on: workers that die or hang cost one file, and Ray gives what the pool gives."""

import os
import signal
import threading
import time
from pathlib import Path

import psutil
import pytest

from icve.data.curation.parcels import Parcels
from icve.data.curation.run import curate
from icve.data.worker_pool import Ask, Failure, WorkerPool
from tests.data.curation import footage
from tests.data.curation.test_clips import add_captions, config


def misbehave(job: str, _ask: Ask) -> str:
    """Stands for a decoder: a name says what becomes of its process."""
    if job == "crash":
        os.kill(os.getpid(), signal.SIGSEGV)
    if job == "hang":
        time.sleep(60)
    if job == "eat":
        try:
            return str(len(bytes(2**31)))
        except MemoryError:
            return "no memory"
    return f"did {job}"


def test_jobs_that_crash_or_hang_cost_only_themselves():
    jobs = ["one", "crash", "two", "hang", "three", "eat"]
    pool: WorkerPool[str, str, str] = WorkerPool(2, misbehave, seconds=2, name=str, memory=2**30)
    with pool:
        results = dict(pool.run((job, job) for job in jobs))
    assert {job: results[job] for job in ("one", "two", "three", "eat")} == {
        "one": "did one",
        "two": "did two",
        "three": "did three",
        "eat": "no memory",
    }
    crash, hang = results["crash"], results["hang"]
    assert isinstance(crash, Failure)
    assert isinstance(hang, Failure)
    assert crash.kind == "crash"
    assert "took longer than 2 seconds" in hang.reason


def test_a_worker_that_is_killed_once_costs_nothing(tmp_path: Path):
    for number in range(6):
        add_captions(footage.write(tmp_path / f"videos/{number}.mp4", footage.scene(number, 100)))
    curate([str(tmp_path / "videos")], tmp_path / "whole", config(), progress=False)

    killed = []

    def kill_one() -> None:
        deadline = time.monotonic() + 30
        while not killed and time.monotonic() < deadline:
            for process in psutil.Process().children(recursive=True):
                if Parcels(tmp_path / "hit/curation/parcels").done(6).count(1) in (1, 2, 3):
                    busy = [p for p in process.children() if p.cpu_times().user > 0]
                    for each in busy[-1:]:
                        each.kill()
                        killed.append(each.pid)
                    return
            time.sleep(0.005)

    thread = threading.Thread(target=kill_one)
    thread.start()
    curate([str(tmp_path / "videos")], tmp_path / "hit", config(), progress=False)
    thread.join()
    for part in ("media/9x48x80/curated-000000.tar", "pairs/curated-000000.parquet", "quarantine.jsonl"):
        assert (tmp_path / "hit" / part).read_bytes() == (tmp_path / "whole" / part).read_bytes()


def test_ray_makes_the_same_set(tmp_path: Path):
    pytest.importorskip("ray")
    for number in range(3):
        add_captions(footage.write(tmp_path / f"videos/{number}.mp4", footage.scene(number, 60)))
    (tmp_path / "videos/broken.mp4").write_bytes(b"no video")
    curate([str(tmp_path / "videos")], tmp_path / "pool", config(), progress=False)
    curate([str(tmp_path / "videos")], tmp_path / "ray", config(executor="ray", workers=2), progress=False)
    for part in ("media/9x48x80/curated-000000.tar", "pairs/curated-000000.parquet", "quarantine.jsonl"):
        assert (tmp_path / "ray" / part).read_bytes() == (tmp_path / "pool" / part).read_bytes()
