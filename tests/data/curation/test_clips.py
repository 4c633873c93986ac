"""Clips are exactly the frames that they say, whatever the file: rates, containers, rotation, borders, shapes."""

import itertools
import json
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pyarrow.parquet as pq
import pytest

from icve.config_file import validate
from icve.data.buckets import Bucket
from icve.data.curation.config import CurationConfig
from icve.data.curation.run import curate
from icve.data.shard_media import decode_clip
from icve.video import VideoReader
from icve.video.geometry import resize
from tests.data.curation import footage
from tests.video.samples import make_video

BUCKET = Bucket(9, 48, 80)
RNG = np.random.default_rng(0)


def config(**values) -> CurationConfig:
    """A config in which captions that change all the time give every pair an instruction."""
    defaults = {
        "buckets": [str(BUCKET)],
        "instructor": "sidecar",
        "workers": 1,
        "basic": {"min_seconds": 0.5},
        "motion": {"min": 0},
        "pairs": {"per_scene": 3, "min_flow": 0, "min_colour": 0, "min_embedding": 0, "max_colour": 255},
        "read": {"timeout": 60},
    }
    return validate(CurationConfig, defaults | values, "test")


def add_captions(path: Path) -> Path:
    captions = [{"start": k / 10, "end": k / 10 + 0.6, "text": f"ball number {k}"} for k in range(100)]
    path.with_suffix(".json").write_text(json.dumps({"captions": captions}))
    return path


def clips_of(folder: Path) -> list[tuple[dict, np.ndarray]]:
    """The rows of a set's clips with their decoded frames."""
    found = []
    for index in sorted((folder / "media").glob("*/*.parquet")):
        data = index.with_suffix(".tar").read_bytes()
        for row in pq.read_table(index).to_pylist():
            member = data[row["offset"] : row["offset"] + row["size"]]
            found.append((row, decode_clip(member, Bucket.parse(index.parent.name))))
    return found


def check_frames(row: dict, clip: np.ndarray, source: np.ndarray) -> None:
    """The clip's frames are nearer to the source's of their numbers than to any other."""
    expected = resize(source, *clip.shape[1:3]).astype(np.float32)
    errors = ((clip[:, None].astype(np.float32) - expected[None]) ** 2).mean(axis=(2, 3, 4))
    assert errors.argmin(axis=1).tolist() == row["source_frames"]
    assert errors.min(axis=1).max() < 120  # the frame before or after is 200 away or more


CASES: dict[str, dict] = {
    "film.mp4": {},
    "pal.mkv": {"rate": Fraction(25)},
    "ntsc.mp4": {"rate": Fraction(30000, 1001)},
    "double.mp4": {"rate": Fraction(50)},
    "varying.mp4": {"pts": np.cumsum(RNG.integers(30, 50, 80)).tolist(), "time_base": Fraction(1, 1000)},
    "stream.ts": {},
    "old.avi": {"codec": "mpeg4", "options": {"qscale": "2"}},
    "web.webm": {"codec": "libvpx", "options": {"crf": "5", "b": "4M"}},
    "raw.h264": {},  # no times: it cannot be sought in
    "open.mp4": {"options": {"crf": "10", "g": "20", "x264-params": "open-gop=1:bframes=3"}},
}


@pytest.fixture(scope="module", params=[0, 512], ids=["second-pass", "kept"])
def curated(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> dict[str, list[tuple[dict, np.ndarray]]]:
    """The clips of every case, by its name."""
    folder = tmp_path_factory.mktemp("clips")
    pictures = footage.scene(1, 80)
    for name, options in CASES.items():
        add_captions(footage.write(folder / "videos" / name, pictures, **options))
    keys = config(read={"timeout": 60, "keep": request.param})
    curate([str(folder / "videos")], folder / "set", keys, progress=False)
    assert (folder / "set/quarantine.jsonl").read_text() == ""
    found: dict[str, list[tuple[dict, np.ndarray]]] = {name: [] for name in CASES}
    for row, clip in clips_of(folder / "set"):
        found[Path(row["source"]).name].append((row, clip))
    return found


@pytest.mark.parametrize("name", CASES)
def test_clips_are_the_frames_that_they_say(curated, name: str):
    clips = curated[name]
    assert len(clips) >= 2
    source = np.stack([frame.image for frame in VideoReader(clips[0][0]["source"])])
    for row, clip in clips:
        assert clip.shape == (*BUCKET, 3)
        check_frames(row, clip, source)
    spans = sorted((row["source_frames"][0], row["source_frames"][-1]) for row, _ in clips)
    assert all(stop < start for (_, stop), (start, _) in itertools.pairwise(spans)), "they overlap"


def test_clips_have_the_wanted_rate(curated):
    for name, steps in {"film.mp4": {1}, "pal.mkv": {1}, "double.mp4": {2}, "ntsc.mp4": {1, 2}}.items():
        for row, _ in curated[name]:
            assert row["fps"] == 24
            assert set(np.diff(row["source_frames"])) == steps
    for row, _ in curated["varying.mp4"]:
        times = np.array(CASES["varying.mp4"]["pts"])
        shown = times[row["source_frames"]]
        wanted = shown[0] + (times[-1] - times[0]) / (len(times) - 1) * np.arange(len(shown))  # about 25 a second
        assert np.abs(shown - wanted).max() <= 25  # half of the longest frame: nothing is nearer


def test_turned_and_mirrored_files_give_upright_clips(tmp_path: Path):
    for number, rotation in enumerate([(90, False), (180, False), (270, True), (0, True)]):
        path = tmp_path / f"videos/{number}.mp4"
        path.parent.mkdir(exist_ok=True)
        add_captions(make_video(path, 60, size=(96, 160), rotation=rotation))
    keys = config(buckets=["9x48x80", "9x80x48"], scenes={"gradual": False})
    curate([str(tmp_path / "videos")], tmp_path / "set", keys, progress=False)
    clips = clips_of(tmp_path / "set")
    assert {Path(row["source"]).stem for row, _ in clips} == {"0", "1", "2", "3"}
    for row, clip in clips:
        source = np.stack([frame.image for frame in VideoReader(row["source"])])
        assert (row["height"] > row["width"]) == (source.shape[1] > source.shape[2])
        errors = np.abs(clip.astype(float) - resize(source, *clip.shape[1:3])[row["source_frames"]])
        assert errors.mean() < 4


def test_borders_are_cut_off_and_pixels_made_square(tmp_path: Path):
    pictures = footage.scene(2, 60, height=96, width=160)
    boxed = np.pad(pictures, ((0, 0), (24, 24), (0, 0), (0, 0)))  # 144x160 with the picture in the middle
    add_captions(footage.write(tmp_path / "videos/boxed.mp4", boxed))
    wide = add_captions(tmp_path / "videos/wide.mp4")
    with av.open(str(wide), "w") as container:  # stored at half its width
        stream = container.add_stream("libx264", rate=24)
        stream.height, stream.width, stream.pix_fmt, stream.options = 96, 80, "yuv420p", {"crf": "10"}
        stream.codec_context.sample_aspect_ratio = Fraction(2)
        for image in resize(pictures, 96, 80):
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
        container.mux(stream.encode(None))
    curate([str(tmp_path / "videos")], tmp_path / "set", config(), progress=False)
    clips = clips_of(tmp_path / "set")
    assert {Path(row["source"]).stem for row, _ in clips} == {"boxed", "wide"}
    for row, clip in clips:
        inside = pictures[:, 2:-2, 3:-3] if "boxed" in row["source"] else pictures  # smeared lines go, and the shape
        expected = resize(inside, 48, 80)[row["source_frames"]]
        assert np.abs(clip.astype(float) - expected).mean() < 16
        assert clip[:, :2].mean() > 40, "there is a border left"


def test_the_same_clip_is_the_same_bytes_at_any_time(tmp_path: Path):
    add_captions(footage.write(tmp_path / "videos/a.mp4", footage.scene(3, 60)))
    boxed = np.pad(footage.scene(4, 60), ((0, 0), (12, 12), (0, 0), (0, 0)))
    add_captions(footage.write(tmp_path / "videos/b.mp4", boxed))
    for name, keep in (("one", 0), ("two", 512)):
        keys = config(buckets=["9x32x48"], read={"keep": keep})
        curate([str(tmp_path / "videos")], tmp_path / name, keys, progress=False)
    one, two = (sorted((tmp_path / name / "media").rglob("*.tar")) for name in ("one", "two"))
    assert [path.read_bytes() for path in one] == [path.read_bytes() for path in two]
