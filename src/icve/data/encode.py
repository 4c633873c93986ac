"""Encodes a set once for all its training: clips to latents and texts to embeddings, shard by shard.

Any number of processes may work on one set, here or on other machines that share its disk: each takes whole shards.
"""

import fcntl
import hashlib
import math
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.torch import save as save_tensors
from torch import Tensor, nn

from icve.data.buckets import Bucket
from icve.data.samples import BadSampleError
from icve.data.shard_index import Members, SetFiles
from icve.data.shard_layout import (
    ENCODER_FILE,
    LATENTS,
    LOCATION,
    MEDIA,
    PAIRS,
    SHARD_BYTES,
    TEXT,
    text_key,
    write_once,
)
from icve.data.shard_members import quarantined_clips, read_clip
from icve.data.shard_tar import TarShard, next_number
from icve.data.shard_writing import append_quarantine
from icve.errors import InputError

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
BATCH_PIXELS = 2**20  # frames x height x width encoded at once by default: 28 clips of 9x64x64, 1 of 480p
TEXT_BATCH = 32
FINGERPRINT_VALUES = 256

Progress = Callable[[int], None]
Item = tuple[str, np.ndarray]


def fingerprint(*modules: nn.Module) -> str:
    """Which weights these are, 32 hexadecimal digits: the same in float32 and bfloat16, on any device.

    A hash of every tensor's name and shape and of 256 of its values, so that 16 GB need not be read.
    """
    digest = hashlib.sha256()
    for module in modules:
        for name, tensor in sorted(module.state_dict().items()):
            values = tensor.reshape(-1)[:: max(1, tensor.numel() // FINGERPRINT_VALUES)][:FINGERPRINT_VALUES]
            digest.update(f"{name} {tuple(tensor.shape)} ".encode())
            digest.update(values.to("cpu", torch.bfloat16).view(torch.int16).numpy().tobytes())
    return digest.hexdigest()[:32]


def texts_to_encode(files: SetFiles) -> list[str]:
    """The distinct instructions and captions, and "", that have no embedding yet; short ones first."""
    texts = {""}
    for _, table in files.tables("pairs", PAIRS, ["instruction"]):
        texts.update(table["instruction"].unique().to_pylist())
    for bucket in files.buckets("media"):
        for _, table in files.tables(f"media/{bucket}", MEDIA, ["caption"]):
            texts.update(table["caption"].drop_null().unique().to_pylist())
    done: set[str] = set()
    for _, table in files.tables("text", TEXT, ["text_key"]):
        done.update(table["text_key"].to_pylist())
    return sorted((text for text in texts if text_key(text) not in done), key=lambda text: (len(text), text))


def shards_to_encode(files: SetFiles) -> list[tuple[Bucket, str]]:
    """The media shards (bucket, name) that have no latents yet."""
    shards = []
    for bucket in files.buckets("media"):
        done = set(files.names(f"latents/{bucket}"))
        names = [name for name in files.names(f"media/{bucket}") if name.endswith(".parquet") and name not in done]
        shards += [(bucket, name.removesuffix(".parquet")) for name in names]
    return shards


def encode_texts(
    folder: Path, pipe: Any, model: str, *, dtype: str = "bf16", batch: int = TEXT_BATCH, progress: Progress
) -> int:
    """Adds the missing text embeddings to a set, as `pipe.encode_text` makes them, without padding.

    Args:
        folder: the set.
        pipe: an `InContextVideoEditPipeline` with its text encoders.
        model: its name, for the record.
        dtype: a key of DTYPES, of what is stored.
        batch: texts that are encoded at once.
        progress: called with the number of texts that were just encoded.

    Returns:
        the number of texts; 0 also where another process is at work on them.

    Raises:
        InputError: the set is damaged, or was encoded by other text encoders; or the disk is full.
    """
    settings = pipe.config
    record = {
        "text_encoders": fingerprint(pipe.text_encoder, pipe.text_encoder_2),
        "template": settings.prompt_template,
        "crop_start": settings.prompt_crop_start,
        "layer_skip": settings.text_layer_skip,
        "max_length": settings.max_text_length,
        "width": pipe.text_encoder.config.hidden_size,
        "pooled_width": pipe.text_encoder_2.config.hidden_size,
        "dtype": dtype,
    }
    _check_encoder(folder / "text", record, model)
    with _claim(folder / "text" / ".lock") as mine:
        if not mine:
            return 0
        for part in (folder / "text").glob(".text-*.tar.part"):
            part.unlink()
        texts = texts_to_encode(SetFiles(str(folder)))
        at = 0
        while at < len(texts):
            with _shard(folder / "text", f"text-{next_number(folder / 'text', 'text'):06d}", TEXT) as shard:
                while at < len(texts) and shard.size < SHARD_BYTES:
                    rows = texts[at : at + batch]
                    for text, tensors in zip(rows, _embed(pipe, rows, DTYPES[dtype]), strict=True):
                        key = text_key(text)
                        shard.add(f"{key}.safetensors", save_tensors(tensors), text_key=key, text=text)
                    at += len(rows)
                    progress(len(rows))
    return len(texts)


def _embed(pipe: Any, texts: list[str], dtype: torch.dtype) -> list[dict[str, Tensor]]:
    encoded = pipe.encode_text(texts)
    states_BLD = encoded["encoder_hidden_states"].to("cpu", dtype)
    pooled_BP = encoded["pooled_projections"].to("cpu", dtype)
    lengths = encoded["encoder_attention_mask"].sum(1).tolist()
    return [
        {"states": states[:length].contiguous(), "pooled": pooled.contiguous()}
        for states, pooled, length in zip(states_BLD, pooled_BP, lengths, strict=True)
    ]


def encode_clips(
    folder: Path, pipe: Any, model: str, *, dtype: str = "bf16", batch: int | None = None, progress: Progress
) -> int:
    """Adds latents for the media shards that have none and that no other process has taken.

    They are `pipe.encode_video`'s: scaled, the posterior's mode, with the tiles that editing uses. A clip that cannot
    be read, or whose latents are not finite, is noted in quarantine.jsonl and left out.

    Args:
        folder: the set.
        pipe: an `InContextVideoEditPipeline` with its VAE.
        model: its name, for the record.
        dtype: a key of DTYPES, of what is stored.
        batch: clips that are encoded at once; by default, by their size.
        progress: called with the number of clips that were just encoded.

    Returns:
        the number of clips.

    Raises:
        InputError: the set is damaged, or was encoded by another VAE; or the disk is full.
    """
    vae = pipe.vae
    record = {
        "vae": fingerprint(vae),
        "scaling_factor": vae.config.scaling_factor,
        "channels": vae.config.latent_channels,
        "temporal_compression": vae.temporal_compression_ratio,
        "spatial_compression": vae.spatial_compression_ratio,
        "dtype": dtype,
    }
    _check_encoder(folder / "latents", record, model)
    files = SetFiles(str(folder))
    count = 0
    for bucket, name in shards_to_encode(files):
        target = folder / "latents" / str(bucket)
        lock = target / f".{name}.lock"
        with _claim(lock) as mine:
            if mine and not (target / f"{name}.parquet").exists():
                size = batch or max(1, BATCH_PIXELS // math.prod(bucket))
                count += _encode_shard(folder, files, pipe, bucket, name, DTYPES[dtype], size, progress)
                lock.unlink()
    return count


def _encode_shard(
    folder: Path,
    files: SetFiles,
    pipe: Any,
    bucket: Bucket,
    name: str,
    dtype: torch.dtype,
    batch: int,
    progress: Progress,
) -> int:
    source = f"media/{bucket}"
    table = files.table(f"{source}/{name}.parquet", MEDIA, ["clip_id", *LOCATION.names])
    media = Members.of(source, [(name, table)])
    bad: list[tuple[str, str]] = []

    def clips() -> Iterator[list[Item]]:
        waiting: list[Item] = []
        for row, clip_id in enumerate(table["clip_id"].to_pylist()):
            try:
                waiting.append((clip_id, read_clip(files, media, row, clip_id, bucket)))
            except BadSampleError as error:
                bad.append((clip_id, str(error)))
                progress(1)
            if len(waiting) == batch:
                yield waiting
                waiting = []
        if waiting:
            yield waiting

    with _shard(folder / "latents" / str(bucket), name, LATENTS) as shard:
        for items in _ahead(clips()):
            latents_BCTHW = _encode(pipe, [frames for _, frames in items]).to("cpu", dtype)
            for (clip_id, _), latents in zip(items, latents_BCTHW, strict=True):
                if latents.isfinite().all():
                    data = save_tensors({"latents": latents.contiguous()})
                    shard.add(f"{clip_id}.safetensors", data, clip_id=clip_id)
                else:
                    bad.append((clip_id, f"The latents of the clip {clip_id} are not finite."))
            progress(len(items))
        known = quarantined_clips(files) if bad else set()
        for clip_id, reason in bad:
            if clip_id not in known:
                append_quarantine(folder, source=f"{source}/{name}.tar", clip_id=clip_id, reason=reason)
    return len(shard.rows)


def _encode(pipe: Any, clips: Sequence[np.ndarray]) -> Tensor:
    """Scaled latents (B, C, T, h, w) of clips (F, H, W, 3) uint8."""
    video_BCFHW = torch.from_numpy(np.stack(clips)).permute(0, 4, 1, 2, 3)
    return pipe.encode_video(2 * (video_BCFHW.float() / 255) - 1)  # as the pipeline's own video processor does


def _ahead(batches: Iterator[list[Item]]) -> Iterator[list[Item]]:
    """The same batches; the next one is read while the last is used."""
    with ThreadPoolExecutor(1) as pool:
        following = pool.submit(next, batches, None)
        while (batch := following.result()) is not None:
            following = pool.submit(next, batches, None)
            yield batch


@contextmanager
def _shard(folder: Path, name: str, schema: Any) -> Iterator[TarShard]:
    """A shard that counts when the block ends well, and leaves nothing when it does not."""
    shard = TarShard(folder, name, schema)
    try:
        yield shard
        shard.close()
    except BaseException:
        shard.discard()
        raise


@contextmanager
def _claim(lock: Path) -> Iterator[bool]:
    """Whether this process is the only one in the block; a process that dies gives the lock back."""
    lock.parent.mkdir(parents=True, exist_ok=True)
    with lock.open("w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


def _check_encoder(folder: Path, record: dict[str, Any], model: str) -> None:
    """Records what encodes a set, or raises `InputError` where something else has encoded a part of it."""
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / ENCODER_FILE
    found = write_once(file, {"model": model} | record)
    for key, value in record.items():
        if found.get(key) != value:
            raise InputError(
                f"{file} says that {key} is {found.get(key)!r} ({found.get('model')}), but it is {value!r} of {model}: "
                f"use what made the rest of this set, or remove {folder} to encode all of it again."
            )
