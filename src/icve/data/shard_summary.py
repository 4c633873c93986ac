"""What a set holds, counted from its indices."""

from collections import Counter
from typing import Any

from icve.data.buckets import Bucket
from icve.data.encode import texts_to_encode
from icve.data.shard_index import SetFiles
from icve.data.shard_layout import ENCODER_FILE, LATENTS, MEDIA, PAIRS, QUARANTINE_FILE, TEXT


def summarise_set(path: str) -> dict[str, Any]:
    """A set's description and counts, in plain types.

    Raises:
        InputError: there is no such set, or an index is damaged.
    """
    files = SetFiles(path)
    description = files.description()
    pairs: Counter[str] = Counter()
    types: Counter[str] = Counter()
    for _, table in files.tables("pairs", PAIRS, ["bucket", "type"]):
        pairs.update(table["bucket"].to_pylist())
        types.update(table["type"].to_pylist())
    buckets = sorted({*files.buckets("media"), *(files.bucket(name, f"{path}/pairs") for name in pairs)})
    embedded = sum(len(table) for _, table in files.tables("text", TEXT, ["text_key"]))
    try:
        quarantined = len(files.read(QUARANTINE_FILE).splitlines())
    except FileNotFoundError:
        quarantined = 0
    return {
        **{key: description[key] for key in ("name", "licence", "source")},
        "buckets": [_bucket(files, bucket, pairs[str(bucket)]) for bucket in buckets],
        "types": dict(sorted(types.items())),
        "texts": embedded + len(texts_to_encode(files)),
        "embedded": embedded,
        "latent_encoder": files.json(f"latents/{ENCODER_FILE}"),
        "text_encoder": files.json(f"text/{ENCODER_FILE}"),
        "quarantined": quarantined,
    }


def _bucket(files: SetFiles, bucket: Bucket, pairs: int) -> dict[str, Any]:
    clips = captions = latents = size = 0
    for name, table in files.tables(f"media/{bucket}", MEDIA, ["clip_id", "caption"]):
        clips += len(table)
        captions += len(table) - table["caption"].null_count
        size += _tar_size(files, f"media/{bucket}/{name}.tar")
    for name, table in files.tables(f"latents/{bucket}", LATENTS, ["clip_id"]):
        latents += len(table)
        size += _tar_size(files, f"latents/{bucket}/{name}.tar")
    return {
        "bucket": str(bucket),
        "clips": clips,
        "captions": captions,
        "latents": latents,
        "pairs": pairs,
        "bytes": size,
    }


def _tar_size(files: SetFiles, file: str) -> int:
    try:
        return files.size(file)
    except FileNotFoundError:  # media may be deleted once they are encoded
        return 0
