"""Samples that cannot be read are skipped and counted; too many of them end the run in one sentence."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import save
from tests.data.shard_samples import BUCKET, SHARD, replace_member, rewrite
from tests.training.failures.run_files import BATCH, NAN, PAIRS, STEPS, assert_good, bucket, rows, weights


def damage(kind: str, folder: Path) -> str:
    """Make a sample or more of a set unreadable; what is said of it."""
    tar = folder / "latents" / str(BUCKET) / f"{SHARD}.tar"
    places = pq.read_table(tar.with_suffix(".parquet")).to_pylist()
    if kind == "bit flips":
        data = bytearray(tar.read_bytes())
        middle = places[0]["offset"] + places[0]["size"] // 2
        data[middle : middle + 8] = bytes(255 - byte for byte in data[middle : middle + 8])
        tar.write_bytes(data)
        return f"The clip {places[0]['clip_id']} in {tar} is damaged: its checksum is wrong."
    if kind == "truncated tar":
        tar.write_bytes(tar.read_bytes()[: places[-1]["offset"] + 100])
        return f"The clip {places[-1]['clip_id']} in {tar} is cut off: the file ends before it does."
    if kind == "missing clip":
        (pairs,) = (folder / "pairs").glob("*.parquet")
        rewrite(pairs, source_clip=lambda values: ["gone", *values[1:]])
        return f"The clip gone is in no index of {folder}/media/{BUCKET}."
    latents = torch.zeros(16, 3, 8, 8)
    latents[3, 1, 2, 5] = NAN
    replace_member(folder, "latents", "c3-1", ".safetensors", save({"latents": latents}))
    return f'c3-1 in {tar} has "latents" with values that are not finite.'


DAMAGES = ["bit flips", "truncated tar", "missing clip", "NaN latents"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_bad_sample_is_skipped_and_counted(train, damaged, tmp_path, kind):
    problem = damage(kind, damaged)
    code, errors = train(damaged)
    assert code == 0
    skipped = [line for line in errors.splitlines() if line.startswith("skipped: ")]
    epochs = STEPS * BATCH // PAIRS
    assert len(skipped) == epochs
    assert all(problem in line for line in skipped)
    assert [row["bad"] for row in rows(tmp_path / "run")] == sorted(row["bad"] for row in rows(tmp_path / "run"))
    assert rows(tmp_path / "run")[-1]["bad"] == epochs
    assert weights(tmp_path / "run")


@pytest.mark.parametrize("kind", DAMAGES)
def test_too_many_bad_samples_end_it(refused, damaged, tmp_path, kind):
    problem = damage(kind, damaged)
    data = {"sets": [{"kind": "shards", "path": str(damaged)}], "buckets": [bucket()], "max_bad": 0.002}
    sentence = refused(steps=100, data=data, checkpoint={"every": 2})
    assert "samples could not be read, more than data.max_bad: 0.002 allows" in sentence
    assert sentence.startswith("3 of ")
    assert problem.rstrip(".") in sentence
    assert sentence.endswith("mend the data, or raise data.max_bad.")
    assert_good(tmp_path / "run", rows(tmp_path / "run")[-1]["step"] // 2 * 2)


def test_none_may_be_bad(refused, damaged):
    damage("bit flips", damaged)
    sets = [{"kind": "shards", "path": str(damaged)}]
    assert refused(data={"sets": sets, "buckets": [bucket()], "max_bad": 0}).startswith("1 of ")


def test_a_set_of_which_nothing_can_be_read(refused, damaged):
    (damaged / "latents" / str(BUCKET) / f"{SHARD}.tar").write_bytes(b"")
    assert f"its {BUCKET} samples cannot be read" in refused(damaged)
