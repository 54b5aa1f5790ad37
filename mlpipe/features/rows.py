"""A raw row as JSON: the sample request that a bundle ships with."""

from __future__ import annotations

from datetime import date, datetime, time, timedelta
from decimal import Decimal
from typing import Any

import polars as pl

from mlpipe.schema import Schema


def json_row(frame: pl.DataFrame, schema: Schema) -> dict[str, Any]:
    """The feature values of the first row without nulls (or of the first row, if all have some) as JSON values.

    Args:
        frame: Raw rows, at least one.
        schema: What the columns are.

    Examples:
        >>> from mlpipe.schema import Column, Kind, Task, TaskKind
        >>> schema = Schema((Column("day", Kind.DATE), Column("x", Kind.NUMERIC)), Task(TaskKind.REGRESSION, ("y",)))
        >>> json_row(pl.DataFrame({"day": [date(2024, 1, 31)], "x": [float("nan")], "y": [1.0]}), schema)
        {'day': '2024-01-31', 'x': None}
    """
    features = frame.select(column.name for column in schema.features).head(1000)
    complete = features.drop_nulls()
    row = (features if complete.is_empty() else complete).row(0, named=True)
    return {name: _plain(value) for name, value in row.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, datetime | date | time):
        return value.isoformat()
    if isinstance(value, timedelta):
        return value.total_seconds()
    if isinstance(value, Decimal):
        return float(value)
    if isinstance(value, float) and value - value != 0:
        return None  # JSON has neither NaN nor infinity; both are missing values here
    return value
