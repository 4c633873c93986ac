"""`icve.data.encode`: sets get the latents and embeddings that editing would compute, whatever stops it on the way."""

import json
import shutil

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch

from icve.data.buckets import Bucket
from icve.data.encode import encode_clips, encode_texts, fingerprint, shards_to_encode, texts_to_encode
from icve.data.samples import BadSampleError
from icve.data.shard_index import SetFiles
from icve.data.shards import ShardSet, ShardWriter
from icve.errors import InputError
from icve.pipelines.inputs import video_tensor
from icve.pipelines.text import encode_pooled, encode_prompts
from tests import tiny
from tests.data.shard_samples import BUCKET, DESCRIPTION, add, clips, files, replace_member, write_set

IMAGE = Bucket(1, 48, 80)


def nothing(_count: int) -> None:
    """No progress bar."""


def encode(folder, pipe, **options) -> tuple[int, int]:
    """Texts and clips that were encoded."""
    batch = {key: options.pop(key) for key in ("batch",) if key in options}
    texts = encode_texts(folder, pipe, "tiny", progress=nothing, **options)
    return texts, encode_clips(folder, pipe, "tiny", progress=nothing, **options, **batch)


def expected_latents(pipe, frames: np.ndarray) -> torch.Tensor:
    return pipe.encode_video(video_tensor(pipe.video_processor, frames, 4, 16))[0]


@pytest.mark.parametrize(("dtype", "torch_dtype"), [("bf16", torch.bfloat16), ("fp32", torch.float32)])
def test_latents_are_what_the_pipeline_encodes(tmp_path, tiny_pipeline, dtype, torch_dtype):
    folder = write_set(tmp_path / "set", 2, (BUCKET, IMAGE))
    assert encode(folder, tiny_pipeline, dtype=dtype, batch=1)[1] == 8
    samples = ShardSet(folder)
    for bucket, first in ((BUCKET, 0), (IMAGE, 100)):
        assert samples.serves_latents(bucket)
        for number in range(2):
            sample = samples.load(bucket, number)
            source, target, *_ = clips(first + int(sample.id[-1]), bucket)
            for latents, frames in ((sample.source, source), (sample.target, target)):
                assert latents.dtype == torch_dtype
                torch.testing.assert_close(
                    latents, expected_latents(tiny_pipeline, frames).to(torch_dtype), rtol=0, atol=0
                )
    assert not ShardSet(folder, clips="media").serves_latents(BUCKET)
    assert samples.latent_encoder["vae"] == fingerprint(tiny_pipeline.vae)


def test_large_clips_are_tiled_as_in_editing(tmp_path, tiny_pipeline):
    bucket = Bucket(1, 272, 272)  # tiles are 256
    folder = write_set(tmp_path / "set", 1, (bucket,))
    encode(folder, tiny_pipeline, dtype="fp32")
    sample = ShardSet(folder).load(bucket, 0)
    torch.testing.assert_close(sample.target, expected_latents(tiny_pipeline, clips(0, bucket)[1]), rtol=0, atol=1e-5)


def test_batches_change_latents_by_rounding_only(tmp_path, tiny_pipeline):
    folder = write_set(tmp_path / "set", 2)
    encode(folder, tiny_pipeline, dtype="fp32", batch=3)
    for number in range(2):
        sample = ShardSet(folder).load(BUCKET, number)
        torch.testing.assert_close(sample.target, expected_latents(tiny_pipeline, clips(number)[1]), rtol=0, atol=1e-4)


def test_text_embeddings_are_what_the_text_encoders_give(tmp_path):
    pipe = tiny.pipeline()
    pipe.register_to_config(prompt_template="an edit: {}", prompt_crop_start=9, max_text_length=20)
    folder = write_set(tmp_path / "set", 3)
    texts = {clips(i)[2] for i in range(3)} | {f"caption {i}" for i in range(3)} | {""}
    assert encode_texts(folder, pipe, "tiny", dtype="fp32", batch=2, progress=nothing) == len(texts)
    samples = ShardSet(folder, text="embedded")
    for text in texts:
        states, mask = encode_prompts(
            pipe.tokenizer, pipe.text_encoder, [text], template="an edit: {}", crop_start=9, max_length=20
        )
        assert mask.all()
        embedding = samples.text_embedding(text)
        torch.testing.assert_close(embedding.states, states[0], rtol=0, atol=1e-5)
        pooled = encode_pooled(pipe.tokenizer_2, pipe.text_encoder_2, [text])[0]
        torch.testing.assert_close(embedding.pooled, pooled, rtol=0, atol=1e-5)
    sample = samples.load(BUCKET, 1)
    assert torch.equal(sample.text_embedding.states, samples.text_embedding(sample.text).states)


def test_what_is_done_is_not_done_again(tmp_path, tiny_pipeline):
    folder = write_set(tmp_path / "set", 3, shard_bytes=50_000)
    encode(folder, tiny_pipeline)
    done = files(folder)
    assert encode(folder, tiny_pipeline) == (0, 0)
    with ShardWriter(folder, **DESCRIPTION) as writer:
        add(writer, 7)
    assert not ShardSet(folder).serves_latents(BUCKET)  # one kind for all samples of a bucket
    assert encode(folder, tiny_pipeline) == (2, 2)
    after = files(folder)
    assert {name: after[name] for name in done} == done
    assert ShardSet(folder, text="embedded").serves_latents(BUCKET)


def test_a_stop_in_the_middle_of_a_shard(tmp_path, tiny_pipeline):
    folder = write_set(tmp_path / "set", 4, shard_bytes=20_000)
    uninterrupted = shutil.copytree(folder, tmp_path / "other")
    encode(uninterrupted, tiny_pipeline, batch=1)
    encode_texts(folder, tiny_pipeline, "tiny", progress=nothing)
    stop_at, seen = 6, []

    def stop(count: int) -> None:
        seen.append(count)
        if len(seen) == stop_at:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        encode_clips(folder, tiny_pipeline, "tiny", batch=1, progress=stop)
    left = shards_to_encode(SetFiles(str(folder)))
    assert 0 < len(left) < len(list(folder.glob("media/*/*.tar")))
    assert not list(folder.rglob("*.part"))
    encode(folder, tiny_pipeline, batch=1)
    assert files(folder) == files(uninterrupted)


def test_bad_clips_are_left_out(tmp_path, tiny_pipeline):
    folder = write_set(tmp_path / "set", 3)
    replace_member(folder, "media", "c1-1", ".mp4", b"no video")
    reports = []
    assert encode_clips(folder, tiny_pipeline, "tiny", batch=2, progress=reports.append) == 5
    assert sum(reports) == 6
    (line,) = (folder / "quarantine.jsonl").read_text().splitlines()
    assert json.loads(line)["clip_id"] == "c1-1"
    assert "cannot be decoded" in json.loads(line)["reason"]
    samples = ShardSet(folder)
    assert samples.serves_latents(BUCKET)
    samples.load(BUCKET, 0)
    with pytest.raises(BadSampleError, match="c1-1 has no latents"):
        samples.load(BUCKET, 1)
    shutil.rmtree(folder / "latents")
    encode(folder, tiny_pipeline)
    assert len((folder / "quarantine.jsonl").read_text().splitlines()) == 1  # noted once


def test_latents_that_are_not_finite_are_left_out(tmp_path):
    pipe = tiny.pipeline()
    folder = write_set(tmp_path / "set", 1)
    with torch.no_grad():
        pipe.vae.quant_conv.bias[0] = 1e6  # beyond float16
    assert encode(folder, pipe, dtype="fp16")[1] == 0
    assert "not finite" in (folder / "quarantine.jsonl").read_text()


def test_one_set_has_one_encoder(tmp_path, tiny_pipeline):
    folder = write_set(tmp_path / "set", 1)
    encode(folder, tiny_pipeline)
    with ShardWriter(folder, **DESCRIPTION) as writer:
        add(writer, 7)
    other = tiny.pipeline()
    with torch.no_grad():
        other.vae.quant_conv.bias[0] += 0.1
        other.text_encoder.layers[0].mlp.up_proj.weight[0, 0] += 0.1
    with pytest.raises(InputError, match=r"encoder\.json says that vae is .* use what made the rest"):
        encode_clips(folder, other, "other", progress=nothing)
    with pytest.raises(InputError, match=r"encoder\.json says that text_encoders"):
        encode_texts(folder, other, "other", progress=nothing)
    with pytest.raises(InputError, match="dtype is 'bf16'"):
        encode_clips(folder, tiny_pipeline, "tiny", dtype="fp32", progress=nothing)
    assert encode(folder, tiny_pipeline)[1] == 2


def test_a_fingerprint_is_of_the_weights_not_of_their_dtype():
    first = tiny.vae()
    assert fingerprint(first) == fingerprint(tiny.vae()) == fingerprint(tiny.vae().to(torch.bfloat16))
    with torch.no_grad():
        first.encoder.conv_in.conv.bias[0] += 0.1
    assert fingerprint(first) != fingerprint(tiny.vae())


def test_texts_are_embedded_once(tmp_path, tiny_pipeline):
    folder = tmp_path / "set"
    with ShardWriter(folder, **DESCRIPTION) as writer:
        writer.add_clip("a", clips(0)[0], fps=8, caption="one text")
        writer.add_clip("b", clips(0)[1], fps=8, caption="one text")
        writer.add_pair("p", "a", "b", "one text", "x")
    assert texts_to_encode(SetFiles(str(folder))) == ["", "one text"]
    encode_texts(folder, tiny_pipeline, "tiny", progress=nothing)
    assert pq.read_table(folder / "text" / "text-000000.parquet")["text"].to_pylist() == ["", "one text"]
