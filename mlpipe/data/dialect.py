"""How a delimited text file is written: its separator, whether it has a header, its columns' names.

What is notable here:
- A header is told from a row by evidence in every column: a word above numbers speaks for a header; a number above
  numbers, or a word that comes again further down, speaks for a row. Names that count on (1, 2, 3, …) are names.
- Python's `csv` reads the sample, Polars the file: the sample is small, and `csv` knows the line of every record.
"""

from __future__ import annotations

import csv
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

from mlpipe.errors import ConfigError, DataError, did_you_mean

SEPARATORS = (",", ";", "\t", "|")
#: Records by which the separator and the header are guessed.
GUESS_RECORDS = 1_000

#: A record and the number of the line on which it ends, counted from 1.
Record = tuple[int, list[str]]

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_VALUE = re.compile(r"(?i)true|false|\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ].*)?|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")


@dataclass(frozen=True)
class Dialect:
    """How a file is written.

    Attributes:
        names: The columns, from left to right.
        separator: Between two fields.
        quote: Around fields that hold a separator; empty for none.
        header: Whether the names stand in the file.
        skip_lines: Lines before the first row, the header's included.
        null_values: What stands for a missing value.
        decimal_comma: Whether 1,5 is a number.
        encoding: `utf8` or `utf8-lossy`.
    """

    names: tuple[str, ...]
    separator: str
    quote: str
    header: bool
    skip_lines: int
    null_values: tuple[str, ...]
    decimal_comma: bool
    encoding: str


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
        separator = guess_separator(lines, quote)
    records = list(islice(read_records(lines, separator, quote, skip_rows), GUESS_RECORDS))
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
            raise DataError(f"`data.read.columns` has {len(names)} names, but {name} has {_fields(width)} a row.")
    elif header:
        names = _header_names(rows, width)
    else:
        names = [f"column_{i + 1}" for i in range(width)]
    _refuse_other_start(name, records, width, header)
    for column, count in Counter(names).items():
        if count > 1:
            raise DataError(
                f"{name}: the column name {column!r} stands {count} times in the header; rename one, "
                "or give all names in `data.read.columns`."
            )
    if header and len(rows) == 1:
        raise DataError(f"{name} has a header ({_shorten(names)}) but no rows.")
    if decimal_comma is None:
        decimal_comma = separator != "," and _has_decimal_comma(rows[1:] if header else rows)
    dialect = Dialect(
        names=tuple(names),
        separator=separator,
        quote=quote,
        header=header,
        skip_lines=records[0][0] if header else skip_rows,
        null_values=tuple(null_values),
        decimal_comma=decimal_comma,
        encoding=encoding,
    )
    refuse_ragged(name, read_records(lines, separator, quote, skip_rows), dialect)
    return dialect


def read_records(lines: Iterable[str], separator: str, quote: str, first_line: int = 0) -> Iterator[Record]:
    """The records of some lines, blank ones left out, each with the line on which it ends."""
    reader = csv.reader(
        lines,
        delimiter=separator,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        skipinitialspace=True,
    )
    for row in reader:
        if row and (len(row) > 1 or row[0].strip()):
            yield first_line + reader.line_num, row


def guess_separator(lines: Sequence[str], quote: str) -> str:
    """The separator that splits the first records into the same number of fields with none of the others in them.

    Examples:
        >>> guess_separator(["a;b", "1,5;2", "2,5;3"], '"')
        ';'
        >>> guess_separator(["word", "other"], '"')
        ','
    """
    best, best_score = ",", (0.0, 0.0, 0)
    for separator in SEPARATORS:
        rows = [row for _, row in islice(read_records(lines, separator, quote), 200)]
        width, count = Counter(len(row) for row in rows).most_common(1)[0] if rows else (1, 0)
        if width == 1:
            continue
        others = [other for other in SEPARATORS if other != separator]
        cells = [cell for row in rows for cell in row]
        clean = sum(not any(o in cell for o in others) or _is_number(cell) for cell in cells) / len(cells)
        score = (round(count / len(rows), 1), round(clean, 2), width)
        if score > best_score:
            best, best_score = separator, score
    return best


def guess_header(rows: Sequence[Sequence[str]], null_values: Sequence[str] = ("",)) -> bool:
    """Whether the first row holds the names of the columns.

    Args:
        rows: Fields stripped of blanks; rows of another length than the first are left out of account.
        null_values: What stands for a missing value; it is no evidence.

    Examples:
        >>> guess_header([["Letter", "1", "2", "3"], ["T", "2", "8", "3"], ["I", "5", "12", "3"]])
        True
        >>> guess_header([["39", "Private"], ["50", "Self-emp"], ["38", "Private"]])
        False
        >>> guess_header([["p", "x"], ["e", "x"], ["p", "y"], ["e", "y"]])
        False
        >>> guess_header([["cap", "odor"], ["e", "x"], ["p", "y"], ["e", "y"]])
        True
    """
    first = rows[0]
    body = [row for row in rows[1:] if len(row) == len(first)]
    nulls = {"", *null_values}
    if not body:
        return not any(_is_value(cell) for cell in first)
    if _counts_on(first):
        return True
    for_header = for_row = repeating = repeated = 0
    for j, cell in enumerate(first):
        values = [row[j] for row in body if row[j] not in nulls]
        if cell in nulls or not values:
            continue
        if sum(map(_is_value, values)) >= 0.9 * len(values):
            if _is_value(cell):
                for_row += 1
            else:
                for_header += 1
            continue
        if _is_value(cell):
            for_row += 1
        distinct = set(values)
        # Where values repeat, a row's value is nearly always seen again further down, a name nearly never.
        if len(distinct) <= 0.7 * len(values):
            repeating += 1
            repeated += cell in distinct
    if repeating and repeated >= repeating / 2:
        for_row += repeated
    elif repeating:
        for_header += repeating - repeated
    return for_header >= for_row


def refuse_ragged(name: str, records: Iterable[Record], dialect: Dialect) -> None:
    """Refuse rows that have too many or too few fields.

    Raises:
        DataError: The sentence names the first such line.
    """
    expected = len(dialect.names)
    for line, row in records:
        if len(row) != expected and line > dialect.skip_lines:
            many = len(row) > expected
            hint = "a separator within a field needs quotes" if many else "a lone quote? `data.read.quote: ''`"
            raise DataError(
                f"{name}: line {line} has {_fields(len(row))}, but there are {expected} columns; mend it ({hint})."
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
        raise DataError(
            f"{name}: line {first_line} has {_fields(len(first))}, but most lines have {width}; if the table starts "
            f"further down, say `data.read.skip_rows: {start - 1}`."
        )


def _counts_on(cells: Sequence[str]) -> bool:
    """Whether the cells that are whole numbers are names such as 0, 1, 2, … or 2019, 2020, 2021."""
    numbers = [(i, int(cell)) for i, cell in enumerate(cells) if re.fullmatch(r"\d{1,9}", cell)]
    if len(numbers) < 3 or any(_is_value(cell) and not cell.isdigit() for cell in cells):
        return False
    return len({number - i for i, number in numbers}) == 1


def _has_decimal_comma(rows: Sequence[Sequence[str]]) -> bool:
    """Whether a column holds numbers such as 1,5; where three digits follow every comma, it may stand for thousands."""
    for column in zip(*rows, strict=False):
        values = [cell for cell in column if cell]
        if any(re.search(r",(\d{1,2}|\d{4,})$", cell) for cell in values) and all(
            re.fullmatch(r"[+-]?\d+(,\d+)?", cell) for cell in values
        ):
            return True
    return False


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _is_value(cell: str) -> bool:
    return _is_number(cell) or _VALUE.fullmatch(cell) is not None


def _fields(count: int) -> str:
    return "1 field" if count == 1 else f"{count} fields"


def _shorten(names: Sequence[str]) -> str:
    return ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
