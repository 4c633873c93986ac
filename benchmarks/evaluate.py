"""The whole of scoring (reading, hashing, processes, cache) with PSNR and SSIM: clips a second, memory, and a rerun.

    python benchmarks/evaluate.py [--clips N]      # default: 1000 edited clips of 61 frames, 480 x 832, on 2 processes

The files are few and stand for many cases; each case is decoded and scored anew, as its instruction differs.
"""

import argparse
import tempfile
import threading
import time
from dataclasses import replace
from itertools import cycle, islice
from pathlib import Path

import psutil
from benchmarks.metrics import FRAMES, HEIGHT, PROCESSES, WIDTH, make_clips

from icve.evaluation.cache import ScoreCache
from icve.evaluation.edits import Edits
from icve.evaluation.metrics.pixels import PSNR, SSIM
from icve.evaluation.run import Run


class Watch(threading.Thread):
    """MiB of this process and its children, a few times a second, and the CPU seconds of each."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.seen: list[float] = []
        self.cpu: dict[int, float] = {}

    def run(self) -> None:
        me = psutil.Process()
        while True:
            try:
                family = [me, *me.children(recursive=True)]
                self.seen.append(sum(process.memory_info().rss for process in family) / 2**20)
                for process in family:
                    times = process.cpu_times()
                    self.cpu[process.pid] = times.user + times.system
            except psutil.NoSuchProcess:
                pass
            time.sleep(0.25)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    args = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        made = list(islice(cycle(make_clips(Path(folder))), args.clips))
        cases = [replace(case, id=f"{n:05}", instruction=f"{n}") for n, (case, _) in enumerate(made)]
        files = {case.id: edited for case, (_, edited) in zip(cases, made, strict=True)}
        watch = Watch()
        watch.start()
        print(f"{args.clips} clips, {FRAMES} frames, {HEIGHT} x {WIDTH}, {PROCESSES} processes")
        for name in ("first", "rerun"):
            cache = ScoreCache(Path(folder) / "cache.jsonl")
            run = Run(cases, [Edits("benchmark", files)], [PSNR(), SSIM()], cache)
            begin, cpu = time.perf_counter(), sum(watch.cpu.values())
            run.score(workers=PROCESSES)
            seconds = time.perf_counter() - begin
            scored = sum(not isinstance(given, str) for given in run.outcomes.values())
            cpu = (sum(watch.cpu.values()) - cpu) / args.clips  # a machine that does other things is as fast in this
            print(
                f"{name}: {seconds:.1f} s, {args.clips / seconds:.2f} clips/s, {cpu:.2f} CPU s a clip, "
                f"{scored} of {2 * args.clips} scored"
            )
            if name == "first":
                third = len(watch.seen) // 3
                first, last = max(watch.seen[:third]), max(watch.seen[-third:])
                print(f"memory at its highest: first third {first:.0f} MiB, last third {last:.0f} MiB")


if __name__ == "__main__":
    main()
