"""The training step by its definition, and whole tiny runs: learning, interrupting, resuming, staging."""

import json

import pytest
import torch
from tests import tiny

from icve.errors import InputError
from icve.pipelines.edit import InContextVideoEditPipeline
from icve.training.config import EditorConfig
from icve.training.editor import InContextFlowMatching, train_editor
from icve.training.latents import Batch, LatentStream
from icve.training.naming import Naming

PHASES = [{"steps": 3, "batch": 4, "frames": 1}, {"steps": 2, "batch": 2, "frames": 5}]


def config(folder, **values) -> EditorConfig:
    defaults = {
        "kind": "editor",
        "output": folder,
        "data": "paired",
        "operations": {"recolour": 1, "background": 1},
        "phases": PHASES,
        "lr": 1e-3,
        "chunk": 8,
        "chunk_epochs": 2,
        "checkpoint_every": 2,
    }
    return EditorConfig(**(defaults | values))


@pytest.fixture
def start(tmp_path):
    folder = tmp_path / "start"
    tiny.save_tiny_model(folder)
    return folder


def test_loss_is_the_flow_matching_loss(start, monkeypatch):
    """With a transformer that answers the true velocity, the loss is 0; with one that answers 0, its mean square."""
    pipe = InContextVideoEditPipeline.from_pretrained(start)
    method = InContextFlowMatching(pipe, config(start, changed_weight=3.0))
    target, source = torch.randn(2, 16, 1, 8, 8), torch.randn(2, 16, 1, 8, 8)
    batch = Batch(target, source, ["make it red", "remove the star"])
    seen = {}

    def oracle(hidden_states, source_hidden_states, timestep, **_):
        seen.update(source=source_hidden_states, timestep=timestep)
        sigma = (timestep / 1000).view(-1, 1, 1, 1, 1)
        return ((hidden_states.float() - target) / sigma,)  # x_s = target + s (noise - target)

    monkeypatch.setattr(pipe.transformer, "forward", oracle)
    loss, _ = method.loss(batch, torch.Generator().manual_seed(0))
    assert loss < 1e-2  # x_s went through bfloat16
    assert torch.equal(seen["source"], source.bfloat16())
    assert ((seen["timestep"] > 0) & (seen["timestep"] < 1000)).all()
    monkeypatch.setattr(pipe.transformer, "forward", lambda hidden_states, **_: (torch.zeros_like(hidden_states),))
    _, values = method.loss(batch, torch.Generator().manual_seed(0))
    assert values["loss"] == pytest.approx(2.0, rel=0.15)  # variance of noise - target, both unit Gaussians


def test_several_draws_share_the_source_and_change_nothing_else(tmp_path):
    """Draws of a step, their source computed once, give the loss and the gradients of as many samples side by side."""

    def run(draws: int) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        torch.manual_seed(0)
        pipe = tiny.pipeline(source_attention="self", guidance_embeds=False).to(torch.bfloat16)
        naming = Naming(pipe.transformer).to(torch.bfloat16)
        settings = config(tmp_path, changed_weight=3.0, naming_weight=0.5, text_dropout=0, draws=draws)
        method = InContextFlowMatching(pipe, settings, naming)
        generator = torch.Generator().manual_seed(1)
        target, source = torch.randn(2, 2, 16, 1, 8, 8, generator=generator)
        names = torch.randint(0, 9, (2, 1, 4, 4, 2), generator=generator)
        batch = Batch(target, source, ["make it red", "remove the star"], names, names)
        method.sample_sigma = lambda *_: torch.tensor([0.2, 0.7, 0.4, 0.9])
        if draws == 1:
            batch = batch.rows([0, 0, 1, 1])
        loss, _ = method.loss(batch, torch.Generator().manual_seed(0))
        loss.backward()
        block = pipe.transformer.transformer_blocks[0]
        return loss, block.attn.to_k.weight.grad.float(), naming.source_head[1].weight.grad.float()

    for shared, apart in zip(run(draws=2), run(draws=1), strict=True):
        assert (shared - apart).norm() < 0.02 * apart.norm()


def test_the_draws_of_a_sample_are_spread_over_the_noise_levels(tmp_path):
    method = InContextFlowMatching(None, config(tmp_path, draws=4, logit_mean=0.6))
    sigma = method.sample_sigma(5000, torch.Generator().manual_seed(0))
    assert sigma.shape == (20000,)
    assert torch.logit(sigma).median() == pytest.approx(0.6 * 0.95, abs=0.06)  # a tenth is uniform, of median 0
    rows = sigma.view(-1, 4)
    assert (rows.diff(dim=1) > 0).float().mean() > 0.85  # each from its own quarter, but for the uniform ones


@pytest.mark.parametrize("naming", [0.0, 0.5])
def test_interrupted_and_resumed_equals_uninterrupted(start, tmp_path, naming):
    train_editor(config(tmp_path / "whole", start=start, naming_weight=naming))
    interrupted = config(tmp_path / "parts", start=start, naming_weight=naming)
    with pytest.raises(SystemExit) as stop:
        train_with_stop_after(interrupted, steps=2)
    assert stop.value.code == 0
    train_editor(interrupted)
    whole = (tmp_path / "whole/model/transformer/diffusion_pytorch_model.safetensors").read_bytes()
    parts = (tmp_path / "parts/model/transformer/diffusion_pytorch_model.safetensors").read_bytes()
    assert whole == parts


def train_with_stop_after(run_config: EditorConfig, steps: int) -> None:
    """Raise SIGINT in the middle of a step, as Ctrl-C would."""
    import signal

    original, count = LatentStream.batch, 0

    def batch(self, phase, step):
        nonlocal count
        count += 1
        if count == steps:
            signal.raise_signal(signal.SIGINT)
        return original(self, phase, step)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(LatentStream, "batch", batch)
        train_editor(run_config)


def test_another_config_in_the_same_folder_is_refused(start, tmp_path):
    train_editor(config(tmp_path / "run", start=start))
    with pytest.raises(InputError, match="differs in lr"):
        train_editor(config(tmp_path / "run", start=start, lr=2e-3))


def test_stages_follow_each_other_and_the_card_says_so(start, tmp_path):
    first = config(tmp_path / "base", start=start, data="text_to_video", full_share=1.0)
    second = config(tmp_path / "pretrain", start=tmp_path / "base/model", data="unpaired")
    train_editor(first)
    train_editor(second)
    history = json.loads((tmp_path / "pretrain/model/training.json").read_text())
    assert [stage["name"] for stage in history] == ["base", "pretrain"]
    card = (tmp_path / "pretrain/model/README.md").read_text()
    assert "| pretrain | unpaired (0% of the full split) | 5 | 16 |" in card
    assert str(tmp_path) not in card + json.dumps(history)
    configs = [path.read_text() for path in (tmp_path / "pretrain/model").rglob("*.json")]
    assert not any(str(tmp_path) in text for text in configs)
    pipe = InContextVideoEditPipeline.from_pretrained(tmp_path / "pretrain/model")
    edit = pipe(video=tiny.video(frames=5), prompt="make it red", num_inference_steps=1).videos
    assert edit.shape[1] == 5


def test_no_start_and_no_autoencoder(tmp_path):
    with pytest.raises(InputError, match="needs an autoencoder"):
        train_editor(config(tmp_path / "run"))


def test_draws_need_a_source_that_they_can_share(start, tmp_path):
    with pytest.raises(InputError, match="draws: 4 needs a model whose source_attention is self"):
        train_editor(config(tmp_path / "run", start=start, draws=4))
