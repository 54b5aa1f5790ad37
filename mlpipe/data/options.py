"""`ReadOptions`: what a user may say of how a file is written, the `data.read` group of a config."""

from __future__ import annotations

import codecs
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from mlpipe.checks import check_types
from mlpipe.data.dialect import check_separator
from mlpipe.errors import ConfigError, did_you_mean

FORMATS = ("csv", "tsv", "parquet", "ipc", "ndjson")

#: What stands for a missing value in a text file, unless `data.read.null_values` says otherwise.
DEFAULT_NULL_VALUES = ("", " ", "?", "NA", "N/A", "n/a", "#N/A", "<NA>", "NaN", "nan", "NULL", "null", "None")


@dataclass(frozen=True)
class ReadOptions:
    """How a file is to be read. What is None is detected; Parquet and Arrow files need none of it.

    Args:
        format: csv, tsv, parquet, ipc (Arrow) or ndjson; None: by the file's name and its first bytes.
        separator: Between two fields: comma, semicolon, tab or bar are detected; a `.tsv` has tabs. It holds for files
            of `format`, without one for files of all formats.
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
        check_types(self, "data.read")
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


#: Nothing is said.
DETECTED = ReadOptions()


def refuse_unknown_columns(path: str | Path, options: ReadOptions, names: Sequence[str]) -> None:
    """Refuse `dtypes` for columns that a table has not; a later file of the same table may lack some.

    Raises:
        ConfigError: Names the column and the closest one that is there.
    """
    there = set(names)
    for name in options.dtypes or {}:
        if name not in there:
            raise ConfigError(f"`data.read.dtypes` names {name!r}, which {path} has not.{did_you_mean(name, names)}")
