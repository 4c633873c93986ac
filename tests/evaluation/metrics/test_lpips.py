"""LPIPS equals torchmetrics', with its published heads on one and the same random backbone, on real frames."""

import pytest
import torch
import torchmetrics.functional.image.lpips as theirs
from safetensors.torch import save_file

from icve.evaluation.metrics.lpips import LPIPS
from icve.evaluation.metrics.lpips_net import TAPS, features, from_published
from icve.evaluation.scorers import MissingError
from tests.evaluation.metrics.cases import bunny, case, edit, noisy, photo


def published(net: str) -> dict[str, torch.Tensor]:
    """A state dict in the lpips package's layout: torchmetrics' bundled heads, a random backbone."""
    torch.manual_seed(0)
    backbone = features(net)
    slices = [sum(tap < int(name.split(".")[0]) for tap in TAPS[net]) + 1 for name in backbone.state_dict()]
    state = {
        f"net.slice{number}.{name}": tensor
        for number, (name, tensor) in zip(slices, backbone.state_dict().items(), strict=True)
    }
    heads = torch.load(
        f"{theirs.__file__.rsplit('/', 1)[0]}/lpips_models/{net}.pth", map_location="cpu", weights_only=True
    )
    return state | heads


@pytest.mark.parametrize("net", ["alex", "vgg", "squeeze"])
def test_equals_torchmetrics(net, monkeypatch):
    state = published(net)
    ours = from_published(state)
    monkeypatch.setattr(theirs, "_TORCHVISION_AVAILABLE", True)
    monkeypatch.setattr(theirs, "_get_tv_model_features", lambda *_, **__: from_published(state).features)
    reference = theirs._LPIPS(pretrained=True, net=net)
    for name in ("cat", "temple"):
        x, y = (torch.from_numpy(a).permute(2, 0, 1)[None] / 127.5 - 1 for a in (photo(name), noisy(photo(name), 20)))
        with torch.no_grad():
            expected = float(reference(x, y).squeeze())
            assert expected > 1e-3
            assert float(ours(x, y)) == pytest.approx(expected, abs=1e-4)


def test_scores(tmp_path):
    source = bunny(2)
    target, mask = edit(source)
    save_file(published("squeeze"), tmp_path / "model.safetensors")
    metric = LPIPS(str(tmp_path))
    metric.load()
    scores = metric.score(*case(tmp_path, source=source, edited=target, target=target, mask=mask))
    assert scores["lpips_source"] > 1e-3
    assert scores["lpips_outside"] == scores["lpips_inside"] == scores["lpips_target"] == 0


def test_other_weights(tmp_path):
    save_file({"weight": torch.zeros(3)}, tmp_path / "model.safetensors")
    with pytest.raises(MissingError, match="--models lpips=FOLDER"):
        LPIPS(str(tmp_path)).load()
    with pytest.raises(MissingError, match="publish no weights"):
        LPIPS("").load()
