"""Parquet, Arrow and NDJSON files as one scan.

What is notable here:
- Files of one table may differ in the order of their columns and in the width of their numbers. A column that one of
  them has and another has not is refused, but in NDJSON, where a key without a value is often left out.
- Polars takes the columns and types of all files from the first one; where they differ, each is scanned by itself.
"""

from __future__ import annotations

import glob
import json
from collections.abc import Sequence
from pathlib import Path

import polars as pl

from mlpipe.data.sources import DAMAGE, Source, first_line, open_bytes, read_all
from mlpipe.errors import DataError, did_you_mean

_WORDS = (pl.String, pl.Categorical, pl.Enum)


def scan_files(sources: Sequence[Source], format_: str) -> pl.LazyFrame:
    """The rows of all files, in order.

    Args:
        sources: Files of one format.
        format_: parquet, ipc or ndjson.

    Raises:
        DataError: A file is damaged, has no rows in any of them, or they are not of one table; names file and column.
    """
    frames = [_scan([source], format_) for source in sources]
    schemas = [_schema(source, frame, format_) for source, frame in zip(sources, frames, strict=True)]
    if all(list(schema.items()) == list(schemas[0].items()) for schema in schemas):
        return _scan(sources, format_)
    if format_ != "ndjson":
        for source, schema in zip(sources[1:], schemas[1:], strict=True):
            _refuse_other(sources[0].name, schemas[0], source.name, schema)
        frames = [frame.select(schemas[0].names()) for frame in frames]
    joined = pl.concat(frames, how="diagonal_relaxed")
    try:
        joined.collect_schema()
    except pl.exceptions.PolarsError as error:
        names = f"{sources[0].name} and {sources[-1].name}"
        raise DataError(f"The files from {names} are not of one table: {first_line(error)}.") from error
    return joined


def explain(sources: Sequence[Source], format_: str, error: BaseException) -> DataError:
    """An error of Polars as a sentence that names the file, and the line if it can be told.

    Args:
        sources: The files, one of which cannot be read.
        format_: Their format.
        error: What Polars says.
    """
    for source in sources if format_ == "ndjson" and not any(source.is_url for source in sources) else ():
        if line := _bad_line(source):
            return line
    name = sources[0].name if len(sources) == 1 else f"One of the files from {sources[0].name} to {sources[-1].name}"
    return DataError(f"{name} is damaged or cut short: {first_line(error).rstrip('.')}.")


def _scan(sources: Sequence[Source], format_: str) -> pl.LazyFrame:
    paths = [source.data for source in sources if not isinstance(source.data, bytes)]
    data = paths if len(paths) == len(sources) else [read_all(source) for source in sources]
    if format_ == "parquet":
        return pl.scan_parquet(data, glob=False)  # type: ignore[arg-type]  # no list of paths and URLs in the annotation
    if format_ == "ipc":
        return pl.scan_ipc(data, glob=False)  # type: ignore[arg-type]  # as above
    # It would take a path for a pattern, and cannot be told not to.
    literal = [glob.escape(str(path)) if isinstance(path, Path) else path for path in data]
    # Every row is looked at for its keys and types: what a later row adds must not be lost.
    return pl.scan_ndjson(literal, infer_schema_length=None)  # type: ignore[arg-type]  # as above


def _schema(source: Source, frame: pl.LazyFrame, format_: str) -> pl.Schema:
    try:
        return frame.collect_schema()
    except (pl.exceptions.PolarsError, OSError) as error:
        raise explain([source], format_, error) from error


def _refuse_other(first: str, schema: pl.Schema, name: str, other: pl.Schema) -> None:
    for column in schema:
        if column not in other:
            raise DataError(f"{name} has no column {column!r}, which {first} has.{did_you_mean(column, list(other))}")
    for column, dtype in other.items():
        if column not in schema:
            raise DataError(f"{name} has a column {column!r}, which {first} has not.{did_you_mean(column, schema)}")
        if not _go_together(schema[column], dtype):
            raise DataError(
                f"Column {column!r} is {dtype} in {name}, but {schema[column]} in {first}; write both as one type."
            )


def _go_together(one: pl.DataType, other: pl.DataType) -> bool:
    if one == other or pl.Null in (one, other):
        return True
    if isinstance(one, _WORDS) or isinstance(other, _WORDS):
        return isinstance(one, _WORDS) and isinstance(other, _WORDS)
    if one.is_numeric() or isinstance(one, pl.Boolean):
        return one.is_numeric() and other.is_numeric()
    return one.base_type() == other.base_type()


def _bad_line(source: Source) -> DataError | None:
    try:
        with open_bytes(source) as file:
            for number, line in enumerate(file, start=1):
                if line.strip() and not isinstance(json.loads(line, parse_constant=_refuse), dict):
                    return DataError(f"{source.name}: line {number} is no JSON object; NDJSON has one object per line.")
    except DAMAGE:
        return None
    except json.JSONDecodeError as error:
        what = f"{error.msg} at its character {error.pos + 1}"
        return DataError(f"{source.name}: line {number} is no JSON ({what}); NDJSON has one object per line.")
    except UnicodeDecodeError:
        return DataError(f"{source.name}: line {number} is no UTF-8 text, in which NDJSON has to be.")
    except ValueError as error:
        return DataError(f"{source.name}: line {number} holds {error}, which JSON does not know; write null.")
    return None


def _refuse(word: str) -> None:
    """Python reads and writes NaN and Infinity, Polars does not."""
    raise ValueError(word)
