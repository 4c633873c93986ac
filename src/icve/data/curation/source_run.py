"""What is done with one source, in a worker process: read, stages 1 to 6, and instructions that need no model."""

import multiprocessing
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import cv2
import numpy as np
from av.error import FFmpegError
from av.video.frame import VideoFrame

from icve.data.curation.camera_words import camera_instruction
from icve.data.curation.config import CurationConfig
from icve.data.curation.extraction import Extractor, encode_frames, quiet_ffmpeg, to_rgb
from icve.data.curation.measuring import Footage, UnusableFileError, measure
from icve.data.curation.parcels import Parcels
from icve.data.curation.quality import Embedder, QualityConfig, QualityMeter, make_embedder, make_meters
from icve.data.curation.randomness import generator
from icve.data.curation.records import Clip, Instruction, Pair, Parcel, Source, StageCount
from icve.data.curation.sidecar import Sidecar, read_sidecar, sidecar_instruction
from icve.data.curation.sources import local_copy
from icve.data.curation.stages.basic import BasicFilter
from icve.data.curation.stages.clips import ClipCutter
from icve.data.curation.stages.motion import MotionFilter
from icve.data.curation.stages.pairs import PairDraw
from icve.data.curation.stages.quality import QualityFilter
from icve.data.curation.stages.scenes import SceneSplit
from icve.data.worker_pool import Ask

CAMERA_FRAMES = 3  # of each clip: its first, middle and last


@dataclass(frozen=True)
class Job:
    """A source, the folder of the run, and what is to be done."""

    source: Source
    folder: Path
    config: CurationConfig


@dataclass(frozen=True)
class Done:
    """What the progress bar shows of a source."""

    pairs: int
    quarantined: bool


def do(job: Job, _ask: Ask) -> Done:
    """Makes a source's parcel and writes it; what is wrong with the file is in it."""
    parcel = curate(job.source, job.folder, job.config)
    parent = multiprocessing.parent_process()
    if parent is not None and not parent.is_alive():
        sys.exit()  # killed; the run that comes after it does this source again
    Parcels(job.folder / "parcels").write(parcel)
    return Done(len(parcel.pairs), parcel.quarantined is not None)


def name(job: Job) -> str:
    """How sentences call a job's input."""
    return job.source.uri


def curate(source: Source, folder: Path, config: CurationConfig) -> Parcel:
    """A source's parcel.

    Args:
        source: the file.
        folder: of the run; a file from an object store lies there meanwhile.
        config: of the run.
    """
    parcel = Parcel(source)
    try:
        with quiet_ffmpeg(), local_copy(source, folder / "downloads", config.read.max_bytes) as path:
            _SourceRun(parcel, config).run(path)
    except UnusableFileError as error:
        return _quarantined(source, str(error))
    except MemoryError:
        return _quarantined(source, f"There is not enough memory for {source.uri} (read.memory).")
    except (FFmpegError, ValueError, ArithmeticError, cv2.error) as error:  # so odd that a library below refuses it
        return _quarantined(source, f"{source.uri} cannot be read ({type(error).__name__}).")
    return parcel


def _quarantined(source: Source, reason: str) -> Parcel:
    count = StageCount("read", entered=1)
    count.drop("quarantined")
    return Parcel(source, quarantined=reason, stages=[count])


class _SourceRun:
    """Takes one file through the stages, filling its parcel."""

    def __init__(self, parcel: Parcel, config: CurationConfig) -> None:
        self.parcel, self.config = parcel, config

    @contextmanager
    def stage(self, stage: str) -> Iterator[StageCount]:
        count = StageCount(stage)
        start = time.monotonic()
        yield count
        count.seconds = round(time.monotonic() - start, 4)
        self.parcel.stages.append(count)

    def run(self, path: Path) -> None:
        config = self.config
        with self.stage("read") as count:
            count.entered = 1
            measured = measure(path, config, _meters(config.quality))
            self.parcel.content = measured.content
            count.left = 1
        with self.stage("basic") as count:
            footage = BasicFilter(config.basic)(measured, count)
        if footage is None:
            return
        instructor = _Instructor(config, footage, self.parcel)
        with self.stage("scenes") as count:
            scenes = SceneSplit(config.scenes)(footage, count)
        with self.stage("motion") as count:
            scenes = MotionFilter(config.motion)(footage, scenes, count)
        if footage.scores:
            with self.stage("quality") as count:
                scenes = QualityFilter(config.quality)(footage, scenes, count)
        cutter = ClipCutter(config.clips, config.motion, tuple(config.sizes), config.fps, config.seed)
        with self.stage("clips") as count:
            clips = cutter(footage, scenes, count, instructor.events)
        with self.stage("pairs") as count:
            pairs = PairDraw(config.pairs, config.seed)(footage, clips, count, instructor.refuses)
        self._instruct_and_encode(footage, instructor, {clip.id: clip for clip in clips}, pairs)

    def _instruct_and_encode(
        self, footage: Footage, instructor: "_Instructor", clips: dict[str, Clip], pairs: list[Pair]
    ) -> None:
        """Reads the clips of a scene at a time: what is kept is coded, the rest forgotten."""
        extractor = Extractor(footage, self.config.video)
        with self.stage("instruct") as instructed:
            coded = StageCount("encode")
            instructed.entered = len(pairs)
            for scene in sorted({pair.scene for pair in pairs}):
                own = [pair for pair in pairs if pair.scene == scene]
                frames: dict[str, list[VideoFrame]] = {}
                if instructor.needs_frames:
                    frames = extractor.read(_clips_of(own, clips))
                kept = []
                for pair in own:
                    instruction = instructor(pair, clips, frames)
                    if isinstance(instruction, str):
                        instructed.drop(instruction)
                    else:
                        kept.append(replace(pair, instruction=instruction))
                start = time.monotonic()
                missing = [clip for clip in _clips_of(kept, clips) if clip.id not in frames]
                frames |= extractor.read(missing) if missing else {}
                for clip in _clips_of(kept, clips):
                    self.parcel.media[clip.id] = encode_frames(frames[clip.id], clip.fps, self.config.video)
                    self.parcel.clips.append(clip)
                self.parcel.pairs += kept
                if kept and self.config.quality.near_duplicates.max_distance is not None:
                    self.parcel.embeddings[scene] = self._embed(frames[kept[0].source])
                coded.seconds += time.monotonic() - start
            instructed.left = len(self.parcel.pairs)
        instructed.seconds = round(instructed.seconds - coded.seconds, 4)
        coded.entered = coded.left = len(self.parcel.clips)
        coded.seconds = round(coded.seconds, 4)
        self.parcel.stages.append(coded)

    def _embed(self, frames: list[VideoFrame]) -> list[float]:
        """What a scene looks like, from the middle of a clip of it; as float16 holds it."""
        image = to_rgb([frames[len(frames) // 2]])[0]
        return _embedder(self.config.quality).embed(image).astype(np.float16).tolist()


# Models are loaded once in each process, and not for each file.
@lru_cache(maxsize=1)
def _meters(config: QualityConfig) -> list[QualityMeter]:
    return make_meters(config)


@lru_cache(maxsize=1)
def _embedder(config: QualityConfig) -> Embedder:
    return make_embedder(config.embedding)


def _clips_of(pairs: list[Pair], clips: dict[str, Clip]) -> list[Clip]:
    """The clips of some pairs, each once, in the order of the file."""
    names = {name for pair in pairs for name in (pair.source, pair.target)}
    return [clip for clip in clips.values() if clip.id in names]


class _Instructor:
    """Writes a pair's instruction, as far as that takes no model."""

    def __init__(self, config: CurationConfig, footage: Footage, parcel: Parcel) -> None:
        self.config, self.content = config, footage.content
        self.needs_frames = config.instructor == "camera"
        self.sidecar: Sidecar | str | None = None
        if config.instructor == "sidecar":
            self.sidecar = read_sidecar(footage.path, parcel.source.caption)

    @property
    def events(self) -> list[tuple[float, float]]:
        """When something changes that the footage's own words tell of: no clip is to show it half done."""
        return [(event.start, event.end) for event in self.sidecar.events] if isinstance(self.sidecar, Sidecar) else []

    def refuses(self, source: Clip, target: Clip) -> str | None:
        """Why two clips cannot have an instruction, where that is known without looking at them."""
        if self.sidecar is None or isinstance(self.sidecar, str):
            return self.sidecar
        told = sidecar_instruction(self.sidecar, source, target, self.config.sidecar)
        return told if isinstance(told, str) else None

    def __call__(
        self, pair: Pair, clips: dict[str, Clip], frames: dict[str, list[VideoFrame]]
    ) -> Instruction | str | None:
        """The instruction; why there is none, in few words; or None where a model is to write it."""
        if isinstance(self.sidecar, str):
            return self.sidecar
        if self.sidecar is not None:
            return sidecar_instruction(self.sidecar, clips[pair.source], clips[pair.target], self.config.sidecar)
        if self.config.instructor == "camera":
            source, target = (_views(frames[clip]) for clip in (pair.source, pair.target))
            rng = generator(self.config.seed, "camera", pair.id)
            return camera_instruction(source, target, self.config.camera, rng) or "no sure change of the camera"
        return None


def _views(frames: list[VideoFrame]) -> np.ndarray:
    """A few frames spread over a clip, (N, H, W, 3) uint8 RGB."""
    places = [round(k * (len(frames) - 1) / (CAMERA_FRAMES - 1)) for k in range(CAMERA_FRAMES)]
    return to_rgb([frames[place] for place in places])
