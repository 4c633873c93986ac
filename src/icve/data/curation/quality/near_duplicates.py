"""Near-duplicate filter: clips whose embeddings lie closer than a limit, found within k-means clusters.

Compares each row with those of its two nearest clusters alone, as all pairs of a million are too many. Results are
the same on every machine: vectors are rounded to whole numbers so small that their products are exact in float32,
whatever the order in which they are summed.
"""

import math
from pathlib import Path

import numpy as np
from pydantic import Field

from icve.data.curation.quality.base import Strict
from icve.data.curation.randomness import generator
from icve.errors import InputError

# A vector of this length in whole numbers: products stay below its square, 2^22, and float32 is exact to 2^24.
# Distances are right to about 0.0003.
LENGTH = 2048
ROWS = 4096  # compared at once: with 1,500 clusters, 25 MB
SAMPLE = 32  # rows of the sample that clusters are made from, for each of them
ROUNDS = 10  # of k-means; more change the clusters little, and clusters need not be good, only small


class NearDuplicatesConfig(Strict):
    """Drops clips that look like an earlier one, over the whole set."""

    max_distance: float | None = Field(
        default=None, ge=0, le=2, description="clips this close are duplicates (1 - cosine); null: off, try 0.01"
    )
    clusters: int | None = Field(default=None, ge=1, description="of k-means; null: by the number of clips")


def near_duplicates(
    embeddings_file: Path, dimensions: int, *, threshold: float, clusters: int | None = None, seed: int = 0
) -> np.ndarray:
    """Which rows are close to an earlier one, (N,) bool: true for those to drop.

    The lowest row of a group always stays. Every row that is dropped was within `threshold` of a lower row that was
    not dropped at that time. Memory is bounded but for the mask and two numbers a row.

    Args:
        embeddings_file: N vectors one after the other, float16, each of `dimensions` numbers and of length 1.
        threshold: 1 - cosine up to which rows are duplicates.
        clusters: of k-means; None for the square root of 2 N, which makes the fewest comparisons.
        seed: of the rows that clusters start from.

    Raises:
        InputError: the file does not hold such vectors.
    """
    size = embeddings_file.stat().st_size
    count, rest = divmod(size, 2 * dimensions)
    if rest:
        raise InputError(f"{embeddings_file} does not hold whole vectors of {dimensions} numbers; make it again.")
    drop = np.zeros(count, bool)
    if count < 2:
        return drop
    vectors = Vectors(embeddings_file, count, dimensions)
    centres = _centres(vectors, min(clusters or math.isqrt(2 * count), count), generator(seed, "near duplicates"))
    nearest = np.empty((count, 2), np.int32)
    for start in range(0, count, ROWS):
        rows = np.arange(start, min(start + ROWS, count))
        nearest[rows] = _two_nearest(vectors[rows], centres)
    if len(centres) == 1:
        _drop_close(vectors, np.arange(count), threshold, drop)
        return drop
    # Row 2 i and 2 i + 1 of the flat list are row i's: a stable sort lists each cluster's rows in order.
    order = np.argsort(nearest.ravel(), kind="stable")
    ends = np.cumsum(np.bincount(nearest.ravel(), minlength=len(centres)))
    for start, end in zip([0, *ends[:-1]], ends, strict=True):
        members = order[start:end] // 2
        _drop_close(vectors, members[~drop[members]], threshold, drop)
    return drop


class Vectors:
    """Rows of a file of float16 vectors, read when they are asked for."""

    def __init__(self, file: Path, count: int, dimensions: int) -> None:
        self.file = file
        self.data = np.memmap(file, np.float16, "r", shape=(count, dimensions))

    def __len__(self) -> int:
        return len(self.data)

    def __getitem__(self, rows: np.ndarray) -> np.ndarray:
        """(n, D) float32, whole numbers, of length 2048."""
        values = self.data[rows].astype(np.float32)
        lengths = np.sqrt(np.einsum("ij,ij->i", values, values, dtype=np.float64))
        if not (np.isfinite(lengths) & (lengths > 0)).all():
            raise InputError(f"{self.file} holds vectors that are zero or not finite; make it again.")
        return np.rint(values * (LENGTH / lengths)[:, None].astype(np.float32))


def _centres(vectors: Vectors, clusters: int, random: np.random.Generator) -> np.ndarray:
    """Spherical k-means over a sample: (clusters, D) as `Vectors` gives them."""
    sample = random.choice(len(vectors), min(len(vectors), SAMPLE * clusters), replace=False)
    centres = vectors[sample[:clusters]]
    if clusters == 1:
        return centres
    sample.sort()
    for _ in range(ROUNDS):
        sums = np.zeros(centres.shape)
        for start in range(0, len(sample), ROWS):
            rows = vectors[sample[start : start + ROWS]]
            labels = (rows @ centres.T).argmax(axis=1)
            order = np.argsort(labels, kind="stable")
            found, first = np.unique(labels[order], return_index=True)
            sums[found] += np.add.reduceat(rows[order], first, axis=0, dtype=np.float64)
        lengths = np.linalg.norm(sums, axis=1)
        used = lengths > 0  # an empty cluster stays where it is
        centres[used] = np.rint(sums[used] * (LENGTH / lengths[used])[:, None])
    return centres


def _two_nearest(rows: np.ndarray, centres: np.ndarray) -> np.ndarray:
    products = rows @ centres.T
    first = products.argmax(axis=1)
    products[np.arange(len(rows)), first] = -np.inf
    return np.stack([first, products.argmax(axis=1)], axis=1)


def _drop_close(vectors: Vectors, members: np.ndarray, threshold: float, drop: np.ndarray) -> None:
    """Sets `drop` for each of some rows (ascending) that is close to an earlier one of them which stays."""
    kept: list[np.ndarray] = []
    for start in range(0, len(members), ROWS):
        rows = members[start : start + ROWS]
        block = vectors[rows]
        for earlier in kept:
            free = ~_close(block, vectors[earlier], threshold).any(axis=1)
            drop[rows[~free]] = True
            rows, block = rows[free], block[free]
        close = np.tril(_close(block, block, threshold), -1)
        keep = np.ones(len(rows), bool)
        for row in np.flatnonzero(close.any(axis=1)):
            keep[row] = not (close[row] & keep).any()
        drop[rows[~keep]] = True
        kept.append(rows[keep])


def _close(a: np.ndarray, b: np.ndarray, threshold: float) -> np.ndarray:
    """Whether the cosine of each row of `a` and each of `b` is at least 1 - threshold."""
    least = np.float32(1 - threshold - 1e-6)  # the rounding of what follows
    return a @ b.T >= least * _lengths(a)[:, None] * _lengths(b)


def _lengths(rows: np.ndarray) -> np.ndarray:
    return np.sqrt(np.einsum("ij,ij->i", rows, rows))  # sums of whole numbers below 2^24: exact
