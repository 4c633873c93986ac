"""Clips scored a second, against plain decoding of the same files, and the memory that takes.

    python benchmarks/metrics.py [--clips N]      # PSNR and SSIM of 1000 edited clips, 61 frames 480 x 832, 2 processes
    python benchmarks/metrics.py --model-free     # all metrics that need no weights

Each clip is an edited and a source file (H.264) and a mask. The files are few and used in turn; each is decoded anew.
"""

import argparse
import functools
import itertools
import multiprocessing
import resource
import tempfile
import time
from collections.abc import Callable, Iterable
from pathlib import Path

import av
import cv2
import numpy as np

from icve.evaluation.cases import Case
from icve.evaluation.clips import read_clip
from icve.evaluation.metrics.registry import make_metric
from icve.evaluation.scoring import ScoringJob, score_clip

FRAMES, HEIGHT, WIDTH = 61, 480, 832
DISTINCT = 4
PROCESSES = 2
MODEL_FREE = ("psnr", "ssim", "five_pixels", "flicker", "smoothness", "warp_error", "motion_fidelity")
BUNNY = Path(__file__).parents[1] / "examples/bunny.mp4"


def make_clips(folder: Path) -> list[tuple[Case, Path]]:
    """DISTINCT cases of a real clip, each seen through another window and with another box painted in."""
    film = read_clip(BUNNY)
    rng = np.random.default_rng(0)
    made = []
    for i in range(DISTINCT):
        top, left = rng.integers(0, 60), rng.integers(0, 100)
        source = [
            cv2.resize(frame[top : top + 420, left : left + 728], (WIDTH, HEIGHT), interpolation=cv2.INTER_CUBIC)
            for frame in film[i : i + FRAMES]
        ]
        box = np.s_[rng.integers(0, 200) :, rng.integers(0, 400) :][:2]
        rows, columns = slice(box[0].start, box[0].start + 160), slice(box[1].start, box[1].start + 240)
        mask = np.zeros((HEIGHT, WIDTH), np.uint8)
        mask[rows, columns] = 255
        edited = []
        for frame in source:
            edited.append(frame.copy())
            edited[-1][rows, columns] = rng.integers(0, 256, 3)
        paths = [folder / f"{name}_{i}" for name in ("source", "edited", "mask")]
        cv2.imwrite(f"{paths[2]}.png", mask)
        write(paths[0].with_suffix(".mp4"), source)
        write(paths[1].with_suffix(".mp4"), edited)
        case = Case(f"{i}", "change", "paint a box", paths[0].with_suffix(".mp4"), mask=paths[2].with_suffix(".png"))
        made.append((case, paths[1].with_suffix(".mp4")))
    return made


def write(path: Path, frames: list[np.ndarray]) -> None:
    """As most editors write: x264's defaults."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=24)
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, "rgb24")))
        container.mux(stream.encode(None))


def start() -> None:
    """In each worker: one thread."""
    cv2.setNumThreads(1)


def spent(begin: float) -> tuple[float, float]:
    """CPU seconds since `begin`, and the most memory that this process ever held, in MiB."""
    return time.process_time() - begin, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def score(pair: tuple[Case, Path], names: Iterable[str]) -> tuple[float, float]:
    """Scores a clip with these metrics as `icve evaluate` does."""
    begin = time.process_time()
    outcomes, _ = score_clip(ScoringJob(*pair, [make_metric(name) for name in names]))
    for outcome in outcomes:
        if isinstance(outcome, str):
            raise RuntimeError(outcome)
    return spent(begin)


def decode(pair: tuple[Case, Path]) -> tuple[float, float]:
    """Decodes both files with PyAV and drops the frames."""
    begin = time.process_time()
    for path in (pair[0].source, pair[1]):
        with av.open(str(path)) as container:
            container.streams.video[0].codec_context.thread_count = 1
            for _ in container.decode(video=0):
                pass
    return spent(begin)


def measure(
    work: Callable[[tuple[Case, Path]], tuple[float, float]], pairs: Iterable[tuple[Case, Path]]
) -> tuple[list[float], list[float], float]:
    """CPU seconds of each clip, the peak memory of its process until then in MiB, and seconds in all."""
    with multiprocessing.get_context("spawn").Pool(PROCESSES, start) as pool:
        pool.map(work, itertools.islice(pairs, PROCESSES), chunksize=1)  # imports do not count
        begin = time.perf_counter()
        cpu, memory = zip(*pool.imap_unordered(work, pairs), strict=True)
        return list(cpu), list(memory), time.perf_counter() - begin


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--clips", type=int, default=1000)
    parser.add_argument("--model-free", action="store_true", help=", ".join(MODEL_FREE))
    args = parser.parse_args()
    names = MODEL_FREE if args.model_free else MODEL_FREE[:2]
    with tempfile.TemporaryDirectory() as folder:
        made = make_clips(Path(folder))
        pairs = list(itertools.islice(itertools.cycle(made), args.clips))
        fewer = pairs[: max(2 * DISTINCT, args.clips // 5)]
        decoding = [measure(decode, fewer)]  # before and after, since a shared machine may change its pace
        cpu, memory, seconds = measure(functools.partial(score, names=names), pairs)
        decoding.append(measure(decode, fewer))
    rate, decode_rate = len(pairs) / seconds, 2 * len(fewer) / sum(seconds for _, _, seconds in decoding)
    decode_cpu = np.mean([second for run in decoding for second in run[0]])
    third = len(memory) // 3
    print(f"{len(pairs)} clips, {FRAMES} frames, {HEIGHT} x {WIDTH}, {PROCESSES} processes: {', '.join(names)}")
    print(f"{'':24}{'clips/s':>10}{'CPU s/clip':>12}")
    print(f"{f'{len(names)} metrics':24}{rate:10.2f}{np.mean(cpu):12.3f}")
    print(f"{'decoding alone':24}{decode_rate:10.2f}{decode_cpu:12.3f}")
    print(f"{'ratio':24}{decode_rate / rate:10.2f}{np.mean(cpu) / decode_cpu:12.2f}")
    print(f"peak memory of a process: {max(memory[:third]):.0f} MiB in the first third, {max(memory):.0f} MiB in all")


if __name__ == "__main__":
    main()
