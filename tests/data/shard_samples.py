"""Small sets of world clips for the tests."""

from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from icve.data.buckets import Bucket
from icve.data.shard_layout import LATENTS, MEDIA
from icve.data.shard_tar import TarShard
from icve.data.shards import ShardWriter
from icve.data.world import render, sample_edit

BUCKET = Bucket(9, 64, 64)
SHARD = "shard-000000"
DESCRIPTION = {"name": "tests", "licence": "CC0-1.0", "source": "the world"}


def clips(seed: int, bucket: Bucket = BUCKET) -> tuple[np.ndarray, np.ndarray, str, str]:
    """Source, target, instruction and type of a world edit."""
    edit = sample_edit((seed, 77))
    return render(edit.source, *bucket), render(edit.target, *bucket), edit.instruction, edit.operation


def add(writer: ShardWriter, number: int, bucket: Bucket = BUCKET) -> None:
    """Clips c<number>-0 and -1, the first with a caption, and their pair p<number>."""
    source, target, instruction, kind = clips(number, bucket)
    writer.add_clip(f"c{number}-0", source, fps=8, caption=f"caption {number}", source="seed")
    writer.add_clip(f"c{number}-1", target, fps=8)
    writer.add_pair(f"p{number}", f"c{number}-0", f"c{number}-1", instruction, kind)


def write_set(folder: Path, pairs: int = 4, buckets: tuple[Bucket, ...] = (BUCKET,), **options) -> Path:
    """A set of `pairs` pairs of each bucket, stored exactly."""
    with ShardWriter(folder, **DESCRIPTION, **{"lossless": True} | options) as writer:
        for i, bucket in enumerate(buckets):
            for number in range(pairs):
                add(writer, 100 * i + number, bucket)
    return folder


def files(folder: Path) -> dict[str, bytes]:
    """Every file of a folder that is not hidden, by its path."""
    return {
        str(path.relative_to(folder)): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }


def rewrite(index: Path, **columns) -> None:
    """Changes columns of an index, each by a function of its values as a list."""
    table = pq.read_table(index)
    for name, change in columns.items():
        place = table.schema.get_field_index(name)
        values = pa.array(change(table[name].to_pylist()), table.schema.field(name).type)
        table = table.set_column(place, name, values)
    pq.write_table(table, index)


def replace_member(folder: Path, part: str, clip_id: str, suffix: str, data: bytes) -> None:
    """Writes the first shard of a part again, with other bytes for one clip, and a right checksum."""
    place, schema = folder / part / str(BUCKET), MEDIA if part == "media" else LATENTS
    tar = (place / f"{SHARD}.tar").read_bytes()
    rows = pq.read_table(place / f"{SHARD}.parquet").to_pylist()
    shard = TarShard(place, SHARD, schema)
    for row in rows:
        old = tar[row.pop("offset") :][: row.pop("size")]
        row.pop("crc32")
        shard.add(row["clip_id"] + suffix, data if row["clip_id"] == clip_id else old, **row)
    shard.close()
