"""What the shard format fixes: names, columns, limits and `set.json`; docs/format.md explains it."""

import hashlib
import json
import math
import os
import re
import uuid
from pathlib import Path
from typing import Any

import pyarrow as pa

from icve.data.buckets import Bucket
from icve.errors import InputError

FORMAT, VERSION = "icve-shards", 1
SET_FILE, ENCODER_FILE, QUARANTINE_FILE = "set.json", "encoder.json", "quarantine.jsonl"
SHARD_BYTES = 256 * 2**20  # large enough for sequential reads from object stores, small enough to redo

ID_PATTERN = r"[A-Za-z0-9._-]{1,200}"
SIDE = 16  # the autoencoder's 8 times the transformer's patch of 2
TIME = 4  # frames in each latent frame after the first
MAX_CLIP_PIXELS = 2**30  # frames x height x width: 3 GB of pixels, four times 129 frames of 1080p

LOCATION = pa.schema([("offset", pa.int64()), ("size", pa.int64()), ("crc32", pa.uint32())])
MEDIA = pa.schema(
    [
        ("clip_id", pa.string()),
        *LOCATION,
        ("frames", pa.int32()),
        ("height", pa.int32()),
        ("width", pa.int32()),
        ("fps", pa.float64()),
        ("caption", pa.string()),
        ("source", pa.string()),
    ]
)
LATENTS = pa.schema([("clip_id", pa.string()), *LOCATION])
TEXT = pa.schema([("text_key", pa.string()), ("text", pa.string()), *LOCATION])
PAIRS = pa.schema(
    [
        ("pair_id", pa.string()),
        ("source_clip", pa.string()),
        ("target_clip", pa.string()),
        ("instruction", pa.string()),
        ("type", pa.string()),
        ("bucket", pa.string()),
    ]
)
NULLABLE = {"caption", "source", "source_clip"}


def check_id(what: str, value: str) -> None:
    """Raises `InputError` unless `value` can be the id of a `what`, which names members of tar files."""
    if not re.fullmatch(ID_PATTERN, value):
        raise InputError(f"The {what} id {value!r} cannot be used; ids are 1 to 200 of the characters A-Za-z0-9._-.")


def check_bucket(bucket: Bucket) -> None:
    """Raises `InputError` unless clips of this size can be stored."""
    if bucket.height % SIDE or bucket.width % SIDE:
        raise InputError(f"A clip of {bucket} cannot be stored: its sides must be multiples of {SIDE}; resize it.")
    if (bucket.frames - 1) % TIME:
        raise InputError(f"A clip of {bucket} cannot be stored: it must have 1 or {TIME}n + 1 frames; cut it.")
    if math.prod(bucket) > MAX_CLIP_PIXELS:
        raise InputError(f"A clip of {bucket} has more than {MAX_CLIP_PIXELS:,} pixels; cut it or make it smaller.")


def media_suffix(bucket: Bucket) -> str:
    """The ending of a clip's member name."""
    return ".png" if bucket.frames == 1 else ".mp4"


def text_key(text: str) -> str:
    """The name that a text's embedding is stored under: the first 32 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def parse_json(what: str, data: bytes) -> dict[str, Any]:
    """The JSON object in `data`; `InputError` names the file `what` when there is none."""
    try:
        value = json.loads(data)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InputError(f"{what} is damaged: it is not a JSON object; copy it again from where the set came from.")
    return value


def check_description(what: str, description: dict[str, Any]) -> None:
    """Raises `InputError` unless `description`, read from the file `what`, is a set.json that is understood here."""
    if description.get("format") != FORMAT:
        raise InputError(f'{what} does not describe a set: its "format" must be "{FORMAT}".')
    if description.get("version") != VERSION:
        raise InputError(f"{what} has version {description.get('version')!r}; this program reads version {VERSION}.")
    for key in ("name", "licence", "source"):
        if not isinstance(description.get(key), str):
            raise InputError(f'{what} lacks "{key}", a text; add it.')


def write_once(path: Path, content: dict[str, Any]) -> dict[str, Any]:
    """Writes a JSON file unless it is there already, also when several processes try; returns what it holds now."""
    if not path.exists():
        partial = path.with_name(f".{uuid.uuid4().hex}.part")
        partial.write_text(json.dumps(content, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        try:
            os.link(partial, path)  # unlike a rename, this fails where another process was quicker
        except FileExistsError:
            pass
        finally:
            partial.unlink()
    return parse_json(str(path), path.read_bytes())
