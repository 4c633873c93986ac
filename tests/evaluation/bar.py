"""The bar that the world benchmark has to pass, on files and through the scorer, as an evaluation scores edits."""

import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from diffusers import AutoencoderKLHunyuanVideo

from icve.data.shard_media import encode_clip
from icve.evaluation.benchmarks.world import FPS, World
from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips, read_clip
from icve.evaluation.statistics.wilson import wilson
from icve.evaluation.world.scorer import WorldScorer
from icve.pipelines.models import BUNDLED_MODELS


class Bar:
    """Success rates of edits that are known to be right or wrong.

    Args:
        folder: for the clips, made if missing.
    """

    def __init__(self, world: World, folder: Path) -> None:
        self.folder = folder
        self.cases = list(world.cases(folder / "world"))
        self.scorer = WorldScorer()

    def rate(self, kind: str) -> tuple[float, int]:
        """The share of successes among this kind of edits (a name of `KINDS`), and how many there are."""
        scores = [self.scorer.score(case, Clips(case, path))["success"] for case, path in KINDS[kind](self)]
        return sum(scores) / len(scores), len(scores)

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
        vae = AutoencoderKLHunyuanVideo.from_pretrained(BUNDLED_MODELS / "mini" / "vae")
        path = self.folder / "decoded.mp4"
        for case in self.cases:
            pixels_FHWC = torch.from_numpy(read_clip(case.target)) / 127.5 - 1
            with torch.no_grad():
                latents = vae.encode(pixels_FHWC.permute(3, 0, 1, 2)[None]).latent_dist.mode()
                decoded_FHWC = vae.decode(latents, return_dict=False)[0][0].permute(1, 2, 3, 0)
            frames = ((decoded_FHWC.clamp(-1, 1) + 1) * 127.5).round().byte().numpy()
            path.write_bytes(encode_clip(frames, FPS, quality=0, lossless=True))
            yield case, path


KINDS: dict[str, Callable[[Bar], Iterator[tuple[Case, Path]]]] = {
    "targets": Bar.targets,
    "sources": Bar.sources,
    "others": Bar.others,
    "decoded": Bar.decoded,
}
LIMITS = {
    "targets": ("true targets", 1.0, 1.0),
    "sources": ("unedited sources", 0.0, 0.0),
    "others": ("targets of other cases", 0.0, 0.0),
    "decoded": ("true targets through the mini's autoencoder", 0.97, 1.0),
}


def print_bar(count: int, split: str, seed: int) -> bool:
    """Prints the rates with their intervals, and whether the bar is passed; returns that."""
    passed = True
    with tempfile.TemporaryDirectory() as folder:
        bar = Bar(World(count=count, split=split, seed=seed), Path(folder))
        for kind, (words, least, most) in LIMITS.items():
            rate, edits = bar.rate(kind)
            low, high = wilson(round(rate * edits), edits)
            good = least <= rate <= most
            passed &= good
            print(
                f"{words:<44}{rate:>8.2%} of {edits:,} (95%: {low:.2%} to {high:.2%}) {'ok' if good else 'NOT PASSED'}"
            )
    return passed
