"""Damaged and hostile files cost themselves alone: no crash, no hang, each in the quarantine list with its reason.

As a command it says how many files: python -m tests.data.curation.test_damaged --files 1000
"""

import argparse
import json
import tempfile
import time
from collections import Counter
from pathlib import Path

from icve.config_file import validate
from icve.data.curation.config import CurationConfig
from icve.data.curation.run import curate
from tests.data.curation import damage, footage

MEMORY = 1.5  # GiB that a worker may take
SECONDS = 5  # that one file may take
GOOD = 3  # files among them


def config() -> CurationConfig:
    values = {
        "instructor": "sidecar",
        "buckets": ["9x48x80"],
        "basic": {"min_seconds": 0.5},
        "motion": {"min": 0},
        "pairs": {"min_flow": 0, "min_colour": 0, "min_embedding": 0},
        "read": {"timeout": SECONDS, "memory": MEMORY, "max_seconds": 600},
        "workers": 2,
    }
    return validate(CurationConfig, values, "test")


def run(folder: Path, count: int, seed: int, progress: bool = False) -> tuple[Counter, Counter, list[str]]:
    """How many files of each kind there are, how many were quarantined, and the names of those that were not."""
    videos = folder / "videos"
    numbers = damage.write_damaged(videos, count, seed)
    for number in range(GOOD):
        path = footage.write(videos / f"good-{number}.mp4", footage.scene(number, 60))
        captions = [{"start": k, "end": k + 1, "text": f"ball {k}"} for k in range(3)]
        path.with_suffix(".json").write_text(json.dumps({"captions": captions}))
    curate([str(videos)], folder / "set", config(), progress=progress)
    entries = [json.loads(line) for line in (folder / "set/quarantine.jsonl").read_text().splitlines()]
    assert all(entry["reason"].endswith((".", ").")) and len(entry["reason"]) < 500 for entry in entries)
    names = [Path(entry["source"]).name for entry in entries]
    assert len(names) == len(set(names))
    assert not [name for name in names if name.startswith("good")]
    files = [path.name for path in videos.iterdir() if path.is_file() and path.suffix != ".json"]
    missing = sorted(name for name in files if name not in names and not name.startswith("good"))
    return Counter(numbers), Counter(name.partition("-")[0] for name in names), missing


def test_damaged_files_are_quarantined_and_the_rest_is_used(tmp_path: Path):
    began = time.monotonic()
    numbers, quarantined, missing = run(tmp_path, 60, seed=0)
    assert not missing
    assert quarantined.total() == numbers.total()
    assert time.monotonic() - began < 60
    rows = json.loads((tmp_path / "set/curation/yield.json").read_bytes())
    read = next(row for row in rows if row["stage"] == "read")
    assert read["in"] == numbers.total() + GOOD
    assert read["out"] == GOOD


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--files", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        began = time.monotonic()
        numbers, quarantined, missing = run(Path(folder), args.files, args.seed, progress=True)
        seconds = time.monotonic() - began
    for kind, number in numbers.items():
        print(f"{kind:16}{quarantined[kind]:>6} of {number:>5} quarantined")
    print(
        f"{quarantined.total()} of {numbers.total()} in {seconds:.0f} s, {SECONDS} s and {MEMORY} GiB at most for each"
    )
    print("not quarantined:", ", ".join(missing) or "none")


if __name__ == "__main__":
    main()
