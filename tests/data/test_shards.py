"""Sets written and read: what comes back, in which order, after which interruptions."""

import os
import pickle
import re
import signal
import subprocess
import sys
import tarfile
from pathlib import Path

import fsspec
import numpy as np
import pyarrow.parquet as pq
import pytest

from icve.data.buckets import Bucket
from icve.data.shard_media import encode_clip
from icve.data.shards import ShardSet, ShardWriter
from icve.errors import InputError
from tests.data.shard_samples import BUCKET, DESCRIPTION, add, clips, files, write_set

IMAGE = Bucket(1, 48, 80)


@pytest.fixture(scope="module")
def small_set(tmp_path_factory):
    """4 clip pairs and 4 image pairs, lossless; do not change it."""
    return write_set(tmp_path_factory.mktemp("sets") / "small", buckets=(BUCKET, IMAGE))


def by_id(samples: ShardSet, bucket: Bucket) -> dict:
    return {sample.id: sample for sample in (samples.load(bucket, i) for i in range(samples.size(bucket)))}


@pytest.mark.parametrize(("bucket", "first"), [(BUCKET, 0), (IMAGE, 100)])
def test_what_is_written_comes_back(small_set, bucket, first):
    samples = ShardSet(small_set)
    assert (samples.name, samples.licence, samples.source) == tuple(DESCRIPTION.values())
    assert samples.buckets == [IMAGE, BUCKET]
    assert not samples.serves_latents(bucket)
    loaded = by_id(samples, bucket)
    assert sorted(loaded) == [f"p{first + i}" for i in range(4)]
    for i in range(4):
        source, target, instruction, _ = clips(first + i, bucket)
        sample = loaded[f"p{first + i}"]
        np.testing.assert_array_equal(sample.source, source)
        np.testing.assert_array_equal(sample.target, target)
        assert sample.text == instruction
        assert sample.text_embedding is None


def test_lossy_clips_are_close(tmp_path):
    samples = ShardSet(write_set(tmp_path / "set", 1, lossless=False))
    sample = samples.load(BUCKET, 0)
    error = (sample.target.astype(float) - clips(0)[1]) ** 2
    assert 10 * np.log10(255**2 / error.mean()) > 30  # halved chroma costs most of it at this size


def test_captions_are_text_to_video(small_set, tmp_path):
    loaded = by_id(ShardSet(small_set, kind="captions"), BUCKET)
    assert {name: sample.text for name, sample in loaded.items()} == {f"c{i}-0": f"caption {i}" for i in range(4)}
    assert all(sample.source is None for sample in loaded.values())
    np.testing.assert_array_equal(loaded["c2-0"].target, clips(2)[0])

    with ShardWriter(tmp_path / "set", **DESCRIPTION, lossless=True) as writer:
        add(writer, 5)
        writer.add_pair("text", None, "c5-1", "a thing", "text to video")
    loaded = by_id(ShardSet(tmp_path / "set", kind="captions"), BUCKET)
    assert {name: sample.text for name, sample in loaded.items()} == {"c5-0": "caption 5", "text": "a thing"}
    np.testing.assert_array_equal(loaded["text"].target, clips(5)[1])
    assert sorted(by_id(ShardSet(tmp_path / "set"), BUCKET)) == ["p5"]


def test_any_tar_and_parquet_reader_can_read_it(small_set):
    shard = small_set / "media" / str(BUCKET) / "shard-000000"
    with tarfile.open(f"{shard}.tar") as tar:
        assert tar.getnames() == [f"c{i}-{k}.mp4" for i in range(4) for k in range(2)]
        assert all((member.mtime, member.uid, member.gid) == (0, 0, 0) for member in tar)
        rows = pq.read_table(f"{shard}.parquet").to_pylist()
        for row in rows:
            member = tar.getmember(row["clip_id"] + ".mp4")
            assert (row["offset"], row["size"]) == (member.offset_data, member.size)
            assert (row["frames"], row["height"], row["width"], row["fps"]) == (*BUCKET, 8.0)
    assert rows[0]["source"] == "seed"
    assert rows[1]["caption"] is None


def test_a_set_is_the_same_bytes_each_time(small_set, tmp_path):
    again = write_set(tmp_path / "again", buckets=(BUCKET, IMAGE))
    assert files(again) == files(small_set)
    assert len(files(again)) == 6
    lossy = [files(write_set(tmp_path / name, 2, lossless=False)) for name in ("one", "two")]
    assert lossy[0] == lossy[1]


def test_shards_are_closed_at_their_size(tmp_path):
    folder = write_set(tmp_path / "set", 8, shard_bytes=50_000)
    shards = sorted(file.name for file in (folder / "media" / str(BUCKET)).glob("*.tar"))
    assert len(shards) >= 3
    assert shards == [f"shard-{i:06d}.tar" for i in range(len(shards))]
    assert sorted(by_id(ShardSet(folder), BUCKET)) == [f"p{i}" for i in range(8)]


def test_order_visits_each_sample_once_and_few_shards_at_a_time(tmp_path):
    samples = ShardSet(write_set(tmp_path / "set", 24, shard_bytes=60_000), shuffle_shards=2)
    orders = [samples.order(BUCKET, seed, epoch) for seed, epoch in ((0, 0), (0, 0), (0, 1), (1, 0))]
    assert all(sorted(order) == list(range(24)) for order in orders)
    assert orders[0].tolist() == orders[1].tolist()
    assert len({tuple(order) for order in orders}) == 3
    shard = samples._clips[BUCKET].media.shard[samples._samples[BUCKET].target]
    assert len(set(shard)) >= 6
    for order in orders:
        last = {name: max(np.flatnonzero(shard[order] == name)) for name in set(shard)}
        first = {name: min(np.flatnonzero(shard[order] == name)) for name in set(shard)}
        open_at_once = [sum(first[name] <= i <= last[name] for name in first) for i in range(24)]
        assert max(open_at_once) == 2


def test_held_out_samples_are_the_rest(tmp_path):
    folder = write_set(tmp_path / "set", 16)
    parts = [set(by_id(ShardSet(folder, hold_out=0.4, part=part), BUCKET)) for part in ("train", "held_out")]
    assert parts[0] | parts[1] == {f"p{i}" for i in range(16)}
    assert not parts[0] & parts[1]
    assert 2 <= len(parts[1]) <= 12
    with ShardWriter(folder, **DESCRIPTION, lossless=True) as writer:
        add(writer, 16)
    later = set(by_id(ShardSet(folder, hold_out=0.4, part="held_out"), BUCKET))
    assert later - {"p16"} == parts[1]  # more samples change nobody's part


def test_a_limit_is_a_fixed_choice_within_larger_ones(tmp_path):
    folder = write_set(tmp_path / "set", 16)
    chosen = [set(by_id(ShardSet(folder, limit=limit), BUCKET)) for limit in (3, 8, 8, 100)]
    assert [len(each) for each in chosen] == [3, 8, 8, 16]
    assert chosen[0] < chosen[1] == chosen[2] < chosen[3]
    trained = set(by_id(ShardSet(folder, hold_out=0.4, limit=3), BUCKET))
    assert len(trained) == 3
    assert not trained & set(by_id(ShardSet(folder, hold_out=0.4, part="held_out"), BUCKET))


def test_a_set_goes_to_other_processes_and_is_read_from_other_stores(small_set):
    samples = pickle.loads(pickle.dumps(ShardSet(small_set)))
    expected = by_id(samples, BUCKET)
    fsspec.filesystem("memory").put(str(small_set), "/stored", recursive=True)
    stored = ShardSet("memory://stored")
    assert stored.order(BUCKET, 3, 4).tolist() == samples.order(BUCKET, 3, 4).tolist()
    for name, sample in by_id(stored, BUCKET).items():
        np.testing.assert_array_equal(sample.target, expected[name].target)


def test_adding_everything_again_adds_what_is_missing(tmp_path):
    write_set(tmp_path / "set", 2)
    before = files(tmp_path / "set")
    with ShardWriter(tmp_path / "set", **DESCRIPTION, lossless=True) as writer:
        source, _, instruction, kind = clips(0)
        assert writer.has_clip("c0-0")
        assert writer.has_pair("p0")
        assert not writer.add_clip("c0-0", source, fps=8)
        assert not writer.add_pair("p0", "c0-0", "c0-1", instruction, kind)
        for number in range(4):
            add(writer, number)
        assert writer.add_pair("other", "c0-0", "c3-1", "an old and a new clip", "x", score=0.5, checked=True)
    after = files(tmp_path / "set")
    assert {name: after[name] for name in before} == before
    assert sorted(by_id(ShardSet(tmp_path / "set"), BUCKET)) == ["other", "p0", "p1", "p2", "p3"]
    assert pq.read_table(tmp_path / "set" / "pairs" / "shard-000001.parquet")["score"].to_pylist() == [None, None, 0.5]
    whole = files(write_set(tmp_path / "whole", 4))
    assert [name for name in after if "000001" not in name and name != "quarantine.jsonl"] == sorted(whole)


KILLED = """
import sys
from icve.data.shards import ShardWriter
from tests.data.shard_samples import DESCRIPTION, add
with ShardWriter(sys.argv[1], **DESCRIPTION, lossless=True, shard_bytes=60_000) as writer:
    for number in range(1000):
        add(writer, number)
        print(number, flush=True)
"""


def test_a_killed_writer_loses_open_shards_only(tmp_path):
    folder = tmp_path / "set"
    command = [sys.executable, "-c", KILLED, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=Path(__file__).parents[2]) as process:
        for line in process.stdout:
            if int(line) == 13:
                process.send_signal(signal.SIGKILL)
    assert list(folder.glob("media/*/.*.part"))  # a shard was open
    kept = by_id(ShardSet(folder), BUCKET)
    assert 2 <= len(kept) < 14
    for name, sample in kept.items():
        np.testing.assert_array_equal(sample.target, clips(int(name[1:]))[1])

    with ShardWriter(folder, **DESCRIPTION, lossless=True, shard_bytes=60_000) as writer:
        for number in range(20):
            add(writer, number)
    assert not list(folder.glob("media/*/.*.part"))
    loaded = by_id(ShardSet(folder), BUCKET)
    assert sorted(loaded) == sorted(f"p{i}" for i in range(20))
    clip_ids = [row for file in folder.glob("media/*/*.parquet") for row in pq.read_table(file)["clip_id"].to_pylist()]
    assert len(clip_ids) == len(set(clip_ids)) == 40
    for name, sample in loaded.items():
        np.testing.assert_array_equal(sample.target, clips(int(name[1:]))[1])


def test_an_exception_keeps_what_was_added(tmp_path):
    def interrupted():
        with ShardWriter(tmp_path / "set", **DESCRIPTION) as writer:
            add(writer, 0)
            writer._shards[BUCKET].file.write(b"half a member")
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    (tar,) = (tmp_path / "set").rglob("*.tar")
    with tarfile.open(tar) as shard:
        assert shard.getnames() == ["c0-0.mp4", "c0-1.mp4"]
    assert ShardSet(tmp_path / "set").size(BUCKET) == 1


def test_two_writers_share_a_set(tmp_path):
    folder = tmp_path / "set"
    with ShardWriter(folder, **DESCRIPTION, prefix="a") as one, ShardWriter(folder, **DESCRIPTION, prefix="b") as two:
        add(one, 0)
        add(two, 1)
        with pytest.raises(InputError, match="not in the set"):
            two.add_pair("x", "c0-0", "c1-0", "", "")  # still in the other's open shard
        one.flush()
        two.add_pair("x", "c0-0", "c1-0", "both", "mixed")
        with pytest.raises(InputError, match="prefix 'a'"):
            ShardWriter(folder, **DESCRIPTION, prefix="a")
    assert sorted(by_id(ShardSet(folder), BUCKET)) == ["p0", "p1", "x"]


def test_encoded_clips_are_stored_as_they_are(tmp_path):
    frames = clips(0)[0]
    data = encode_clip(frames, 8, quality=30, lossless=False)
    with ShardWriter(tmp_path / "set", **DESCRIPTION) as writer:
        writer.add_encoded_clip("good", data, bucket=BUCKET, fps=8, caption="x")
        for name, broken, bucket in (
            ("short", data[: len(data) // 2], BUCKET),
            ("size", data, Bucket(9, 64, 80)),
            ("frames", data, Bucket(13, 64, 64)),
            ("no video", b"x" * 500, BUCKET),
        ):
            with pytest.raises(InputError, match="cannot be"):
                writer.add_encoded_clip(name.replace(" ", "-"), broken, bucket=bucket, fps=8)
    (tar,) = (tmp_path / "set").rglob("*.tar")
    with tarfile.open(tar) as shard:
        assert shard.getnames() == ["good.mp4"]
        assert shard.extractfile("good.mp4").read() == data


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda w: w.add_clip("../x", clips(0)[0], fps=8), "'../x' cannot be used"),
        (lambda w: w.add_clip("x\n", clips(0)[0], fps=8), "cannot be used"),
        (lambda w: w.add_clip("c0-0", clips(0)[0], fps=8), "'c0-0' was added twice"),
        (lambda w: w.add_clip("x", clips(0)[0][:, :50], fps=8), "multiples of 16"),
        (lambda w: w.add_clip("x", clips(0)[0][:8], fps=8), "4n \\+ 1 frames"),
        (lambda w: w.add_clip("x", clips(0)[0] / 255, fps=8), "give uint8"),
        (lambda w: w.add_clip("x", clips(0)[0], fps=0), "0 frames a second"),
        (lambda w: w.add_clip("x", clips(0)[0], fps=float("nan")), "nan frames a second"),
        (lambda w: w.add_pair("p", "c0-0", "nowhere", "", ""), "'nowhere', which is not in the set"),
        (lambda w: w.add_pair("p", "c0-0", "c100-0", "", ""), "two sizes"),
        (lambda w: w.add_pair("../p", "c0-0", "c0-1", "", ""), "'../p' cannot be used"),
        (lambda w: w.add_pair("p0", "c0-0", "c0-1", "", ""), "'p0' was added twice"),
        (lambda w: w.add_pair("p", "c0-0", "c0-1", "", "", bucket="x"), "'bucket' twice"),
    ],
)
def test_what_cannot_be_stored_is_refused(call, words, tmp_path):
    with ShardWriter(tmp_path / "set", **DESCRIPTION) as writer:
        add(writer, 0)
        add(writer, 100, IMAGE)
        with pytest.raises(InputError, match=words) as refused:
            call(writer)
        assert "\n" not in str(refused.value)
    assert len(ShardSet(tmp_path / "set").buckets) == 2  # what was good is kept


def test_folders_that_are_no_place_for_a_set(small_set, tmp_path):
    with pytest.raises(InputError, match=r"has licence 'CC0-1\.0', not 'MIT'"):
        ShardWriter(small_set, **DESCRIPTION | {"licence": "MIT"})
    (tmp_path / "holiday.jpg").touch()
    with pytest.raises(InputError, match="not a set, and not empty"):
        ShardWriter(tmp_path, **DESCRIPTION)
    with pytest.raises(InputError, match=r"holiday\.jpg"):
        ShardWriter(tmp_path / "holiday.jpg" / "set", **DESCRIPTION)


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="needs /dev/full")
def test_a_full_disk_is_one_sentence_and_keeps_closed_shards(tmp_path):
    def fill():
        with ShardWriter(tmp_path / "set", **DESCRIPTION) as writer:
            add(writer, 0)
            writer.flush()
            add(writer, 1)
            os.dup2(os.open("/dev/full", os.O_WRONLY), writer._shards[BUCKET].file.fileno())
            for number in range(2, 50):
                add(writer, number)

    with pytest.raises(InputError, match="No space left"):
        fill()
    assert sorted(by_id(ShardSet(tmp_path / "set"), BUCKET)) == ["p0"]
    assert not list((tmp_path / "set").rglob("*.part"))


def test_the_example_of_the_docs_runs(tmp_path, monkeypatch, capsys):
    page = (Path(__file__).parents[2] / "docs" / "format.md").read_text()
    (example,) = re.findall(r"```python\n(.*?)```", page, re.DOTALL)
    monkeypatch.chdir(tmp_path)
    for _ in range(2):
        exec(example, {})
        assert capsys.readouterr().out == "9x64x64 1 make it brighter (9, 64, 64, 3) 200.0\n"
    assert len(list(tmp_path.rglob("*.tar"))) == 1
