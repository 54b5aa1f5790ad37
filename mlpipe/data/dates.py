"""Which way of writing dates a column of text follows.

What is notable here:
- A few values name the candidates, by their shape; the whole column then decides between them.
- 3/4/2013 may be March or April: only a number above 12 further down can tell. Where none does, the reason says so.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable

import polars as pl

#: Patterns of the day and the formats that may be meant, the likelier first.
_DAYS: tuple[tuple[str, tuple[str, ...]], ...] = (
    (r"\d{4}-\d{1,2}-\d{1,2}", ("%Y-%m-%d",)),
    (r"\d{4}/\d{1,2}/\d{1,2}", ("%Y/%m/%d",)),
    (r"\d{4}\.\d{1,2}\.\d{1,2}", ("%Y.%m.%d",)),
    (r"(?:1[89]|20|21)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])", ("%Y%m%d",)),
    (r"\d{1,2}/\d{1,2}/\d{4}", ("%m/%d/%Y", "%d/%m/%Y")),
    (r"\d{1,2}/\d{1,2}/\d{2}", ("%m/%d/%y", "%d/%m/%y")),
    (r"\d{1,2}\.\d{1,2}\.\d{4}", ("%d.%m.%Y", "%m.%d.%Y")),
    (r"\d{1,2}\.\d{1,2}\.\d{2}", ("%d.%m.%y", "%m.%d.%y")),
    (r"\d{1,2}-\d{1,2}-\d{4}", ("%d-%m-%Y", "%m-%d-%Y")),
    (r"\d{1,2} [A-Za-z]{3,9} \d{4}", ("%d %B %Y",)),
    (r"\d{1,2}-[A-Za-z]{3,9}-\d{4}", ("%d-%B-%Y",)),
    (r"\d{1,2}-[A-Za-z]{3,9}-\d{2}", ("%d-%B-%y",)),
    (r"[A-Za-z]{3,9} \d{1,2}, \d{4}", ("%B %d, %Y",)),
)
_CLOCKS = (
    (r"\d{1,2}:\d{2}:\d{2}(?:\.\d{1,9})?", "%H:%M:%S%.f"),
    (r"\d{1,2}:\d{2}", "%H:%M"),
    (r"\d{1,2}:\d{2}:\d{2} [AaPp][Mm]", "%I:%M:%S %p"),
    (r"\d{1,2}:\d{2} [AaPp][Mm]", "%I:%M %p"),
    (r"\d{6}", "%H%M%S"),
)
_ZONE = r"Z|[+-]\d{2}:?\d{2}"
_DAY_PATTERNS = tuple((re.compile(rf"({day})(?:([T ])(.+?))?({_ZONE})?"), formats) for day, formats in _DAYS)
_CLOCK_PATTERNS = tuple((re.compile(clock), format_) for clock, format_ in _CLOCKS)

#: Text such as 1:30 or 12:30:00.5: a time of day or a span, in both cases a number of seconds.
CLOCK = r"^-?(?:\d+:)?\d{1,2}:\d{2}(?:\.\d+)?$"


def candidate_formats(values: Iterable[str], share: float = 0.95) -> list[str]:
    """The `strptime` formats that nearly all values may have been written by, the likelier first.

    Args:
        values: A few values of the column.
        share: How many of them have to fit.

    Examples:
        >>> candidate_formats(["20141013T000000"])
        ['%Y%m%dT%H%M%S']
        >>> candidate_formats(["1/31/2013 3:04", "2/1/2013 12:00"])
        ['%m/%d/%Y %H:%M', '%d/%m/%Y %H:%M']
        >>> candidate_formats(["2013-01-01T10:00:00Z", "2013-01-01T10:00:00.25+02:00"])
        ['%Y-%m-%dT%H:%M:%S%.f%#z']
        >>> candidate_formats(["555-1234"])
        []
    """
    counts: Counter[str] = Counter()
    total = 0
    for value in values:
        total += 1
        counts.update(_formats_of(value.strip()))
    return [format_ for format_, count in counts.items() if count >= share * total]


def parse_dates(text: pl.Expr, format_: str) -> pl.Expr:
    """Text as Date or Datetime, null where it is not written by the format."""
    stripped = text.str.strip_chars()
    if has_clock(format_):
        return stripped.str.to_datetime(format_, strict=False)
    return stripped.str.to_date(format_, strict=False)


def has_clock(format_: str) -> bool:
    """Whether a format holds a time of day."""
    return "%H" in format_ or "%I" in format_


def has_zone(format_: str) -> bool:
    """Whether a format holds an offset from UTC."""
    return format_.endswith("%#z")


def _formats_of(value: str) -> list[str]:
    for pattern, days in _DAY_PATTERNS:
        match = pattern.fullmatch(value)
        if match is None:
            continue
        _, blank, clock, zone = match.groups()
        if clock is None:
            return [] if zone else list(days)
        end = "%#z" if zone else ""
        for clock_pattern, clock_format in _CLOCK_PATTERNS:
            if clock_pattern.fullmatch(clock.rstrip()):
                gap = " " if zone and clock.endswith(" ") else ""
                return [f"{day}{blank}{clock_format}{gap}{end}" for day in days]
    return []
