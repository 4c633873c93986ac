"""PSNR and SSIM: how far pixels are from the source's, where they should have stayed, and from the true edit's."""

import math
from collections import defaultdict
from collections.abc import Callable, Mapping
from weakref import WeakKeyDictionary

import numpy as np

from icve.evaluation.cases import Case
from icve.evaluation.clips import Clips
from icve.evaluation.metrics.metric import ModelFree, Part, compared, part_figures
from icve.evaluation.metrics.pixel_sums import WINDOW, PixelSums, compare_frames
from icve.evaluation.scorers import Figure, MissingError

HIGHEST = 100.0  # dB: of frames that are equal, where the definition gives infinity


class PSNR(ModelFree):
    """Peak signal-to-noise ratio, 10 log10(255² / mean squared error) over RGB in dB: of each frame, then their mean.

    Range 0 to 100 (equal frames count as 100), higher is better. Where a part of the frame is compared, the error is
    that of its pixels alone (FiVE-Bench's own figures, which count the rest as equal, are those of `five_pixels`).
    """

    name = "psnr"
    figures: tuple[Figure, ...] = part_figures("psnr", "higher", 0, HIGHEST, "dB")

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        return _means("psnr", clips, lambda part: psnr(part.squared_error / part.values))


class SSIM(ModelFree):
    """Structural similarity (Wang et al. 2004) of luma: Gaussian window 11 x 11 of sigma 1.5, K1 0.01, K2 0.03.

    Range -1 to 1, higher is better. The map is averaged over the part compared, windows that hang over the frame's edge
    left out, then over frames. Luma is BT.601, rounded to 8 bits, as the authors' own code does; equal to scikit-image
    with gaussian_weights and use_sample_covariance=False. FiVE-Bench's own, of RGB, is that of `five_pixels`.
    """

    name = "ssim"
    figures: tuple[Figure, ...] = part_figures("ssim", "higher", -1, 1)

    def score(self, case: Case, clips: Clips) -> Mapping[str, float]:  # noqa: ARG002
        """See `Scorer`."""
        height, width = clips.edited.shape[1:3]
        if min(height, width) < WINDOW:
            raise MissingError(f"SSIM needs frames of at least {WINDOW} x {WINDOW} pixels, not {height} x {width}.")
        return _means("ssim", clips, lambda part: part.similarity / part.windows if part.windows else math.nan)


def psnr(squared_error: float) -> float:
    """The PSNR in dB of a mean squared error of 8-bit values, at most `HIGHEST`."""
    return HIGHEST if squared_error == 0 else min(HIGHEST, 10 * math.log10(255**2 / squared_error))


_SUMS: WeakKeyDictionary[Clips, list[tuple[Part, PixelSums]]] = WeakKeyDictionary()


def _pixel_sums(clips: Clips) -> list[tuple[Part, PixelSums]]:
    """Of each part of each frame; found once for all metrics that need them."""
    if clips not in _SUMS:
        found: list[tuple[Part, PixelSums]] = []
        for edited, reference, parts in compared(clips):
            mask = next((mask for mask in parts.values() if mask is not None), None)
            whole, masked = compare_frames(edited, reference, mask)
            found += [(part, whole if of is None else masked) for part, of in parts.items()]
        _SUMS[clips] = found
    return _SUMS[clips]


def _means(name: str, clips: Clips, figure: Callable[[PixelSums], float]) -> dict[str, float]:
    """The mean of a figure over the frames that have it, for each part."""
    values = defaultdict(list)
    for part, of_frame in _pixel_sums(clips):
        value = figure(of_frame)
        if not math.isnan(value):
            values[f"{name}_{part}"].append(value)
    return {of_part: float(np.mean(of_frames)) for of_part, of_frames in values.items()}
