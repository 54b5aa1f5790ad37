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
from mlpipe.data.dialect import Dialect, find_dialect
from mlpipe.data.formats import find_format
from mlpipe.data.options import DEFAULT_NULL_VALUES, DETECTED, ReadOptions, refuse_unknown_columns
from mlpipe.data.scans import explain, scan_files
from mlpipe.data.sources import Source, decoded_lines, find_sources, head, read_all
from mlpipe.errors import DataError


def scan(path: str | Path, options: ReadOptions = DETECTED) -> pl.LazyFrame:
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
    return _scan(_find(path, options))[0]


def scan_like(path: str | Path, trained: ReadOptions) -> pl.LazyFrame:
    """`scan` of a later file of a table, which is read as the first one was.

    The format is the later file's own. A separator goes with a format: where the later file's is another one, it is
    looked for anew, unless `trained` has a separator without a format, which holds for all of them.

    Args:
        path: As for `scan`.
        trained: How the first file was read: its `detect_options`.

    Raises:
        DataError, ConfigError: As `scan`.
    """
    return _scan(_find_like(path, trained))[0]


def detect_options(path: str | Path, options: ReadOptions = DETECTED) -> ReadOptions:
    """The options with what was detected filled in, so that other files of the same table are read like this one.

    `columns` stays None unless it was given: names come from the header, or from the columns' positions. `format` stays
    None if a separator was given without one; see `scan_like`.

    Raises:
        DataError, ConfigError: As `scan`; also where `dtypes` names a column that is not there.
    """
    frame, detected = _scan(_find(path, options))
    refuse_unknown_columns(path, options, frame.collect_schema().names())
    return detected


def read(
    path: str | Path,
    options: ReadOptions = DETECTED,
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
    return _read(_find(path, options), columns)


def read_like(path: str | Path, trained: ReadOptions) -> pl.DataFrame:
    """A later file of a table in memory; see `scan_like`."""
    return _read(_find_like(path, trained), lambda _: [pl.all()])[0]


@dataclass(frozen=True)
class _Files:
    """What a path stands for: files of one format, and how they are to be read."""

    path: str | Path
    sources: Sequence[Source]
    format: str
    options: ReadOptions

    @property
    def is_text(self) -> bool:
        return self.format in ("csv", "tsv")


def _find(path: str | Path, options: ReadOptions) -> _Files:
    sources = find_sources(path)
    return _Files(path, sources, _common_format(path, sources, options.format, options.encoding), options)


def _find_like(path: str | Path, trained: ReadOptions) -> _Files:
    sources = find_sources(path)
    format_ = _common_format(path, sources, None, trained.encoding, nameless=trained.format or "csv")
    same = trained.format in (None, format_)
    return _Files(path, sources, format_, trained if same else replace(trained, separator=None))


def _common_format(
    path: str | Path, sources: Sequence[Source], wanted: str | None, encoding: str, nameless: str = "csv"
) -> str:
    formats = {find_format(source, wanted, encoding, nameless) for source in sources}
    if len(formats) > 1:
        raise DataError(f"{path} stands for files of several formats ({', '.join(sorted(formats))}); narrow it down.")
    return formats.pop()


def _scan(files: _Files) -> tuple[pl.LazyFrame, ReadOptions]:
    if files.is_text:
        text = _text(files)
        frame, types = scan_csv(text, files.options.dtypes or {})
        return frame, _detected(files, text.dialect, types)
    return _scan_binary(files), _with_format(files)


def _read(files: _Files, columns: Callable[[pl.Schema], Sequence[pl.Expr]]) -> tuple[pl.DataFrame, ReadOptions]:
    if files.is_text:
        text = _text(files)
        frame, types = read_csv(text, files.options.dtypes or {}, columns)
        return frame, _detected(files, text.dialect, types)
    scanned = _scan_binary(files)
    chosen = scanned.select(columns(scanned.collect_schema()))
    try:
        return chosen.collect(), _with_format(files)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise explain(files.sources, files.format, error) from error


def _scan_binary(files: _Files) -> pl.LazyFrame:
    frame = scan_files(files.sources, files.format)
    try:
        names = frame.collect_schema().names()
        empty = not names or frame.select(pl.first()).head(1).collect().is_empty()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise explain(files.sources, files.format, error) from error
    if empty:
        raise DataError(f"{files.path} has no rows.")
    return frame


def _text(files: _Files) -> Text:
    options, sources = files.options, files.sources
    if options.separator is None and files.format == "tsv":
        options = replace(options, separator="\t")
    if not _is_utf8(options.encoding):
        sources = [_recoded(source, options.encoding) for source in sources]
    first = sources[0]
    sample, whole = _complete_lines(*head(first), options)
    dialect = _dialect(first, sample, options)
    options = replace(options, separator=dialect.separator, header=dialect.header)
    for source in sources[1:]:
        other = _dialect(source, _complete_lines(*head(source, 2**16), options)[0], options)
        if other.names != dialect.names:
            here, there = (", ".join(d.names[:8]) for d in (dialect, other))
            raise DataError(f"{source.name} has other columns ({there}) than {first.name} ({here}).")
    return Text(sources, dialect, sample, whole and len(sources) == 1)


def _with_format(files: _Files) -> ReadOptions:
    """The options, with the format filled in unless a separator was given that is to hold for all formats."""
    return files.options if files.options.separator is not None else replace(files.options, format=files.format)


def _detected(files: _Files, dialect: Dialect, types: dict[str, str]) -> ReadOptions:
    return replace(
        _with_format(files),
        separator=dialect.separator,
        header=dialect.header,
        null_values=list(dialect.null_values),
        decimal_comma=dialect.decimal_comma,
        dtypes={**(files.options.dtypes or {}), **types},
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
