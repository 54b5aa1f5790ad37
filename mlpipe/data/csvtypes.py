"""What type each column of a delimited text is read as.

Numbers that are more than numbers stay text: codes with leading zeros, and columns that the file puts in quotes while
it leaves other columns bare, as R and other programs do with text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import polars as pl

from mlpipe.data.dialect import Dialect
from mlpipe.data.guess import read_records

#: The types as which a column of text may be read.
TYPES: dict[str, pl.DataType] = {
    str(dtype): dtype
    for dtype in (
        *(pl.Boolean(), pl.String(), pl.Float32(), pl.Float64(), pl.Int128()),
        *(pl.Int8(), pl.Int16(), pl.Int32(), pl.Int64(), pl.UInt8(), pl.UInt16(), pl.UInt32(), pl.UInt64()),
    )
}
#: Lines in which to look whether some columns are in quotes and others not.
_QUOTE_LINES = 1_000

_BOOLEAN = r"(?i)^ *(?:true|false)$"
_CODE = r"^ *[+-]?0\d+$"


@dataclass(frozen=True)
class ColumnType:
    """How one column is read.

    Attributes:
        dtype: Its type.
        padded: Whether blanks stand before all of its values.
        full: Whether no value of the sample is null.
    """

    dtype: pl.DataType
    padded: bool
    full: bool

    @property
    def parsed(self) -> pl.DataType:
        """The type that Polars' parser is asked for: it passes over blanks before numbers only."""
        return pl.String() if self.padded and self.dtype == pl.Boolean() else self.dtype


def find_types(
    text: pl.LazyFrame, dialect: Dialect, quoted: set[str], wanted: Mapping[str, str]
) -> dict[str, ColumnType]:
    """The narrowest type for each column of a scan that holds for all of its values.

    Args:
        text: The scan, all of its columns text.
        dialect: How the file is written.
        quoted: Columns that stay text, see `quoted_columns`.
        wanted: Names of types, of `TYPES`, that are taken where all values allow it.
    """
    tests: dict[str, dict[str, pl.Expr]] = {}
    for name in text.collect_schema().names():
        column = pl.col(name)
        number = column.str.replace(",", ".", literal=True) if dialect.decimal_comma else column
        number = number.str.strip_chars_start(" ")
        tests[name] = {
            "padded": column.is_not_null().any() & column.str.starts_with(" ").all(),
            "empty": column.is_null().all(),
            "full": column.is_not_null().all(),
            "boolean": column.str.contains(_BOOLEAN).all(),
            "code": column.str.contains(_CODE).any(),
            "real": _holds(number, pl.Float64()),
            "int64": _holds(number, pl.Int64()),
            "int128": _holds(number, pl.Int128()),
        }
        if name in wanted:
            tests[name]["wanted"] = _holds(number, TYPES[wanted[name]])
    flat = [test.alias(f"{i}.{key}") for i, of_one in enumerate(tests.values()) for key, test in of_one.items()]
    answers = iter(text.select(flat).collect(engine="streaming").row(0))
    found = {}
    for name, of_one in tests.items():
        fact = {key: next(answers) for key in of_one}
        dtype = TYPES[wanted[name]] if fact.get("wanted") else _narrowest(fact, name in quoted)
        found[name] = ColumnType(dtype, padded=fact["padded"], full=fact["full"])
    return found


def _narrowest(fact: Mapping[str, bool], quoted: bool) -> pl.DataType:
    if fact["empty"]:
        return pl.String()
    if fact["boolean"]:
        return pl.Boolean()
    whole = fact["int64"] or fact["int128"]
    if quoted or (whole and fact["code"]) or not fact["real"]:
        return pl.String()
    if not whole:
        return pl.Float64()
    return pl.Int64() if fact["int64"] else pl.Int128()


def _holds(text: pl.Expr, dtype: pl.DataType) -> pl.Expr:
    """Whether every value of a text column can be read as another type; a cast takes what Polars' parser takes."""
    if dtype == pl.String():
        return pl.lit(True)
    if dtype == pl.Boolean():
        return text.str.contains(_BOOLEAN).all()
    return (text.cast(dtype, strict=False).is_null() == text.is_null()).all()


def quoted_columns(sample: bytes, dialect: Dialect) -> set[str]:
    """The columns that are always in quotes, unless all are: then quotes say nothing."""
    if not dialect.quote:
        return set()
    lines = sample.decode(errors="replace").split("\n", dialect.skip_lines + _QUOTE_LINES)[dialect.skip_lines :]
    rows = []
    within = False  # a field that goes on over several lines
    for line in lines[:_QUOTE_LINES]:
        if dialect.comment and line.startswith(dialect.comment) and not within:
            continue
        even = line.count(dialect.quote) % 2 == 0
        if even and not within:
            rows += [
                row for _, row in read_records([line], dialect.separator, quote="") if len(row) == len(dialect.names)
            ]
        within ^= not even
    quoted: set[str] = set()
    bare: set[str] = set()
    for name, cells in zip(dialect.names, zip(*rows, strict=True), strict=False):
        values = [cell.strip() for cell in cells if cell.strip()]
        if values:
            whole = all(len(v) > 1 and v[0] == v[-1] == dialect.quote for v in values)
            (quoted if whole else bare).add(name)
    return quoted if bare else set()
