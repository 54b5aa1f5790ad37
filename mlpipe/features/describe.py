"""From a training frame and a model's answers to `Statistics`: what needs the raw columns, and their words.

Answers are written as `Arrays`, so that they are counted and compared as features are.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.arrays import Arrays
from mlpipe.features.base import ColumnTransformer
from mlpipe.features.calibration import EVEN, is_yes
from mlpipe.features.categorical import CategoryEncoder
from mlpipe.features.datetimes import DatetimeParts
from mlpipe.features.statistics import Statistics, TableStatistics
from mlpipe.features.target import label_text
from mlpipe.features.typed import LARGEST_NUMBER, effective_kind, number, typed
from mlpipe.schema import (
    FIRST_CATEGORY_ID,
    NULL_ID,
    CategoricalFeature,
    Column,
    InputSpec,
    Kind,
    NumericFeature,
    Schema,
    Task,
    TaskKind,
)

#: The name of what is predicted.
PREDICTION = "prediction"
#: Predicted numbers are cut off here, within float32.
LARGEST = 1e30


def describe_features(
    frame: pl.DataFrame,
    sample: pl.DataFrame,
    arrays: Arrays,
    spec: InputSpec,
    schema: Schema,
    transformers: Mapping[str, Sequence[ColumnTransformer]],
) -> Statistics:
    """The statistics of training rows.

    Args:
        frame: All of them, raw.
        sample: Those of them that are in the arrays.
        arrays: As new rows are transformed: target encodings with the rows' own targets in them.
        spec: Of the arrays.
        schema: What the columns are.
        transformers: The fitted ones, by column.
    """
    types = frame.schema  # put together anew each time it is asked for
    columns = [column for column in schema.features if _is_number(column)]
    numbers = {column.name: _number(column, types) for column in columns}
    times = {f"{column.name}.elapsed": _seconds(column, types) for column in schema.features if _is_time(column)}
    chosen = sample.select(column.alias(name) for name, column in (numbers | times).items())
    raw = {name: chosen[name].fill_null(float("nan")).to_numpy() for name in chosen.columns}
    raw |= _calendar_parts(arrays, spec, transformers)
    return Statistics(TableStatistics.of(arrays, spec, _words(transformers), raw, times), _ranges(columns, frame))


def describe_answers(values_TO: npt.NDArray[np.floating[Any]], task: Task, threshold: float = EVEN) -> TableStatistics:
    """The statistics of what a model answers.

    Args:
        values_TO: (T, O) as `mlpipe.bundle.predictor.Predictor.values` gives them; at least one row.
        task: What is predicted.
        threshold: Binary: the answer is the second class where its probability is above this.

    Examples:
        >>> task = Task(TaskKind.BINARY, ("bought",), ("no", "yes"))
        >>> record = describe_answers(np.array([[0.2], [0.9], [0.3], [0.1]]), task).categorical[0]
        >>> record.names, record.shares
        (('no', 'yes'), (0.75, 0.25))
    """
    labels = [label_text(label) for label in task.classes]
    numeric: tuple[NumericFeature, ...] = ()
    categorical: tuple[CategoricalFeature, ...] = ()
    words: dict[str, Sequence[str]] = {}
    if task.kind is TaskKind.REGRESSION:
        numeric = (NumericFeature(PREDICTION, PREDICTION),)
    elif task.kind is TaskKind.MULTILABEL:
        names = [f"{PREDICTION}.{label}" for label in labels]
        categorical = tuple(CategoricalFeature(name, PREDICTION, FIRST_CATEGORY_ID + 2) for name in names)
        words = dict.fromkeys(names, ("no", "yes"))
    else:
        categorical = (CategoricalFeature(PREDICTION, PREDICTION, FIRST_CATEGORY_ID + len(labels)),)
        words = {PREDICTION: labels}
    spec = InputSpec(numeric, categorical, task.num_outputs)
    return TableStatistics.of(answers_as_arrays(values_TO, task.kind, threshold), spec, words)


def answers_as_arrays(values_TO: npt.NDArray[np.floating[Any]], kind: TaskKind, threshold: float = EVEN) -> Arrays:
    """What is answered, as `Arrays`: a class as an id, a label as the id of no or yes, a number as it is.

    Args:
        values_TO: (T, O) as `mlpipe.bundle.predictor.Predictor.values` gives them; what is not finite is missing.
        kind: The task.
        threshold: Binary: the answer is the second class where its probability is above this.

    Examples:
        >>> answers_as_arrays(np.array([[0.2], [0.7]]), TaskKind.BINARY).categorical.tolist()
        [[3], [4]]
    """
    rows = len(values_TO)
    if kind is TaskKind.REGRESSION:
        value = values_TO[:, :1]
        missing = ~np.isfinite(value)
        number = np.where(missing, 0.0, value).clip(-LARGEST, LARGEST).astype(np.float32)
        return Arrays(number, missing, np.empty((rows, 0), dtype=np.int32))
    if kind is TaskKind.MULTICLASS:
        chosen = values_TO.argmax(axis=1)[:, None]
        finite = np.isfinite(values_TO).all(axis=1, keepdims=True)
    else:
        chosen = is_yes(values_TO, threshold if kind is TaskKind.BINARY else EVEN)
        finite = np.isfinite(values_TO)
    ids = np.where(finite, chosen + np.int32(FIRST_CATEGORY_ID), NULL_ID).astype(np.int32)
    return Arrays(np.empty((rows, 0), dtype=np.float32), np.empty((rows, 0), dtype=np.bool_), ids)


def _is_number(column: Column) -> bool:
    return effective_kind(column) in (Kind.NUMERIC, Kind.DURATION)


def _is_time(column: Column) -> bool:
    return effective_kind(column) in (Kind.DATE, Kind.DATETIME)


def _ranges(columns: Sequence[Column], frame: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """The least and the greatest number of raw columns; those without any are left out.

    To ask each value whether it is a number takes many times as long as to find the ends of the values as they stand,
    which are those of the numbers unless an infinite or unreadable one is among them.
    """
    types = frame.schema
    asis = {column.name: typed(column, types[column.name]) for column in columns}
    found = _ends({name: value for name, (value, dtype) in asis.items() if dtype.is_numeric()}, frame)
    ranges = {
        name: (low, high) for name, (low, high) in found.items() if -LARGEST_NUMBER <= low <= high <= LARGEST_NUMBER
    }
    rest = {name: number(*asis[name]) for name in asis if name not in ranges}
    ranges |= _ends(rest, frame)
    return {name: ranges[name] for name in asis if name in ranges}


def _ends(values: Mapping[str, pl.Expr], frame: pl.DataFrame) -> dict[str, tuple[float, float]]:
    """The least and the greatest of some values, NaN aside; those that are all null are left out."""
    ends = frame.select(
        expression.cast(pl.Float64).alias(f"{end}{index}")
        for index, value in enumerate(values.values())
        for end, expression in (("low", value.min()), ("high", value.max()))
    )
    found = iter(ends.row(0) if values else ())
    pairs = zip(found, found, strict=True)
    return {name: (low + 0.0, high + 0.0) for name, (low, high) in zip(values, pairs, strict=True) if low is not None}


def _number(column: Column, types: pl.Schema) -> pl.Expr:
    """A raw column of numbers, Float64, null where there is none; a duration in seconds."""
    return number(*typed(column, types[column.name]))


def _seconds(column: Column, types: pl.Schema) -> pl.Expr:
    """A raw column of times, Float64, in seconds since 1970."""
    time, _ = typed(column, types[column.name])
    return time.dt.epoch("s").cast(pl.Float64)


def _calendar_parts(
    arrays: Arrays, spec: InputSpec, transformers: Mapping[str, Sequence[ColumnTransformer]]
) -> dict[str, npt.NDArray[np.float64]]:
    """Days, years and minutes, which are whole, from their standardised values."""
    raw = {}
    places = {feature.name: index for index, feature in enumerate(spec.numeric)}
    for column, chosen in transformers.items():
        for transformer in chosen:
            if isinstance(transformer, DatetimeParts):
                parts = transformer.columns_[column]["numbers"]
                for part, (mean, scale) in parts.items():
                    if part != "elapsed":
                        standard_T = arrays.numeric[:, places[f"{column}.{part}"]].astype(np.float64)
                        raw[f"{column}.{part}"] = np.round(standard_T * scale + mean)
    return raw


def _words(transformers: Mapping[str, Sequence[ColumnTransformer]]) -> dict[str, Sequence[str]]:
    """What the ids from 3 on of each categorical feature stand for, as far as that is known: hashes have no words."""
    words: dict[str, Sequence[str]] = {}
    for column, chosen in transformers.items():
        for transformer in chosen:
            state = transformer.columns_[column]
            if isinstance(transformer, CategoryEncoder):
                words[column] = state["vocabulary"]
            elif isinstance(transformer, DatetimeParts):
                for part, values in state["categories"].items():
                    words[f"{column}.{part}"] = [str(value) for value in values]
    return words
