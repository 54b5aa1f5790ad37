"""`as_frame`: rows as they come (JSON objects, Polars, pandas) as a Polars frame that `Preprocessor` reads.

A file's column of numbers may have junk in it, which becomes null and is counted (`count_unreadable`). A JSON row
is answered by a program that can mend it: there the same junk is an error that names the field and the row.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import polars as pl

from mlpipe.errors import InputError, did_you_mean, how_many
from mlpipe.features.fields import read_field
from mlpipe.features.typed import effective_kind, number, typed
from mlpipe.schema import Column, Kind, Role, Schema

#: What PyArrow raises for values of which it cannot make one column, as Python's own errors.
_NO_ARROW = (TypeError, ValueError, NotImplementedError, OverflowError)


def as_frame(rows: Any, schema: Schema, *, target: bool = False) -> pl.DataFrame:
    """Rows as a frame with the schema's feature columns, and its identifier columns as far as they are there.

    Args:
        rows: One JSON object, a sequence of them, or a Polars or pandas frame.
        schema: What the columns are.
        target: Whether the target and weight columns are needed too.

    Raises:
        InputError: A column is missing, or a value of a JSON row is not what its column needs.

    Examples:
        >>> from mlpipe.schema import Task, TaskKind
        >>> columns = (Column("age", Kind.NUMERIC), Column("job", Kind.CATEGORICAL))
        >>> schema = Schema(columns, Task(TaskKind.REGRESSION, ("pay",)))
        >>> as_frame([{"age": "31", "job": "clerk"}, {"job": None, "age": 4.5}], schema).rows()
        [(31.0, 'clerk'), (4.5, None)]
        >>> as_frame({"age": "abc", "job": "clerk"}, schema)
        Traceback (most recent call last):
        mlpipe.errors.InputError: row 0, field 'age': expected a number, got 'abc'
    """
    needed = [column for column in schema if column.role is Role.FEATURE or (target and _is_target(column))]
    if isinstance(rows, Mapping):
        rows = [rows]
    if isinstance(rows, pl.DataFrame | pl.LazyFrame):
        return _from_frame(rows, needed, schema)
    if hasattr(rows, "columns"):
        named = all(isinstance(name, str) for name in rows.columns)  # a name may be a number to pandas
        return _from_frame(rows if named else rows.rename(columns=str), needed, schema)
    if not isinstance(rows, Sequence) or isinstance(rows, str | bytes):
        raise InputError(f"Expected rows as objects of fields or as a frame, got {type(rows).__name__}.")
    for index, row in enumerate(rows):
        if not isinstance(row, Mapping):
            raise InputError(f"expected an object of fields, got {type(row).__name__}", row=index)
    carried = [column for column in schema.identifiers if any(column.name in row for row in rows)]
    columns = [read_field(column, _values(rows, column.name)) for column in needed]
    columns += [_identifier(column.name, [row.get(column.name) for row in rows]) for column in carried]
    return pl.DataFrame(columns)


def from_pandas(table: Any) -> pl.DataFrame:
    """A pandas frame as a Polars frame; a column of values of several types has one that holds them all, mostly text.

    Args:
        table: Its columns have different names.

    Raises:
        InputError: No type holds all values of a column; the sentence names it.

    Examples:
        >>> import pandas as pd
        >>> from_pandas(pd.DataFrame({"size": [38, "M", None]}))["size"].to_list()
        ['38', 'M', None]
    """
    try:
        frame: pl.DataFrame = pl.from_pandas(table)
    except _NO_ARROW:
        frame = pl.DataFrame([_from_pandas_column(str(name), table[name]) for name in table.columns])
    return frame


def count_unreadable(frame: pl.DataFrame, schema: Schema) -> dict[str, int]:
    """How many values of each text column of numbers or times cannot be read as such and so become null.

    Only columns with such values are named.

    Examples:
        >>> from mlpipe.schema import Task, TaskKind
        >>> schema = Schema((Column("age", Kind.NUMERIC),), Task(TaskKind.REGRESSION, ("pay",)))
        >>> count_unreadable(pl.DataFrame({"age": ["1", "abc", None, " "]}), schema)
        {'age': 1}
    """
    counts = []
    dtypes = frame.schema  # put together anew each time it is asked for
    for column in schema.features:
        dtype = dtypes.get(column.name)
        kind = effective_kind(column)
        if not isinstance(dtype, pl.String) or kind not in (Kind.NUMERIC, Kind.DURATION, Kind.DATE, Kind.DATETIME):
            continue
        value, read_as = typed(column, dtype)
        read = number(value, read_as) if kind is Kind.NUMERIC else value
        written = pl.col(column.name).str.strip_chars()
        counts.append((read.is_null() & (written != "")).sum().alias(column.name))
    totals = frame.select(counts).row(0, named=True) if counts else {}
    return {name: count for name, count in totals.items() if count}


def unreadable_sentences(data: object, counts: Mapping[str, int]) -> list[str]:
    """What is said of `count_unreadable`, a sentence for each column.

    Examples:
        >>> unreadable_sentences("test.csv", {"age": 1})
        ["test.csv: 1 value of 'age' could not be read and was taken as missing."]
    """
    return [
        f"{data}: {how_many(count, 'value')} of {name!r} could not be read and {'was' if count == 1 else 'were'} taken "
        "as missing."
        for name, count in counts.items()
    ]


def _is_target(column: Column) -> bool:
    return column.role in (Role.TARGET, Role.WEIGHT)


def _from_frame(rows: Any, needed: Sequence[Column], schema: Schema) -> pl.DataFrame:
    present = Counter(rows.collect_schema().names() if isinstance(rows, pl.LazyFrame) else rows.columns)
    for column in needed:
        if column.name not in present:
            hint = did_you_mean(column.name, present)
            raise InputError(f"There is no column {column.name!r} in the table.{hint}", field=column.name)
    names = [column.name for column in (*needed, *schema.identifiers) if column.name in present]
    if isinstance(rows, pl.LazyFrame):
        return rows.select(names).collect(engine="streaming")
    for name in names:
        if present[name] > 1:  # pandas alone allows it
            raise InputError(f"There are {present[name]} columns {name!r} in the table.", field=name)
    return rows.select(names) if isinstance(rows, pl.DataFrame) else from_pandas(rows[names])


def _from_pandas_column(name: str, column: Any) -> pl.Series:
    try:
        return pl.Series(name, pl.from_pandas(column))
    except _NO_ARROW:
        there = column.notna()
    values = column.astype(object).where(there, None).tolist()
    try:
        made = pl.Series(name, values, strict=False)
    except (*_NO_ARROW, pl.exceptions.PolarsError):
        made = pl.Series(name, [None] * len(values))
    # Polars makes null of a value that is not of the type that it found.
    if made.null_count() > len(values) - there.sum():
        types = ", ".join(sorted({type(value).__name__ for value in values if value is not None}))
        raise InputError(
            f"Column {name!r} holds values for which there is no one type ({types}); make them all text or numbers.",
            field=name,
        )
    return made


def _values(rows: Sequence[Mapping[str, Any]], name: str) -> list[Any]:
    try:
        return [row[name] for row in rows]
    except KeyError:
        index = next(index for index, row in enumerate(rows) if name not in row)
        hint = did_you_mean(name, rows[index])
        raise InputError(f"missing.{hint}", field=name, row=index) from None


def _identifier(name: str, values: list[Any]) -> pl.Series:
    """Identifiers are handed through; of several types, as text."""
    if len({type(value) for value in values if value is not None}) > 1:
        values = [None if value is None else str(value) for value in values]
    return pl.Series(name, values, strict=False)
