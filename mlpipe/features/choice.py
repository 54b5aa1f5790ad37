"""Which transformers a column gets, by its kind, its training values and the config; and their JSON."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.features.base import ColumnTransformer
from mlpipe.features.categorical import CategoryEncoder, HashEncoder
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.datetimes import DatetimeParts
from mlpipe.features.numeric import (
    Identity,
    MissingIndicator,
    NumericTransformer,
    QuantileNormal,
    RobustClip,
    Standardise,
)
from mlpipe.features.target import Target
from mlpipe.features.target_mean import TargetMean
from mlpipe.features.text import HashedNgrams
from mlpipe.features.typed import effective_kind, number
from mlpipe.schema import Column, Kind, Task, TaskKind

_KNOWN: dict[str, type[ColumnTransformer]] = {
    known.__name__: known
    for known in (
        QuantileNormal,
        RobustClip,
        Standardise,
        Identity,
        MissingIndicator,
        CategoryEncoder,
        HashEncoder,
        TargetMean,
        DatetimeParts,
        HashedNgrams,
    )
}


def fit_transformers(
    column: Column, values: pl.Series, target: Target, task: Task, config: FeaturesConfig
) -> list[ColumnTransformer]:
    """The fitted transformers of one feature column.

    Args:
        column: The column, from the schema.
        values: Its training values, as `mlpipe.features.typed.typed` reads them.
        target: The encoded target of the training rows.
        task: What is predicted.
        config: The `features` group.
    """
    match effective_kind(column):
        case Kind.NUMERIC | Kind.DURATION:
            chosen: list[ColumnTransformer] = [_numeric(config)]
            if _is_small_integer(values, config.integer_categories):
                chosen.append(_vocabulary(column, config))
        case Kind.DATE | Kind.DATETIME:
            chosen = [DatetimeParts(config.datetime_parts, column.time_zone)]
        case Kind.TEXT:
            chosen = [HashedNgrams(config.text_features)]
        case _:
            return [_categorical(column, values, target, task, config)]
    return [transformer.fit_columns([values]) for transformer in chosen]


def write_transformer(transformer: ColumnTransformer) -> dict[str, Any]:
    """A fitted transformer as plain JSON values."""
    return {"transformer": type(transformer).__name__, **transformer.to_dict()}


def read_transformer(values: dict[str, Any]) -> ColumnTransformer:
    """The inverse of `write_transformer`."""
    return _KNOWN[values["transformer"]].from_dict(values)


def _numeric(config: FeaturesConfig) -> NumericTransformer:
    match config.numeric:
        case "quantile":
            return QuantileNormal(config.quantile_noise, config.seed)
        case "robust":
            return RobustClip()
        case "standard":
            return Standardise()
        case _:
            return Identity()


def _vocabulary(column: Column, config: FeaturesConfig) -> CategoryEncoder:
    declared = ("false", "true") if column.kind is Kind.BOOLEAN else column.categories
    levels = None if declared is None else {column.name: list(declared)}
    return CategoryEncoder(config.min_frequency, config.max_categories, levels)


def _categorical(
    column: Column, values: pl.Series, target: Target, task: Task, config: FeaturesConfig
) -> ColumnTransformer:
    encoder = _vocabulary(column, config).fit_columns([values])
    many = encoder.columns_[column.name]["distinct"] > config.high_cardinality_threshold
    if not many or config.high_cardinality == "embed":
        return encoder
    if config.high_cardinality == "hash":
        return HashEncoder(config.hash_buckets).fit_columns([values])
    mean = TargetMean(config.target_smoothing, config.target_folds, config.seed)
    return mean.fit_columns([values], target_columns(target, task))


def target_columns(target: Target, task: Task) -> npt.NDArray[np.float64]:
    """The target as the numbers whose means are taken: one column per class of a multiclass task.

    Shape:
        (T,) or (T, O) -> (T, O)
    """
    if task.kind is TaskKind.MULTICLASS:
        return np.equal(target[:, None], np.arange(len(task.classes))).astype(np.float64)
    return target.astype(np.float64).reshape(len(target), -1)


def _is_small_integer(values: pl.Series, most: int) -> bool:
    if not most:
        return False
    numbers = values.to_frame("v").select(number(pl.col("v"), values.dtype)).to_series().drop_nulls()
    distinct = numbers.unique()
    return len(distinct) <= most and bool((distinct == distinct.floor()).all())
