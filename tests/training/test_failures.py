"""What goes wrong in training as `icve train` says it: one sentence, exit code 2, and no checkpoint is lost."""

import json
import resource
import shutil
import signal
import time
from pathlib import Path

import pyarrow.compute as pc
import pyarrow.parquet as pq
import pytest
import torch
import yaml
from safetensors.torch import load_file, save, save_file
from tests import tiny
from tests.data.shard_samples import BUCKET, SHARD, replace_member, rewrite, write_set

from icve import cli
from icve.data.encode import encode_clips, encode_texts
from icve.training.checkpoint import Checkpointer
from icve.training.flow_matching import InContextFlowMatching

WEIGHTS = "diffusion_pytorch_model.safetensors"
WORLD = {"kind": "world", "pairs": "paired"}
STEPS, BATCH, PAIRS = 6, 4, 8
NAN = float("nan")
REMEDY = (
    "make that possible and run the same command, which goes on from the last checkpoint, or give another output "
    "folder."
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A model `start` and the sets `set`, encoded by it, and `raw`; do not change them."""
    folder = tmp_path_factory.mktemp("failures")
    tiny.save_tiny_model(folder / "start")
    shutil.copytree(write_set(folder / "raw", PAIRS), folder / "set")
    encode(folder / "set", tiny.pipeline())
    return folder


@pytest.fixture(autouse=True)
def handlers():
    """A run takes SIGTERM and SIGINT over."""
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.fixture
def damaged(folder, tmp_path):
    """A copy of `set` to damage."""
    return shutil.copytree(folder / "set", tmp_path / "set")


@pytest.fixture
def train(folder, tmp_path, capsys):
    """Calls `icve train` with values over those of a small run; returns exit code and what is on stderr."""

    def run(data_set="set", **values) -> tuple[int, str]:
        path = data_set if isinstance(data_set, Path) else folder / data_set
        config = {
            "kind": "editor",
            "output": str(tmp_path / "run"),
            "start": str(folder / "start"),
            "steps": STEPS,
            "data": {"sets": [{"kind": "shards", "path": str(path)}], "buckets": [bucket()]},
            "optimizer": {"lr": 1e-3, "ema": 0.9},
            "checkpoint": {"every": 1000},
            "log": {"every": 1, "tensorboard": False},
        }
        for key, value in values.items():
            config[key] = config[key] | value if isinstance(value, dict) and key in config else value
        file = tmp_path / "config.yaml"
        file.write_text(yaml.safe_dump(config))
        capsys.readouterr()
        code = cli.main(["train", str(file)])
        return code, capsys.readouterr().err

    return run


@pytest.fixture
def refused(train):
    """As `train`, for what must be refused; returns the sentence."""

    def run(*args, **values) -> str:
        code, errors = train(*args, **values)
        assert code == cli.EXIT_REFUSED
        sentence = errors.splitlines()[-1]
        assert sentence.startswith("icve: error: ")
        assert "Traceback" not in errors
        return sentence.removeprefix("icve: error: ")

    return run


def bucket(size=BUCKET, **values) -> dict:
    return {"size": str(size), "batch": BATCH} | values


def encode(folder, pipe) -> None:
    encode_texts(folder, pipe, "other", progress=lambda _: None)
    encode_clips(folder, pipe, "other", progress=lambda _: None)


def rows(run) -> list[dict]:
    return [json.loads(row) for row in (run / "log.jsonl").read_text().splitlines()]


def checkpoints(run) -> list[str]:
    """Their names, and of whatever else is there."""
    return sorted(path.name for path in (run / "checkpoints").iterdir())


def assert_good(run, step: int) -> None:
    """The newest checkpoint is that of a step, and can be loaded whole."""
    newest = Checkpointer(run / "checkpoints").latest()
    assert newest.name == f"step-{step:08d}"
    tensors = {name: tensor for file in newest.glob("*.safetensors") for name, tensor in load_file(file).items()}
    assert len([name for name in tensors if name.startswith("master.")]) > 10
    assert all(tensor.isfinite().all() for tensor in tensors.values())


def wait_for(path: Path) -> None:
    end = time.monotonic() + 60
    while not path.exists():
        assert time.monotonic() < end
        time.sleep(0.001)


def weights(run) -> bytes:
    return (run / "model/transformer" / WEIGHTS).read_bytes()


# the disk


@pytest.fixture
def fill_disk(monkeypatch):
    """From when a step's checkpoint is written, files of more than 30 kB cannot be, or of a few rows more
    than `file` has; `free` ends that, within the test: pytest itself may write to a file that is longer."""
    original = InContextFlowMatching.loss

    def full_after(checkpoint, file=None):
        def loss(self, batch, share):
            if batch.step == int(checkpoint.name[-8:]):
                wait_for(checkpoint)
                limit_files(30_000 if file is None else file.stat().st_size + 1500)
            return original(self, batch, share)

        monkeypatch.setattr(InContextFlowMatching, "loss", loss)

    def free():
        monkeypatch.setattr(InContextFlowMatching, "loss", original)
        limit_files(resource.getrlimit(resource.RLIMIT_FSIZE)[1])

    full_after.free = free
    yield full_after
    free()


def limit_files(size: int) -> None:
    """Let this process write files of at most so many bytes, as a full disk would."""
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(resource.RLIMIT_FSIZE)[1]))


def test_a_disk_that_is_full_at_a_checkpoint(train, refused, fill_disk, tmp_path):
    assert train(output=str(tmp_path / "whole"))[0] == 0
    run = tmp_path / "run"
    fill_disk(run / "checkpoints/step-00000002")
    sentence = refused(checkpoint={"every": 2})
    fill_disk.free()
    assert sentence == (
        f"The checkpoint of step 4 could not be written to {run / 'checkpoints'} (File too large): make room there "
        "and run the same command, which goes on from the last checkpoint before it."
    )
    assert checkpoints(run) == ["step-00000002"]
    assert_good(run, 2)
    assert train()[0] == 0
    assert weights(run) == weights(tmp_path / "whole")
    assert [row["loss"] for row in rows(run)] == [row["loss"] for row in rows(tmp_path / "whole")]


def test_a_disk_that_is_full_when_the_model_is_written(train, refused, fill_disk, tmp_path, monkeypatch):
    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        wait = Checkpointer.wait

        def then_full(self):
            wait(self)
            if (run / "checkpoints/step-00000006").exists():
                limit_files(30_000)

        patch.setattr(Checkpointer, "wait", then_full)
        sentence = refused()
        fill_disk.free()
    assert sentence.startswith(f"{run / 'model'} cannot be written (")
    assert "File too large" in sentence
    assert sentence.endswith(f"): {REMEDY}")
    assert sorted(path.name for path in run.iterdir()) == ["checkpoints", "config.json", "log.jsonl"]
    assert_good(run, 6)
    assert train()[0] == 0
    assert weights(run)


@pytest.mark.parametrize("tensorboard", [False, True])
def test_a_disk_that_is_full_for_the_log(refused, fill_disk, tmp_path, tensorboard):
    run = tmp_path / "run"
    fill_disk(run / "checkpoints/step-00000012", run / "log.jsonl")
    log = {"every": 1, "tensorboard": tensorboard}
    sentence = refused(checkpoint={"every": 12}, log=log, steps=24)
    fill_disk.free()
    file = run / ("tensorboard" if tensorboard else "log.jsonl")
    assert sentence == f"{file} cannot be written (File too large): {REMEDY}"
    assert_good(run, 12)


def test_an_output_that_cannot_be_written(refused, tmp_path):
    (tmp_path / "file").write_text("")
    output = tmp_path / "file/run"
    assert refused(output=str(output)) == f"{output} cannot be written (Not a directory): {REMEDY}"
    assert "cannot be written" in refused(output=str(tmp_path / "file"))


# samples that cannot be read


def damage(kind: str, folder: Path) -> str:
    """Make a sample or more of a set unreadable; what is said of it."""
    tar = folder / "latents" / str(BUCKET) / f"{SHARD}.tar"
    places = pq.read_table(tar.with_suffix(".parquet")).to_pylist()
    if kind == "bit flips":
        data = bytearray(tar.read_bytes())
        middle = places[0]["offset"] + places[0]["size"] // 2
        data[middle : middle + 8] = bytes(255 - byte for byte in data[middle : middle + 8])
        tar.write_bytes(data)
        return f"The clip {places[0]['clip_id']} in {tar} is damaged: its checksum is wrong."
    if kind == "truncated tar":
        tar.write_bytes(tar.read_bytes()[: places[-1]["offset"] + 100])
        return f"The clip {places[-1]['clip_id']} in {tar} is cut off: the file ends before it does."
    if kind == "missing clip":
        (pairs,) = (folder / "pairs").glob("*.parquet")
        rewrite(pairs, source_clip=lambda values: ["gone", *values[1:]])
        return f"The clip gone is in no index of {folder}/media/{BUCKET}."
    latents = torch.zeros(16, 3, 8, 8)
    latents[3, 1, 2, 5] = NAN
    replace_member(folder, "latents", "c3-1", ".safetensors", save({"latents": latents}))
    return f'c3-1 in {tar} has "latents" with values that are not finite.'


DAMAGES = ["bit flips", "truncated tar", "missing clip", "NaN latents"]


@pytest.mark.parametrize("kind", DAMAGES)
def test_a_bad_sample_is_skipped_and_counted(train, damaged, tmp_path, kind):
    problem = damage(kind, damaged)
    code, errors = train(damaged)
    assert code == 0
    skipped = [line for line in errors.splitlines() if line.startswith("skipped: ")]
    epochs = STEPS * BATCH // PAIRS
    assert len(skipped) == epochs
    assert all(problem in line for line in skipped)
    assert [row["bad"] for row in rows(tmp_path / "run")] == sorted(row["bad"] for row in rows(tmp_path / "run"))
    assert rows(tmp_path / "run")[-1]["bad"] == epochs
    assert weights(tmp_path / "run")


@pytest.mark.parametrize("kind", DAMAGES)
def test_too_many_bad_samples_end_it(refused, damaged, tmp_path, kind):
    problem = damage(kind, damaged)
    data = {"sets": [{"kind": "shards", "path": str(damaged)}], "buckets": [bucket()], "max_bad": 0.002}
    sentence = refused(steps=100, data=data, checkpoint={"every": 2})
    assert "samples could not be read, more than data.max_bad: 0.002 allows" in sentence
    assert sentence.startswith("3 of ")
    assert problem.rstrip(".") in sentence
    assert sentence.endswith("mend the data, or raise data.max_bad.")
    assert_good(tmp_path / "run", rows(tmp_path / "run")[-1]["step"] // 2 * 2)


def test_none_may_be_bad(refused, damaged):
    damage("bit flips", damaged)
    sets = [{"kind": "shards", "path": str(damaged)}]
    assert refused(data={"sets": sets, "buckets": [bucket()], "max_bad": 0}).startswith("1 of ")


def test_a_set_of_which_nothing_can_be_read(refused, damaged):
    (damaged / "latents" / str(BUCKET) / f"{SHARD}.tar").write_bytes(b"")
    assert f"its {BUCKET} samples cannot be read" in refused(damaged)


# losses that are not finite


def test_a_loss_that_is_not_finite_ends_it(refused, folder, tmp_path):
    shutil.copytree(folder / "start", tmp_path / "nan")
    file = tmp_path / "nan/transformer" / WEIGHTS
    tensors = load_file(file)
    tensors["proj_out.weight"][0, 0] = NAN
    save_file(tensors, file, {"format": "pt"})
    sentence = refused(start=str(tmp_path / "nan"), max_skipped=3)
    assert sentence == (
        "The loss or its gradient was not finite in 3 steps in a row (step 3): lower optimizer.lr, or train with "
        "precision: fp32; the last checkpoint is kept."
    )


def test_a_run_that_diverges_keeps_its_last_checkpoint(refused, train, tmp_path, monkeypatch):
    """From the sixth step on all losses are NaN, and checkpoints from there on would take the place of others."""
    original = InContextFlowMatching.loss

    def loss(self, batch, share):
        result = original(self, batch, share)
        return (
            result
            if batch.step < 5
            else type(result)(result.total * NAN, {n: (s * NAN, k) for n, (s, k) in result.sums.items()})
        )

    run = tmp_path / "run"
    with monkeypatch.context() as patch:
        patch.setattr(InContextFlowMatching, "loss", loss)
        assert "not finite in 4 steps in a row (step 9)" in refused(steps=12, max_skipped=4, checkpoint={"every": 2})
    assert checkpoints(run) == ["step-00000002", "step-00000004"]
    assert_good(run, 4)
    assert train(steps=12)[0] == 0
    assert [row["step"] for row in rows(run)] == list(range(1, 13))


def test_a_step_that_is_not_finite_is_skipped_and_told(train, tmp_path, monkeypatch):
    original = InContextFlowMatching.loss

    def loss(self, batch, share):
        result = original(self, batch, share)
        return type(result)(result.total * (NAN if batch.step == 2 else 1), result.sums)

    monkeypatch.setattr(InContextFlowMatching, "loss", loss)
    code, errors = train()
    assert code == 0
    (line,) = [line for line in errors.splitlines() if line.startswith("skipped: ")]
    assert line == "skipped: step 3, its loss or gradient was not finite."
    assert [row["skipped"] for row in rows(tmp_path / "run")] == [0, 0, 1, 0, 0, 0]


def test_a_learning_rate_far_too_high(refused, tmp_path):
    optimizer = {"lr": 1e30, "warmup": 0, "ema": 0}
    assert "lower optimizer.lr" in refused(steps=20, optimizer=optimizer, precision="fp32", max_skipped=3)
    assert not [name for name in checkpoints(tmp_path / "run") if name.endswith(".tmp")]


# what does not fit together


def test_another_config_in_the_same_folder(train, refused, tmp_path):
    assert train(steps=2)[0] == 0
    assert refused(steps=2, seed=5, optimizer={"lr": 0.002}) == (
        f"{tmp_path / 'run'} holds a run of another config (optimizer.lr: 0.001 there, 0.002 here; seed: 0 there, "
        "5 here): give another output folder, or delete it."
    )


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
    pipe.text_encoder_2.config.hidden_size  # noqa: B018
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
