"""Sets that are damaged, or made to harm: a bad clip is one sentence at its load, a bad index one at the start."""

import io
import json
import re
import shutil
import zlib

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from safetensors.torch import save

from icve.data.buckets import Bucket
from icve.data.encode import encode_clips, encode_texts
from icve.data.samples import BadSampleError
from icve.data.shard_layout import MEDIA
from icve.data.shard_media import encode_clip
from icve.data.shard_tar import TarShard
from icve.data.shards import ShardSet
from icve.errors import InputError
from tests import tiny
from tests.data.shard_samples import BUCKET, SHARD, clips, replace_member, rewrite, write_set

IMAGE = Bucket(1, 64, 64)


@pytest.fixture(scope="module")
def encoded(tmp_path_factory):
    """Two pairs, encoded; copy it before a change."""
    folder = write_set(tmp_path_factory.mktemp("sets") / "encoded", 2)
    pipe = tiny.pipeline()
    encode_texts(folder, pipe, "tiny", progress=lambda _: None)
    encode_clips(folder, pipe, "tiny", progress=lambda _: None)
    return folder


@pytest.fixture
def damaged(encoded, tmp_path):
    return shutil.copytree(encoded, tmp_path / "set")


def refusals(folder, **options) -> list[str | None]:
    """For each pair, why it cannot be loaded, or None; sentences that name the folder."""
    samples = ShardSet(folder, **options)
    reasons: dict[str, str | None] = {}
    for number in range(samples.size(BUCKET)):
        name = samples._samples[BUCKET].ids[number].as_py()
        try:
            samples.load(BUCKET, number)
            reasons[name] = None
        except BadSampleError as error:
            reasons[name] = str(error)
    for reason in filter(None, reasons.values()):
        assert str(folder) in reason
        assert "\n" not in reason
        assert reason.endswith(".")
    return [reasons[name] for name in sorted(reasons)]


@pytest.mark.parametrize(("clips_from", "part"), [("media", "media"), ("latents", "latents")])
def test_a_tar_that_is_cut_off(damaged, clips_from, part):
    tar = damaged / part / str(BUCKET) / f"{SHARD}.tar"
    row = pq.read_table(tar.with_suffix(".parquet")).to_pylist()[-1]
    tar.write_bytes(tar.read_bytes()[: row["offset"] + row["size"] // 2])
    good, bad = refusals(damaged, clips=clips_from)
    assert good is None
    assert "The clip c1-1" in bad
    assert "cut off" in bad


@pytest.mark.parametrize(("clips_from", "part"), [("media", "media"), ("latents", "latents")])
def test_a_flipped_bit(damaged, clips_from, part):
    tar = damaged / part / str(BUCKET) / f"{SHARD}.tar"
    row = pq.read_table(tar.with_suffix(".parquet")).to_pylist()[0]
    data = bytearray(tar.read_bytes())
    data[row["offset"] + row["size"] // 2] ^= 1
    tar.write_bytes(data)
    bad, good = refusals(damaged, clips=clips_from)
    assert good is None
    assert "The clip c0-0" in bad
    assert "checksum" in bad


def test_a_flipped_bit_in_a_text_embedding(damaged):
    rewrite(damaged / "text" / "text-000000.parquet", crc32=lambda crcs: [crc ^ 1 for crc in crcs])
    assert all("checksum" in reason for reason in refusals(damaged, text="embedded"))
    assert refusals(damaged) == [None, None]


def test_a_tar_that_is_missing(damaged):
    (damaged / "media" / str(BUCKET) / f"{SHARD}.tar").unlink()
    assert all("No such file" in reason for reason in refusals(damaged, clips="media"))
    assert refusals(damaged) == [None, None]  # latents need no media


@pytest.mark.parametrize(
    ("column", "value", "words"),
    [
        ("offset", 2**62, "cannot be read"),
        ("offset", 2**40, "cut off"),
        ("offset", -1, "impossible place"),
        ("offset", 512, "checksum"),
        ("size", -5, "impossible place"),
        ("size", 0, "impossible place"),
        ("size", 2**40, "impossible place"),  # and no attempt to read that much
        ("size", 400_000, "cut off"),
    ],
)
def test_an_index_that_points_elsewhere(damaged, column, value, words):
    index = damaged / "media" / str(BUCKET) / f"{SHARD}.parquet"
    rewrite(index, **{column: lambda old: [*old[:3], value]})
    good, bad = refusals(damaged, clips="media")
    assert good is None
    assert words in bad
    assert "The clip c1-1" in bad


def test_a_pair_whose_clip_is_missing(damaged):
    index = damaged / "media" / str(BUCKET) / f"{SHARD}.parquet"
    rewrite(index, clip_id=lambda ids: ["elsewhere", *ids[1:]])
    bad, good = refusals(damaged)
    assert good is None
    assert "The clip c0-0 is in no index" in bad


def lying_png(height: int, width: int) -> bytes:
    file = io.BytesIO()
    Image.fromarray(np.zeros((8, 8, 3), np.uint8)).save(file, "PNG")
    data = bytearray(file.getvalue())
    data[16:24] = width.to_bytes(4, "big") + height.to_bytes(4, "big")
    data[29:33] = zlib.crc32(data[12:29]).to_bytes(4, "big")
    return bytes(data)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"no video", "cannot be decoded"),
        (encode_clip(clips(9)[0], 8, quality=20, lossless=False)[:2000], "decoded"),
        (encode_clip(clips(9)[0][:5], 8, quality=20, lossless=False), "5 frames instead of 9"),
        (encode_clip(clips(9)[0][:, :48], 8, quality=20, lossless=False), "48x64 instead of 64x64"),
        (encode_clip(np.zeros((9, 640, 640, 3), np.uint8), 8, quality=51, lossless=False), "decoded|frames instead"),
    ],
)
def test_media_that_are_not_the_clip(damaged, data, words):
    replace_member(damaged, "media", "c0-1", ".mp4", data)
    bad, good = refusals(damaged, clips="media")
    assert good is None
    assert "The clip c0-1" in bad
    assert re.search(words, bad)


def test_frames_beyond_the_buckets_are_not_used(damaged):
    frames = np.concatenate([clips(9)[0]] * 4)
    replace_member(damaged, "media", "c0-1", ".mp4", encode_clip(frames, 8, quality=20, lossless=True))
    sample = ShardSet(damaged, clips="media").load(BUCKET, 0)
    np.testing.assert_array_equal(sample.target, clips(9)[0])


@pytest.mark.parametrize("size", [(60_000, 60_000), (64, 80)])
def test_an_image_that_claims_another_size(tmp_path, size):
    folder = write_set(tmp_path / "set", 1, (IMAGE,))
    place = folder / "media" / str(IMAGE)
    shard = TarShard(place, SHARD, MEDIA)
    row = {"frames": 1, "height": 64, "width": 64, "fps": 8.0, "caption": None, "source": None}
    for clip in ("c0-0", "c0-1"):
        shard.add(f"{clip}.png", lying_png(*size), clip_id=clip, **row)
    shard.close()
    with pytest.raises(BadSampleError, match=r"c0-0 .*(instead of 64x64|DecompressionBomb)"):
        ShardSet(folder).load(IMAGE, 0)


GOOD = torch.zeros(16, 3, 8, 8)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (save({"latents": torch.zeros(16, 3, 8, 7)}), "shape (16, 3, 8, 7) instead of (16, 3, 8, 8)"),
        (save({"latents": GOOD.long()}), "no tensor"),
        (save({"other": GOOD}), "no tensor"),
        (save({"latents": torch.full_like(GOOD, float("nan"))}), "not finite"),
        (save({"latents": GOOD})[:-7], "no safetensors file"),
        ((2**60).to_bytes(8, "little") + b"{}", "no safetensors file"),
        (b"\x80\x04.", "no safetensors file"),
    ],
)
def test_latents_that_are_none(damaged, data, words):
    replace_member(damaged, "latents", "c0-1", ".safetensors", data)
    bad, good = refusals(damaged)
    assert good is None
    assert "The clip c0-1" in bad
    assert words in bad


def test_a_text_that_was_not_embedded(damaged):
    (pairs,) = (damaged / "pairs").glob("*.parquet")
    rewrite(pairs, instruction=lambda texts: ["something new", texts[1]])
    bad, good = refusals(damaged, text="embedded")
    assert good is None
    assert "'something new' has no embedding" in bad
    assert "icve data encode" in bad


def cut(path) -> None:
    path.write_bytes(path.read_bytes()[:-9])


def change_json(path, **values) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | values))


@pytest.mark.parametrize(
    ("damage", "words"),
    [
        (lambda f: (f / "set.json").unlink(), "it has no set.json"),
        (lambda f: cut(f / "set.json"), "set.json is damaged"),
        (lambda f: (f / "set.json").write_text("[" * 100_000), "set.json is damaged"),
        (lambda f: change_json(f / "set.json", format="tar"), "does not describe a set"),
        (lambda f: change_json(f / "set.json", version=2), "version 2"),
        (lambda f: change_json(f / "set.json", licence=None), 'lacks "licence"'),
        (lambda f: cut(f / "media" / str(BUCKET) / f"{SHARD}.parquet"), f"{SHARD}.parquet is damaged"),
        (lambda f: cut(f / "pairs" / f"{SHARD}.parquet"), f"pairs/{SHARD}.parquet is damaged"),
        (lambda f: cut(f / "text" / "text-000000.parquet"), "text-000000.parquet is damaged"),
        (lambda f: cut(f / "latents" / "encoder.json"), "encoder.json is damaged"),
        (lambda f: change_json(f / "latents" / "encoder.json", spatial_compression=0), "encoder.json is damaged"),
        (
            lambda f: rewrite(f / "pairs" / f"{SHARD}.parquet", target_clip=lambda c: [None, c[1]]),
            "target_clip is miss",
        ),
        (
            lambda f: rewrite(f / "pairs" / f"{SHARD}.parquet", target_clip=lambda c: ["../x", c[1]]),
            "an id that is none",
        ),
        (lambda f: rewrite(f / "pairs" / f"{SHARD}.parquet", bucket=lambda b: ["9x9", b[1]]), "names no clip size"),
        (lambda f: (f / "media" / str(BUCKET)).rename(f / "media" / "1000001x16000x16000"), "no clip size"),
        (lambda f: shutil.rmtree(f / "pairs"), "has no pairs with a source clip"),
        (lambda f: shutil.rmtree(f / "text"), "has no text embeddings"),
    ],
)
def test_a_damaged_index_is_one_sentence_at_the_start(damaged, damage, words):
    damage(damaged)
    with pytest.raises(InputError) as refused:
        ShardSet(damaged, text="embedded")
    assert words in str(refused.value)
    assert "\n" not in str(refused.value)


def test_folders_that_are_no_set(tmp_path):
    for path in (tmp_path, tmp_path / "missing", "nosuchprotocol://x"):
        with pytest.raises(InputError, match=r"set\.json|cannot be opened"):
            ShardSet(path)
