"""A delimited text file as a Polars scan that cannot fail half-way.

What is notable here:
- The types of the columns are found in a sample of the file. For a scan, a file that is larger than the sample is
  then parsed once with these types, by the streaming engine, and nothing is kept of it: a word in row four million of
  a column of numbers is found before training starts, not in the middle of it. Only if such a value turns up is the
  file read once more, as text, to find types that hold everywhere.
- What is to be held in memory anyway is parsed once: if that fails, the scan is asked.
- Polars makes a row of nulls from a blank line, and from a row of separators too. Blank lines are left out, rows are
  not: whoever asks for predictions gets one for each. Where there are rows of nulls, the lines tell which are which.
- Polars fills a row that is too short with nulls. Such a row has one in the last column: where that has any behind the
  sample, the lines are looked at too.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import polars as pl

from mlpipe.data.csvlines import blank_rows, has_short_rows
from mlpipe.data.csvtypes import TYPES, ColumnType, find_types, quoted_columns
from mlpipe.data.dialect import Dialect, refuse_ragged
from mlpipe.data.guess import read_records
from mlpipe.data.sources import DAMAGE, Source, damaged, decoded_lines, first_line, open_bytes, polars_data
from mlpipe.errors import ConfigError, DataError, did_you_mean

logger = logging.getLogger(__name__)

#: Columns of `read_csv` for itself.
_DOUBTFUL, _LAST = "\0doubtful", "\0last"
_SHORT = "a row has too few fields"
#: A column of `scan_csv` for itself.
_ROW = "\0row"
#: Words that a column of numbers or truth values may hold.
_VALUES = ("nan", "inf", "infinity", "true", "false")


@dataclass(frozen=True)
class _Check:
    """What a pass over a whole file found: its rows, how many are null, all of them or at the end; or why it failed."""

    rows: int = 0
    nulls: int = 0
    last: int = 0
    error: str = ""


@dataclass(frozen=True)
class Text:
    """A table as delimited text.

    Attributes:
        sources: Files of one dialect.
        dialect: How they are written.
        sample: The first lines of the first file.
        whole: Whether the sample is all there is to be read.
    """

    sources: Sequence[Source]
    dialect: Dialect
    sample: bytes
    whole: bool


def scan_csv(text: Text, wanted: Mapping[str, str]) -> tuple[pl.LazyFrame, dict[str, str]]:
    """The table as a scan whose types hold for every row, and these types by column name.

    Args:
        text: The table.
        wanted: Types by column name; where a column's values do not allow it, a wider type is taken, with a warning.

    Raises:
        ConfigError: A wanted type is unknown.
        DataError: The file cannot be read, or holds no rows.
    """
    sources, dialect, name = text.sources, text.dialect, text.sources[0].name
    try:
        found = _sampled_types(text, wanted)
        check = _check(sources, dialect, found)
        if check.error and not text.whole:
            typed = [column for column, type_ in found.items() if type_.dtype != pl.String()]
            quoted = quoted_columns(text.sample, dialect)
            found |= find_types(_parse(sources, dialect).select(typed), dialect, quoted, wanted)
            check = _check(sources, dialect, found)
        if check.last and not text.whole and has_short_rows(sources, dialect):
            check = _Check(error=_SHORT)
        blank = blank_rows(sources, dialect, check.rows, check.nulls) if check.nulls else None
    except (pl.exceptions.PolarsError, OSError) as error:
        raise _explain(sources, dialect, first_line(error)) from error
    if check.error:
        raise _explain(sources, dialect, check.error)
    if check.rows == check.nulls:
        raise DataError(f"{name} has {'a header but ' if dialect.header else ''}no rows.")
    for column, type_ in found.items():
        if column in wanted and str(type_.dtype) != wanted[column]:
            logger.warning(
                "%s: column %r holds values that are no %s; it is read as %s",
                name,
                column,
                wanted[column],
                type_.dtype,
            )
    frame = _tidy(_parse(sources, dialect, found), dialect, found)
    if blank is not None and len(blank):
        logger.info("%s: blank lines are left out: %d", name, len(blank))
        if len(blank) == check.nulls:
            frame = frame.filter(~pl.all_horizontal(pl.all().is_null()))
        else:
            frame = frame.with_row_index(_ROW).filter(~pl.col(_ROW).is_in(blank.implode())).drop(_ROW)
    return frame, {column: str(type_.dtype) for column, type_ in found.items()}


def read_csv(
    text: Text, wanted: Mapping[str, str], columns: Callable[[pl.Schema], Sequence[pl.Expr]]
) -> tuple[pl.DataFrame, dict[str, str]]:
    """`scan_csv`, collected, in one pass over the file(s) unless a value turns up that its column's type cannot be.

    Args:
        text: The table.
        wanted: As for `scan_csv`.
        columns: From the types of all columns to elementwise expressions, which are collected.

    Raises:
        ConfigError, DataError: As `scan_csv`, and what `columns` raises.
    """
    try:
        found = _sampled_types(text, wanted)
        types = {column: str(type_.dtype) for column, type_ in found.items()}
        # A blank line is a row of nulls. A column that has none in the sample shows whether there are any.
        full = next((column for column, type_ in found.items() if type_.full), None)
        if full is not None and all(wanted.get(column, dtype) == dtype for column, dtype in types.items()):
            spared = _spared_words(text, found)
            kept = tuple(word for word in text.dialect.null_values if word not in spared)
            dialect = replace(text.dialect, null_values=kept)
            frame = _tidy(_parse(text.sources, dialect, found), dialect, found)
            doubtful = [pl.col(full).is_null()]
            doubtful += [pl.col(c).is_in(spared) for c, type_ in found.items() if spared and type_.dtype == pl.String()]
            chosen = [
                *columns(frame.collect_schema()),
                pl.any_horizontal(doubtful).alias(_DOUBTFUL),
                pl.col(dialect.names[-1]).is_null().alias(_LAST),
            ]
            made = frame.select(chosen).collect(engine="streaming")
            if made.drop_in_place(_LAST).any() and not text.whole and has_short_rows(text.sources, dialect):
                raise _explain(text.sources, dialect, _SHORT)
            if made.height and not made.drop_in_place(_DOUBTFUL).any():
                return made, types
    except (pl.exceptions.PolarsError, OSError) as error:
        logger.debug("%s: the types of its first lines do not hold: %s", text.sources[0].name, first_line(error))
    frame, types = scan_csv(text, wanted)
    return frame.select(columns(frame.collect_schema())).collect(engine="streaming"), types


def _spared_words(text: Text, types: Mapping[str, ColumnType]) -> list[str]:
    """Words for missing values that the parser need not look for, since each costs time in every field.

    They are not in the sample. Where one turns up later, a column of another type than text cannot be parsed, and in a
    column of text it is found afterwards. Blanks before a value would hide it from both.
    """
    if any(type_.padded for type_ in types.values()):
        return []
    starts = [text.dialect.separator, "\n", *text.dialect.quote]

    def needed(word: str) -> bool:
        value = not word.strip() or word.strip("+- ").lower() in _VALUES or any(letter.isdigit() for letter in word)
        seen = text.sample.startswith(word.encode()) or any((start + word).encode() in text.sample for start in starts)
        return value or seen

    return [word for word in text.dialect.null_values if not needed(word)]


def _parse(sources: Sequence[Source], dialect: Dialect, types: Mapping[str, ColumnType] | None = None) -> pl.LazyFrame:
    """The plain scan; without types every column is text."""
    null_values = list(dialect.null_values)
    if types is None or any(type_.padded for type_ in types.values()):
        null_values += [f" {value}" for value in null_values]  # each costs time, so only where it is needed
    return pl.scan_csv(
        polars_data(sources),  # type: ignore[arg-type]  # the annotation has no list of both paths and URLs
        has_header=False,
        skip_lines=dialect.skip_lines,
        separator=dialect.separator,
        quote_char=dialect.quote or None,
        comment_prefix=dialect.comment,
        schema={name: types[name].parsed if types else pl.String() for name in dialect.names},
        null_values=null_values,
        decimal_comma=dialect.decimal_comma,
        encoding="utf8-lossy" if dialect.encoding == "utf8-lossy" else "utf8",
        glob=False,
    )


def _sampled_types(text: Text, wanted: Mapping[str, str]) -> dict[str, ColumnType]:
    for column, name in wanted.items():
        if name not in TYPES:
            raise ConfigError(f"`data.read.dtypes`: {column!r} is {name!r}.{did_you_mean(name, TYPES)}")
    sample = Source(text.sources[0].name, text.sample)
    quoted = quoted_columns(text.sample, text.dialect)
    return find_types(_parse([sample], text.dialect), text.dialect, quoted, wanted)


def _check(sources: Sequence[Source], dialect: Dialect, types: Mapping[str, ColumnType]) -> _Check:
    """Parse everything once; remembered for local files as long as they do not change."""
    if all(isinstance(source.data, Path) for source in sources):
        paths = [Path(source.data) for source in sources if isinstance(source.data, Path)]
        files = tuple((path, path.stat().st_mtime_ns, path.stat().st_size) for path in paths)
        return _check_files(files, dialect, tuple(types.items()))
    return _check_frame(_parse(sources, dialect, types))


@lru_cache(maxsize=64)
def _check_files(
    files: tuple[tuple[Path, int, int], ...], dialect: Dialect, types: tuple[tuple[str, ColumnType], ...]
) -> _Check:
    return _check_frame(_parse([Source(str(path), path) for path, _, _ in files], dialect, dict(types)))


def _check_frame(frame: pl.LazyFrame) -> _Check:
    nulls, last = pl.all_horizontal(pl.all().is_null()).sum(), pl.last().is_null().sum()
    try:
        row = (
            frame.select(pl.len().alias("rows"), nulls.alias("nulls"), last.alias("last"))
            .collect(engine="streaming")
            .row(0)
        )
    except (pl.exceptions.PolarsError, OSError) as error:
        return _Check(error=first_line(error))
    return _Check(*row)


def _tidy(frame: pl.LazyFrame, dialect: Dialect, types: Mapping[str, ColumnType]) -> pl.LazyFrame:
    """Blanks before every value of a text column belong to the separator, and so may quotes behind them."""
    expressions = []
    for name, type_ in types.items():
        if type_.padded and type_.parsed == pl.String():
            stripped = pl.col(name).str.strip_chars(" ")
            if dialect.quote:
                stripped = stripped.str.replace(f"^{dialect.quote}(.*){dialect.quote}$", "$1")
            value = pl.when(~stripped.is_in(list(dialect.null_values))).then(stripped)
            expressions.append(
                (value if type_.dtype == pl.String() else value.str.to_lowercase() == "true").alias(name)
            )
    return frame.with_columns(expressions) if expressions else frame


def _explain(sources: Sequence[Source], dialect: Dialect, message: str) -> DataError:
    """An error of Polars as a sentence; to find the line, the file is read once more."""
    for source in sources:
        try:
            with open_bytes(source) as file:
                lines = decoded_lines(source.name, file, dialect.encoding)
                records = read_records(lines, dialect.separator, dialect.quote, comment=dialect.comment)
                refuse_ragged(source.name, records, dialect)
        except DataError as error:
            return error
        except DAMAGE as error:
            return damaged(source, error)
    hint = "; if a quote within a field is to be taken as it is, say `data.read.quote: ''`" if dialect.quote else ""
    return DataError(f"{sources[0].name} cannot be read as CSV: {message}{hint}.")
