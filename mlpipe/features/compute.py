"""From fitted transformers and a raw frame to the columns of `Arrays`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import polars as pl

from mlpipe.arrays import Arrays
from mlpipe.features.base import ColumnTransformer
from mlpipe.features.typed import typed
from mlpipe.schema import Schema

#: Rows written at once: small enough that a block's features stay in the cache.
BLOCK_ROWS = 65_536

Transformers = Mapping[str, Sequence[ColumnTransformer]]
Frame = TypeVar("Frame", pl.DataFrame, pl.LazyFrame)


@dataclass(frozen=True)
class Selection:
    """All features of a raw frame, as expressions for one selection.

    Calling it gives Float32 columns `n0`, `n1`, ..., null where missing; Int32 columns `c0`, `c1`, ...; and the raw
    columns that are carried along as `t0`, `t1`, ...

    Attributes:
        prepared: From raw columns, what several features share.
        features: From prepared columns.
    """

    prepared: list[pl.Expr]
    features: list[pl.Expr]

    def __call__(self, frame: Frame) -> Frame:
        """Select; lazy if `frame` is."""
        return frame.select(self.prepared).select(self.features)


def compile_selection(
    types: Mapping[str, pl.DataType], schema: Schema, transformers: Transformers, carried: Sequence[str] = ()
) -> Selection:
    """The selection for raw frames of certain types.

    Args:
        types: Polars types of the raw columns.
        schema: What the columns are.
        transformers: The fitted ones, by column.
        carried: Raw columns to carry along.

    Raises:
        DataError: A column of this type cannot be read as its kind.
    """
    prepared = [pl.col(name).alias(f"t{index}") for index, name in enumerate(carried)]
    features = [pl.col(f"t{index}") for index in range(len(carried))]
    counts = {"n": 0, "c": 0}
    for column, chosen in transformers.items():
        value, dtype = typed(schema[column], types[column])
        for transformer in chosen:
            key = f"p{len(prepared)}"
            prepared.append(transformer.prepare(column, value, dtype).alias(key))
            outputs = transformer.outputs(column, pl.col(key))
            for output, cardinality in zip(outputs, transformer.cardinalities(column), strict=True):
                kind = "n" if cardinality is None else "c"
                exact = output.cast(pl.Float32 if cardinality is None else pl.Int32)
                features.append(exact.alias(f"{kind}{counts[kind]}"))
                counts[kind] += 1
    return Selection(prepared, features)


def to_arrays(blocks: Iterator[pl.DataFrame], rows: int, numbers: int, categories: int) -> Arrays:
    """Blocks of a feature frame as arrays.

    Args:
        blocks: From a `Selection`, in row order.
        rows: How many rows they have together.
        numbers: How many numeric features there are.
        categories: How many categorical features there are.
    """
    numeric = np.empty((rows, numbers), dtype=np.float32)
    missing = np.empty((rows, numbers), dtype=np.bool_)
    categorical = np.empty((rows, categories), dtype=np.int32)
    start = 0
    for block in blocks:
        stop = start + block.height
        for index in range(numbers):
            values = block[f"n{index}"]
            missing[start:stop, index] = values.is_null().to_numpy() if values.null_count() else False
            numeric[start:stop, index] = values.fill_null(0.0).to_numpy()
        for index in range(categories):
            categorical[start:stop, index] = block[f"c{index}"].to_numpy()
        start = stop
    return Arrays(numeric, missing, categorical)
