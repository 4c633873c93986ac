"""The on-disk format of clips and pairs, written by `ShardWriter` and read by `ShardSet`; see docs/format.md."""

from icve.data.shard_layout import SHARD_BYTES, text_key
from icve.data.shard_reading import ShardSet
from icve.data.shard_writing import ShardWriter

__all__ = ["SHARD_BYTES", "ShardSet", "ShardWriter", "text_key"]
