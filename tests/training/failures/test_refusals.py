"""What does not fit together in a config, a model and its sets is refused in one sentence, with the remedy."""

import json
import shutil
import subprocess
import sys

import pyarrow.compute as pc
import pyarrow.parquet as pq
import torch
from tests import tiny
from tests.data.shard_samples import BUCKET
from tests.training.failures.run_files import PAIRS, bucket, checkpoints, encode

from icve.data.encode import encode_texts

WORLD = {"kind": "world", "pairs": "paired"}


def test_another_config_in_the_same_folder(train, refused, tmp_path):
    assert train(steps=2)[0] == 0
    assert refused(steps=2, seed=5, optimizer={"lr": 0.002}) == (
        f"{tmp_path / 'run'} holds a run of another config (optimizer.lr: 0.001 there, 0.002 here; seed: 0 there, "
        "5 here): give another output folder, or delete it."
    )


HOLD = """
import fcntl, sys
file = open(sys.argv[1], "w")
fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
sys.stdin.read()
"""


def test_another_process_trains_in_the_folder(train, refused, tmp_path):
    (tmp_path / "run").mkdir()
    command = [sys.executable, "-c", HOLD, str(tmp_path / "run/.lock")]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        other.stdout.readline()
        sentence = f"Another process trains in {tmp_path / 'run'}: wait for its end, or give another output folder."
        assert refused(steps=2) == sentence
        assert [path.name for path in (tmp_path / "run").iterdir()] == [".lock"]
        other.kill()
    assert train(steps=2)[0] == 0


def test_a_set_that_is_not_there(refused, tmp_path):
    assert f"{tmp_path / 'nowhere'} is not a set" in refused(tmp_path / "nowhere")


def test_a_set_that_has_changed_since_the_checkpoint(train, refused, damaged):
    assert train(damaged, steps=4)[0] == 0
    (pairs,) = (damaged / "pairs").glob("*.parquet")
    pq.write_table(pq.read_table(pairs).slice(1), pairs)
    shutil.rmtree(damaged.parent / "run/model")
    assert f"has {PAIRS - 1} samples of {BUCKET} but had {PAIRS}" in refused(damaged, steps=4)


def test_latents_of_another_autoencoder(refused, folder, tmp_path):
    pipe = tiny.pipeline()
    with torch.no_grad():
        pipe.vae.encoder.conv_in.conv.weight.mul_(2)
    other = shutil.copytree(folder / "raw", tmp_path / "other")
    encode(other, pipe)
    start = folder / "start"
    assert refused(other) == (
        f"the latents of {other} were made by another autoencoder (other): run `icve data encode` with --model {start}."
    )


def test_embeddings_of_another_width(refused, damaged):
    encoder = damaged / "text/encoder.json"
    shutil.rmtree(damaged / "text")
    pipe = tiny.pipeline()
    encode_texts(damaged, _other_text_encoder(pipe), "other", progress=lambda _: None)
    assert json.loads(encoder.read_text())["width"] == 16
    assert "text embeddings" in (sentence := refused(damaged))
    assert "16" in sentence


def _other_text_encoder(pipe):
    from transformers import LlamaConfig, LlamaModel

    vocabulary = pipe.text_encoder.config.vocab_size
    config = LlamaConfig(
        vocab_size=vocabulary, hidden_size=16, intermediate_size=16, num_hidden_layers=3, num_attention_heads=2
    )
    pipe.register_modules(text_encoder=LlamaModel(config).eval())
    return pipe


def test_text_dropout_without_the_empty_embedding(train, refused, damaged):
    for index in (damaged / "text").glob("*.parquet"):
        table = pq.read_table(index)
        pq.write_table(table.filter(pc.not_equal(table["text"], "")), index)
    assert refused(damaged) == (
        f"text dropout needs the embedding of the empty prompt, which {damaged} lacks: run `icve data encode` on it "
        "again, or set flow.text_dropout: 0."
    )
    assert train(damaged, flow={"text_dropout": 0})[0] == 0


def test_the_naming_loss_without_labels(refused):
    assert refused(flow={"naming_weight": 0.1}) == (
        "flow.naming_weight needs to know what is in the clips, which sets of kind world alone say: set it to 0."
    )


def test_draws_need_a_source_that_they_can_share(refused):
    assert refused(flow={"draws": 4}).startswith("flow.draws: 4 needs a source that the draws can share")


def test_no_bucket_in_common(refused):
    data = {"buckets": [bucket("5x32x32")]}
    assert refused(data=data) == (
        "step 0: no set has samples of the buckets that are active then (5x32x32): change the buckets or their steps, "
        "or add a set."
    )


def test_a_size_that_the_model_cannot_take(refused):
    data = {"sets": [WORLD], "buckets": [bucket("5x40x32")]}
    assert "5x40x32" in refused(data=data)
    data = {"sets": [WORLD], "buckets": [bucket("4x32x32")]}
    assert "4x32x32" in refused(data=data)


def test_a_start_that_is_not_there(refused, tmp_path):
    assert f"Unknown model '{tmp_path / 'nowhere'}'" in refused(start=str(tmp_path / "nowhere"))


def test_a_start_that_has_not_ended(refused, tmp_path):
    (tmp_path / "stage").mkdir()
    (tmp_path / "stage/config.json").write_text("{}")
    assert "has no model yet: let it finish" in refused(start=str(tmp_path / "stage"))


def test_adapters(train, refused, tmp_path):
    lora = {"what": "lora", "lora": {"rank": 2, "alpha": 2}}
    stage = tmp_path / "lora"
    assert train(output=str(stage), train=lora)[0] == 0
    assert "the model to start from is an adapter: train it with train.what: lora" in refused(start=str(stage))
    assert "is an adapter of rank 2" in refused(start=str(stage), train={"what": "lora"})
    code, errors = train(start=str(stage), train=lora, output=str(tmp_path / "more"))
    assert code == 0, errors
    bases = [json.loads((run / "model/model_index.json").read_text())["base"] for run in (stage, tmp_path / "more")]
    assert bases[0] == bases[1]


def test_an_adapter_of_a_new_model(refused):
    model = {"heads": 2, "head_dim": 16, "rope_axes_dim": [4, 6, 6], "text_width": 32, "pooled_width": 24}
    assert refused(model=model, train={"what": "lora"}) == (
        "train.what: lora adapts a model that is there, and `model` begins a new one: set train.what: full."
    )


def test_validation_without_held_out_samples(refused):
    assert refused(validation={"every": 2}) == (
        "validation has no samples: set `hold_out` of a set of shards, or validation.every: 0."
    )


def test_validation_where_not_all_buckets_are_in_the_set(train, folder, tmp_path):
    sets = [{"kind": "shards", "path": str(folder / "set"), "hold_out": 0.4}]
    data = {"sets": sets, "buckets": [bucket(), bucket("5x32x32")]}
    code, errors = train(data=data, validation={"every": 3, "samples": 4})
    assert code == 0, errors
    assert len((tmp_path / "run/curve.jsonl").read_text().splitlines()) == 2


def test_a_batch_that_cannot_be_cut(refused, tmp_path):
    data = {"buckets": [bucket(), bucket(batch=2, start=5)]}
    assert refused(data=data, accumulate=3) == ("accumulate: 3 cannot cut a rank's 2 samples; lower it or raise batch.")
    assert not checkpoints(tmp_path / "run")  # said at the start, not at step 5
