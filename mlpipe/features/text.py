"""Text to numbers: `HashedNgrams`, character n-grams and whole words hashed into a few columns.

What is notable:
- hashes come from integer arithmetic on UTF-8 bytes, so that they are the same in every process and with every
  version of every library, and all n-grams of a block of rows are hashed at once;
- counts are whole numbers, so that their sums do not depend on the order of addition.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.features.base import ColumnTransformer, State
from mlpipe.features.sample import mix
from mlpipe.features.typed import text

#: Base of the polynomial hashes; any large odd number does.
BASE = np.uint64(0x9E3779B97F4A7C15)
#: Bytes of one row beyond this are not read.
LONGEST = 4_096


class HashedNgrams(ColumnTransformer):
    """Signed counts of hashed n-grams and words, each row scaled to length 1 (Weinberger et al. 2009).

    Case is ignored. Null stays null.

    Args:
        width: Number of columns a text becomes.
        sizes: Lengths of the n-grams, in bytes.

    Examples:
        >>> frame = pl.DataFrame({"x": ["red fox", "Red fox ", "blue"]})
        >>> HashedNgrams(width=2).fit_transform(frame).unique(maintain_order=True).height
        2
    """

    numbers_only = False

    def __init__(self, width: int = 64, sizes: Sequence[int] = (3, 4)) -> None:
        self.width = width
        self.sizes = sizes

    def fit_column(self, name: str, values: pl.Series, target: npt.NDArray[Any] | None) -> State:
        """Nothing is learnt."""
        return {}

    def output_names(self, name: str) -> list[str]:
        """One name per column of the hash: `x.0`, `x.1`, ..."""
        return [f"{name}.{index}" for index in range(self.width)]

    def prepare(self, name: str, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """A struct of float64, one field per column of the hash."""

        def embed(values: pl.Series) -> pl.Series:
            table = pl.DataFrame(self.embed(values), schema=list(fields))
            known = pl.lit(values.is_not_null())
            return table.select(pl.when(known).then(pl.all())).to_struct(values.name)

        fields = {str(index): pl.Float64 for index in range(self.width)}
        return text(value, dtype).map_batches(embed, return_dtype=pl.Struct(fields), is_elementwise=True)

    def outputs(self, name: str, prepared: pl.Expr) -> list[pl.Expr]:
        """The fields of the struct."""
        return [prepared.struct.field(str(index)) for index in range(self.width)]

    def embed(self, values: pl.Series) -> npt.NDArray[np.float64]:
        """Hashed counts, scaled; 0 for null.

        Shape:
            (T,) -> (T, width)
        """
        encoded = [f" {word} ".encode()[:LONGEST] for word in values.fill_null("").str.to_lowercase()]
        lengths = np.asarray([len(row) for row in encoded], dtype=np.int64)
        codes = np.frombuffer(b"".join(encoded), dtype=np.uint8).astype(np.uint64) + np.uint64(1)
        row = np.repeat(np.arange(len(encoded)), lengths)
        counts = np.zeros(len(encoded) * self.width)
        for hashes, rows in (*(_ngrams(codes, row, size) for size in self.sizes), _words(codes, row)):
            mixed = mix(hashes)
            bucket = (mixed % np.uint64(self.width)).astype(np.int64)
            sign = 1.0 - 2.0 * (mixed >> np.uint64(63)).astype(np.float64)
            counts += np.bincount(rows * self.width + bucket, weights=sign, minlength=len(counts))
        table = counts.reshape(len(encoded), self.width)
        norm = np.sqrt(np.square(table).sum(axis=1, keepdims=True))
        return table / np.where(norm == 0, 1.0, norm)


Hashes = tuple[npt.NDArray[np.uint64], npt.NDArray[np.int64]]


def _ngrams(codes: npt.NDArray[np.uint64], row: npt.NDArray[np.int64], size: int) -> Hashes:
    """Hash and row of every run of `size` bytes within one row."""
    if len(codes) < size:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    count = len(codes) - size + 1
    hashes = np.full(count, size, dtype=np.uint64)
    for offset in range(size):
        hashes = hashes * BASE + codes[offset : offset + count]
    within = row[:count] == row[size - 1 :]
    return hashes[within], row[:count][within]


def _words(codes: npt.NDArray[np.uint64], row: npt.NDArray[np.int64]) -> Hashes:
    """Hash and row of every run of bytes between blanks; each row starts and ends with one or was cut off."""
    blank = codes == np.uint64(ord(" ") + 1)
    start = np.flatnonzero(~blank & np.append(True, blank[:-1] | (row[1:] != row[:-1])))
    if len(start) == 0:
        return np.zeros(0, dtype=np.uint64), np.zeros(0, dtype=np.int64)
    # The place within its word of each byte decides by which power of the base it counts.
    word = np.zeros(len(codes), dtype=np.int64)
    word[start] = 1
    place = np.arange(len(codes)) - start.take((np.cumsum(word) - 1).clip(0))
    powers = np.cumprod(np.full(int(place.max(initial=0)) + 2, BASE, dtype=np.uint64))
    terms = np.where(blank, np.uint64(0), codes * powers.take(place.clip(0)))
    return np.add.reduceat(terms, start), row[start]
