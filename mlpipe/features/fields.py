"""One column of JSON rows: each value checked against the kind of its column, with an error a program can act on.

The result does not depend on which rows come together: a value gets the same typed form alone and among others.
"""

from __future__ import annotations

import math
import re
from dataclasses import replace
from datetime import date, datetime, time, timedelta
from decimal import Decimal
from numbers import Integral, Real
from typing import Any, NoReturn

import polars as pl

from mlpipe.errors import InputError
from mlpipe.features.typed import LARGEST_EXACT_INT, boolean, effective_kind, timestamp
from mlpipe.schema import Column, Kind

_NUMBER = re.compile(r"[+-]?(\d+\.?\d*([eE][+-]?\d+)?|\.\d+([eE][+-]?\d+)?|nan|inf|infinity)", re.IGNORECASE)
#: Longer ones are beyond what Int128 holds, and Python reads no whole number of more than some thousand digits.
_MOST_DIGITS = 40
_CLOCK = re.compile(r"-?(\d+:)?\d+:\d+(\.\d+)?")
_EXPECTED = {
    Kind.NUMERIC: "a number",
    Kind.DURATION: "a number of seconds or a duration such as '1:30:00'",
    Kind.BOOLEAN: "true or false",
    Kind.DATE: "a date such as '2024-01-31'",
    Kind.DATETIME: "a date and time such as '2024-01-31T12:00:00'",
    Kind.TEXT: "text",
    Kind.CATEGORICAL: "a category (text, a number, true or false)",
}


def read_field(column: Column, values: list[Any]) -> pl.Series:
    """The values of one field as a Series of one type; null and blank text are null.

    Raises:
        InputError: A value is not what the column needs; the sentence names the field and the row.
    """
    kind = effective_kind(column)
    match kind:
        case Kind.NUMERIC:
            return _numbers(column, values)
        case Kind.DURATION:
            return _durations(column, values)
        case Kind.DATE | Kind.DATETIME:
            return _times(column, values)
    words = [None if value is None else _word(column, index, value) for index, value in enumerate(values)]
    series = pl.Series(column.name, words, dtype=pl.String)
    if kind is Kind.BOOLEAN:
        read = series.to_frame("v").select(boolean(pl.col("v"), pl.String())).to_series()
        wrong = (read.is_not_null() & ~read.is_in(["true", "false"])).arg_true()
        if len(wrong):
            _refuse(column, int(wrong[0]), values[int(wrong[0])])
    return series


def _numbers(column: Column, values: list[Any]) -> pl.Series:
    numbers = [None if value is None else _number(column, index, value) for index, value in enumerate(values)]
    huge = any(isinstance(n, int) and abs(n) > LARGEST_EXACT_INT for n in numbers)
    if huge:
        # Written out, whole numbers stay exact beside others that are not whole; as text, "inf" would be a category.
        written = [repr(n) if n is not None and math.isfinite(n) else None for n in numbers]
        return pl.Series(column.name, written, dtype=pl.String)
    return pl.Series(column.name, [None if n is None else float(n) for n in numbers], dtype=pl.Float64)


def _number(column: Column, index: int, value: Any) -> int | float | None:
    if isinstance(value, str):
        stripped = value.strip()
        if not stripped:
            return None
        if not _NUMBER.fullmatch(stripped):
            _refuse(column, index, value)
        digits = len(stripped) <= _MOST_DIGITS and re.fullmatch(r"[+-]?\d+", stripped)
        value = int(stripped) if digits else float(stripped)
    # Truth values are numbers only where the training table had them.
    odd = isinstance(value, bool) and column.dtype != "Boolean"
    if odd or not isinstance(value, Real | Decimal):
        _refuse(column, index, value)
    if isinstance(value, Integral):
        whole = int(value)
        # What Int128 cannot hold is out of every range seen in training; float64 can, or it is infinite.
        return whole if abs(whole) < 2**126 else float(min(max(whole, -(10**308)), 10**308))
    return float(value)


def _durations(column: Column, values: list[Any]) -> pl.Series:
    read: list[str | None] = []
    for index, value in enumerate(values):
        if isinstance(value, timedelta):
            read.append(repr(value / timedelta(seconds=1)))
        elif isinstance(value, time):
            read.append(value.isoformat())
        elif isinstance(value, str) and _CLOCK.fullmatch(value.strip()):
            read.append(value)
        else:
            number = None if value is None else _number(column, index, value)
            read.append(None if number is None else repr(number))
    return pl.Series(column.name, read, dtype=pl.String)


def _times(column: Column, values: list[Any]) -> pl.Series:
    written: list[str | None] = []
    for index, value in enumerate(values):
        if isinstance(value, date | datetime):
            written.append(value.isoformat())
        elif value is None or isinstance(value, str):
            written.append(value)
        else:
            _refuse(column, index, value)
    series = pl.Series(column.name, written, dtype=pl.String)
    # Without the zone: an hour that the clock skipped is well written, and null.
    read = timestamp(pl.col(column.name), pl.String(), replace(column, time_zone=None))
    wrong = series.to_frame().select(read.is_null() & (pl.col(column.name).str.strip_chars() != ""))
    rows = wrong.to_series().arg_true()
    if len(rows):
        _refuse(column, int(rows[0]), values[int(rows[0])])
    return series


def _word(column: Column, index: int, value: Any) -> str | None:
    """A category or text; numbers as Polars writes them, so that a file and a request agree."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, Integral):
        return str(int(value))
    if isinstance(value, Real | Decimal):
        real = float(value)
        return str(pl.Series([real]).cast(pl.String).item()) if math.isfinite(real) else None
    if isinstance(value, date | datetime | time):
        return value.isoformat()
    return _refuse(column, index, value)


def _refuse(column: Column, index: int, value: Any) -> NoReturn:
    expected = _EXPECTED[effective_kind(column)]
    raise InputError(f"expected {expected}, got {value!r}", field=column.name, row=index)
