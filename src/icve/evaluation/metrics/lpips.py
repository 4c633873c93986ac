"""LPIPS: how different two frames look to people, learnt from their judgements."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.metrics.encoders import device
from icve.evaluation.metrics.lpips_net import from_published
from icve.evaluation.metrics.metric import compared, means, part_figures
from icve.evaluation.metrics.weights import weights_version
from icve.evaluation.scorers import Figure, MissingError

Array = np.ndarray
FILE = "model.safetensors"


class LPIPS:
    """LPIPS version 0.1 (Zhang et al. 2018, "The Unreasonable Effectiveness of Deep Features as a Perceptual Metric"),
    of frames with all but the part compared set to 0 (as PIE-Bench and FiVE-Bench do); mean over frames.

    Range from 0 (equal), lower is better, seldom above 1. The weights decide which of its networks it is; PIE-Bench and
    FiVE-Bench take SqueezeNet. See `Scorer`.

    Args:
        location: a folder or hub id with model.safetensors, the state dict of `lpips.LPIPS` (docs/metrics.md says how
            to write it); "" where there is none.
    """

    name = "lpips"
    heavy = True
    figures: tuple[Figure, ...] = part_figures("lpips", "lower", 0, None)

    def __init__(self, location: str) -> None:
        self.location = location
        self.version = f"1 {weights_version(location)}"

    def load(self) -> None:
        """Load the weights; MissingError where they are not."""
        from huggingface_hub import hf_hub_download
        from safetensors.torch import load_file

        remedy = "write them once with the lines in docs/metrics.md and name their folder with --models lpips=FOLDER."
        if not self.location:
            raise MissingError(f"LPIPS's authors publish no weights in safetensors; {remedy}")
        try:
            local = Path(self.location) / FILE
            path = local if local.is_file() else hf_hub_download(self.location, FILE)
            self.net = from_published(load_file(path)).to(device())
        except Exception as error:  # the hub's, safetensors' and ours have no common base
            raise MissingError(f"LPIPS could not be loaded from {self.location!r}; {remedy}") from error

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        return means("lpips", compared(clips), self._distance)

    def _distance(self, edited: Array, reference: Array) -> float:
        pixels = [
            torch.from_numpy(frame).permute(2, 0, 1)[None].to(device()) / 127.5 - 1 for frame in (edited, reference)
        ]
        with torch.inference_mode():
            return float(self.net(*pixels))
