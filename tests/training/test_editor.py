"""Whole tiny runs: interrupting, resuming, staging, options, what the result's folder holds."""

import json
import signal

import pytest
import torch
from tests import tiny
from tests.training.runs import BUCKETS, config, world

from icve.data.samples import Batch
from icve.errors import InputError
from icve.pipelines.edit import InContextVideoEditPipeline
from icve.training.editor import train_editor
from icve.training.flow_matching import InContextFlowMatching

WEIGHTS = "model/transformer/diffusion_pytorch_model.safetensors"


@pytest.fixture(scope="module")
def start(tmp_path_factory):
    """A model whose text side may be trained."""
    return tiny.save_tiny_model(tmp_path_factory.mktemp("models") / "start")


@pytest.mark.parametrize("naming", [0.0, 0.5])
def test_interrupted_and_resumed_equals_uninterrupted(start, tmp_path, naming, monkeypatch):
    values = {"start": start, "flow": {"naming_weight": naming}, "train": {"text_encoders": True}}
    assert train_editor(config(tmp_path / "whole", **values))
    original, seen = InContextFlowMatching.loss, []

    def loss(self, batch: Batch, share: int):
        seen.append(batch.step)
        if len(seen) == 3:
            signal.raise_signal(signal.SIGINT)  # in the middle of a step, as Ctrl-C would
        return original(self, batch, share)

    monkeypatch.setattr(InContextFlowMatching, "loss", loss)
    parts = config(tmp_path / "parts", **values)
    assert not train_editor(parts)
    assert not (tmp_path / "parts/model").exists()
    assert train_editor(parts)
    assert seen == [0, 1, 2, 3, 4]
    assert (tmp_path / "whole" / WEIGHTS).read_bytes() == (tmp_path / "parts" / WEIGHTS).read_bytes()
    whole, rows = ([json.loads(r) for r in (tmp_path / n / "log.jsonl").open()] for n in ("whole", "parts"))
    assert [row["loss"] for row in rows] == [row["loss"] for row in whole]


def test_a_run_that_has_ended_is_left_alone(start, tmp_path, capsys):
    run = config(tmp_path / "run", start=start, steps=1)
    train_editor(run)
    before = (tmp_path / "run" / WEIGHTS).stat().st_mtime_ns
    assert train_editor(run)
    assert "has ended" in capsys.readouterr().err
    assert (tmp_path / "run" / WEIGHTS).stat().st_mtime_ns == before


def test_another_config_in_the_same_folder_is_refused(start, tmp_path):
    train_editor(config(tmp_path / "run", start=start, steps=2))
    with pytest.raises(InputError, match=r"optimizer.lr: 0.001 there, 0.002 here"):
        train_editor(config(tmp_path / "run", start=start, steps=2, optimizer={"lr": 2e-3, "ema": 0.9}))


def test_it_learns(start, tmp_path):
    """The loss of one batch, over and over, falls."""
    data = world() | {"buckets": [{"size": "1x32x32", "batch": 8}]}
    values = {"start": start, "steps": 60, "data": data, "flow": {"text_dropout": 0}, "precision": "fp32"}
    train_editor(config(tmp_path / "run", **values, optimizer={"lr": 3e-3, "warmup": 5}))
    losses = [json.loads(row)["loss"] for row in (tmp_path / "run/log.jsonl").open()]
    assert sum(losses[-10:]) < 0.85 * sum(losses[:10])


def test_stages_follow_each_other_and_the_card_says_so(start, tmp_path):
    base = config(tmp_path / "base", start=start, data=world(pairs="text_to_video", full_share=1.0))
    validation = {"every": 2, "samples": 4, "edits": 1}
    pretrain = config(
        tmp_path / "pretrain", start=tmp_path / "base", data=world(pairs="unpaired"), validation=validation
    )
    train_editor(base)
    train_editor(pretrain)
    folder = tmp_path / "pretrain/model"
    history = json.loads((folder / "training.json").read_text())
    assert [stage["name"] for stage in history] == ["base", "pretrain"]
    curve = history[1]["curve"]
    assert [row["step"] for row in curve] == [2, 4, 5]
    assert [row["samples"] for row in curve] == [8, 14, 16]
    assert set(curve[0]["held_out"]) == {"0.1", "0.3", "0.5", "0.7", "0.9"}
    card = (folder / "README.md").read_text()
    assert "| pretrain | unpaired (0% of the full split) | 5 | 16 |" in card
    assert "| 16 |" in card[card.index("## pretrain") :]
    assert str(tmp_path) not in card + json.dumps(history)
    assert not any(str(tmp_path) in path.read_text() for path in folder.rglob("*.json"))
    assert len(list((tmp_path / "pretrain/samples").glob("*.png"))) == 3
    pipe = InContextVideoEditPipeline.from_pretrained(folder)
    edit = pipe(video=tiny.video(frames=5), prompt="make it red", num_inference_steps=1).videos
    assert edit.shape[1] == 5


def test_a_held_out_loss_can_be_compared_over_a_run(start, tmp_path):
    """With a learning rate of nothing, it stays what it is to the last digit: same samples, same noise."""
    values = {"validation": {"every": 1, "samples": 4}, "optimizer": {"lr": 1e-30}, "precision": "fp32"}
    train_editor(config(tmp_path / "run", start=start, steps=2, **values))
    first, second = [json.loads(row)["held_out"] for row in (tmp_path / "run/curve.jsonl").open()]
    assert first == second
    assert len(set(first.values())) == len(first)


def test_how_the_source_enters_is_kept_with_the_model(start, tmp_path):
    flow = {"source_timestep": "target", "source_positions": "shifted", "type_embedding": True}
    train_editor(config(tmp_path / "run", start=start, flow=flow))
    transformer = InContextVideoEditPipeline.from_pretrained(tmp_path / "run/model").transformer
    assert {key: transformer.config[key] for key in flow} == flow
    assert transformer.type_embedder.weight.abs().max() > 0  # it started at zero, and has learned


def test_chosen_layers_learn_and_the_others_stay(start, tmp_path):
    train = {"what": "layers", "layers": ["*attn.to_q*"]}
    train_editor(config(tmp_path / "run", start=start, train=train, precision="fp32"))
    before = InContextVideoEditPipeline.from_pretrained(start).transformer.state_dict()
    after = InContextVideoEditPipeline.from_pretrained(tmp_path / "run/model").transformer.state_dict()
    changed = {name for name in before if not torch.equal(before[name], after[name])}
    assert changed
    assert all("attn.to_q" in name for name in changed)


def test_an_adapter_is_a_small_folder_that_edits(start, tmp_path):
    train = {"what": "lora", "lora": {"rank": 2, "alpha": 2}, "base": {"storage": "fp8"}}
    parallel = {"checkpointing": "full"}
    train_editor(config(tmp_path / "run", start=start, train=train, parallel=parallel))
    folder = tmp_path / "run/model"
    assert not (folder / "transformer").exists()
    pipe = InContextVideoEditPipeline.from_pretrained(folder)
    lora = [p for name, p in pipe.transformer.named_parameters() if "lora_B" in name]
    assert max(p.abs().max() for p in lora) > 0
    pipe(video=tiny.video(frames=5), prompt="make it red", num_inference_steps=1)
    assert "Begun from" in (folder / "README.md").read_text()


def test_a_new_model_takes_autoencoder_and_words_from_the_bundled_one(tmp_path):
    model = {"heads": 2, "head_dim": 16, "dual_blocks": 1, "single_blocks": 1, "rope_axes_dim": [4, 6, 6]}
    data = world(pairs="text_to_video") | {"buckets": [{"size": "1x64x64", "batch": 2}]}
    train = {"text_encoders": True}
    train_editor(config(tmp_path / "run", start="mini", steps=1, model=model, data=data, train=train))
    new, old = (InContextVideoEditPipeline.from_pretrained(m) for m in (tmp_path / "run/model", "mini"))
    words = [p.text_encoder.get_input_embeddings().weight for p in (new, old)]
    assert torch.equal(words[0], words[1])
    layers = [p.text_encoder.layers[0].self_attn.q_proj.weight for p in (new, old)]
    assert not torch.equal(layers[0], layers[1])
    assert new.transformer.config.num_attention_heads == 2


def test_no_start_and_no_autoencoder(tmp_path):
    with pytest.raises(InputError, match="needs an autoencoder"):
        train_editor(config(tmp_path / "run", model={}))
    with pytest.raises(InputError, match="there is nothing to train"):
        train_editor(config(tmp_path / "run"))


def test_draws_need_a_source_that_they_can_share(start, tmp_path):
    with pytest.raises(InputError, match="draws: 4 needs a source that the draws can share"):
        train_editor(config(tmp_path / "run", start=start, flow={"draws": 4}))


def test_stills_before_clips(start, tmp_path):
    assert BUCKETS[0]["stop"] == BUCKETS[1]["start"]
    train_editor(config(tmp_path / "run", start=start))
    samples = [json.loads(row)["samples"] for row in (tmp_path / "run/log.jsonl").open()]
    assert samples == [4, 8, 12, 14, 16]
