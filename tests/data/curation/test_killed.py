"""A curation that is killed again and again gives the bytes of one that never was.

As a command it takes the number of kills: python -m tests.data.curation.test_killed --kills 30
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from tests.data.curation import footage

KEYS = (
    "instructor=sidecar",
    "buckets=[9x48x80]",
    "motion.min=0",
    "basic.min_seconds=0.5",
    "pairs={per_scene: 3, min_flow: 0, min_colour: 0, min_embedding: 0}",
    "shard_bytes=60000",
    "workers=2",
)


def make_footage(folder: Path, count: int) -> None:
    """Takes with captions, a file twice, and one that is damaged."""
    for number in range(count):
        path = footage.write(folder / f"{number:03d}.mp4", footage.scene(number, 60))
        captions = [{"start": k, "end": k + 1, "text": f"ball number {number * 10 + k}"} for k in range(3)]
        path.with_suffix(".json").write_text(json.dumps({"captions": captions}))
    first = folder / "000.mp4"
    (folder / "copy.mp4").write_bytes(first.read_bytes())
    (folder / "copy.json").write_bytes(first.with_suffix(".json").read_bytes())
    (folder / "damaged.mp4").write_bytes(first.read_bytes()[:4000])


def start(videos: Path, output: Path) -> subprocess.Popen:
    command = [sys.executable, "-m", "icve.cli", "data", "curate", str(videos), "-o", str(output), *KEYS]
    return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True)


def contents(output: Path) -> dict[str, str]:
    """A digest of every file that must not depend on how the run went, and the yield without its seconds."""
    found = {
        str(path.relative_to(output)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(output.rglob("*"))
        if path.is_file() and path.name not in ("yield.json", "preview.html", ".lock")
    }
    rows = json.loads((output / "curation/yield.json").read_bytes())
    return found | {"yield": json.dumps([{k: v for k, v in row.items() if k != "seconds"} for row in rows])}


def run_to_the_end(videos: Path, output: Path) -> tuple[str, float]:
    began = time.monotonic()
    process = start(videos, output)
    said, errors = process.communicate(timeout=300)
    assert process.returncode == 0, errors[-2000:]
    return said, time.monotonic() - began


def kill_and_go_on(videos: Path, output: Path, kills: int, seconds: float, rng: random.Random) -> int:
    """Kills at random moments of the run's length until it has ended or `kills` are done; how many met it at work."""
    for met in range(kills):
        process = start(videos, output)
        try:
            process.communicate(timeout=rng.uniform(0.2, 1.0) * seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.communicate()
        else:
            return met
    run_to_the_end(videos, output)
    return kills


def check(folder: Path, count: int, kills: int, seed: int) -> tuple[int, dict[str, str]]:
    """Kills runs, one after the other, until `kills` met one at work; each must end as one that is left alone."""
    make_footage(folder / "videos", count)
    said, seconds = run_to_the_end(folder / "videos", folder / "whole")
    assert "pairs" in said
    whole, rng, met, runs = contents(folder / "whole"), random.Random(seed), 0, 0
    while met < kills:
        output = folder / f"killed-{runs}"
        met += kill_and_go_on(folder / "videos", output, kills - met, seconds, rng)
        runs += 1
        assert contents(output) == whole
    return runs, whole


def test_a_killed_run_goes_on_to_the_same_bytes(tmp_path: Path):
    _, whole = check(tmp_path, count=6, kills=4, seed=1)
    quarantined = (tmp_path / "whole/quarantine.jsonl").read_text()
    assert "damaged.mp4" in quarantined
    assert len([name for name in whole if name.startswith("media/") and name.endswith(".tar")]) > 1
    assert not [name for name in whole if "/." in name or "parcels" in name]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=30)
    parser.add_argument("--files", type=int, default=24)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        runs, whole = check(Path(folder), args.files, args.kills, args.seed)
    print(f"{args.kills} kills in {runs} runs; {len(whole)} files of each, all as in an undisturbed run")


if __name__ == "__main__":
    main()
