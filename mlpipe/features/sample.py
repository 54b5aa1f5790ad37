"""Deterministic samples: the same rows for the same table, on every machine and with every library version."""

from __future__ import annotations

import math
import zlib

import numpy as np
import numpy.typing as npt

#: Rows from which quantiles and bins are computed; 200,000 put a quantile within 0.1 % of its rank.
SAMPLE_ROWS = 200_000
#: Rows summed at once, which stay in the processor's cache.
PART_ROWS = 65_536


def mix(values: npt.NDArray[np.uint64], seed: int = 0) -> npt.NDArray[np.uint64]:
    """A hash of 64-bit integers, for samples and folds (the finaliser of SplitMix64; Steele et al. 2014).

    Shape:
        any -> the same

    Examples:
        >>> mix(np.array([0, 1], dtype=np.uint64)).tolist()
        [16294208416658607535, 10451216379200822465]
    """
    mixed = values + np.uint64((seed + 1) * 0x9E3779B97F4A7C15 % 2**64)
    mixed = (mixed ^ (mixed >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    mixed = (mixed ^ (mixed >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return mixed ^ (mixed >> np.uint64(31))


def sample_rows(num_rows: int, size: int = SAMPLE_ROWS, seed: int = 0) -> npt.NDArray[np.int64]:
    """Ascending positions of a sample: one row, drawn by hash, out of each of `size` equal stretches.

    Shape:
        (min(num_rows, size),)

    Examples:
        >>> sample_rows(3, 5).tolist()
        [0, 1, 2]
        >>> sample_rows(100, 4).tolist()
        [10, 40, 60, 78]
    """
    if num_rows <= size:
        return np.arange(num_rows)
    stretch = np.arange(size)
    start = stretch * num_rows // size
    length = (stretch + 1) * num_rows // size - start
    return start + (mix(stretch.astype(np.uint64), seed) % length.astype(np.uint64)).astype(np.int64)


def moments(values: npt.NDArray[np.float64], counts: npt.NDArray[np.int64] | None = None) -> tuple[float, float]:
    """Mean and standard deviation, summed in a fixed order: the same bits whatever the number of threads.

    Centred on the first value: the sum of squares of large, close numbers would lose what differs between them.

    Args:
        values: (T,) at least one.
        counts: (T,) how often each occurs; None: once.

    Examples:
        >>> moments(np.array([1e15 + 1, 1e15 + 3]))
        (1000000000000002.0, 1.0)
        >>> moments(np.array([1.0, 4.0]), np.array([2, 1]))[0]
        2.0
    """
    shift = float(values[0])
    starts = range(0, len(values), PART_ROWS)
    parts = [values[start : start + PART_ROWS] - shift for start in starts]
    times = [1 if counts is None else counts[start : start + PART_ROWS] for start in starts]
    total = len(values) if counts is None else int(counts.sum())
    centre = math.fsum(float((part * n).sum()) for part, n in zip(parts, times, strict=True)) / total
    squares = math.fsum(float((np.square(part - centre) * n).sum()) for part, n in zip(parts, times, strict=True))
    return shift + centre, math.sqrt(squares / total)


def folds(
    num_rows: int, count: int, seed: int = 0, groups: npt.NDArray[np.int64] | None = None
) -> npt.NDArray[np.int64]:
    """The fold of each row, from its position or its group.

    Args:
        num_rows: How many rows there are.
        count: Of the folds.
        seed: Of the draw.
        groups: (num_rows,) the group of each row, from 0: whole groups are dealt out in turn, so that two are enough
            for two folds. A single group is divided as if there were none.

    Shape:
        (num_rows,), values from 0 to count - 1
    """
    if groups is None or not groups.any():
        return (mix(np.arange(num_rows, dtype=np.uint64), seed) % np.uint64(count)).astype(np.int64)
    deck = np.argsort(mix(np.arange(groups.max() + 1, dtype=np.uint64), seed))
    of_group = np.empty(len(deck), dtype=np.int64)
    of_group[deck] = np.arange(len(deck)) % count
    return of_group[groups]


def column_seed(name: str, seed: int) -> int:
    """A seed for one column that does not depend on which other columns there are."""
    return zlib.crc32(name.encode()) + (seed << 32)
