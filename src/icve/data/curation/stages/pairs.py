"""Draws pairs of clips."""

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

from icve.data.curation.changes import Changes
from icve.data.curation.config import PairsConfig
from icve.data.curation.measuring import Footage
from icve.data.curation.randomness import generator
from icve.data.curation.records import Clip, Pair, StageCount


@dataclass(frozen=True)
class PairDraw:
    """Draws pairs of clips of one scene at random, neither copies of each other nor unrelated."""

    name: ClassVar[str] = "pairs"
    inputs: ClassVar[tuple[str, ...]] = ("footage", "clips")
    outputs: ClassVar[tuple[str, ...]] = ("pairs",)
    cpus: ClassVar[float] = 1.0

    config: PairsConfig
    seed: int

    def __call__(
        self,
        footage: Footage,
        clips: Sequence[Clip],
        count: StageCount,
        refuses: Callable[[Clip, Clip], str | None] = lambda _source, _target: None,
    ) -> list[Pair]:
        """At most `per_scene` pairs of each scene, in order; `refuses` says why two clips cannot be one, or None."""
        count.entered = len(clips)
        changes = Changes(footage)
        pairs: list[Pair] = []
        for scene in sorted({clip.scene for clip in clips}):
            own = [clip for clip in clips if clip.scene == scene]
            if len(own) < 2:
                count.drop("one clip in its scene")
                continue
            pairs += self._draw(footage, changes, own, count, refuses)
        count.left = len(pairs)
        return pairs

    def _draw(
        self,
        footage: Footage,
        changes: Changes,
        clips: list[Clip],
        count: StageCount,
        refuses: Callable[[Clip, Clip], str | None],
    ) -> list[Pair]:
        rng = generator(self.seed, "pairs", footage.content, clips[0].scene)
        drawn: list[Pair] = []
        used: set[frozenset[int]] = set()
        for _ in range(self.config.tries * self.config.per_scene):
            a, b = rng.choice(len(clips), 2, replace=False).tolist()
            if len(drawn) == self.config.per_scene:
                break
            if frozenset((a, b)) in used:
                continue  # it was looked at, perhaps in its other direction
            used.add(frozenset((a, b)))
            if self.config.direction == "forward":
                a, b = sorted((a, b))
            pair = refuses(clips[a], clips[b]) or self._pair(changes, clips[a], clips[b])
            if isinstance(pair, str):
                count.drop(pair)
            else:
                drawn.append(pair)
        return drawn

    def _pair(self, changes: Changes, source: Clip, target: Clip) -> Pair | str:
        config = self.config
        early, late = sorted((source, target), key=lambda clip: clip.start)
        if config.max_gap is not None and late.start - early.end > config.max_gap:
            return "too far apart"
        flow, colour, embedding = changes.between(source, target)
        if flow < config.min_flow and colour < config.min_colour and embedding < config.min_embedding:
            return "too little change"
        if flow > config.max_flow or colour > config.max_colour or embedding > config.max_embedding:
            return "too much change"
        return Pair(
            id=hashlib.sha256(f"{source.id} {target.id}".encode()).hexdigest()[:24],
            source=source.id,
            target=target.id,
            scene=source.scene,
            change_flow=round(flow, 4),
            change_colour=round(colour, 4),
            change_embedding=round(embedding, 4),
        )
