"""How fast the procedural world draws training clips: python benchmarks/world_render.py [--clips 4000]"""

import argparse
import multiprocessing
import os
import time

import cv2

from icve.data.world import generator, render, sample_edit, sample_scene

FRAMES, SIDE = 9, 64


def draw(index: int) -> int:
    """Render one scene that was sampled beforehand."""
    return int(render(SCENES[index % len(SCENES)], FRAMES, SIDE, SIDE)[0, 0, 0, 0])


def sample_and_draw(index: int) -> int:
    """Sample an edit and render its source: what a data loader does."""
    return int(render(sample_edit((1, index)).source, FRAMES, SIDE, SIDE)[0, 0, 0, 0])


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--clips", type=int, default=4000)
    count = parser.parse_args().clips
    cv2.setNumThreads(1)
    SCENES = [sample_scene(generator(0, i)) for i in range(256)]  # workers inherit them
    workers = os.cpu_count() or 1
    print(f"clips of {FRAMES} x {SIDE} x {SIDE}, {workers} processes")
    with multiprocessing.get_context("fork").Pool(workers) as pool:
        for name, work in (("render", draw), ("sample an edit and render", sample_and_draw)):
            pool.map(work, range(200), chunksize=50)
            start = time.perf_counter()
            pool.map(work, range(count), chunksize=50)
            print(f"{name:28}{count / (time.perf_counter() - start):8.0f} clips/s")
