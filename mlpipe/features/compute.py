"""From fitted transformers and a raw frame to the columns of `Arrays`."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from itertools import accumulate
from typing import TypeVar

import numpy as np
import polars as pl

from mlpipe.arrays import Arrays
from mlpipe.features.base import ColumnTransformer
from mlpipe.features.typed import effective_kind, typed
from mlpipe.schema import Kind, Schema

#: Rows transformed at once: enough that the cost of a selection does not count.
BLOCK_ROWS = 262_144
#: Rows written at once: few enough that a part of the arrays stays in the cache until all its columns are there.
PART_ROWS = 8_192
#: Blocks computed at once: as many are in memory, and more threads would wait for the interpreter.
MOST_THREADS = 4

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


def compact(schema: Schema, types: Mapping[str, pl.DataType], names: Sequence[str]) -> list[pl.Expr]:
    """Columns of a training table in few bytes, from which the same features are made as from the raw ones.

    Training reads a column more than once: text of times is parsed and text of categories counted here, once.

    Args:
        schema: What the columns are.
        types: Polars types of the raw columns.
        names: The columns.
    """
    chosen = []
    for name in names:
        kind = effective_kind(schema[name]) if name in schema else None
        expression = pl.col(name)
        if kind in (Kind.DATE, Kind.DATETIME, Kind.DURATION):
            expression, _ = typed(schema[name], types[name])
        elif kind is Kind.CATEGORICAL and isinstance(types[name], pl.String):
            # Categories of its own: the global ones would stay in memory.
            expression = expression.cast(pl.Categorical(pl.Categories.random("mlpipe")))
        chosen.append(expression.alias(name))
    return chosen


def to_arrays(
    blocks: Iterable[pl.DataFrame],
    rows: int,
    numbers: int,
    categories: int,
    select: Callable[[pl.DataFrame], pl.DataFrame] = lambda features: features,
) -> Arrays:
    """Blocks of a frame as arrays.

    Each thread computes and writes a block by itself: one that selects while another writes what it was handed would
    wait for it at the end of every block.

    Args:
        blocks: In row order.
        rows: How many rows they have together.
        numbers: How many numeric features there are.
        categories: How many categorical features there are.
        select: From a block to what a `Selection` gives; left out, the blocks are that already.
    """
    arrays = Arrays(
        np.empty((rows, numbers), dtype=np.float32),
        np.zeros((rows, numbers), dtype=np.bool_),
        np.empty((rows, categories), dtype=np.int32),
    )

    def write(block: pl.DataFrame, start: int) -> None:
        _write(select(block), arrays, start)

    blocks = list(blocks)
    starts = list(accumulate((block.height for block in blocks), initial=0))[: len(blocks)]
    if len(blocks) == 1:
        write(blocks[0], 0)
        return arrays
    with ThreadPoolExecutor(min(pl.thread_pool_size(), MOST_THREADS)) as pool:
        for _ in pool.map(write, blocks, starts):
            pass  # what a thread raised is raised here
    return arrays


def _write(block: pl.DataFrame, arrays: Arrays, start: int) -> None:
    """A block of a feature frame into the rows of the arrays from `start` on."""
    numeric = [block[f"n{index}"] for index in range(arrays.numeric.shape[1])]
    filled = {index: column.fill_null(0.0).to_numpy() for index, column in enumerate(numeric)}
    null = {index: column.is_null().to_numpy() for index, column in enumerate(numeric) if column.null_count()}
    ids = {index: block[f"c{index}"].to_numpy() for index in range(arrays.categorical.shape[1])}
    for first in range(0, block.height, PART_ROWS):
        rows_in = slice(first, min(first + PART_ROWS, block.height))
        rows_out = slice(start + rows_in.start, start + rows_in.stop)
        for array, columns in ((arrays.numeric, filled), (arrays.missing, null), (arrays.categorical, ids)):
            for index, column in columns.items():
                array[rows_out, index] = column[rows_in]
