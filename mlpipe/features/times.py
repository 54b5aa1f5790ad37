"""Text to times, each value by itself, and times to the zone of their column."""

from __future__ import annotations

import polars as pl

#: Times in UTC, as most programs write them. Read as one with any offset it would take several times as long.
_UTC = "%Y-%m-%dT%H:%M:%SZ"
#: No text is read by two of these, so that their order is of no matter.
ISO_FORMATS = (
    "%Y-%m-%d",
    *(f"%Y-%m-%d{mark}%H:%M{rest}" for mark in ("T", " ") for rest in (":%S%.f", "", ":%S%.f%#z", "%#z")),
)


def parse_times(values: pl.Series, written: str | None, zone: str | None) -> pl.Series:
    """Each value by the first format that reads it: the column's own, then ISO 8601.

    Most columns hold one format. Without one of their own, that of the first value is tried first, and the others on
    what is left.

    Args:
        values: Text.
        written: The column's own `strptime` format, if it has one.
        zone: Of the column; None for naive times.

    Returns:
        Datetimes in microseconds, null for what no format reads.
    """
    place = values.is_not_null().arg_max() or 0
    if (nulls := values.null_count()) == len(values):
        return values.cast(pl.Datetime("us", zone))
    first = written or iso_format(values[place])
    read = _read(values, first, zone)
    for format_ in (first, *ISO_FORMATS):
        if read.null_count() == nulls:
            break
        left = (read.is_null() & values.is_not_null()).arg_true()
        read = read.scatter(left, _read(values.gather(left).str.strip_chars(), format_, zone))
    return read


def iso_format(text: str) -> str:
    """How a text is most likely written: one of `ISO_FORMATS`, or without fractions or in UTC, which cost less to read.

    Examples:
        >>> iso_format("2024-01-31"), iso_format("2024-01-31 10:00"), iso_format("2024-01-31T10:00:00Z")
        ('%Y-%m-%d', '%Y-%m-%d %H:%M', '%Y-%m-%dT%H:%M:%SZ')
    """
    mark, clock = text[10:11], text[11:]
    if ":" not in clock or mark not in "T ":
        return ISO_FORMATS[0]
    local = clock.rstrip("Zz").split("+")[0].split("-")[0]
    seconds = ":%S" if local.count(":") > 1 else ""
    rest = seconds + ("%.f" if "." in local else "") + ("" if local == clock else "%#z")
    format_ = f"%Y-%m-%d{mark}%H:%M{rest}"
    return _UTC if clock.endswith("Z") and format_ == _UTC.replace("Z", "%#z") else format_


def _read(values: pl.Series, format_: str, zone: str | None) -> pl.Series:
    """The times that one format reads, null for others."""
    text = pl.col("v").str
    if any(clock in format_ for clock in ("%H", "%I", "%T", "%R", "%X", "%s")):
        moment = text.to_datetime(format_, time_unit="us", strict=False)
    else:
        moment = text.to_date(format_, strict=False).cast(pl.Datetime("us"))
    aware = any(offset in format_ for offset in ("%z", "%#z", "%:z"))
    if format_ == _UTC:
        moment, aware = moment.dt.replace_time_zone("UTC"), True
    local = to_zone(moment, zone) if aware else in_zone(moment, zone)
    return values.to_frame("v").select(local).to_series()


def in_zone(naive: pl.Expr, zone: str | None) -> pl.Expr:
    """Naive times as local times of a zone: of two the earlier, null for one that the clock skipped."""
    return naive if zone is None else naive.dt.replace_time_zone(zone, ambiguous="earliest", non_existent="null")


def to_zone(aware: pl.Expr, zone: str | None) -> pl.Expr:
    """Times with a zone in another one; naive times in UTC without one."""
    if zone is None:
        return aware.dt.convert_time_zone("UTC").dt.replace_time_zone(None)
    return aware.dt.convert_time_zone(zone)
