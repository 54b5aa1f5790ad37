"""The separator and the header of a delimited text, guessed from its first records.

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
from itertools import islice

SEPARATORS = (",", ";", "\t", "|")
#: A record and the number of the line on which it ends, counted from 1.
Record = tuple[int, list[str]]

_NUMBER = re.compile(r"[+-]?(\d+([.,]\d*)?|[.,]\d+)([eE][+-]?\d+)?")
_VALUE = re.compile(r"(?i)true|false|\d{1,4}([-/.])\d{1,2}\1\d{1,4}([T ].*)?|\d{1,2}:\d{2}(:\d{2}(\.\d+)?)?")


def read_records(
    lines: Iterable[str], separator: str, quote: str, first_line: int = 0, comment: str | None = None
) -> Iterator[Record]:
    """The records of some lines, blank ones left out, each with the line on which it ends.

    Args:
        lines: Lines of a text.
        separator: Between two fields.
        quote: Around fields that hold a separator; empty for none.
        first_line: How many lines of the file stand before these.
        comment: Lines that start with it are left out, but not within a quoted field.
    """
    between_records, left_out = True, 0

    def without_comments(comment: str) -> Iterator[str]:
        nonlocal between_records, left_out
        for line in lines:
            if between_records and line.startswith(comment):
                left_out += 1
            else:
                between_records = False
                yield line

    reader = csv.reader(
        lines if comment is None else without_comments(comment),
        delimiter=separator,
        quotechar=quote or None,
        quoting=csv.QUOTE_MINIMAL if quote else csv.QUOTE_NONE,
        skipinitialspace=True,
    )
    for row in reader:
        between_records = True
        if row and (len(row) > 1 or row[0].strip()):
            yield first_line + reader.line_num + left_out, row


def guess_separator(lines: Sequence[str], quote: str, comment: str | None = None) -> str:
    """The separator that splits the first records into the same number of fields with none of the others in them.

    Examples:
        >>> guess_separator(["a;b", "1,5;2", "2,5;3"], '"')
        ';'
        >>> guess_separator(["word", "other"], '"')
        ','
    """
    best, best_score = ",", (0.0, 0.0, 0)
    for separator in SEPARATORS:
        rows = [row for _, row in islice(read_records(lines, separator, quote, comment=comment), 200)]
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


def _counts_on(cells: Sequence[str]) -> bool:
    """Whether the cells that are whole numbers are names such as 0, 1, 2, … or 2019, 2020, 2021."""
    numbers = [(i, int(cell)) for i, cell in enumerate(cells) if re.fullmatch(r"\d{1,9}", cell)]
    if len(numbers) < 3 or any(_is_value(cell) and not cell.isdigit() for cell in cells):
        return False
    return len({number - i for i, number in numbers}) == 1


def _is_number(cell: str) -> bool:
    return _NUMBER.fullmatch(cell) is not None


def _is_value(cell: str) -> bool:
    return _is_number(cell) or _VALUE.fullmatch(cell) is not None
