"""What is measured while an editor trains, with the averaged weights: a held-out loss, sample edits, judged edits."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from icve.data.loader import Loader
from icve.data.samples import Batch
from icve.pipelines.edit import InContextVideoEditPipeline
from icve.training import parallel, timesteps
from icve.training.config import ValidationConfig
from icve.training.flow_matching import Draw, InContextFlowMatching, sample_generator
from icve.training.trainer import Trainer
from icve.video import contact_sheet

Judge = Callable[[InContextVideoEditPipeline, int], dict[str, Any]]
"""Edits so many held-out samples of the world; returns {"success": share, …} for the curve."""
SHEET_COLUMNS = 4


@dataclass
class Validation:
    """A callback that runs every `config.every` steps and at the end.

    Attributes:
        batches: held-out batches of this rank, read once: every measurement is on the same samples and noise.
        pipe: the trained parts as a pipeline, where all of them are loaded.
    """

    config: ValidationConfig
    method: InContextFlowMatching
    batches: Sequence[Batch]
    pipe: InContextVideoEditPipeline | None = None
    judge: Judge | None = None

    def __call__(self, trainer: Trainer, step: int) -> None:
        """Measure, if it is time to."""
        if step % self.config.every and step != trainer.config.steps:
            return
        row: dict[str, Any] = {"step": step, "samples": trainer.samples, "hours": round(trainer.seconds / 3600, 4)}

        def measure() -> None:
            row["held_out"] = self.held_out_loss(trainer)
            if self.pipe is not None and self.config.edits:
                self.sheet(trainer, step)
            if self.pipe is not None and self.judge is not None and self.config.judge:
                row.update(self.judge(self.pipe, self.config.judge))

        trainer.with_averages(measure)
        trainer.folder.add("curve.jsonl", row)
        losses = row["held_out"]
        figures = {f"held_out/{q}": loss for q, loss in losses.items()}
        figures["held_out/mean"] = sum(losses.values()) / len(losses)
        if "success" in row:
            figures["success"] = row["success"]
        trainer.log.scalars(step, figures)
        text = f"step {step}: held-out loss {figures['held_out/mean']:.4f}"
        trainer.log.note(
            text + (f", {row['success']:.1%} of {self.config.judge} edits right" if "success" in row else "")
        )

    def held_out_loss(self, trainer: Trainer) -> dict[str, float]:
        """The loss at the fixed quantiles of the noise levels, by quantile."""
        sums = np.zeros((len(self.config.quantiles), 2))
        for batch in self.batches:
            target, source = self.method.conditions.latents(batch)
            for i, q in enumerate(self.config.quantiles):
                draw = self._draw(batch, tuple(target.shape[1:]), q)
                total, number = self.method.loss_at(batch, target, source, draw, len(batch.slots)).sums["loss"]
                sums[i] += float(total), float(number)
        reduced = np.array(parallel.reduce_sum(trainer.layout, sums.flatten().tolist())).reshape(sums.shape)
        return {f"{q:g}": float(s / n) for q, (s, n) in zip(self.config.quantiles, reduced, strict=True)}

    def _draw(self, batch: Batch, shape: tuple[int, ...], probability: float) -> Draw:
        tokens = self.method.tokens(batch.bucket)
        sigma = timesteps.quantile(self.method.config.timesteps, torch.tensor([probability]), tokens)
        noise = [
            torch.randn(1, *shape, generator=sample_generator(self.method.seed, batch.step, slot))
            for slot in batch.slots
        ]
        return Draw(sigma.expand(len(noise), 1), torch.stack(noise), [False] * len(noise))

    def sheet(self, trainer: Trainer, step: int) -> None:
        """Write samples/step-….png: source, edit and true target of the first held-out pairs."""
        assert self.pipe is not None
        rows: list[tuple[str, np.ndarray]] = []
        left = self.config.edits
        for batch in self.batches:
            if batch.source is None or left <= 0:
                break
            target, source = self.method.conditions.latents(batch.rows(0, left))
            assert source is not None
            texts = batch.texts[: len(target)]
            left -= len(texts)
            generators = [torch.Generator().manual_seed(slot) for slot in batch.slots[: len(target)]]
            edits = self.pipe(prompt=texts, source_latents=source, generator=generators, output_type="latent").videos
            clips = zip(texts, self._pixels(source), self._pixels(edits), self._pixels(target), strict=True)
            for text, before, after, true in clips:
                rows += [(text, before), ("edit", after), ("true target", true)]
        if rows and trainer.folder.writes:
            folder = trainer.folder.path / "samples"
            folder.mkdir(exist_ok=True)
            contact_sheet(rows, folder / f"step-{step:08d}.png", columns=SHEET_COLUMNS)

    def _pixels(self, latents: Tensor) -> np.ndarray:
        """Scaled latents to clips uint8 (B, F, H, W, 3)."""
        assert self.pipe is not None
        video = self.pipe.decode_latents(latents).float()
        return ((video + 1) * 127.5).round().to(torch.uint8).permute(0, 2, 3, 4, 1).cpu().numpy()


def held_out_batches(loader: Loader, steps: int) -> list[Batch]:
    """The batches of `steps` steps, read once."""
    return list(loader.batches(0, steps))
