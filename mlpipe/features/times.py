"""Dates and times in the forms in which they come, as Polars times in the zone of their column."""

from __future__ import annotations

import polars as pl

from mlpipe.errors import DataError
from mlpipe.schema import Column

#: Types of text.
WORDS = (pl.String, pl.Categorical, pl.Enum)


def timestamp(expression: pl.Expr, dtype: pl.DataType, column: Column) -> pl.Expr:
    """Datetime in microseconds: in the column's zone if it has one, else naive (UTC for values with an offset).

    A value without an offset in a column with a zone is local time there: the earlier of two where the clock is
    turned back, null where it is turned forward.

    Raises:
        DataError: The type is neither a date, nor a time, nor text.
    """
    zone = column.time_zone
    if isinstance(dtype, WORDS):

        def parse(values: pl.Series) -> pl.Series:
            return _parse(values, column.format, zone)

        return expression.cast(pl.String).map_batches(parse, return_dtype=pl.Datetime("us", zone), is_elementwise=True)
    if isinstance(dtype, pl.Date | pl.Null):
        return _localise(expression.cast(pl.Datetime("us")), zone)
    if isinstance(dtype, pl.Datetime):
        micros = expression.dt.cast_time_unit("us")
        return _localise(micros, zone) if dtype.time_zone is None else _convert(micros, zone)
    raise DataError(f"Column {column.name!r} is a {column.kind} in the schema, but {dtype} in this table.")


def _parse(values: pl.Series, written: str | None, zone: str | None) -> pl.Series:
    """Each value by the first format that reads it: its own, then ISO 8601.

    Most columns hold one format. Without one of their own, that of the first value is tried first, and the others on
    what is left.
    """
    known = values.drop_nulls()
    first = written or (iso_format(known[0]) if len(known) else ISO_FORMATS[0])
    read = _read(values, first, zone)
    for format_ in (first, *ISO_FORMATS):
        left = (read.is_null() & values.is_not_null()).arg_true()
        if not len(left):
            break
        read = read.scatter(left, _read(values.gather(left).str.strip_chars(), format_, zone))
    return read


def iso_format(text: str) -> str:
    """Which of `ISO_FORMATS` a text is most likely written in.

    Examples:
        >>> iso_format("2024-01-31"), iso_format("2024-01-31 10:00"), iso_format("2024-01-31T10:00:00Z")
        ('%Y-%m-%d', '%Y-%m-%d %H:%M', '%Y-%m-%dT%H:%M:%S%.f%#z')
    """
    day, clock = text[:10], text[11:]
    if ":" not in clock:
        return ISO_FORMATS[0]
    local = clock.rstrip("Zz").split("+")[0].split("-")[0]
    rest = (":%S%.f" if local.count(":") > 1 else "") + ("" if local == clock else "%#z")
    return f"%Y-%m-%d{text[len(day)]}%H:%M{rest}"


def _read(values: pl.Series, format_: str, zone: str | None) -> pl.Series:
    """The times that one format reads, null for others."""
    text = pl.col("v").str
    if any(clock in format_ for clock in ("%H", "%I", "%T", "%R", "%X", "%s")):
        moment = text.to_datetime(format_, time_unit="us", strict=False)
    else:
        moment = text.to_date(format_, strict=False).cast(pl.Datetime("us"))
    aware = any(offset in format_ for offset in ("%z", "%#z", "%:z"))
    local = _convert(moment, zone) if aware else _localise(moment, zone)
    return values.to_frame("v").select(local).to_series()


def _localise(naive: pl.Expr, zone: str | None) -> pl.Expr:
    return naive if zone is None else naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")


def _convert(aware: pl.Expr, zone: str | None) -> pl.Expr:
    if zone is None:
        return aware.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return aware.dt.convert_time_zone(zone)
