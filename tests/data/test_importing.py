"""Public sets to shards: real files decoded in real worker processes, some of which are killed."""

import argparse
import contextlib
import json
import shutil
import signal
import threading
import time
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path

import numpy as np
import psutil
import pyarrow.parquet as pq
import pytest

from icve.commands import data_import
from icve.data import importing
from icve.data.buckets import Bucket
from icve.data.importing import import_set
from icve.data.pairs import SETS, decoding
from icve.data.pairs.decoding import Job, UnusablePairError, make_clips
from icve.data.shard_media import decode_clip
from icve.data.shards import ShardSet
from icve.errors import InputError
from tests.data import public_sets
from tests.video.samples import make_video, picture, psnr

BUCKETS = [Bucket.parse(text) for text in ("9x48x64", "5x48x64", "9x64x48")]


def quarantine(folder: Path) -> list[dict]:
    path = folder / "quarantine.jsonl"
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def reco(folder: Path, rows: dict[str, dict]) -> Path:
    """A ReCo folder with additions named as the keys; a row's values go to `make_video` for source and target."""
    entries = []
    for name, options in rows.items():
        entry = {"src_video": f"add/src_videos/{name}.mp4", "tar_video": f"add/tar_videos/{name}.mp4"}
        for key, side in (("src_video", "source"), ("tar_video", "target")):
            path = folder / entry[key]
            path.parent.mkdir(parents=True, exist_ok=True)
            make_video(path, **({"frames": 9} | options.get(side, {})))
        entries.append(entry | {"instruction_final_refine": f"Add {name}."})
    public_sets.write_json(folder / "add/add_data_configs.json", entries)
    return folder


def pairs_table(folder: Path) -> list[dict]:
    return [row for path in sorted((folder / "pairs").glob("*.parquet")) for row in pq.read_table(path).to_pylist()]


def test_every_set_becomes_shards_that_training_reads(tmp_path: Path, capsys):
    for name in SETS:
        folder, out = tmp_path / name, tmp_path / f"{name}-shards"
        expected = public_sets.BUILDERS[name](folder)
        summary = import_set(name, folder, out, BUCKETS, progress=False)
        assert (summary.imported, summary.skipped.total()) == (len(expected), 0)
        assert SETS[name].licence in capsys.readouterr().out

        shards = ShardSet(out)
        assert (shards.name, shards.licence) == (name, SETS[name].licence)
        bucket = Bucket(9, 48, 64)
        assert shards.size(bucket) == len(expected)
        samples = [shards.load(bucket, number) for number in range(len(expected))]
        files = {instruction: (source, target) for source, target, instruction, _ in expected}
        assert sorted(sample.text for sample in samples) == sorted(files)
        for sample in samples:
            for clip, path in zip((sample.source, sample.target), files[sample.text], strict=True):
                assert isinstance(clip, np.ndarray)
                first = public_sets.first_picture(path)
                assert shows(clip, range(first, first + 9))
        rows = {(r["source_file"], r["target_file"], r["instruction"], r["type"]) for r in pairs_table(out)}
        assert rows == set(expected)


def test_bad_files_are_quarantined_with_reasons_and_the_rest_is_imported(tmp_path: Path, capsys):
    folder = reco(tmp_path / "set", {name: {} for name in ("good", "cut", "headless", "text", "gone", "fine")})
    target = folder / "add/tar_videos"
    long = make_video(target / "cut.mp4", 60, container_options={"movflags": "faststart"})
    long.write_bytes(long.read_bytes()[: len(long.read_bytes()) // 8])
    (target / "headless.mp4").write_bytes((target / "good.mp4").read_bytes()[:900])
    (target / "text.mp4").write_text("this is no video")
    (target / "gone.mp4").unlink()
    out = tmp_path / "out"
    summary = import_set("reco-data", folder, out, BUCKETS, processes=2, progress=False)
    assert summary.imported == 2
    assert summary.skipped == {"missing video": 1, "damaged video": 1, "unreadable video": 2}
    assert {ShardSet(out).load(BUCKETS[0], number).text for number in range(2)} == {"Add good.", "Add fine."}
    listed = {entry["source"].split()[1]: entry["reason"] for entry in quarantine(out)}
    assert set(listed) == {f"add/tar_videos/{name}.mp4" for name in ("cut", "headless", "text")}
    assert "is cut short or damaged" in listed["add/tar_videos/cut.mp4"]
    assert "is not a video" in listed["add/tar_videos/text.mp4"]
    printed = capsys.readouterr().out
    assert "imported 2 pairs" in printed
    assert "skipped 1: missing video" in printed


def test_an_import_goes_on_and_does_not_try_bad_files_again(tmp_path: Path):
    folder = reco(tmp_path / "set", {"a": {}, "bad": {"target": {"frames": 2}}, "b": {}})
    (folder / "add/tar_videos/b.mp4").rename(folder / "b.mp4")
    out = tmp_path / "out"
    first = import_set("reco-data", folder, out, BUCKETS, progress=False)
    assert (first.imported, first.skipped) == (1, {"missing video": 1, "too short": 1})
    (folder / "b.mp4").rename(folder / "add/tar_videos/b.mp4")
    second = import_set("reco-data", folder, out, BUCKETS, progress=False)
    assert (second.imported, second.present, second.skipped) == (1, 1, {"quarantined before": 1})
    assert len(quarantine(out)) == 1
    third = import_set("reco-data", folder, out, BUCKETS, progress=False)
    assert (third.imported, third.present) == (0, 2)
    assert len(pairs_table(out)) == 2


def test_shared_videos_are_stored_once(tmp_path: Path):
    """Both directions of Señorita's removals are two clips, and edits of one source share it even as copies."""
    public_sets.senorita(tmp_path / "a")
    import_set("senorita-2m", tmp_path / "a", tmp_path / "a-out", BUCKETS, progress=False)
    removal, addition = (next(r for r in pairs_table(tmp_path / "a-out") if r["type"] == t) for t in ("remove", "add"))
    assert (removal["source_clip"], removal["target_clip"]) == (addition["target_clip"], addition["source_clip"])
    assert removal["source_clip"] != removal["target_clip"]

    edits = {name: {"target": {"frames": n}} for name, n in (("x", 10), ("y", 11), ("z", 12))}
    folder, out = reco(tmp_path / "b", edits), tmp_path / "b-out"
    sources = folder / "add/src_videos"
    for name in ("y.mp4", "z.mp4"):
        shutil.copy(sources / "x.mp4", sources / name)
    import_set("reco-data", folder, out, BUCKETS, processes=2, progress=False)
    rows = pairs_table(out)
    assert len({row["source_clip"] for row in rows}) == 1
    assert len({row["target_clip"] for row in rows}) == 3
    clips = [row for path in out.glob("media/*/*.parquet") for row in pq.read_table(path).to_pylist()]
    assert len(clips) == 4


def signal_readers(of: Path, number: signal.Signals, times: int, seconds: float = 60) -> threading.Thread:
    """Sends the signal, so many times, to the process below this one that has the file open."""

    def watch() -> None:
        left, end = times, time.monotonic() + seconds
        while left and time.monotonic() < end:
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    if any(file.path == str(of) for file in process.open_files()):
                        process.send_signal(number)
                        left -= 1
                        while number == signal.SIGKILL and process.is_running():
                            time.sleep(0.001)
            time.sleep(0.001)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    return thread


@pytest.fixture(scope="module")
def slow_video(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A video that takes long enough to read that it can be seen to be open."""
    return make_video(tmp_path_factory.mktemp("slow") / "slow.mp4", 57, size=(240, 320))


def with_slow_pair(folder: Path, slow_video: Path) -> Path:
    """Three pairs; the second, "slow", is of the slow video. Returns its target."""
    reco(folder, {"a": {}, "slow": {}, "b": {}})
    target = folder / "add/tar_videos/slow.mp4"
    shutil.copy(slow_video, target)
    shutil.copy(slow_video, folder / "add/src_videos/slow.mp4")
    with target.open("ab") as file:
        file.write(b"\0\0\0\x08free")  # an empty box: another file, or the clip would be read once only
    return target


@pytest.mark.parametrize(("deaths", "imported"), [(1, 3), (2, 2)])
def test_a_worker_that_dies_twice_costs_only_its_pair(tmp_path: Path, slow_video: Path, deaths: int, imported: int):
    folder, out = tmp_path / "set", tmp_path / "out"
    target = with_slow_pair(folder, slow_video)
    thread = signal_readers(target, signal.SIGKILL, deaths)
    buckets = [*BUCKETS, Bucket(57, 48, 64)]
    summary = import_set("reco-data", folder, out, buckets, processes=2, progress=False)
    thread.join(60)
    assert summary.imported == imported
    assert summary.skipped == ({"crash": 1} if deaths == 2 else {})
    assert ["slow" in entry["source"] for entry in quarantine(out)] == [True] * (deaths - 1)
    assert not left_over()


def test_a_worker_that_hangs_is_given_up(tmp_path: Path, slow_video: Path):
    folder, out = tmp_path / "set", tmp_path / "out"
    thread = signal_readers(with_slow_pair(folder, slow_video), signal.SIGSTOP, 1)
    buckets = [*BUCKETS, Bucket(57, 48, 64)]
    summary = import_set("reco-data", folder, out, buckets, seconds=4, progress=False)
    thread.join(60)
    assert summary.skipped == {"too slow": 1}
    assert summary.imported == 2
    assert "longer than 4 seconds" in quarantine(out)[0]["reason"]
    assert not left_over()


def left_over() -> list[psutil.Process]:
    """Worker processes that still run (the server that forks them stays)."""
    server = [p for p in psutil.Process().children() if "forkserver" in " ".join(p.cmdline())]
    return [child for one in server for child in one.children()]


def test_an_interrupt_keeps_what_is_done_and_leaves_no_process(tmp_path: Path, capsys, monkeypatch):
    folder = reco(tmp_path / "set", {name: {} for name in "abc"})
    out = tmp_path / "out"
    original = importing.Importer.store

    def store_and_interrupt(self, pair, result) -> None:
        original(self, pair, result)
        raise KeyboardInterrupt

    monkeypatch.setattr(importing.Importer, "store", store_and_interrupt)
    with pytest.raises(KeyboardInterrupt):
        import_set("reco-data", folder, out, BUCKETS, processes=2, progress=False)
    assert "imported 1 pairs" in capsys.readouterr().out
    assert not left_over()
    assert len(pairs_table(out)) == 1
    monkeypatch.undo()
    summary = import_set("reco-data", folder, out, BUCKETS, progress=False)
    assert (summary.imported, summary.present) == (2, 1)


def clips_of(tmp_path: Path, source: dict, target: dict, buckets: str, fps: float | None = None):
    """Source and target clip that `make_clips` makes, as pixels, and their rate."""
    paths = [make_video(tmp_path / f"{n}.mp4", **options) for n, options in enumerate((source, target))]
    job = Job(*paths, tuple(Bucket.parse(text) for text in buckets.split(",")), fps)
    made = make_clips(job, set)
    return *(decode_clip(clip.data, made.bucket) for clip in (made.source, made.target)), made


def shows(clip: np.ndarray, indices: Sequence[int]) -> bool:
    """Whether the frames are `picture` of these indices: good copies, and nearer to them than to those beside them."""
    around = range(min(indices) - 2, max(indices) + 3)
    pictures = {index: picture(index, *clip.shape[1:3]) for index in around}
    for frame, index in zip(clip, indices, strict=True):
        likeness = {other: psnr(frame, image) for other, image in pictures.items()}
        if max(likeness, key=likeness.__getitem__) != index or likeness[index] < 30:
            return False
    return True


def test_the_longest_bucket_of_the_nearest_shape_that_both_fill(tmp_path: Path):
    *_, made = clips_of(tmp_path, {"frames": 20}, {"frames": 11}, "5x48x64,9x48x64,13x48x64,9x64x48,9x96x128")
    assert made.bucket == Bucket(9, 48, 64)
    *_, made = clips_of(tmp_path, {"frames": 20}, {"frames": 20}, "9x48x64,9x96x128,1x48x64")
    assert made.bucket == Bucket(9, 48, 64)
    *_, made = clips_of(tmp_path, {"size": (96, 64)}, {"size": (96, 64)}, "9x48x64,9x64x48")
    assert made.bucket == Bucket(9, 64, 48)
    *_, made = clips_of(tmp_path, {"frames": 3}, {"frames": 3}, "9x48x64,1x48x64")
    assert made.bucket == Bucket(1, 48, 64)


def test_thinning_out_takes_the_same_moments_of_both(tmp_path: Path):
    source, target, made = clips_of(tmp_path, {"frames": 25}, {"frames": 30}, "9x48x64", fps=10)
    assert made.fps == 10
    moments = [0, 3, 5, 8, 10, 13, 15, 18, 20]  # of 25 frames a second
    assert shows(source, moments)
    assert shows(target, moments)


def test_unequal_rates_need_equal_lengths(tmp_path: Path):
    fast = {"time_base": Fraction(1, 50), "frames": 40}
    source, target, made = clips_of(tmp_path, fast, {"frames": 20}, "9x48x64")
    assert made.fps == pytest.approx(25)
    assert shows(source, range(0, 18, 2))
    assert shows(target, range(9))
    # As many frames in another time: the editor wrote one for each that it read.
    source, target, _ = clips_of(tmp_path, fast, {"frames": 40}, "9x48x64")
    assert shows(source, range(9))
    assert shows(target, range(9))
    with pytest.raises(UnusablePairError) as error:
        clips_of(tmp_path, fast, {"frames": 33}, "9x48x64")
    assert error.value.kind == "unequal frame rates"


def test_videos_of_two_sizes_are_cropped_to_the_same_part(tmp_path: Path):
    source, target, _ = clips_of(tmp_path, {"size": (96, 160)}, {"size": (48, 80)}, "9x48x64")
    assert psnr(source, target) > 26
    with pytest.raises(UnusablePairError) as error:
        clips_of(tmp_path, {"size": (96, 160)}, {"size": (96, 128)}, "9x48x64")
    assert error.value.kind == "unequal shapes"


def test_clips_that_are_there_are_not_made_again(tmp_path: Path):
    paths = [make_video(tmp_path / f"{n}.mp4", 9 + n) for n in range(2)]
    job = Job(*paths, (Bucket(9, 48, 64),), None)
    first = make_clips(job, set)
    again = make_clips(job, lambda ids: {ids[1]})
    assert again.source == decoding.Clip(first.source.id, None)
    assert again.target == first.target


def test_what_a_user_can_do_wrong_is_one_sentence(tmp_path: Path):
    with pytest.raises(InputError, match=r"no public set 'imagenet'.*ditto-1m"):
        import_set("imagenet", tmp_path, tmp_path / "o", BUCKETS)
    with pytest.raises(InputError, match="does not hold Ditto-1M"):
        import_set("ditto-1m", tmp_path, tmp_path / "o", BUCKETS)
    with pytest.raises(InputError, match="multiples of 16"):
        import_set("ditto-1m", tmp_path, tmp_path / "o", [Bucket(9, 50, 64)])
    assert not (tmp_path / "o").exists()


def test_the_command(tmp_path: Path, capsys):
    parser = argparse.ArgumentParser()
    data_import.add_arguments(parser)
    folder, out = reco(tmp_path / "set", {"a": {}}), tmp_path / "out"
    arguments = ["reco-data", str(folder), "-o", str(out), "--buckets", "9x48x64,5x48x64"]
    assert data_import.run(parser.parse_args([*arguments, "--fps", "12.5", "--processes", "2"])) == 0
    assert ShardSet(out).buckets == [Bucket(5, 48, 64)]  # 9 frames at half the rate
    (folder / "add/tar_videos/a.mp4").unlink()
    assert data_import.run(parser.parse_args([*arguments[:3], str(tmp_path / "empty"), *arguments[4:]])) == 1
    assert "skipped 1: missing video" in capsys.readouterr().out
    with pytest.raises(InputError, match=r"--buckets 9x48 is not a list of sizes"):
        data_import.run(parser.parse_args([*arguments[:5], "9x48"]))
