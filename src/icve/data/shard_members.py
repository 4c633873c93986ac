"""Reads what a shard's members hold, clips and tensors, as data that may be damaged or made to harm."""

import json

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load as load_tensors
from torch import Tensor

from icve.data.buckets import Bucket
from icve.data.samples import BadSampleError
from icve.data.shard_index import Members, SetFiles
from icve.data.shard_layout import QUARANTINE_FILE
from icve.data.shard_media import decode_clip

HEADER = 2**16  # bytes: more than any safetensors header of two tensors
FLOATS = (torch.bfloat16, torch.float16, torch.float32)


def read_clip(files: SetFiles, media: Members, row: int, clip_id: str, bucket: Bucket) -> np.ndarray:
    """A clip's pixels, uint8 (F, H, W, 3); `BadSampleError` where they cannot be had."""
    limit = 4 * bucket.frames * bucket.height * bucket.width + 2**20  # no codec makes pixels larger than they are
    data = media.read(files, row, f"The clip {clip_id}", limit)
    try:
        return decode_clip(data, bucket)
    except ValueError as error:
        raise BadSampleError(f"The clip {clip_id} in {files.path}/{media.tar(row)} is damaged: {error}.") from error


def read_tensors(
    files: SetFiles, members: Members, row: int, name: str, **shapes: tuple[int, ...]
) -> dict[str, Tensor]:
    """A member's tensors, floats of exactly these names and shapes; `states` may be shorter, but not empty."""
    what = f"{'The text' if 'states' in shapes else 'The clip'} {name}"
    limit = HEADER + 4 * sum(int(np.prod(shape)) for shape in shapes.values())
    data = members.read(files, row, what, limit)
    where = f"{what} in {files.path}/{members.tar(row)}"
    try:
        tensors = load_tensors(data)
    except SafetensorError as error:
        raise BadSampleError(f"{where} is damaged: it is no safetensors file.") from error
    for key, shape in shapes.items():
        tensor = tensors.get(key)
        if tensor is None or tensor.dtype not in FLOATS:
            raise BadSampleError(f'{where} has no tensor "{key}" of floats.')
        got = tuple(tensor.shape)
        shorter = key == "states" and len(got) == 2 and 0 < got[0] <= shape[0] and got[1] == shape[1]
        if got != shape and not shorter:
            raise BadSampleError(f'{where} has "{key}" of shape {got} instead of {shape}.')
        if not tensor.isfinite().all():
            raise BadSampleError(f'{where} has "{key}" with values that are not finite.')
    return tensors


def quarantined_clips(files: SetFiles) -> set[str]:
    """The ids of clips that encoding could not use, from quarantine.jsonl."""
    try:
        lines = files.read(QUARANTINE_FILE).splitlines()
    except FileNotFoundError:
        return set()
    clips = set()
    for line in lines:
        try:
            entry = json.loads(line)
        except ValueError:  # the last line, of a process that was killed
            continue
        if isinstance(entry, dict) and isinstance(entry.get("clip_id"), str):
            clips.add(entry["clip_id"])
    return clips
