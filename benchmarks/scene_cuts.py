"""Hard cuts found and missed, and whether clips are exactly the frames they say, on real clips.

    python benchmarks/scene_cuts.py [FOLDER]      # the clips are fetched into FOLDER (default: out/real-clips)

Frames are compared without loss: "wrong" counts those of all clips that are not the very frame of the source they claim
to be; "difference" is how far the worst of them is from a frame cropped and scaled in another way, in levels of 255.
The concatenation is 250 shots of all four files in random order, each different from its neighbours, coded anew.
"""

import argparse
import json
import tempfile
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq

from icve.config_file import validate
from icve.data.buckets import Bucket
from icve.data.curation.config import CurationConfig
from icve.data.curation.extraction import to_rgb
from icve.data.curation.measuring import measure
from icve.data.curation.run import curate
from icve.data.curation.scaling import Scaler
from icve.data.shard_media import decode_clip
from icve.video import VideoReader
from icve.video.geometry import resize
from icve.video.info import VideoInfo
from real_clips import CUTS, real_clips, shots

SIZE = (640, 360)
LEAST = 24  # frames of a shot
SHOTS = 250
BUCKETS = {"bunny": "17x240x416", "bikes": "9x112x192", "carphone": "17x80x96", "music": "9x48x64", "all": "9x112x192"}


def concatenate(paths: dict[str, Path], output: Path, seed: int) -> list[int]:
    """Writes the concatenation; the frames that its shots begin with."""
    pool = shots(paths, SIZE, LEAST)
    rng = np.random.default_rng(seed)
    cuts, count, last = [], 0, -1
    with av.open(str(output), "w") as container:
        stream = container.add_stream("libx264", rate=25)
        stream.width, stream.height, stream.pix_fmt = *SIZE, "yuv420p"
        stream.options = {"crf": "20", "preset": "veryfast"}
        for _ in range(SHOTS):
            choice = int(rng.integers(len(pool)))
            # Neighbours of one file may show one scene: then there would be no cut to find.
            while choice == last or (pool[choice][0] == pool[last][0] != "music"):
                choice = int(rng.integers(len(pool)))
            shot = pool[choice][1]
            length = min(len(shot), int(rng.integers(LEAST, 75)))
            begin = int(rng.integers(len(shot) - length + 1))
            cuts.append(count)
            for image in shot[begin : begin + length]:
                container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
            count, last = count + length, choice
        container.mux(stream.encode(None))
    return cuts[1:]


def matched(found: list[int], true: list[int]) -> int:
    """How many of the true cuts were found within a frame, each found one counting once."""
    left = list(found)
    hits = 0
    for cut in true:
        near = [each for each in left if abs(each - cut) <= 1]
        if near:
            left.remove(near[0])
            hits += 1
    return hits


def frames_right(path: Path, bucket: str, folder: Path) -> tuple[int, int, float]:
    """How well the clips of a file are the frames that they say, with every pixel kept.

    Returns:
        how many frames all clips have together; how many of them are not, to the last bit, the source's frame of that
        number, decoded from the file's beginning and scaled as the engine scales; and the largest mean difference of a
        frame from another way of scaling (the picture cropped and resized by OpenCV), in levels of 255.
    """
    values = {
        "buckets": [bucket],
        "instructor": "sidecar",
        "sidecar": {},
        "fps": None,
        "clips": {"max_upscale": 2},
        "motion": {"min": 0},
        "pairs": {
            "per_scene": 2,
            "min_flow": 0,
            "min_colour": 0,
            "min_embedding": 0,
            "max_colour": 255,
            "max_flow": 999,
        },
        "basic": {"min_seconds": 0, "borders": "keep"},
        "video": {"lossless": True},  # a lossy codec blurs what tells a frame from the next
    }
    captions = [{"start": k / 10, "end": k / 10 + 3, "text": f"the picture at {k}"} for k in range(30_000)]
    listed = folder / "video" / path.name
    listed.parent.mkdir(parents=True)
    listed.symlink_to(path.resolve())
    listed.with_suffix(".json").write_text(json.dumps({"captions": captions}))
    curate([str(listed)], folder / "set", validate(CurationConfig, values, "benchmark"), progress=False)
    size = Bucket.parse(bucket)
    found: dict[int, list[np.ndarray]] = {}
    for index in (folder / "set/media").glob("*/*.parquet"):
        data = index.with_suffix(".tar").read_bytes()
        for row in pq.read_table(index).to_pylist():
            frames = decode_clip(data[row["offset"] : row["offset"] + row["size"]], size)
            for number, frame in zip(row["source_frames"], frames, strict=True):
                found.setdefault(number, []).append(frame)
    reader, seen, wrong, difference = VideoReader(path), 0, 0, 0.0
    scaler = Scaler(reader.info, (0, 0, *reader.info.stored_size[::-1]), size[1:], lossless=True)
    with av.open(str(path)) as container:
        for number, (decoded, shown) in enumerate(zip(container.decode(video=0), reader, strict=True)):
            if number not in found:
                continue
            expected = to_rgb([scaler(decoded)])[0]
            otherwise = resize(crop(shown.image, reader.info, size)[None], size.height, size.width)[0]
            for frame in found.pop(number):
                seen += 1
                wrong += not np.array_equal(frame, expected)
                difference = max(difference, float(np.abs(frame.astype(np.int16) - otherwise).mean()))
    assert not found, "a clip has frames beyond the file's end"
    return seen, wrong, difference


def crop(image: np.ndarray, info: VideoInfo, size: Bucket) -> np.ndarray:
    """The largest part around the middle that has the clip's shape once its pixels are square."""
    height, width = image.shape[:2]
    shape = size.width / size.height / float(info.sample_aspect_ratio or 1)
    rows, columns = min(height, round(width / shape)), min(width, round(height * shape))
    top, left = (height - rows) // 2, (width - columns) // 2
    return image[top : top + rows, left : left + columns]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", nargs="?", type=Path, default=Path("out/real-clips"))
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    args.folder.mkdir(parents=True, exist_ok=True)
    paths = real_clips(args.folder)
    with tempfile.TemporaryDirectory() as scratch:
        together = Path(scratch) / "all.mp4"
        cuts = CUTS | {"all": concatenate(paths, together, args.seed)}
        heads = (
            ("frames", 8),
            ("cuts", 6),
            ("found", 7),
            ("recall", 8),
            ("precision", 11),
            ("clip frames", 13),
            ("wrong", 7),
            ("difference", 12),
        )
        print(f"{'file':10}" + "".join(f"{head:>{width}}" for head, width in heads))
        for name, path in {**paths, "all": together}.items():
            footage = measure(path, CurationConfig())
            hits = matched(footage.cuts, cuts[name])
            recall = hits / len(cuts[name]) if cuts[name] else 1.0
            precision = hits / len(footage.cuts) if footage.cuts else 1.0
            seen, wrong, difference = frames_right(path, BUCKETS[name], Path(scratch) / name)
            print(
                f"{name:10}{len(footage.pts):>8}{len(cuts[name]):>6}{len(footage.cuts):>7}{recall:>8.3f}{precision:>11.3f}"
                f"{seen:>13}{wrong:>7}{difference:>12.2f}"
            )


if __name__ == "__main__":
    main()
