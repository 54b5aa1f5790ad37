"""The transformers of a training table's columns, and what its own rows get in place of `transform`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.arrays import Arrays
from mlpipe.errors import DataError, how_many
from mlpipe.features.base import ColumnTransformer
from mlpipe.features.choice import fit_transformers, target_columns
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.target import Target, TargetCodec
from mlpipe.features.target_mean import TargetMean
from mlpipe.features.typed import effective_kind, number, typed
from mlpipe.schema import Column, Kind, Role, Schema

logger = logging.getLogger(__name__)


def fit_columns(
    schema: Schema, frame: pl.DataFrame, codec: TargetCodec, config: FeaturesConfig
) -> tuple[dict[str, list[ColumnTransformer]], Target]:
    """Fit the transformers of every feature column, on all threads.

    Args:
        schema: What the columns are.
        frame: The training rows.
        codec: Of the target; fitted.
        config: Which transformers.

    Returns:
        The transformers by column, in the schema's order, and the encoded target.

    Raises:
        DataError: A column is of a type that cannot be read as its kind, or a target is null.
    """

    def fit_column(column: Column) -> list[ColumnTransformer]:
        values = _typed(column, frame)
        if (flat := _flatness(values)) is not None:
            logger.warning("Column %r %s in the training rows: it tells the model nothing.", column.name, flat)
        return fit_transformers(column, values, encoding.result(), schema.task, config)

    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        encoding = pool.submit(codec.encode, frame, "the training rows")
        # Numbers, which take the least time, last: no thread is left with a long column at the end.
        ordered = sorted(schema.features, key=lambda column: effective_kind(column) is Kind.NUMERIC)
        fitted = dict(zip(ordered, pool.map(fit_column, ordered), strict=True))
    return {column.name: fitted[column] for column in schema.features}, encoding.result()


def put_out_of_fold(
    arrays: Arrays,
    schema: Schema,
    frame: pl.DataFrame,
    transformers: Mapping[str, Sequence[ColumnTransformer]],
    target: Target,
) -> None:
    """Put target encodings of the training rows in which a row's own target has no part into their arrays.

    Args:
        arrays: Of the training rows; written to.
        schema: What the columns are.
        frame: The training rows.
        transformers: The fitted ones, by column, in the order of the arrays' columns.
        target: Encoded, of these rows.
    """
    position, groups = 0, group_codes(frame, schema)
    for name, chosen in transformers.items():
        for transformer in chosen:
            width = sum(cardinality is None for cardinality in transformer.cardinalities(name))
            if isinstance(transformer, TargetMean):
                encoded = transformer.out_of_fold(
                    _typed(schema[name], frame), target_columns(target, schema.task), groups
                )
                arrays.numeric[:, position : position + width] = encoded
            position += width


def group_codes(frame: pl.DataFrame, schema: Schema) -> npt.NDArray[np.int64] | None:
    """A number for each row's group, from 0; rows without one are a group. None if the frame has no such column.

    New rows are of groups that the training rows lack; so what others tell a training row is told by other groups.
    """
    column = schema.with_role(Role.GROUP)
    if column is None or column.name not in frame.columns:
        return None
    ranks = frame[column.name].cast(pl.String, strict=False).rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    codes: npt.NDArray[np.int64] = ranks - ranks.min()
    return codes


def row_weights(frame: pl.DataFrame, schema: Schema) -> npt.NDArray[np.float32] | None:
    """Sample weights, if the schema has such a column.

    Raises:
        DataError: A weight is null, infinite or negative.
    """
    column = schema.with_role(Role.WEIGHT)
    if column is None:
        return None
    weights = frame.select(number(pl.col(column.name), frame.schema[column.name])).to_series()
    wrong = weights.null_count() + int((weights < 0).sum())
    if wrong:
        raise DataError(f"The weight column {column.name!r} is not 0 or more in {how_many(wrong, 'row')}.")
    return weights.cast(pl.Float32).to_numpy(writable=True)


def _typed(column: Column, frame: pl.DataFrame) -> pl.Series:
    """A column's values as its transformer reads them."""
    raw = frame[column.name]  # by itself: a query over a wide table costs time for each of its columns
    value, _ = typed(column, raw.dtype)
    return raw.to_frame().select(value.alias(column.name)).to_series()


def _flatness(values: pl.Series) -> str | None:
    """What is wrong with a column that never varies, or None."""
    if values.null_count() == len(values):
        return "has no value"
    codes = values.to_physical()
    if values.null_count() or (codes.head(1_000) != codes[0]).any() or (codes != codes[0]).any():
        return None
    return "is constant"
