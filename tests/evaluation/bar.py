"""The bar that the world benchmark has to pass, on files and through the scorer, as an evaluation scores edits."""

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from icve.data.shard_media import encode_clip
from icve.evaluation.benchmarks.world import FPS, World
from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips, read_clip
from icve.evaluation.world.scorer import WorldScorer
from icve.pipelines.edit import InContextVideoEditPipeline


class Bar:
    """Success rates of edits that are known to be right or wrong."""

    def __init__(self, world: World, folder: Path) -> None:
        self.folder = folder
        self.cases = list(world.cases(folder / "world"))
        self.scorer = WorldScorer()

    def rate(self, kind: str) -> float:
        """The share of successes of this kind of edit, a name of `KINDS`."""
        made = KINDS[kind]
        scores = [self.scorer.score(case, Clips(case, path))["success"] for case, path in made(self)]
        return sum(scores) / len(scores)

    def targets(self) -> Iterator[tuple[Case, Path]]:
        """The true target of every case."""
        yield from ((case, case.target) for case in self.cases)

    def sources(self) -> Iterator[tuple[Case, Path]]:
        """The source as it is."""
        yield from ((case, case.source) for case in self.cases)

    def others(self) -> Iterator[tuple[Case, Path]]:
        """The next case's target: once of the same operation, and once whatever it is."""
        for i, case in enumerate(self.cases):
            later = self.cases[i + 1 :] + self.cases[:i]
            yield case, later[0].target
            yield case, next(other.target for other in later if other.category == case.category)

    def decoded(self) -> Iterator[tuple[Case, Path]]:
        """The true target once through the bundled model's autoencoder, as a lossless file."""
        pipe = InContextVideoEditPipeline.from_pretrained("mini", torch_dtype=torch.float32)
        path = self.folder / "decoded.mp4"
        for case in self.cases:
            pixels_BCFHW = pipe.video_processor.preprocess_video(read_clip(case.target).astype(np.float32) / 255)
            with torch.no_grad():
                decoded = pipe.decode_latents(pipe.encode_video(pixels_BCFHW)).float()
            frames = np.rint(255 * pipe.video_processor.postprocess_video(decoded, "np")[0]).astype(np.uint8)
            path.write_bytes(encode_clip(frames, FPS, quality=0, lossless=True))
            yield case, path


KINDS: dict[str, Callable[[Bar], Iterator[tuple[Case, Path]]]] = {
    "targets": Bar.targets,
    "sources": Bar.sources,
    "others": Bar.others,
    "decoded": Bar.decoded,
}
