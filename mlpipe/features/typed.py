"""The typed view of a raw column: the same value, whichever way the row came.

A number may arrive as Int64 from Parquet, as String from a CSV file with junk in it, as float from pandas. The
functions here turn a Polars expression of a known type into the one form that the transformers read:

- `number`: Float64, where null stands for null, NaN, infinite and unreadable; Int128 for `wide` columns, whose
  whole numbers lie beyond 2**53, where float64 would merge neighbours;
- `category`: String, where 3, 3.0, "3" and "3.0" are all "3";
- `timestamp`: Datetime in microseconds, in the column's zone or without one;
- `text`: String.

All are elementwise: a value's typed form depends on nothing but the value. Polars divides a column by a number by
multiplying with its reciprocal, but a column of one row by dividing, which differs in the last bit. Hence the rule
of this package: no `/` between a Polars expression and a number.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.errors import DataError
from mlpipe.features.times import in_zone, parse_times, to_zone
from mlpipe.schema import Column, Kind

Floats = npt.NDArray[np.float64]

#: float64 tells whole numbers apart up to here.
LARGEST_EXACT_INT = 2**53
#: Beyond this, numbers count as infinite, so that the squares and sums of the others are finite.
LARGEST_NUMBER = 1e100
#: The same for wide integers, which Int128 has to hold.
LARGEST_WIDE = 1e37

TRUE_WORDS = ("true", "t", "yes", "y", "on", "1")
FALSE_WORDS = ("false", "f", "no", "n", "off", "0")

_WORDS = (pl.String, pl.Categorical, pl.Enum)
_DATETIME = re.compile(r"Datetime\(time_unit='(?P<unit>..)', time_zone=(?:None|'(?P<zone>.+)')\)")
_TIMES = ("Datetime(", "Time")
_NESTED = (pl.List, pl.Array, pl.Struct, pl.Object, pl.Binary)


def typed(column: Column, dtype: pl.DataType) -> tuple[pl.Expr, pl.DataType]:
    """What the transformer of a column reads, and its type.

    Numbers and categories are left to their transformers, which know how they were trained; times need the
    column's format and zone, so that they are read here. So is text where the training table had times.

    Args:
        column: The column, from the schema.
        dtype: Its type in the frame at hand.

    Raises:
        DataError: A column of this type cannot be read as this kind; the sentence names both.
    """
    expression = pl.col(column.name)
    refuse_nested(column.name, dtype)
    match effective_kind(column):
        case Kind.CATEGORICAL | Kind.BOOLEAN | Kind.TEXT as kind if isinstance(dtype, pl.Duration):
            raise DataError(f"Column {column.name!r} is {kind} in the schema, but {dtype} in this table.")
        case Kind.DATE | Kind.DATETIME:
            return timestamp(expression, dtype, column), pl.Datetime("us", column.time_zone)
        case Kind.DURATION:
            if column.dtype == "Time" and isinstance(dtype, _WORDS):
                # A time of day has no seconds rather than no hours.
                expression = expression.cast(pl.String).str.strip_chars().str.replace(r"^\d+:\d+$", "${0}:00")
            return seconds(expression, dtype, column.name), pl.Float64()
        case Kind.CATEGORICAL | Kind.TEXT if isinstance(dtype, _WORDS) and column.dtype.startswith(_TIMES):
            return _rewritten(expression, column.dtype), pl.String()
        case Kind.BOOLEAN:
            return boolean(expression, dtype), pl.String()
        case Kind.TEXT:
            return text(expression, dtype), pl.String()
        case Kind.NUMERIC if dtype.is_temporal():
            raise DataError(f"Column {column.name!r} is a number in the schema, but {dtype} in this table.")
        case _:
            return expression, dtype


def effective_kind(column: Column) -> Kind:
    """The kind as which a feature is read; a constant or identifier that was made a feature is read by its type.

    Examples:
        >>> effective_kind(Column("id", Kind.IDENTIFIER, dtype="Int64")).value
        'numeric'
    """
    if column.kind not in (Kind.CONSTANT, Kind.IDENTIFIER):
        return column.kind
    return Kind.NUMERIC if column.dtype.startswith(("Int", "UInt", "Float", "Decimal")) else Kind.CATEGORICAL


def refuse_nested(name: str, dtype: pl.DataType) -> None:
    """Lists and structs have no typed view.

    Raises:
        DataError: The type is nested; the sentence names the column.
    """
    if isinstance(dtype, _NESTED):
        raise DataError(f"Column {name!r} holds {dtype} values, which cannot be a feature; unnest or ignore it.")


def number(expression: pl.Expr, dtype: pl.DataType, *, wide: bool = False) -> pl.Expr:
    """Float64, or Int128 if `wide`; null where there is no finite number."""
    if isinstance(dtype, _WORDS):
        stripped = expression.cast(pl.String).str.strip_chars()
        real = _finite(stripped.cast(pl.Float64, strict=False))
        if not wide:
            return real
        return pl.coalesce(stripped.cast(pl.Int128, strict=False), _rounded(real))
    if isinstance(dtype, pl.Duration | pl.Time):
        return seconds(expression, dtype, "")
    if wide:
        return expression.cast(pl.Int128) if dtype.is_integer() else _rounded(_finite(expression.cast(pl.Float64)))
    real = expression.cast(pl.Float64)
    return _finite(real) if dtype.is_float() or dtype.is_decimal() else real


def is_wide(values: pl.Series) -> bool:
    """Whether a column's whole numbers lie beyond what float64 can tell apart."""
    if values.dtype.is_float() or not (values.dtype.is_integer() or values.dtype in (pl.String, pl.Decimal)):
        return False
    if values.dtype.is_integer():
        whole = values
    else:
        real = values.to_frame("v").select(number(pl.col("v"), values.dtype)).to_series()
        if (real.abs().max() or 0) <= LARGEST_EXACT_INT:  # type: ignore[operator]  # of numbers
            return False
        whole = values.to_frame("v").select(number(pl.col("v"), values.dtype, wide=True)).to_series()
    low, high = whole.min(), whole.max()
    return low is not None and max(abs(int(low)), abs(int(high))) > LARGEST_EXACT_INT  # type: ignore[arg-type]  # of whole numbers


def in_numpy(value: pl.Expr, function: Callable[[Floats], Floats]) -> pl.Expr:
    """An elementwise NumPy function of a Float64 expression; null stays null."""

    def apply(values: pl.Series) -> pl.Series:
        mapped = pl.Series(values.name, function(values.fill_null(0.0).to_numpy()))
        return mapped.set(values.is_null(), None) if values.null_count() else mapped

    return value.map_batches(apply, return_dtype=pl.Float64, is_elementwise=True)


def seconds(expression: pl.Expr, dtype: pl.DataType, name: str) -> pl.Expr:
    """Seconds of a duration, Float64: a Duration or Time, a number of seconds, or text such as `1:30:00.5`."""
    if isinstance(dtype, pl.Duration):
        per_second = {"ms": 1e3, "us": 1e6, "ns": 1e9}[dtype.time_unit]
        return in_numpy(expression.to_physical().cast(pl.Float64), lambda ticks: ticks / per_second)
    if isinstance(dtype, pl.Time):
        return in_numpy(expression.cast(pl.Int64).cast(pl.Float64), lambda nanos: nanos / 1e9)
    if isinstance(dtype, _WORDS):
        stripped = expression.cast(pl.String).str.strip_chars()
        groups = stripped.str.extract_groups(r"^(-?)(?:(\d+):)?(\d+):(\d+(?:\.\d+)?)$")
        parts = [groups.struct.field(str(i)).cast(pl.Float64, strict=False).fill_null(0) for i in (2, 3)]
        clock = (parts[0] * 60 + parts[1]) * 60 + groups.struct.field("4").cast(pl.Float64, strict=False)
        signed = pl.when(groups.struct.field("1") == "-").then(-clock).otherwise(clock)
        return pl.coalesce(_finite(stripped.cast(pl.Float64, strict=False)), signed)
    if dtype.is_temporal():
        raise DataError(f"Column {name!r} is a duration in the schema, but {dtype} in this table.")
    return number(expression, dtype)


def category(expression: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """The canonical text of a category; blank text, NaN and infinite are null.

    A text that reads as a finite number is that number: where one file has "3" in a column of words, another
    has nothing but numbers in it and is read as Int64 or Float64.
    """
    if isinstance(dtype, pl.Boolean) or dtype.is_integer():
        return expression.cast(pl.String)
    if isinstance(dtype, _WORDS):
        stripped = expression.cast(pl.String).str.strip_chars()
        stripped = pl.when(stripped != "").then(stripped)
        whole = stripped.cast(pl.Int128, strict=False).cast(pl.String)
        return pl.coalesce(whole, _number_text(stripped.cast(pl.Float64, strict=False)), stripped)
    if dtype == pl.Float32:
        expression = expression.cast(pl.String)  # 0.1, and not the float32 that is nearest to it
    if dtype.is_float() or dtype.is_decimal():
        return _number_text(expression.cast(pl.Float64))
    return expression.cast(pl.String)


def _rewritten(expression: pl.Expr, trained: str) -> pl.Expr:
    """Text of times, as Polars writes those of the type that the categories were learnt from; other text as it is."""
    found = _DATETIME.fullmatch(trained)

    def rewrite(values: pl.Series) -> pl.Series:
        if found is None:
            clock = pl.col("v").str.strip_chars().str
            forms = [clock.to_time(written, strict=False) for written in ("%H:%M:%S%.f", "%H:%M")]
            read = values.to_frame("v").select(pl.coalesce(forms)).to_series()
        else:
            unit: Any = found["unit"]  # one of Polars' three, as the type's text has it
            read = parse_times(values, None, found["zone"]).dt.cast_time_unit(unit)
        return read.cast(pl.String).fill_null(values)

    return expression.cast(pl.String).map_batches(rewrite, return_dtype=pl.String, is_elementwise=True)


def boolean(expression: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """`true`, `false`, or, for what is neither, its canonical text."""
    if isinstance(dtype, pl.Boolean):
        return expression.cast(pl.String)
    word = category(expression, dtype)
    lowered = word.str.to_lowercase()
    return (
        pl.when(lowered.is_in(TRUE_WORDS))
        .then(pl.lit("true"))
        .when(lowered.is_in(FALSE_WORDS))
        .then(pl.lit("false"))
        .otherwise(word)
    )


def text(expression: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Text as it stands, blanks at both ends stripped; null if nothing is left."""
    stripped = (expression.cast(pl.String) if isinstance(dtype, _WORDS) else category(expression, dtype)).str
    return pl.when(stripped.strip_chars() != "").then(stripped.strip_chars())


def timestamp(expression: pl.Expr, dtype: pl.DataType, column: Column) -> pl.Expr:
    """Datetime in microseconds: in the column's zone if it has one, else naive (UTC for values with an offset).

    A value without an offset in a column with a zone is local time there: the earlier of two where the clock is
    turned back, null where it is turned forward.

    Raises:
        DataError: The type is neither a date, nor a time, nor text.
    """
    zone = column.time_zone
    if isinstance(dtype, _WORDS):

        def parse(values: pl.Series) -> pl.Series:
            return parse_times(values, column.format, zone)

        return expression.cast(pl.String).map_batches(parse, return_dtype=pl.Datetime("us", zone), is_elementwise=True)
    if isinstance(dtype, pl.Date | pl.Null):
        return in_zone(expression.cast(pl.Datetime("us")), zone)
    if isinstance(dtype, pl.Datetime):
        micros = expression.dt.cast_time_unit("us")
        return in_zone(micros, zone) if dtype.time_zone is None else to_zone(micros, zone)
    raise DataError(f"Column {column.name!r} is a {column.kind} in the schema, but {dtype} in this table.")


def _finite(real: pl.Expr) -> pl.Expr:
    # NaN is larger than all numbers to Polars, so that one comparison finds it too.
    return pl.when(real.abs() <= LARGEST_NUMBER).then(real)


def _rounded(real: pl.Expr) -> pl.Expr:
    return real.clip(-LARGEST_WIDE, LARGEST_WIDE).round().cast(pl.Int128)


def _number_text(real: pl.Expr) -> pl.Expr:
    """The shortest text that reads as this number; whole numbers without a point; null if it is not finite."""
    finite = pl.when(real.is_finite()).then(real)
    whole = (finite == finite.floor()) & (finite.abs() < LARGEST_EXACT_INT)
    return pl.when(whole).then(finite.cast(pl.Int64, strict=False).cast(pl.String)).otherwise(finite.cast(pl.String))
