"""PSNR and SSIM equal scikit-image's and torchmetrics', in each part of real frames."""

import cv2
import numpy as np
import pytest
import torch
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from torchmetrics.functional.image import peak_signal_noise_ratio as torch_psnr
from torchmetrics.functional.image import structural_similarity_index_measure as torch_ssim

from icve.evaluation.metrics.five_pixels import FivePixels
from icve.evaluation.metrics.pixels import PSNR, SSIM
from icve.evaluation.metrics.ssim_map import SSIMMap
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


@pytest.mark.parametrize("name", ["cat", "galaxies", "grass", "rocket"])
@pytest.mark.parametrize("sigma", [0, 1, 25])
def test_map_equals_scikit_image(name, sigma):
    x, y = gray(photo(name)), gray(noisy(photo(name), sigma))
    ours = SSIMMap(*x.shape)(x, y)[5:-5, 5:-5]
    mean, theirs = reference_map(x, y)
    assert ours.mean() == pytest.approx(mean, abs=1e-4)
    assert np.abs(ours - theirs[5:-5, 5:-5]).max() < 1e-3  # single pixels of flat skies, in float32


def test_map_equals_torchmetrics():
    x, y = gray(photo("coffee")), gray(noisy(photo("coffee"), 12))
    theirs = torch_ssim(torch.tensor(x)[None, None].double(), torch.tensor(y)[None, None].double(), data_range=255.0)
    assert SSIMMap(*x.shape)(x, y).mean() == pytest.approx(float(theirs), abs=1e-4)  # it counts the border


def test_opposite_pictures():
    """The mean under a mask is found by a norm: negative similarities must stay negative."""
    x = np.random.default_rng(0).integers(0, 256, (40, 40), dtype=np.uint8)
    assert SSIMMap(40, 40)(x, 255 - x)[5:-5, 5:-5].mean() == pytest.approx(reference_map(x, 255 - x)[0], abs=1e-4)


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
