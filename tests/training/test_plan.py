"""The dry run says what a run would do and need, and does none of it."""

import pytest
from tests import tiny
from tests.training.runs import config, world

from icve.data.buckets import Bucket
from icve.data.world_export import export_world
from icve.errors import InputError
from icve.training.plan import print_plan


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    return tiny.save_tiny_model(tmp_path_factory.mktemp("models") / "start")


def plan(run) -> str:
    lines: list[str] = []
    print_plan(run, lines.append)
    return "\n".join(lines)


def test_it_reads_a_batch_of_every_bucket_and_trains_nothing(start, tmp_path):
    text = plan(config(tmp_path / "run", start=start))
    assert "learn (full)" in text
    assert "source_attention full, source_timestep zero" in text
    assert "1x32x32: 3 steps, 12 samples drawn" in text
    assert "5x32x32: 2 steps, 4 samples drawn" in text
    assert text.count("a batch was read") == 2
    assert "optimizer state (adamw)" in text
    assert not (tmp_path / "run").exists()


def test_an_adapter_on_a_stored_base_needs_less(start, tmp_path):
    def learn(what) -> int:
        line = next(row for row in plan(config(tmp_path, start=start, train=what)).splitlines() if "learn" in row)
        return int(line.split("parameters, ")[1].split(" learn")[0].replace(",", ""))

    whole = learn({"what": "full"})
    assert 0 < learn({"what": "lora", "lora": {"rank": 2}, "base": {"storage": "fp8"}}) < whole / 4


def test_more_processes_share_the_batch(start, tmp_path):
    text = plan(config(tmp_path, start=start, parallel={"shard": 2}))
    row = next(row for row in text.splitlines() if row.startswith("1x32x32") and "GB" in row)
    assert row.split()[1:3] == ["4", "2"]  # samples of a step, of a process
    with pytest.raises(InputError, match="a multiple of 8"):
        plan(config(tmp_path, start=start, parallel={"shard": 8}))


def test_data_that_is_not_there_is_said_last(start, tmp_path):
    lines: list[str] = []
    data = world() | {"sets": [{"kind": "shards", "path": str(tmp_path / "none")}]}
    with pytest.raises(InputError, match="none is not a set"):
        print_plan(config(tmp_path / "run", start=start, data=data), lines.append)
    assert any("all on the device" in line for line in lines)


def test_it_counts_the_samples_of_a_set(start, tmp_path):
    export_world(tmp_path / "set", 5, [Bucket(1, 32, 32)], progress=lambda _: None)
    data = {"sets": [{"kind": "shards", "path": str(tmp_path / "set")}], "buckets": [{"size": "1x32x32", "batch": 2}]}
    text = plan(config(tmp_path / "run", start=start, data=data))
    assert "10 samples drawn from " in text
    assert "(5)" in text
