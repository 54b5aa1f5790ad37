"""Predicting a file of any size: rows stream from the reader through the model into the output file."""

from __future__ import annotations

import glob
import itertools
import logging
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mlpipe.bundle.streaming import Tally, stream
from mlpipe.data.options import ReadOptions
from mlpipe.data.profile import NESTED
from mlpipe.data.read import scan, scan_like
from mlpipe.data.sources import first_line
from mlpipe.errors import ConfigError, DataError, did_you_mean
from mlpipe.files import NO_ROOM, beside, refuse_folder, system_error_number
from mlpipe.schema import Schema

if TYPE_CHECKING:
    from mlpipe.bundle.network import Run
    from mlpipe.bundle.predictor import Predictor

logger = logging.getLogger(__name__)

#: Between the labels of a multilabel prediction where a cell holds text only.
LABEL_SEPARATOR = "|"

_SINKS: dict[str, Callable[[pl.LazyFrame, Path], Any]] = {
    # A row group is held in memory until it is full.
    ".parquet": partial(pl.LazyFrame.sink_parquet, row_group_size=2**16),
    ".csv": pl.LazyFrame.sink_csv,
    ".ndjson": pl.LazyFrame.sink_ndjson,
    ".jsonl": pl.LazyFrame.sink_ndjson,
    ".arrow": pl.LazyFrame.sink_ipc,
    ".ipc": pl.LazyFrame.sink_ipc,
}


def score_file(
    predictor: Predictor,
    data: str | Path,
    out: Path,
    read: ReadOptions | None,
    batch_size: int,
    *,
    overwrite: bool,
) -> int:
    """What `Predictor.predict_file` promises."""
    suffix = out.suffix.lower()
    if suffix not in _SINKS:
        raise ConfigError(f"{str(out)!r}: the ending says which format to write; it can be {', '.join(_SINKS)}.")
    check_out(data, out, overwrite=overwrite)
    frame = scan_rows(predictor, data, read)
    columns = input_columns(frame, predictor.schema, source=str(data))
    frame = frame.select(columns)
    identifiers = [column.name for column in predictor.schema.identifiers if column.name in columns]
    _refuse_unwritable(out, frame.select(identifiers).collect_schema())
    carried = _carried_names(predictor, frame, identifiers)
    written = Tally(data, predictor.schema)
    ours: list[BaseException] = []

    def predict_or_note(batch: pl.DataFrame, run: Run) -> pl.DataFrame:
        try:
            return predict(batch, run)
        except BaseException as error:
            ours.append(error)
            raise

    def predict(batch: pl.DataFrame, run: Run) -> pl.DataFrame:
        predictions = predictor.predict_with(run, batch, batch_size)
        if suffix == ".csv" and isinstance(predictions.schema["prediction"], pl.List):
            predictions = predictions.with_columns(pl.col("prediction").list.join(LABEL_SEPARATOR))
        written.add(batch)
        return pl.concat([batch.select(identifiers).rename(carried), predictions], how="horizontal")

    with beside(out) as part:
        try:
            stream(frame, predict_or_note, lambda predictions: _SINKS[suffix](predictions, part))
        except pl.exceptions.PolarsError as error:
            if ours or system_error_number(error) in NO_ROOM:
                raise
            raise DataError(f"{data} could not be read to its end: {first_line(error)}; nothing is written.") from error
    written.warn()
    return written.rows


def _carried_names(predictor: Predictor, frame: pl.LazyFrame, identifiers: Sequence[str]) -> dict[str, str]:
    """New names for identifiers that are called as a column of the answer is."""
    answer = predictor.predict(pl.DataFrame(schema=frame.collect_schema())).columns if identifiers else []
    taken = {*identifiers, *answer}
    renamed: dict[str, str] = {}
    for name in identifiers:
        if name in answer:
            renamed[name] = next(other for i in itertools.count(1) if (other := f"{name}_{i}") not in taken)
            taken.add(renamed[name])
            logger.warning("The identifier %r is written as %r: the prediction has a column of its name.", name, other)
    return renamed


def _refuse_unwritable(out: Path, identifiers: pl.Schema) -> None:
    """Refuse identifiers whose type the format of the output does not know, before a model has run for hours."""
    unknown: dict[str, tuple[type[pl.DataType], ...]] = {
        ".csv": (*NESTED, pl.Duration),
        ".ndjson": (pl.Binary,),
        ".jsonl": (pl.Binary,),
    }
    for name, dtype in identifiers.items():
        if isinstance(dtype, unknown.get(out.suffix.lower(), ())):
            raise ConfigError(
                f"{str(out)!r}: the identifier {name!r} holds {dtype} values, which {out.suffix} files do not; write "
                "a .parquet file."
            )


def input_columns(frame: pl.LazyFrame, schema: Schema, *, source: str) -> list[str]:
    """The columns of a file that a prediction needs: the identifiers it has, then all features.

    Raises:
        DataError: A feature's column is missing; the sentence names the closest one.
    """
    names = frame.collect_schema()
    for column in schema.features:
        if column.name not in names:
            others = [name for name in names if name not in schema]
            hint = did_you_mean(column.name, others or names)
            raise DataError(f"{source} has no column {column.name!r}, which the model needs.{hint}")
    return [c.name for c in schema.identifiers if c.name in names] + [c.name for c in schema.features]


def scan_rows(predictor: Predictor, data: str | Path, read: ReadOptions | None) -> pl.LazyFrame:
    """The rows of a file, read as `read` says; None: as the training file was, see `mlpipe.data.read.scan_like`."""
    return scan(data, read) if read is not None else scan_like(data, ReadOptions(**(predictor.read or {})))


def check_out(data: str | Path, out: Path, *, overwrite: bool) -> None:
    """Refuse to write where something lies, or nothing can.

    Args:
        data: The file that is read, or a glob, or `archive.zip::member`; it is never written over.
        out: The file to write.
        overwrite: Whether another file may be.

    Raises:
        ConfigError: Says what lies there.
    """
    refuse_folder(out)
    if not out.parent.is_dir():
        raise ConfigError(f"{str(out)!r}: there is no folder {str(out.parent)!r} to write to.")
    if not out.exists():
        return
    archive = str(data).split("::")[0]
    if any(out.samefile(source) for source in [archive, *glob.glob(archive)] if Path(source).exists()):
        raise ConfigError(f"{str(out)!r} is the file to be read; choose another path to write to.")
    if not overwrite:
        raise ConfigError(f"{str(out)!r} exists already; --force replaces it.")
