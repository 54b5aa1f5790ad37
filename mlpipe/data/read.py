"""`scan`: a file of any of the usual formats as a Polars LazyFrame.

What is notable here:
- Nothing has to be said about a file that its content says: format, separator, header, types are detected, and
  `detect_options` hands back what was found, so that later files of the same table are read in the same way.
- Whatever is wrong with a file ends in a `DataError` before the first row is used.
"""

from __future__ import annotations

import codecs
import io
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl

from mlpipe.data.csvscan import Text, read_csv, scan_csv
from mlpipe.data.dialect import Dialect, check_separator, find_dialect
from mlpipe.data.formats import find_format
from mlpipe.data.scans import explain, scan_files
from mlpipe.data.sources import Source, decoded_lines, find_sources, head, read_all
from mlpipe.errors import ConfigError, DataError, did_you_mean

FORMATS = ("csv", "tsv", "parquet", "ipc", "ndjson")

#: What stands for a missing value in a text file, unless `data.read.null_values` says otherwise.
DEFAULT_NULL_VALUES = ("", " ", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")


@dataclass(frozen=True)
class ReadOptions:
    """How a file is to be read. What is None is detected; Parquet and Arrow files need none of it.

    Args:
        format: csv, tsv, parquet, ipc (Arrow) or ndjson; None: by the file's name and its first bytes.
        separator: Between two fields: comma, semicolon, tab or bar are detected.
        header: Whether the first line holds the names of the columns.
        columns: Names for the columns, from left to right; without them a file without header has column_1, column_2…
        null_values: What stands for a missing value; None: an empty field, ?, NA, NaN, null and their like.
        decimal_comma: Whether 1,5 is a number.
        skip_rows: Lines above the table.
        encoding: utf8, utf8-lossy (what is no UTF-8 is replaced), or another one that Python knows, such as latin-1.
        quote: Around fields that hold a separator; an empty string takes quotes as they are.
        comment: Lines that start with it, such as `#`, are left out; None: none are.
        dtypes: Polars types by column name, such as `zip: String`; other columns' types are detected.
    """

    format: str | None = None
    separator: str | None = None
    header: bool | None = None
    columns: list[str] | None = None
    null_values: list[str] | None = None
    decimal_comma: bool | None = None
    skip_rows: int = 0
    encoding: str = "utf8"
    quote: str = '"'
    comment: str | None = None
    dtypes: dict[str, str] | None = None

    def __post_init__(self) -> None:
        if self.format is not None and self.format not in FORMATS:
            raise ConfigError(f"`data.read.format` is {self.format!r}.{did_you_mean(self.format, FORMATS)}")
        check_separator(self.separator)
        if self.skip_rows < 0:
            raise ConfigError(f"`data.read.skip_rows` is {self.skip_rows}; it has to be 0 or more.")
        if len(self.quote) > 1 or not self.quote.isascii():
            raise ConfigError(f"`data.read.quote` is {self.quote!r}; it has to be one character, or empty for none.")
        if self.comment is not None and (not self.comment or self.comment in (self.quote, self.separator)):
            raise ConfigError(
                f"`data.read.comment` is {self.comment!r}; it has to be what remarks start with, neither empty nor the "
                "quote or the separator."
            )
        if self.encoding != "utf8-lossy":
            try:
                codecs.lookup(self.encoding)
            except LookupError as error:
                raise ConfigError(f"`data.read.encoding` is {self.encoding!r}, which Python does not know.") from error


def scan(path: str | Path, options: ReadOptions = ReadOptions()) -> pl.LazyFrame:
    """A table as a LazyFrame, its rows in file order.

    CSV and TSV (plain, gzip, Zstandard, or in a zip archive as `archive.zip::member.csv`), Parquet, Arrow IPC,
    NDJSON, globs of them, and URLs that Polars opens. Plain text, Parquet and Arrow stream from disk. Blank lines of a
    text file are left out, blanks before fields too.

    Args:
        path: A file, a glob, a URL, or `archive.zip::member`.
        options: How to read it.

    Raises:
        DataError: There is no such file, or it is not what it has to be; the sentence says what would be right.
        ConfigError: An option is wrong.
    """
    return _scan(path, options)[0]


def detect_options(path: str | Path, options: ReadOptions = ReadOptions()) -> ReadOptions:
    """The options with what was detected filled in, so that other files of the same table are read like this one.

    `columns` stays None unless it was given: names come from the header, or from the columns' positions.

    Raises:
        DataError, ConfigError: As `scan`; also where `dtypes` names a column that is not there.
    """
    frame, detected = _scan(path, options)
    refuse_unknown_columns(path, options, frame.collect_schema().names())
    return detected


def read(
    path: str | Path,
    options: ReadOptions = ReadOptions(),
    columns: Callable[[pl.Schema], Sequence[pl.Expr]] = lambda _: [pl.all()],
) -> tuple[pl.DataFrame, ReadOptions]:
    """A table in memory and its `detect_options`, in one pass over a text file where `scan` takes two.

    Args:
        path: As for `scan`.
        options: How to read it.
        columns: From the types of all columns to elementwise expressions, such as `Preprocessor.compact`.

    Raises:
        DataError, ConfigError: As `scan`, and what `columns` raises.
    """
    sources, options = _find(path, options)
    if options.format in ("csv", "tsv"):
        text = _text(sources, options)
        frame, types = read_csv(text, options.dtypes or {}, columns)
        return frame, _detected(options, text.dialect, types)
    scanned = _scan_binary(path, sources, options)
    chosen = scanned.select(columns(scanned.collect_schema()))
    try:
        return chosen.collect(), options
    except (pl.exceptions.PolarsError, OSError) as error:
        raise explain(sources, str(options.format), error) from error


def _scan(path: str | Path, options: ReadOptions) -> tuple[pl.LazyFrame, ReadOptions]:
    sources, options = _find(path, options)
    if options.format in ("csv", "tsv"):
        text = _text(sources, options)
        frame, types = scan_csv(text, options.dtypes or {})
        return frame, _detected(options, text.dialect, types)
    return _scan_binary(path, sources, options), options


def _find(path: str | Path, options: ReadOptions) -> tuple[Sequence[Source], ReadOptions]:
    """The files and their format."""
    sources = find_sources(path)
    formats = {find_format(source, options.format, options.encoding) for source in sources}
    if len(formats) > 1:
        raise DataError(f"{path} stands for files of several formats ({', '.join(sorted(formats))}); narrow it down.")
    return sources, replace(options, format=formats.pop())


def _scan_binary(path: str | Path, sources: Sequence[Source], options: ReadOptions) -> pl.LazyFrame:
    frame = scan_files(sources, str(options.format))
    try:
        names = frame.collect_schema().names()
        empty = not names or frame.select(pl.first()).head(1).collect().is_empty()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise explain(sources, str(options.format), error) from error
    if empty:
        raise DataError(f"{path} has no rows.")
    return frame


def refuse_unknown_columns(path: str | Path, options: ReadOptions, names: Sequence[str]) -> None:
    """Refuse `dtypes` for columns that a table has not; a later file of the same table may lack some.

    Raises:
        ConfigError: Names the column and the closest one that is there.
    """
    there = set(names)
    for name in options.dtypes or {}:
        if name not in there:
            raise ConfigError(f"`data.read.dtypes` names {name!r}, which {path} has not.{did_you_mean(name, names)}")


def _text(sources: Sequence[Source], options: ReadOptions) -> Text:
    separator = "\t" if options.separator is None and options.format == "tsv" else options.separator
    options = replace(options, separator=separator)
    if not _is_utf8(options.encoding):
        sources = [_recoded(source, options.encoding) for source in sources]
    first = sources[0]
    sample, whole = _complete_lines(*head(first), options)
    dialect = _dialect(first, sample, options)
    for source in sources[1:]:
        other = _dialect(source, _complete_lines(*head(source, 2**16), options)[0], options)
        if other.names != dialect.names:
            here, there = (", ".join(d.names[:8]) for d in (dialect, other))
            raise DataError(f"{source.name} has other columns ({there}) than {first.name} ({here}).")
    return Text(sources, dialect, sample, whole and len(sources) == 1)


def _detected(options: ReadOptions, dialect: Dialect, types: dict[str, str]) -> ReadOptions:
    return replace(
        options,
        separator=dialect.separator,
        header=dialect.header,
        null_values=list(dialect.null_values),
        decimal_comma=dialect.decimal_comma,
        dtypes={**(options.dtypes or {}), **types},
    )


def _dialect(source: Source, sample: bytes, options: ReadOptions) -> Dialect:
    lossy = options.encoding == "utf8-lossy"
    return find_dialect(
        source.name,
        list(decoded_lines(source.name, io.BytesIO(sample), options.encoding if lossy else "utf8")),
        separator=options.separator,
        header=options.header,
        columns=options.columns,
        null_values=DEFAULT_NULL_VALUES if options.null_values is None else options.null_values,
        decimal_comma=options.decimal_comma,
        skip_rows=options.skip_rows,
        encoding="utf8-lossy" if lossy else "utf8",
        quote=options.quote,
        comment=options.comment,
    )


def _complete_lines(sample: bytes, whole: bool, options: ReadOptions) -> tuple[bytes, bool]:
    """The sample up to the end of its last complete record."""
    if whole:
        return sample, True
    quote, text = options.quote.encode(), sample
    if options.comment:  # a lone quote in a remark opens no field
        remark = rb"(?m)^" + re.escape(options.comment.encode()) + rb".*"
        text = re.sub(remark, lambda found: b" " * len(found[0]), sample)
    end = text.rfind(b"\n") + 1
    quotes = text.count(quote, 0, end) if quote else 0
    while quotes % 2 and end:
        start = text.rfind(b"\n", 0, end - 1) + 1
        quotes -= text.count(quote, start, end)
        end = start
    return sample[: end or len(sample)], False


def _is_utf8(encoding: str) -> bool:
    return encoding == "utf8-lossy" or codecs.lookup(encoding).name in ("utf-8", "utf-8-sig", "ascii")


def _recoded(source: Source, encoding: str) -> Source:
    """The file in UTF-8, in memory: Polars reads nothing else."""
    try:
        return Source(source.name, read_all(source).decode(encoding).removeprefix("\ufeff").encode())
    except UnicodeDecodeError as error:
        raise DataError(f"{source.name} is not {encoding} text: {error}; see `data.read.encoding`.") from error
