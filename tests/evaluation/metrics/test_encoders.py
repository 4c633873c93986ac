"""CLIP, DINO and PickScore figures against their definitions, by tiny random models loaded as the real ones are."""

import pytest
import torch
import torch.nn.functional as F
from torchmetrics.functional.multimodal import clip_score
from transformers import AutoModel, AutoProcessor

from icve.errors import InputError
from icve.evaluation.metrics.dino import imagenet_pixels
from icve.evaluation.metrics.registry import METRICS, make_metric
from icve.evaluation.metrics.weights import MODELS
from icve.evaluation.scorers import MissingError
from tests.evaluation.metrics.cases import bunny, case, edit, photo
from tests.evaluation.metrics.tiny_encoders import save_clip, save_dinov2, save_vit

PROMPTS = {"source_prompt": "a rabbit on a meadow", "target_prompt": "a rabbit behind a red box"}


@pytest.fixture(scope="module")
def models(tmp_path_factory):
    folder = tmp_path_factory.mktemp("encoders")
    clip, vit = save_clip(folder / "clip"), save_vit(folder / "vit")
    return {
        "clip": clip,
        "clip_vitb32": clip,
        "dino": save_dinov2(folder / "dino"),
        "dino_vitb16": vit,
        "dino_vitb8": vit,
        "pickscore": clip,
        "pickscore_processor": clip,
    }


@pytest.fixture(scope="module")
def edited(tmp_path_factory):
    source = bunny(3, step=10)
    target, mask = edit(source)
    return case(tmp_path_factory.mktemp("case"), source=source, edited=target, target=target, mask=mask, **PROMPTS)


class WithoutOutputs:
    """A CLIP of transformers 5 as torchmetrics 1.9 expects it: its vectors without the object around them."""

    def __init__(self, model):
        self.model, self.config = model, model.config

    def to(self, device):
        return WithoutOutputs(self.model.to(device))

    def get_image_features(self, pixels):
        return self.model.get_image_features(pixels).pooler_output

    def get_text_features(self, ids, mask):
        return self.model.get_text_features(ids, mask).pooler_output


def scored(name, models, edited):
    metric = make_metric(name, models)
    metric.load()
    scores = metric.score(*edited)
    assert set(scores) <= {figure.name for figure in metric.figures}
    for figure in metric.figures:
        if figure.name in scores:
            assert figure.low <= scores[figure.name] + 1e-6
            assert figure.high is None or scores[figure.name] <= figure.high
    return scores


@pytest.fixture(scope="module")
def reference(models, edited):
    """CLIP's own vectors: edited and source frames, source and target prompt; and the model and processor."""
    model, processor = AutoModel.from_pretrained(models["clip"]), AutoProcessor.from_pretrained(models["clip"])
    frames = [*edited[1].edited, *edited[1].source]
    inputs = processor(images=frames, text=list(PROMPTS.values()), return_tensors="pt", padding=True)
    with torch.no_grad():
        output = model(**inputs)
    return output.image_embeds[:3], output.image_embeds[3:], output.text_embeds, model, processor


def test_clip_text_is_torchmetrics(models, edited, reference):
    frames = torch.from_numpy(edited[1].edited.copy()).permute(0, 3, 1, 2)
    *_, model, processor = reference
    expected = clip_score(list(frames), [PROMPTS["target_prompt"]] * 3, lambda: (WithoutOutputs(model), processor))
    assert scored("clip_text", models, edited)["clip_text"] == pytest.approx(expected.item(), abs=1e-4)


def test_clip_text_takes_the_instruction_where_there_is_no_prompt(models, edited, reference, tmp_path):
    bare = case(tmp_path, source=edited[1].source, edited=edited[1].edited)
    frames = torch.from_numpy(bare[1].edited.copy()).permute(0, 3, 1, 2)
    *_, model, processor = reference
    expected = clip_score(list(frames), [bare[0].instruction] * 3, lambda: (WithoutOutputs(model), processor))
    assert scored("clip_text", models, bare)["clip_text"] == pytest.approx(expected.item(), abs=1e-4)
    with pytest.raises(MissingError, match="prompt"):
        scored("clip_direction", models, bare)


def test_clip_frames_and_direction(models, edited, reference):
    frames, sources, texts, *_ = reference
    expected = (F.cosine_similarity(frames[0], frames[1], 0) + F.cosine_similarity(frames[1], frames[2], 0)) / 2
    assert scored("clip_frames", models, edited)["clip_frames"] == pytest.approx(float(expected), abs=1e-5)
    way = texts[1] - texts[0]
    ways = [F.cosine_similarity(after - before, way, 0) for before, after in zip(sources, frames, strict=True)]
    assert scored("clip_direction", models, edited)["clip_direction"] == pytest.approx(float(sum(ways) / 3), abs=1e-4)


def test_pickscore(models, edited, reference):
    frames, _, texts, model, _ = reference
    expected = model.logit_scale.detach().exp() * (frames @ texts[1]).mean()
    assert scored("pickscore", models, edited)["pickscore"] == pytest.approx(expected.item(), abs=1e-4)


def test_dino_frames_and_distance(models, edited):
    model, processor = AutoModel.from_pretrained(models["dino"]), AutoProcessor.from_pretrained(models["dino"])

    def vectors(frames):
        with torch.no_grad():
            return model(**processor(images=list(frames), return_tensors="pt")).last_hidden_state[:, 0]

    clip = vectors(edited[1].edited)
    expected = F.cosine_similarity(clip[1:], clip[:-1]).mean()
    assert scored("dino_frames", models, edited)["dino_frames"] == pytest.approx(float(expected), abs=1e-5)
    scores = scored("dino", models, edited)
    distance = 1 - F.cosine_similarity(clip, vectors(edited[1].source)).mean()
    assert scores["dino_source"] == pytest.approx(float(distance), abs=1e-5)
    assert scores["dino_source"] > 1e-4
    for same in ("dino_outside", "dino_inside", "dino_target"):
        assert scores[same] == pytest.approx(0, abs=1e-6)


def test_vbench_consistency(models, edited, reference):
    a, b, c = reference[0]
    cosine = lambda x, y: float(F.cosine_similarity(x, y, 0).clamp(min=0))  # noqa: E731
    expected = (cosine(a, b) + (cosine(b, c) + cosine(a, c)) / 2) / 2
    scores = scored("background_consistency", models, edited)
    assert scores["background_consistency"] == pytest.approx(expected, abs=1e-5)
    assert 0 < scored("subject_consistency", models, edited)["subject_consistency"] <= 1


def test_structure_distance(models, edited):
    """Against keys worked out by hand from the layer's input."""
    metric = make_metric("structure_distance", models)
    metric.load()
    frame = photo("cat")
    pixels = imagenet_pixels(frame)
    assert pixels.shape[2:] == (224, 298)
    layer = metric.model.layers[-1]
    with torch.no_grad():
        hidden = metric.model(pixels, interpolate_pos_encoding=True, output_hidden_states=True).hidden_states[-2]
        keys = layer.attention.k_proj(layer.layernorm_before(hidden))[0]
    by_hand = F.cosine_similarity(keys[:, None], keys[None], dim=-1)
    assert torch.allclose(metric.self_similarity(frame), by_hand, atol=1e-4)
    assert metric.score(*edited)["structure_distance"] > 0
    assert (
        make_metric("structure_distance", models).version == metric.version != make_metric("structure_distance").version
    )


def test_other_weights_in_the_same_folder_are_another_version(tmp_path):
    first, copy = save_clip(tmp_path / "clip"), save_clip(tmp_path / "moved")
    models = {"clip": first, "pickscore": first, "pickscore_processor": copy}
    before = {name: make_metric(name, models).version for name in ("clip_text", "pickscore")}
    assert before["clip_text"] == make_metric("clip_text", {"clip": copy}).version
    assert before["clip_text"] != make_metric("clip_text").version
    model = AutoModel.from_pretrained(first)
    with torch.no_grad():
        model.visual_projection.weight[0, 0] += 1
    model.save_pretrained(first)
    assert before["clip_text"] != make_metric("clip_text", models).version
    models["pickscore"] = copy
    assert before["pickscore"] == make_metric("pickscore", models).version
    (tmp_path / "moved/preprocessor_config.json").write_text("{}")
    assert before["pickscore"] != make_metric("pickscore", models).version


@pytest.mark.parametrize("name", sorted(METRICS))
def test_every_metric_keeps_the_protocol(name):
    metric = make_metric(name)
    assert metric.name == name
    assert isinstance(metric.version, str)
    assert isinstance(metric.heavy, bool)
    assert metric.figures


def test_figures_are_unique():
    figures = [figure.name for name in METRICS for figure in make_metric(name).figures]
    assert len(figures) == len(set(figures))


@pytest.mark.parametrize("name", [name for name in sorted(METRICS) if make_metric(name).heavy])
def test_missing_weights_say_what_to_do(name, tmp_path):
    metric = make_metric(name, {model: str(tmp_path / "nothing") for model in MODELS})
    with pytest.raises(MissingError, match=r"--models|is not run here"):
        metric.load()


def test_pickled_weights_are_refused(tmp_path, models):
    model = AutoModel.from_pretrained(models["clip"])
    folder = tmp_path / "pickled"
    AutoProcessor.from_pretrained(models["clip"]).save_pretrained(folder)
    model.config.save_pretrained(folder)
    torch.save(model.state_dict(), folder / "pytorch_model.bin")
    with pytest.raises(MissingError, match="--models clip=FOLDER"):
        make_metric("clip_text", {"clip": str(folder)}).load()


def test_unknown_names():
    with pytest.raises(InputError, match="no metric"):
        make_metric("beauty")
    with pytest.raises(InputError, match="no model"):
        make_metric("psnr", {"clib": "x"})
