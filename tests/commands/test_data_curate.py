"""`icve data curate` as a user meets it: what it takes, what it says, what it refuses."""

import json
from pathlib import Path

import pytest

from icve.cli import main
from icve.config_file import read_values, validate
from icve.data.curation.config import CurationConfig
from icve.data.shards import ShardSet
from icve.data.world_footage import export_footage
from tests.data.curation import footage

ROOT = Path(__file__).parents[2]
KEYS = ["instructor=sidecar", "buckets=[9x48x80]", "motion.min=0", "basic.min_seconds=0.5", "workers=1"]
LOOSE = "pairs={min_flow: 0, min_colour: 0, min_embedding: 0}"


@pytest.fixture
def videos(tmp_path: Path) -> Path:
    """Two takes with captions and a file that is none."""
    for number in range(2):
        path = footage.write(tmp_path / f"videos/{number}.mp4", footage.scene(number, 60))
        captions = [{"start": k, "end": k + 1, "text": f"ball number {number * 10 + k}"} for k in range(3)]
        path.with_suffix(".json").write_text(json.dumps({"captions": captions}))
    (tmp_path / "videos/broken.mp4").write_bytes(b"no video")
    return tmp_path / "videos"


def curate(*arguments: object) -> int:
    return main(["data", "curate", *map(str, arguments)])


def test_footage_becomes_a_set_that_training_reads(videos: Path, tmp_path: Path, capsys):
    out = tmp_path / "set"
    assert curate(videos, "-o", out, *KEYS, LOOSE) == 0
    said = capsys.readouterr().out
    assert "2 pairs of 4 clips" in said
    assert "read" in said
    assert "quarantined 1" in said
    samples = ShardSet(str(out))
    (bucket,) = samples.buckets
    for number in samples.order(bucket, seed=0, epoch=0):
        sample = samples.load(bucket, number)
        assert sample.source is not None
        assert sample.source.shape == sample.target.shape == (9, 48, 80, 3)
        assert "ball number" in sample.text
    assert "broken.mp4" in (out / "quarantine.jsonl").read_text()
    assert "<video" in (out / "preview.html").read_text()
    assert not (out / "curation/parcels").exists()

    assert curate(videos, "-o", out, *KEYS, LOOSE) == 0, "it is done, and says so again"
    assert main(["data", "inspect", str(out), "--json"]) == 0
    rows = json.loads(capsys.readouterr().out.split("preview.html\n")[-1])
    assert [row["out"] for row in rows if row["stage"] == "read"] == [2]
    assert main(["data", "preview", str(out), "--no-browser", "--pairs", "1"]) == 0
    assert capsys.readouterr().out.strip().endswith("preview.html")


def test_lists_globs_and_addresses_are_sources(videos: Path, tmp_path: Path):
    listed = videos / "list.csv"
    listed.write_text("video,caption\n0.mp4,a ball\n1.mp4,\n")
    for number, source in enumerate((videos / "list.csv", f"{videos}/[01].mp4", f"file://{videos}/?.mp4")):
        assert curate(source, "-o", tmp_path / f"set-{number}", *KEYS, LOOSE) == 0
        sources = (tmp_path / f"set-{number}/curation/sources.jsonl").read_text().splitlines()
        assert [Path(json.loads(line)[0]).name for line in sources] == ["0.mp4", "1.mp4"]
        assert (tmp_path / f"set-{number}/quarantine.jsonl").read_text() == ""


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["missing.mp4"], "missing.mp4 does not exist; check the name."),
        (["*.mov"], "matches no file; check the pattern."),
        ([], "Name the videos"),
        (["{videos}", "instructr=camera"], "there is no key instructr; did you mean instructor?"),
        (["{videos}", "buckets=[9x50x80]"], "is not a size that clips can have"),
        (["{videos}", "instructor=vlm"], "instructor vlm needs vlm.base_url and vlm.model"),
        (["{videos}/0.json"], "quarantine"),
    ],
)
def test_what_is_wrong_is_said_in_a_sentence(arguments: list[str], sentence: str, videos: Path, tmp_path: Path, capsys):
    filled = [each.format(videos=videos) for each in arguments]
    status = curate(*(filled or ["seed=1"]), "-o", tmp_path / "set", "workers=1")
    said = capsys.readouterr()
    if sentence == "quarantine":
        assert status == 1
        assert "quarantined: 1" in said.out
    else:
        assert status == 2
        assert sentence in said.err
        assert len(said.err.strip().splitlines()) == 1


def test_another_config_or_list_is_refused(videos: Path, tmp_path: Path, capsys):
    out = tmp_path / "set"
    assert curate(videos, "-o", out, *KEYS, LOOSE) == 0
    assert curate(videos, "-o", out, *KEYS, LOOSE, "seed=1") == 2
    assert "was begun with seed=0, not 1; choose another folder." in capsys.readouterr().err
    assert curate(videos / "0.mp4", "-o", out, *KEYS, LOOSE) == 2
    assert "was begun with another list of videos" in capsys.readouterr().err
    assert curate(videos, "-o", out, *KEYS, LOOSE, "read.timeout=99") == 0
    assert curate(videos, "-o", videos, *KEYS) == 2
    assert "is not empty and was not made by" in capsys.readouterr().err


def test_takes_of_the_world_go_through_every_stage(tmp_path: Path, capsys):
    export_footage(tmp_path / "takes", 12, progress=lambda _: None)
    config = ROOT / "configs/curation/world.yaml"
    assert curate(tmp_path / "takes", "-o", tmp_path / "set", "--config", config, "workers=1") == 0
    assert "pairs" in capsys.readouterr().out
    samples = ShardSet(str(tmp_path / "set"))
    (bucket,) = samples.buckets
    numbers = list(samples.order(bucket, seed=0, epoch=0))
    assert len(numbers) >= 8
    told = {
        event["instruction"]
        for path in (tmp_path / "takes").glob("*.json")
        for event in json.loads(path.read_text())["events"]
    }
    assert {samples.load(bucket, number).text for number in numbers} <= told


@pytest.mark.parametrize("path", sorted((ROOT / "configs/curation").glob("*.yaml")), ids=lambda path: path.stem)
def test_shipped_configs_are_valid(path: Path):
    assert validate(CurationConfig, read_values(path), path).buckets


def test_a_dry_run_says_what_all_would_cost_and_leaves_nothing(videos: Path, tmp_path: Path, capsys):
    assert curate(videos, "-o", tmp_path / "set", *KEYS, LOOSE, "--dry-run") == 0
    said = capsys.readouterr().out
    assert "3 sources" in said
    assert "quarantined 1" in said
    assert "core-hours, 4 clips of" in said
    assert "2 pairs before" in said
    assert not (tmp_path / "set").exists()
