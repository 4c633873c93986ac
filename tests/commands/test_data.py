"""`icve data`: the world as a set, encoded and described from the command line."""

import json
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pyarrow.parquet as pq
import pytest

from icve import cli
from icve.data.buckets import Bucket
from icve.data.shards import ShardSet
from tests.data.shard_samples import files

BUCKETS = (Bucket(1, 64, 64), Bucket(9, 64, 64))


def world(folder, *args: str, pairs: int = 6) -> None:
    command = ["data", "world", "-o", str(folder), "--pairs", str(pairs), "--buckets", "9x64x64,1x64x64", *args]
    assert cli.main(command) == 0


def described(folder, capsys) -> dict:
    capsys.readouterr()
    assert cli.main(["data", "info", str(folder), "--json"]) == 0
    return json.loads(capsys.readouterr().out)


def pairs_of(folder) -> list[dict]:
    return [row for file in folder.glob("pairs/**/*.parquet") for row in pq.read_table(file).to_pylist()]


@pytest.fixture(scope="module")
def world_set(tmp_path_factory):
    """6 pairs of two sizes; copy it before a change."""
    folder = tmp_path_factory.mktemp("sets") / "world"
    world(folder)
    return folder


def test_the_worlds_pairs_are_its_edits(world_set):
    samples = ShardSet(world_set)
    assert tuple(samples.buckets) == BUCKETS
    count = 0
    for bucket in BUCKETS:
        for number in range(samples.size(bucket)):
            sample = samples.load(bucket, number)
            assert sample.source.shape == (*bucket, 3)
            changed = (sample.source != sample.target).any(-1).mean()
            assert changed > 0
            count += 1
    assert count == 6
    captioned = ShardSet(world_set, kind="captions")
    assert sum(captioned.size(bucket) for bucket in BUCKETS) == 12


def test_the_worlds_operations_can_be_chosen(tmp_path, capsys):
    world(tmp_path / "some", "--operation", "remove", "--operation", "look")
    operations = {row["type"] for row in pairs_of(tmp_path / "some")}
    assert operations == {"remove", "look"}
    command = ["data", "world", "-o", str(tmp_path / "none"), "--pairs", "2"]
    assert cli.main([*command, "--operation", "camera"]) == 2
    assert "--split full" in capsys.readouterr().err
    assert cli.main([*command, "--split", "full", "--operation", "camera", "--buckets", "1x64x64"]) == 2
    assert "cannot show camera" in capsys.readouterr().err


def test_a_set_of_the_world_is_its_seeds(world_set, tmp_path):
    world(tmp_path / "part", pairs=3)
    world(tmp_path / "part")  # goes on
    pairs = [ShardSet(folder) for folder in (world_set, tmp_path / "part")]
    for bucket in BUCKETS:
        one, two = (
            {sample.id: sample for sample in (each.load(bucket, i) for i in range(each.size(bucket)))} for each in pairs
        )
        assert one.keys() == two.keys()
        for name, sample in one.items():
            assert sample.text == two[name].text
            np.testing.assert_array_equal(sample.target, two[name].target)
    world(tmp_path / "again")
    assert files(tmp_path / "again") == files(world_set)
    world(tmp_path / "seed", "--seed", "1")
    assert files(tmp_path / "seed") != files(world_set)


def test_other_worlds(tmp_path, capsys):
    world(tmp_path / "set", "--unpaired", "--split", "full", pairs=40)
    shown = described(tmp_path / "set", capsys)
    assert "CC BY 2.0" in shown["licence"]
    assert {"camera", "double", "timed"} & set(shown["types"])
    assert sum(shown["types"].values()) == sum(row["pairs"] for row in shown["buckets"]) == 40


def test_encode_and_info(world_set, tiny_model, tmp_path, capsys):
    folder = shutil.copytree(world_set, tmp_path / "set")
    before = described(folder, capsys)
    assert [row["bucket"] for row in before["buckets"]] == list(map(str, BUCKETS))
    for row in before["buckets"]:
        assert row["clips"] == row["captions"] == 2 * row["pairs"] > 0
        assert row["latents"] == 0
    assert before["embedded"] == 0
    assert before["licence"] == "Apache-2.0"
    assert sum(row["pairs"] for row in before["buckets"]) == 6

    command = ["data", "encode", str(folder), "--model", str(tiny_model), "--device", "cpu"]
    assert cli.main(command) == 0
    after = described(folder, capsys)
    assert [row["latents"] for row in after["buckets"]] == [row["clips"] for row in after["buckets"]]
    assert after["embedded"] == after["texts"] == before["texts"]
    assert after["latent_encoder"]["model"] == str(tiny_model)
    assert after["quarantined"] == 0
    assert all(ShardSet(folder, text="embedded").serves_latents(bucket) for bucket in BUCKETS)
    done = files(folder)
    assert cli.main(command) == 0
    assert "encoded already" in capsys.readouterr().out
    assert files(folder) == done

    assert cli.main(["data", "info", str(folder)]) == 0
    shown = capsys.readouterr().out
    assert "9x64x64" in shown
    assert "licence: Apache-2.0" in shown
    assert str(tiny_model) in shown


def test_several_processes(world_set, tiny_model, tmp_path, capsys):
    folder = shutil.copytree(world_set, tmp_path / "set")
    command = ["data", "encode", str(folder), "--model", str(tiny_model), "--processes", "2", "--device", "cpu"]
    assert cli.main(command) == 0
    after = described(folder, capsys)
    assert [row["latents"] for row in after["buckets"]] == [row["clips"] for row in after["buckets"]]
    assert after["embedded"] == after["texts"]
    assert not list(folder.rglob("*.part"))


def test_a_signal_stops_it_and_the_same_command_goes_on(tiny_model, tmp_path, capsys):
    folder = tmp_path / "set"
    world(folder, pairs=60)
    command = ["data", "encode", str(folder), "--model", str(tiny_model), "--device", "cpu"]
    program = [sys.executable, "-m", "icve.cli", *command, "--batch", "1"]
    with subprocess.Popen(program, stderr=subprocess.PIPE, text=True) as process:
        while process.poll() is None and not list(folder.glob("latents/*/.*.part")):
            time.sleep(0.02)
        process.send_signal(signal.SIGTERM)
        shown = process.communicate()[1]
    assert process.returncode == cli.EXIT_INTERRUPTED, shown
    assert "Traceback" not in shown
    assert not list(folder.glob("latents/*/.*.part"))
    assert cli.main(command) == 0
    after = described(folder, capsys)
    assert [row["latents"] for row in after["buckets"]] == [row["clips"] for row in after["buckets"]]


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["info", "{}"], "it has no set.json"),
        (["encode", "{}"], "it has no set.json"),
        (["world", "-o", "{}/set", "--pairs", "1", "--buckets", "8x64x64"], "4n + 1 frames"),
        (["world", "-o", "{}/set", "--pairs", "1", "--buckets", "9x60x64"], "multiples of 16"),
        (["encode", "{}/set", "--model", "nosuchmodel"], "Unknown model 'nosuchmodel'"),
    ],
)
def test_refusals_are_one_sentence(args, words, world_set, tmp_path, capsys):
    if "nosuchmodel" in args:
        shutil.copytree(world_set, tmp_path / "set")
    assert cli.main(["data", *(arg.format(tmp_path) for arg in args)]) == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("argv", "words"),
    [
        (["data"], "COMMAND"),
        (["data", "paint"], "invalid choice: 'paint'"),
        (["data", "world", "--pairs", "3"], "-o/--output"),
        (["data", "world", "-o", "x", "--pairs", "3", "--buckets", "9x64"], "FRAMESxHEIGHTxWIDTH"),
        (["data", "encode", "x", "--dtype", "fp8"], "fp8"),
    ],
)
def test_argument_errors(argv, words, capsys):
    with pytest.raises(SystemExit) as stopped:
        cli.main(argv)
    assert stopped.value.code == 2
    assert words in capsys.readouterr().err


def test_help_says_what_there_is(capsys):
    for argv, words in ((["data", "--help"], "encode"), (["data", "encode", "--help"], "--processes")):
        with pytest.raises(SystemExit) as stopped:
            cli.main(argv)
        assert stopped.value.code == 0
        assert words in capsys.readouterr().out
