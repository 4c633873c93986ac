"""How long a run of the data engine takes to find out what is left to do, and in how much memory.

    python benchmarks/resume_scan.py [--sources 1000000]

A list of that many sources, half of them done (empty markers: only their names are looked at). What is timed is what a
run does before its first source: read the list, compare it with the one it began with, look for the markers.
"""

import argparse
import multiprocessing
import resource
import tempfile
import time
from pathlib import Path
from typing import Any

from icve.data.curation.parcels import Parcels
from icve.data.curation.sources import digest, read_sources, write_sources


def scan(folder: Path, count: int, results: Any) -> None:
    """In a process of its own, so that its memory is its own."""
    start = time.perf_counter()
    listed = folder / "sources.jsonl"
    write_sources([str(folder / "list.csv")], folder / "new.jsonl")
    assert digest(folder / "new.jsonl") == digest(listed)
    done = Parcels(folder / "parcels").done(count)
    left = sum(1 for source in read_sources(listed) if not done[source.number])
    results.put((time.perf_counter() - start, left, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sources", type=int, default=1_000_000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        with (folder / "list.csv").open("w") as file:
            file.write("path,caption\n")
            file.writelines(f"/footage/{k // 1000:04d}/{k:09d}.mp4,a clip of number {k}\n" for k in range(args.sources))
        write_sources([str(folder / "list.csv")], folder / "sources.jsonl")
        parcels = Parcels(folder / "parcels")
        for number in range(0, args.sources, 2):
            path = parcels.path(number)
            if number % 1000 == 0:
                path.parent.mkdir(parents=True, exist_ok=True)
            path.touch()
        results: Any = multiprocessing.get_context("spawn").Queue()
        process = multiprocessing.get_context("spawn").Process(target=scan, args=(folder, args.sources, results))
        process.start()
        seconds, left, memory = results.get()
        process.join()
    print(f"{args.sources:,} sources, {left:,} left to do: {seconds:.1f} s, {memory:.2f} GiB at most")


if __name__ == "__main__":
    main()
