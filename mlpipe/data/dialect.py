"""How a delimited text file is written: its separator, whether it has a header, its columns' names."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import islice

from mlpipe.data.guess import SEPARATORS, Record, guess_header, guess_separator, read_records
from mlpipe.data.sources import refuse_patterns
from mlpipe.errors import ConfigError, DataError, did_you_mean, how_many

#: Records by which the separator and the header are guessed.
GUESS_RECORDS = 1_000
#: What a blank line may hold, but for the separator.
BLANKS = " \t\r\n"


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        names: The columns, from left to right.
        separator: Between two fields.
        quote: Around fields that hold a separator; empty for none.
        header: Whether the names stand in the file.
        skip_lines: Lines before the first row, the header's included, and blank ones and remarks behind it.
        null_values: What stands for a missing value.
        decimal_comma: Whether 1,5 is a number.
        encoding: `utf8` or `utf8-lossy`.
        comment: What a line that is left out starts with.
    """

    names: tuple[str, ...]
    separator: str
    quote: str
    header: bool
    skip_lines: int
    null_values: tuple[str, ...]
    decimal_comma: bool
    encoding: str
    comment: str | None


def find_dialect(
    name: str,
    lines: Sequence[str],
    *,
    separator: str | None,
    header: bool | None,
    columns: Sequence[str] | None,
    null_values: Sequence[str],
    decimal_comma: bool | None,
    skip_rows: int,
    encoding: str,
    quote: str,
    comment: str | None,
) -> Dialect:
    """The dialect of a file; what is None is detected.

    Args:
        name: What messages call the file.
        lines: Its first lines.

    Raises:
        DataError: It has no rows, rows of different lengths, or a name twice.
    """
    if len(lines) == 1 and "\r" in lines[0].rstrip():
        raise DataError(f"{name} ends its lines with bare carriage returns; save it with line feeds.")
    lines = lines[skip_rows:]
    if separator is None:
        separator = guess_separator(lines, quote, comment)
    records = list(islice(read_records(lines, separator, quote, skip_rows, comment), GUESS_RECORDS))
    if not records:
        raise DataError(f"{name} has no lines" + (f" after the {skip_rows} that are skipped." if skip_rows else "."))
    rows = [[cell.strip() for cell in row] for _, row in records]
    widths = Counter(len(row) for row in rows[1:])
    width = widths.most_common(1)[0][0] if widths else len(rows[0])
    if header is None:
        header = len(rows[0]) != width or guess_header(rows, null_values)
    if columns is not None:
        names = list(columns)
        if len(names) != width:
            given, there = how_many(len(names), "name"), how_many(width, "field")
            raise DataError(f"`data.read.columns` has {given}, but {name} has {there} a row.")
    elif header:
        names = _header_names(rows, width)
    else:
        names = [f"column_{i + 1}" for i in range(width)]
    _refuse_other_start(name, records, width, header)
    refuse_patterns(name, names)
    for column, count in Counter(names).items():
        if count > 1:
            raise DataError(
                f"{name}: the column name {column!r} stands {count} times in the header; rename one, "
                "or give all names in `data.read.columns`."
            )
    if header and len(rows) == 1:
        raise DataError(f"{name} has a header ({_shorten(names)}) but no rows.")
    if decimal_comma is None:
        decimal_comma = separator != "," and _has_decimal_comma(rows[1:] if header else rows, null_values)
    dialect = Dialect(
        names=tuple(names),
        separator=separator,
        quote=quote,
        header=header,
        skip_lines=skip_rows + _before_rows(lines, records[0][0] - skip_rows if header else 0, separator, comment),
        null_values=tuple(null_values),
        decimal_comma=decimal_comma,
        encoding=encoding,
        comment=comment,
    )
    refuse_ragged(name, read_records(lines, separator, quote, skip_rows, comment), dialect)
    return dialect


def refuse_ragged(name: str, records: Iterable[Record], dialect: Dialect) -> None:
    """Refuse rows that have too many or too few fields.

    Raises:
        DataError: The sentence names the first such line.
    """
    expected = len(dialect.names)
    for line, row in records:
        if len(row) != expected and line > dialect.skip_lines:
            if len(row) > expected:
                hint = "a separator within a field needs quotes"
            elif (mark := _comment_mark(row)) and dialect.comment is None:
                hint = f"or is it a remark? `data.read.comment: '{mark}'`"
            else:
                hint = "a lone quote? `data.read.quote: ''`"
            there = "is" if expected == 1 else "are"
            raise DataError(
                f"{name}: line {line} has {how_many(len(row), 'field')}, but there {there} "
                f"{how_many(expected, 'column')}; mend it ({hint})."
            )


def check_separator(separator: str | None) -> None:
    """Refuse what Polars cannot split by.

    Raises:
        ConfigError: It is not one ASCII character.
    """
    if separator is not None and (len(separator) != 1 or not separator.isascii()):
        raise ConfigError(
            f"`data.read.separator` is {separator!r}; it has to be one character.{did_you_mean(separator, SEPARATORS)}"
        )


def _header_names(rows: Sequence[Sequence[str]], width: int) -> list[str]:
    names = list(rows[0])
    if width == len(names) + 1 and len(rows) > 1:
        # R writes row names without a name of their own; other programs end every row with a separator.
        trailing = all(len(row) < width or not row[-1] for row in rows[1:])
        names = [*names, ""] if trailing else ["", *names]
    return [name or f"column_{i + 1}" for i, name in enumerate(names)]


def _refuse_other_start(name: str, records: Sequence[Record], width: int, header: bool) -> None:
    """Refuse a first line that is neither a row nor a header: a title, a remark."""
    first_line, first = records[0]
    if header and len(first) not in (width, width - 1):
        start = next(line for line, row in records if len(row) == width)
        mark = _comment_mark(first)
        remark = f", or if such lines are remarks, `data.read.comment: '{mark}'`" if mark else ""
        raise DataError(
            f"{name}: line {first_line} has {how_many(len(first), 'field')}, but most lines have {width}; if the table "
            f"starts further down, say `data.read.skip_rows: {start - 1}`{remark}."
        )


def _before_rows(lines: Sequence[str], start: int, separator: str, comment: str | None) -> int:
    """Where the rows begin: Polars counts the columns in the first line that it is given, be it blank."""
    blanks = BLANKS.replace(separator, "")
    left_out = (not line.strip(blanks) or bool(comment and line.startswith(comment)) for line in lines[start:])
    return next((i for i, is_left_out in enumerate(left_out, start) if not is_left_out), start)


def _comment_mark(row: Sequence[str]) -> str | None:
    """What a remark starts with, if a record looks like one."""
    return next((mark for mark in ("#", "%", "//", "|") if row[0].startswith(mark)), None)


def _has_decimal_comma(rows: Sequence[Sequence[str]], null_values: Sequence[str]) -> bool:
    """Whether a column holds numbers such as 1,5. Where all are like 1,500, these may be thousands; 0,500 cannot."""
    nulls = {"", *null_values}
    for column in zip(*rows, strict=False):
        values = [cell for cell in column if cell not in nulls]
        if any(re.search(r",(\d{1,2}|\d{4,})([eE]|$)|^[+-]?(0|\d{4,}),", cell) for cell in values) and all(
            re.fullmatch(r"[+-]?\d+(,\d+)?([eE][+-]?\d+)?", cell) for cell in values
        ):
            return True
    return False


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
