"""Cuts scenes into clips."""

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np

from icve.data.buckets import Bucket
from icve.data.curation.config import ClipsConfig, MotionConfig
from icve.data.curation.measuring import Footage
from icve.data.curation.randomness import generator
from icve.data.curation.records import Clip, Scene, StageCount
from icve.data.curation.scaling import shown_size
from icve.data.curation.stages.motion import motion_of
from icve.data.curation.stages.quality import scores_of

RATE_TOLERANCE = 0.05  # 23.976, 24 and 25 are one rate: played 4% faster or slower, as films are on television


@dataclass(frozen=True)
class ClipCutter:
    """Cuts scenes into clips that do not overlap, each exactly as its bucket needs it."""

    name: ClassVar[str] = "clips"
    inputs: ClassVar[tuple[str, ...]] = ("footage", "scenes")
    outputs: ClassVar[tuple[str, ...]] = ("clips",)
    cpus: ClassVar[float] = 1.0

    config: ClipsConfig
    motion: MotionConfig
    buckets: tuple[Bucket, ...]
    fps: float | None
    seed: int

    def __call__(
        self,
        footage: Footage,
        scenes: Sequence[Scene],
        count: StageCount,
        events: Sequence[tuple[float, float]] = (),
    ) -> list[Clip]:
        """The clips of all scenes, in order; none shows a moment of the `events`, (start, end) in seconds."""
        count.entered = len(scenes)
        clips: list[Clip] = []
        for scene in scenes:
            choice = self._bucket(footage, scene)
            if isinstance(choice, str):
                count.drop(choice)
                continue
            for part in parts_between(footage, scene, events):
                for numbers in self._pieces(footage, part, choice):
                    clip = self._clip(footage, scene, choice, numbers)
                    if isinstance(clip, str):
                        count.drop(clip)
                    else:
                        clips.append(clip)
        count.left = len(clips)
        return clips

    def _bucket(self, footage: Footage, scene: Scene) -> Bucket | str:
        """The bucket nearest in shape, then longest, that the scene fills twice without being made larger."""
        height, width = shown_size(footage.info, footage.inside)
        times = footage.times
        seconds = times[scene.stop - 1] - times[scene.first] + 1 / footage.rate
        large = [b for b in self.buckets if max(b.height / height, b.width / width) <= self.config.max_upscale]
        if not large:
            return "too small for every bucket"
        fitting = [b for b in large if 2 * b.frames / self._rate(footage)[0] + self.config.gap <= seconds]
        if not fitting:
            return "too short for two clips"

        def fit(bucket: Bucket) -> tuple[float, int, int]:
            shape = abs(math.log(height * bucket.width / (width * bucket.height)))
            return round(shape, 2), -bucket.frames, -bucket.height * bucket.width

        return min(fitting, key=fit)

    def _rate(self, footage: Footage) -> tuple[float, float]:
        """The file's frames a second that clips take, and what they are shown at."""
        if self.fps is None:
            return footage.rate, footage.rate
        step = max(1, round(footage.rate / self.fps))
        near = footage.rate / step
        return (near if abs(near / self.fps - 1) <= RATE_TOLERANCE else self.fps), self.fps

    def _pieces(self, footage: Footage, scene: Scene, bucket: Bucket) -> list[np.ndarray]:
        """The frame numbers of as many clips as (a part of) a scene holds; what is over is spread at random."""
        rate, _ = self._rate(footage)
        times = footage.times
        begin, end = times[scene.first], times[scene.stop - 1] + 1 / footage.rate
        need = bucket.frames / rate
        amount = max(0, int((end - begin + self.config.gap + 1e-6) / (need + self.config.gap)))
        spare = end - begin - amount * need - (amount - 1) * self.config.gap
        # Spread over the gaps at random: clips then do not all begin with a scene's first frame.
        shares = generator(self.seed, "clips", footage.content, scene.first).dirichlet(np.ones(amount + 1))
        pieces, start = [], begin
        for share in shares[:-1]:
            start += share * max(0.0, spare)
            first = int(np.searchsorted(times, start - 0.5 / footage.rate))
            pieces.append(nearest(times, times[first] + np.arange(bucket.frames) / rate))
            start = max(start, float(times[first])) + need + self.config.gap
        return [piece for piece in pieces if piece[-1] < scene.stop and piece[0] >= scene.first]

    def _clip(self, footage: Footage, scene: Scene, bucket: Bucket, numbers: np.ndarray) -> Clip | str:
        repeats = int((np.diff(numbers) == 0).sum())
        if repeats > self.config.max_repeats * (bucket.frames - 1):
            return "too few frames a second"
        first, stop = int(numbers[0]), int(numbers[-1]) + 1
        motion = motion_of(footage, first, stop)
        if motion < self.motion.min:
            return "too little motion"
        taken, fps = self._rate(footage)
        key = f"{footage.content} {first} {stop} {bucket} {footage.inside} {taken:.6f} {fps:.6f}"
        return Clip(
            id=hashlib.sha256(key.encode()).hexdigest()[:24],
            scene=scene.number,
            bucket=str(bucket),
            fps=float(fps),
            frames=tuple(numbers.tolist()),
            start=round(float(footage.times[first]), 6),
            end=round(float(footage.times[stop - 1]), 6),
            motion=round(motion, 4),
            scores={name: round(score, 4) for name, score in scores_of(footage, first, stop).items()},
        )


def parts_between(footage: Footage, scene: Scene, events: Sequence[tuple[float, float]]) -> list[Scene]:
    """The parts of a scene in which none of the events goes on."""
    times = footage.times
    free = np.ones(scene.stop - scene.first, bool)
    for start, end in events:
        a, b = np.searchsorted(times, start, "right"), np.searchsorted(times, end, "left")
        free[max(0, a - scene.first) : max(0, b - scene.first)] = False
        if 0 < a - scene.first < len(free):
            free[a - scene.first] = False  # of a sudden one, the frame that follows it
    edges = np.flatnonzero(np.diff(np.concatenate([[False], free, [False]]).astype(np.int8)))
    return [
        Scene(scene.number, scene.first + int(a), scene.first + int(b))
        for a, b in zip(edges[::2], edges[1::2], strict=True)
    ]


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The index of the time nearest to each wanted one, both increasing."""
    after = np.searchsorted(times, wanted).clip(1, max(1, len(times) - 1))
    before = after - 1
    if len(times) == 1:
        return np.zeros(len(wanted), np.int64)
    return np.where(wanted - times[before] <= times[after] - wanted, before, after)
