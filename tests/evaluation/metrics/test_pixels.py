"""PSNR and SSIM equal scikit-image's and torchmetrics', in each part of real frames."""

import itertools
import sys

import cv2
import numba
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import peak_signal_noise_ratio as torch_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as torch_ssim

from icve.evaluation.metrics import pixels
from icve.evaluation.metrics.five_pixels import FivePixels, similarity_with_border
from icve.evaluation.metrics.pixel_kernel import compiled
from icve.evaluation.metrics.pixel_sums import compare_frames
from icve.evaluation.metrics.pixels import PSNR, SSIM
from icve.evaluation.scorers import MissingError
from tests.evaluation.metrics.cases import FRAMES, bunny, case, edit, noisy, photo


def gray(frame):
    return cv2.cvtColor(frame, cv2.COLOR_RGB2GRAY)


def reference_map(x, y):
    return structural_similarity(
        x, y, gaussian_weights=True, sigma=1.5, use_sample_covariance=False, data_range=255, full=True
    )


def scored(tmp_path, **clips):
    a_case, seen = case(tmp_path, **clips)
    return dict(PSNR().score(a_case, seen)) | dict(SSIM().score(a_case, seen))


def blocks(shape, side=16):
    """Masks that cover a frame in squares."""
    for top in range(0, shape[0], side):
        for left in range(0, shape[1], side):
            mask = np.zeros(shape, np.uint8)
            mask[top : top + side, left : left + side] = 1
            yield mask


@pytest.mark.parametrize("name", ["cat", "galaxies", "grass", "rocket"])
@pytest.mark.parametrize("sigma", [0, 1, 25])
def test_similarity_equals_scikit_image(name, sigma):
    x, y = photo(name), noisy(photo(name), sigma)
    mean, reference = reference_map(gray(x), gray(y))
    inner = np.zeros(reference.shape, bool)
    inner[5:-5, 5:-5] = True
    whole, _ = compare_frames(x, y)
    assert whole.similarity / whole.windows == pytest.approx(mean, abs=1e-4)
    assert whole.windows == inner.sum()
    for mask in itertools.islice(blocks(reference.shape), 0, None, 37):
        _, part = compare_frames(x, y, mask)
        where = inner & (mask > 0)
        assert part.windows == where.sum()
        assert part.similarity == pytest.approx(reference[where].sum(), abs=1e-4 * max(1, where.sum()))


def test_similarity_equals_torchmetrics():
    """Which counts the border, and is FiVE-Bench's."""
    x, y = gray(photo("coffee")), gray(noisy(photo("coffee"), 12))
    theirs = torch_ssim(torch.tensor(x)[None, None].double(), torch.tensor(y)[None, None].double(), data_range=255.0)
    assert similarity_with_border(x, y) == pytest.approx(float(theirs), abs=1e-4)


def test_opposite_pictures():
    x = np.random.default_rng(0).integers(0, 256, (40, 40, 3), dtype=np.uint8)
    whole, _ = compare_frames(x, 255 - x)
    assert whole.similarity / whole.windows == pytest.approx(reference_map(gray(x), gray(255 - x))[0], abs=1e-4)


@pytest.mark.parametrize("height", [1, 10, 11, 12, 31, 32, 33, 42, 43, 65])
@pytest.mark.parametrize("width", [1, 10, 11, 12, 45])
def test_any_size(height, width):
    """Rows are taken a few at a time, columns eight at a time: no size may lose or repeat one."""
    rng = np.random.default_rng(height)
    x, y = rng.integers(0, 256, (2, height, width, 3), dtype=np.uint8)
    mask = rng.integers(0, 2, (height, width), dtype=np.uint8)
    whole, part = compare_frames(x, y, mask)
    squares = (x.astype(float) - y) ** 2
    assert (whole.squared_error, whole.values) == pytest.approx((squares.sum(), x.size))
    assert (part.squared_error, part.values) == pytest.approx((squares[mask > 0].sum(), 3 * mask.sum()))
    if min(height, width) < 11:
        assert (whole.similarity, whole.windows, part.similarity, part.windows) == (0, 0, 0, 0)
        return
    reference = reference_map(gray(x), gray(y))[1][5:-5, 5:-5]
    inner = mask[5:-5, 5:-5] > 0
    assert (whole.similarity, whole.windows) == pytest.approx((reference.sum(), reference.size), abs=1e-3)
    assert (part.similarity, part.windows) == pytest.approx((reference[inner].sum(), inner.sum()), abs=1e-3)


def test_found_once_for_both_metrics(tmp_path, monkeypatch):
    calls = []
    monkeypatch.setattr(pixels, "compare_frames", lambda *args: calls.append(0) or compare_frames(*args))
    scored(tmp_path, source=bunny(), edited=noisy(bunny(), 6))
    assert len(calls) == FRAMES


def test_where_machine_code_cannot_be_kept():
    """A function that comes from no file has no place in a cache either."""
    there: dict = {}
    exec("def add(x): return x + 1", there)
    with pytest.raises(RuntimeError, match="cannot cache"):
        numba.njit(cache=True)(there["add"])
    assert compiled(there["add"])(1) == 2


def test_without_numba(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "icve.evaluation.metrics.pixel_kernel", raising=False)
    monkeypatch.setitem(sys.modules, "numba", None)
    with pytest.raises(MissingError, match="need numba; pip install 'icve\\[evaluate\\]'"):
        scored(tmp_path, source=bunny(), edited=bunny())


def test_each_part(tmp_path):
    source = bunny()
    target, mask = edit(source)
    edited = 255 - noisy(255 - target, 6)
    edited[2] = 255 - target[2]  # so that there are negative similarities
    scores = scored(tmp_path, source=source, edited=edited, target=target, mask=mask)

    def expected_psnr(reference, where):
        return np.mean([peak_signal_noise_ratio(reference[i][where[i]], edited[i][where[i]]) for i in range(FRAMES)])

    def expected_ssim(reference, where):
        inner = np.zeros_like(where)
        inner[:, 5:-5, 5:-5] = where[:, 5:-5, 5:-5]
        return np.mean([reference_map(gray(reference[i]), gray(edited[i]))[1][inner[i]].mean() for i in range(FRAMES)])

    everywhere = np.ones_like(mask)
    for part, reference, where in (
        ("outside", source, ~mask),
        ("inside", target, mask),
        ("source", source, everywhere),
        ("target", target, everywhere),
    ):
        assert scores[f"psnr_{part}"] == pytest.approx(expected_psnr(reference, where), abs=1e-4), part
        assert scores[f"ssim_{part}"] == pytest.approx(expected_ssim(reference, where), abs=1e-4), part
    assert set(scores) == {figure.name for figure in (*PSNR.figures, *SSIM.figures)}


def test_found_region(tmp_path):
    """Without a mask the change is found from the true edit: what lies far from it does not count as changed."""
    source = bunny()
    target, mask = edit(source)
    a_case, clips = case(tmp_path, source=source, edited=target, target=target)
    around = np.stack([cv2.dilate(frame.astype(np.uint8), np.ones((21, 21))) for frame in mask]) > 0
    assert clips.region[mask].mean() > 0.99
    assert not clips.region[~around].any()
    scores = PSNR().score(a_case, clips)
    assert scores["psnr_outside"] == scores["psnr_inside"] == scores["psnr_target"] == 100
    assert scores["psnr_source"] < 30


def test_without_mask_and_target(tmp_path):
    """Nothing says where the edit is: only the whole frame can be compared."""
    scores = scored(tmp_path, source=bunny(), edited=noisy(bunny(), 3))
    assert set(scores) == {"psnr_source", "ssim_source"}


def test_mask_of_all_and_lengths(tmp_path):
    source = bunny()
    mask = np.ones(source.shape[:3], bool)
    scores = scored(tmp_path, source=source, edited=noisy(source, 3)[:3], target=source[:4], mask=mask)
    assert "psnr_outside" not in scores
    assert scores["psnr_inside"] == pytest.approx(scores["psnr_target"])


def test_five_bench(tmp_path):
    """FiVE-Bench's recipe, step by step with torchmetrics."""
    source = bunny(17)
    target, mask = edit(source)
    edited = noisy(target, 6)
    a_case, clips = case(tmp_path, source=source, edited=edited, mask=mask)
    scores = FivePixels().score(a_case, clips)

    def tensors(clip):
        masked = clip[::8] * ~mask[::8, ..., None]
        return torch.tensor(masked).permute(0, 3, 1, 2)[:, None].double() / 255

    pairs = list(zip(tensors(edited), tensors(source), strict=True))
    assert len(pairs) == 3
    assert scores["five_psnr_unedit"] == pytest.approx(
        np.mean([torch_psnr(*p, data_range=1.0) for p in pairs]), abs=1e-4
    )
    assert scores["five_ssim_unedit"] == pytest.approx(
        np.mean([torch_ssim(*p, data_range=1.0) for p in pairs]), abs=1e-4
    )
    assert scores["five_mse_unedit"] == pytest.approx(np.mean([((a - b) ** 2).mean() for a, b in pairs]), abs=1e-6)


def test_five_bench_needs_a_mask(tmp_path):
    with pytest.raises(MissingError, match="no mask"):
        FivePixels().score(*case(tmp_path, source=bunny(), edited=bunny()))


def test_tiny_frames(tmp_path):
    with pytest.raises(MissingError, match="11 x 11"):
        SSIM().score(*case(tmp_path, source=bunny()[:, :10], edited=bunny()[:, :10]))
