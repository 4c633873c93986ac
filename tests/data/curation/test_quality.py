"""The optional quality filters, on real photographs and with tiny models of the real classes."""

import itertools
import sys
import time
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch
from PIL import Image
from pydantic import ValidationError
from safetensors.numpy import save_file
from transformers import (
    BitImageProcessor,
    CLIPConfig,
    CLIPImageProcessor,
    CLIPModel,
    Dinov2Config,
    Dinov2Model,
)

import icve.data.world
from icve.data.curation.quality import QualityConfig, distance, make_embedder, make_meters, near_duplicates
from icve.data.curation.quality.aesthetic import Aesthetic, AestheticConfig
from icve.data.curation.quality.blur import Blur, BlurConfig
from icve.data.curation.quality.embeddings import EmbeddingConfig, ModelEmbedder, ThumbnailEmbedder
from icve.data.curation.quality.text_overlay import TextOverlay, TextOverlayConfig
from icve.errors import InputError

PHOTOS = sorted((Path(icve.data.world.__file__).parent / "photos").glob("*.jpg"))
TINY = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 1, "num_attention_heads": 2}
VISION = {"image_size": 32, "patch_size": 8}
PROCESSING = {"size": {"shortest_edge": 32}, "crop_size": {"height": 32, "width": 32}}


def photo(path: Path, side: int = 512) -> np.ndarray:
    with Image.open(path) as image:
        image.thumbnail((side, side))
        return np.array(image.convert("RGB"))


@pytest.fixture(scope="module")
def clip_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clip")
    torch.manual_seed(0)
    text = TINY | {"vocab_size": 60, "bos_token_id": 1, "eos_token_id": 2, "max_position_embeddings": 8}
    CLIPModel(CLIPConfig(projection_dim=12, text_config=text, vision_config=TINY | VISION)).save_pretrained(folder)
    CLIPImageProcessor(**PROCESSING).save_pretrained(folder)
    return folder


def clip_features(folder: Path, image: np.ndarray) -> np.ndarray:
    """What CLIP says of an image, step by step: vision tower, projection, length 1."""
    model = CLIPModel.from_pretrained(folder).eval()
    pixels = CLIPImageProcessor.from_pretrained(folder)(images=Image.fromarray(image), return_tensors="pt")
    with torch.no_grad():
        pooled = model.vision_model(pixel_values=pixels["pixel_values"]).pooler_output
        features = model.visual_projection(pooled)[0].double().numpy()
    return features / np.linalg.norm(features)


# -- all of them


def test_filters_are_off_until_they_have_a_limit() -> None:
    config = QualityConfig()
    assert make_meters(config) == []
    assert config.refusal({}) is None
    with pytest.raises(ValidationError):
        QualityConfig.model_validate({"blur": {"least": 0.1}})


def test_a_limit_turns_a_filter_on_and_drops_with_a_reason() -> None:
    config = QualityConfig.model_validate({"blur": {"min": 0.03}})
    (meter,) = make_meters(config)
    sharp = photo(PHOTOS[0])
    smeared = cv2.GaussianBlur(sharp, (0, 0), 3)
    assert config.refusal({meter.name: meter.score(sharp)}) is None
    assert config.refusal({meter.name: meter.score(smeared)}) == "blurred"
    text = QualityConfig.model_validate({"text_overlay": {"max": 0.01}})
    assert text.refusal({"text_overlay": 0.02}) == "text over the picture"
    assert QualityConfig.model_validate({"aesthetic": {"min": 5}}).refusal({"aesthetic": 4.9}) == "low aesthetic score"


# -- blur


def test_sharpness_falls_with_every_blur_and_has_the_stated_range() -> None:
    blur = Blur(BlurConfig())
    for path in PHOTOS:
        image = photo(path)
        scores = [blur.score(image)] + [blur.score(cv2.GaussianBlur(image, (0, 0), sigma)) for sigma in (1, 2, 4)]
        assert scores == sorted(scores, reverse=True), path.name
        assert scores[0] > 0.1, path.name
        assert scores[2] < 0.35 * scores[0], path.name
    assert blur.score(np.full((64, 64, 3), 90, np.uint8)) == 0
    noise = np.random.default_rng(0).integers(0, 256, (256, 256, 1), dtype=np.uint8)
    assert blur.score(np.repeat(noise, 3, axis=2)) == pytest.approx(1, abs=0.02)
    board = np.indices((64, 64)).sum(axis=0) % 2 * 255
    assert blur.score(np.repeat(board[..., None], 3, axis=2).astype(np.uint8)) == pytest.approx(1.79, abs=0.01)


def test_sharpness_is_not_contrast() -> None:
    blur = Blur(BlurConfig())
    image = photo(PHOTOS[0])
    pale = (image.astype(np.float32) * 0.5 + 100).round().astype(np.uint8)
    assert blur.score(pale) == pytest.approx(blur.score(image), rel=0.1)


# -- text


def test_a_missing_ocr_package_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "rapidocr", None)  # what Python itself does with a module that cannot be imported
    with pytest.raises(InputError, match=r"icve\[ocr\]"):
        TextOverlay(TextOverlayConfig(max=0.01))


def test_text_is_found_where_it_is_and_only_there() -> None:
    pytest.importorskip("rapidocr")
    pytest.importorskip("onnxruntime")
    meter = TextOverlay(TextOverlayConfig(max=0.01))
    for path in PHOTOS[:4]:
        image = photo(path)
        assert meter.score(image) == 0, path.name
        height, width = image.shape[:2]
        titled = image.copy()
        cv2.rectangle(titled, (0, height * 3 // 4), (width, height), (0, 0, 0), -1)
        place, scale = (width // 20, height * 15 // 16), width / 300
        cv2.putText(titled, "A line of text", place, cv2.FONT_HERSHEY_SIMPLEX, scale, (255, 255, 255), 2, cv2.LINE_AA)
        changed = np.argwhere((titled != image).any(axis=2) & (titled > 128).all(axis=2))
        box = np.ptp(changed, axis=0) + 1
        share = box.prod() / (height * width)
        assert share < meter.score(titled) < 2.5 * share, path.name


# -- aesthetic


def test_aesthetic_score_is_the_heads_of_clip_features(clip_folder: Path, tmp_path: Path) -> None:
    random = np.random.default_rng(1)
    sizes = [12, 11, 8, 5, 3, 1]  # LAION's second predictor has 5 layers, with dropout in between
    layers = [(random.normal(size=(b, a)), random.normal(size=b)) for a, b in itertools.pairwise(sizes)]
    tensors = {}
    for number, (weight, bias) in zip((0, 2, 4, 6, 17), layers, strict=True):
        tensors[f"layers.{number}.weight"] = weight.astype(np.float32)
        tensors[f"layers.{number}.bias"] = bias.astype(np.float32)
    save_file(tensors, tmp_path / "head.safetensors")
    meter = Aesthetic(AestheticConfig(model=str(clip_folder), head=str(tmp_path / "head.safetensors")))
    scores = []
    for path in PHOTOS[:3]:
        values = clip_features(clip_folder, photo(path))
        for weight, bias in layers:
            values = weight.astype(np.float32) @ values + bias.astype(np.float32)
        scores.append(meter.score(photo(path)))
        assert scores[-1] == pytest.approx(values[0], rel=1e-4)
    assert len({round(score, 6) for score in scores}) == 3


def test_a_linear_aesthetic_head(clip_folder: Path, tmp_path: Path) -> None:
    weight = np.arange(12, dtype=np.float32)[None]
    save_file({"weight": weight, "bias": np.array([3], np.float32)}, tmp_path / "head.safetensors")
    meter = Aesthetic(AestheticConfig(model=str(clip_folder), head=str(tmp_path / "head.safetensors")))
    image = photo(PHOTOS[0])
    assert meter.score(image) == pytest.approx((weight @ clip_features(clip_folder, image))[0] + 3, rel=1e-5)


@pytest.mark.parametrize(
    ("tensors", "message"),
    [
        ({"weight": np.ones((1, 9), np.float32)}, "features of 9 numbers"),
        ({"0.weight": np.ones((4, 12), np.float32)}, "no chain"),
        ({"0.weight": np.ones((4, 12), np.float32), "1.weight": np.ones((1, 5), np.float32)}, "no chain"),
        ({"weight": np.ones((1, 3, 4), np.float32)}, "not linear"),
        ({}, "no chain"),
    ],
)
def test_heads_that_do_not_fit(tensors: dict, message: str, clip_folder: Path, tmp_path: Path) -> None:
    save_file(tensors, tmp_path / "head.safetensors")
    with pytest.raises(InputError, match=message):
        Aesthetic(AestheticConfig(model=str(clip_folder), head=str(tmp_path / "head.safetensors")))


def test_heads_that_are_none(clip_folder: Path, tmp_path: Path) -> None:
    (tmp_path / "broken.safetensors").write_bytes(b"no tensors")
    for head in (None, str(tmp_path / "none.safetensors"), str(tmp_path / "broken.safetensors")):
        with pytest.raises(InputError, match="head"):
            Aesthetic(AestheticConfig(model=str(clip_folder), head=head))


# -- embeddings


def test_thumbnails_are_near_for_what_looks_the_same_and_far_for_what_does_not() -> None:
    embedder = make_embedder(EmbeddingConfig())
    assert isinstance(embedder, ThumbnailEmbedder)
    photos = [photo(path, embedder.side) for path in PHOTOS]
    vectors = [embedder.embed(image) for image in photos]
    random = np.random.default_rng(0)
    for image, vector in zip(photos, vectors, strict=True):
        assert vector.dtype == np.float32
        assert vector.shape == (embedder.dimensions,)
        assert np.linalg.norm(vector) == pytest.approx(1, abs=1e-6)
        noisy = np.clip(image + random.normal(0, 6, image.shape), 0, 255).astype(np.uint8)
        coded = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 40])[1], cv2.IMREAD_COLOR)
        assert distance(vector, embedder.embed(noisy)) < 0.02
        assert distance(vector, embedder.embed(coded)) < 0.02
        few = max(1, round(0.03 * image.shape[1]))
        assert distance(embedder.embed(image[:, few:]), embedder.embed(image[:, :-few])) < 0.1
    apart = [distance(a, b) for i, a in enumerate(vectors) for b in vectors[:i]]
    assert min(apart) > 0.3
    assert distance(vectors[0], vectors[0]) == pytest.approx(0, abs=1e-6)


def test_pictures_of_nothing_have_embeddings_too() -> None:
    embedder = ThumbnailEmbedder()
    random = np.random.default_rng(0)
    for level in (0, 6, 128, 255):
        a, b = (np.clip(random.normal(level, 3, (90, 160, 3)), 0, 255).astype(np.uint8) for _ in range(2))
        assert distance(embedder.embed(a), embedder.embed(b)) < 0.08
    for level in (0, 117, 119, 255):
        assert np.linalg.norm(embedder.embed(np.full((16, 16, 3), level, np.uint8))) == pytest.approx(1, abs=1e-6)


def test_model_embeddings_are_the_models(clip_folder: Path, tmp_path: Path) -> None:
    image = photo(PHOTOS[1])
    embedder = make_embedder(EmbeddingConfig(model=str(clip_folder)))
    assert embedder.dimensions == 12
    np.testing.assert_allclose(embedder.embed(image), clip_features(clip_folder, image), atol=1e-5)

    torch.manual_seed(1)
    dino = Dinov2Model(Dinov2Config(**TINY, **VISION)).eval()
    dino.save_pretrained(tmp_path)
    BitImageProcessor(**PROCESSING).save_pretrained(tmp_path)
    pixels = BitImageProcessor.from_pretrained(tmp_path)(images=Image.fromarray(image), return_tensors="pt")
    with torch.no_grad():
        token = dino(pixels["pixel_values"]).last_hidden_state[0, 0].numpy()
    vector = ModelEmbedder(str(tmp_path)).embed(image)
    np.testing.assert_allclose(vector, token / np.linalg.norm(token), atol=1e-5)


def test_models_that_cannot_be_loaded(clip_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be loaded"):
        ModelEmbedder(str(tmp_path))
    for file in clip_folder.iterdir():
        (tmp_path / file.name).write_bytes(file.read_bytes())
    model = CLIPModel.from_pretrained(clip_folder)
    weights = {k: v.numpy() for k, v in model.state_dict().items() if k != "visual_projection.weight"}
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(InputError, match=r"lacks weights, such as visual_projection\.weight"):
        ModelEmbedder(str(tmp_path))


# -- near duplicates


def unit(vectors: np.ndarray) -> np.ndarray:
    return vectors / np.linalg.norm(vectors, axis=-1, keepdims=True)


def write(path: Path, vectors: np.ndarray) -> Path:
    vectors.astype(np.float16).tofile(path)
    return path


def planted(count: int, dimensions: int, copies: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors around common centres, some of them near copies of others; and which rows have a lower near copy."""
    random = np.random.default_rng(5)
    centres = random.normal(size=(max(1, count // 200), dimensions))
    vectors = unit(centres[random.integers(len(centres), size=count)] + 0.6 * random.normal(size=(count, dimensions)))
    rows = random.permutation(count)
    first, second = rows[:copies], rows[copies : 2 * copies]
    vectors[second] = unit(vectors[first] + 0.1 * unit(random.normal(size=(copies, dimensions))))
    expected = np.zeros(count, bool)
    expected[np.maximum(first, second)] = True
    return vectors, expected


def test_planted_duplicates_of_100000_rows_are_found(tmp_path: Path) -> None:
    vectors, expected = planted(100_000, 128, 5_000)
    file = write(tmp_path / "embeddings", vectors)
    start = time.process_time()
    drop = near_duplicates(file, 128, threshold=0.01, seed=3)
    assert time.process_time() - start < 20
    assert (drop & expected).sum() >= 0.99 * expected.sum()
    assert not (drop & ~expected).any()
    assert (near_duplicates(file, 128, threshold=0.01, seed=3) == drop).all()


@pytest.mark.parametrize("clusters", [1, 7, None])
def test_duplicates_are_those_of_all_comparisons(tmp_path: Path, clusters: int | None) -> None:
    vectors, expected = planted(3000, 32, 300)
    file = write(tmp_path / "embeddings", vectors)
    kept: list[int] = []
    for row, vector in enumerate(vectors):
        if not kept or (vectors[kept] @ vector).max() < 0.99:
            kept.append(row)
    drop = near_duplicates(file, 32, threshold=0.01, clusters=clusters)
    wrong = np.setxor1d(np.flatnonzero(~drop), kept)
    assert len(wrong) <= (0 if clusters == 1 else 3)
    assert expected.sum() == 300


def test_equal_rows_keep_the_first_and_chains_are_not_one_group(tmp_path: Path) -> None:
    same = np.repeat(unit(np.random.default_rng(0).normal(size=(1, 16))), 9000, axis=0)
    drop = near_duplicates(write(tmp_path / "same", same), 16, threshold=0)
    assert np.flatnonzero(~drop).tolist() == [0]
    # Each is near the next: what is far from the first stays.
    angles = np.arange(40) * 0.1
    chain = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    drop = near_duplicates(write(tmp_path / "chain", chain), 2, threshold=1 - np.cos(0.25), clusters=1)
    assert np.flatnonzero(~drop).tolist() == list(range(0, 40, 3))


def test_files_that_hold_no_vectors(tmp_path: Path) -> None:
    assert near_duplicates(write(tmp_path / "none", np.empty((0, 4))), 4, threshold=0.1).tolist() == []
    assert near_duplicates(write(tmp_path / "one", np.ones((1, 4))), 4, threshold=0.1).tolist() == [False]
    with pytest.raises(InputError, match="whole vectors"):
        near_duplicates(write(tmp_path / "odd", np.ones(7)), 4, threshold=0.1)
    for bad in (0, np.nan):
        rows = np.ones((3, 4))
        rows[1] = bad
        with pytest.raises(InputError, match="zero or not finite"):
            near_duplicates(write(tmp_path / "bad", rows), 4, threshold=0.1)
