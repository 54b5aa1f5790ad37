"""A delimited text file line by line: what Polars tells no more once it has parsed the rows.

It makes nulls from a blank line, from a row of separators, and from the fields that a short row lacks. The lines are
scanned by Polars too, as a table of one column of text, so that a file of any size takes little memory.
"""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from mlpipe.data.dialect import BLANKS, Dialect
from mlpipe.data.sources import Source, polars_data
from mlpipe.errors import DataError

_ROW = "row"


def blank_rows(sources: Sequence[Source], dialect: Dialect, rows: int, nulls: int) -> pl.Series:
    """The numbers, from 0, of the rows that are blank lines.

    Args:
        sources: Files of one dialect.
        dialect: How they are written.
        rows: How many rows they have, blank lines among them.
        nulls: In how many of these all values are missing.

    Raises:
        DataError: Rows and lines cannot be matched.
    """
    numbered = (
        _without_rest(_lines(sources, dialect), dialect)
        .with_row_index(_ROW)
        .select(pl.col(_ROW).filter(_is_blank(dialect)).implode(), pl.len())
    )
    found, count = numbered.collect(engine="streaming").row(0)
    if len(found) not in (0, nulls) and count != rows:
        raise DataError(
            f"{sources[0].name} has blank lines, rows of nothing but missing values, and quotes for which the two "
            "cannot be told apart; take the blank lines out."
        )
    return pl.Series(_ROW, found, dtype=pl.get_index_type())


def has_short_rows(sources: Sequence[Source], dialect: Dialect) -> bool:
    """Whether there is a row with too few fields; one that goes over several lines is not looked at."""
    line = pl.col("line").str
    short = (line.count_matches(dialect.separator, literal=True) < len(dialect.names) - 1) & ~_is_blank(dialect)
    if dialect.quote:
        short &= line.count_matches(dialect.quote, literal=True) % 2 == 0  # else the row goes on in the next line
    lines = _lines(sources, dialect)
    # Most files have none; only what looks like one may be the rest of a row, which takes longer to find out.
    frames = lines, _without_rest(lines, dialect)
    return all(frame.select(short.any()).collect(engine="streaming").item() for frame in frames)


def _lines(sources: Sequence[Source], dialect: Dialect) -> pl.LazyFrame:
    """Each `line` behind the header, also if it is blank, as text."""
    return pl.scan_csv(
        polars_data(sources),  # type: ignore[arg-type]  # the annotation has no list of both paths and URLs
        has_header=False,
        skip_lines=dialect.skip_lines,
        separator="\x01",  # in no text
        quote_char=None,
        comment_prefix=dialect.comment,
        schema={"line": pl.String()},
        truncate_ragged_lines=True,
        encoding="utf8-lossy" if dialect.encoding == "utf8-lossy" else "utf8",
        glob=False,
    ).select(pl.col("line").fill_null(""))


def _without_rest(lines: pl.LazyFrame, dialect: Dialect) -> pl.LazyFrame:
    """The first line of each row: one goes on over the ends of lines that are within quotes."""
    if not dialect.quote:
        return lines
    quotes = pl.col("line").str.count_matches(dialect.quote, literal=True).cast(pl.Int64)
    return lines.filter((quotes.cum_sum() - quotes) % 2 == 0)


def _is_blank(dialect: Dialect) -> pl.Expr:
    return pl.col("line").str.strip_chars(BLANKS.replace(dialect.separator, "")) == ""
