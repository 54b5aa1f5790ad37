"""Predicting a file of any size: rows stream from the reader through the model into the output file.

Polars pulls batches off the file, keeps their order and waits for the model, so memory stays bounded. It does so on
all of its threads at once, which suits the preprocessing. The model alone runs on one thread of its own, since torch
keeps a pool of threads for every thread that calls it. Nothing of Polars may run there: while its streaming engine
waits for that thread, a query from it can wait for the engine, without end (seen with Polars 2.1).

The engine runs on a thread of its own too, so that Ctrl-C reaches the caller at once and the batches in hand are the
engine's last ones.
"""

from __future__ import annotations

import glob
import logging
import tempfile
import threading
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

import polars as pl

from mlpipe.data.read import ReadOptions, scan
from mlpipe.errors import ConfigError, DataError, did_you_mean, how_many
from mlpipe.features.frame import count_unreadable
from mlpipe.schema import Schema

if TYPE_CHECKING:
    from mlpipe.bundle.predictor import Outputs, Predictor

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
    _check_out(data, out, overwrite=overwrite)
    frame = scan(data, read if read is not None else stored_options(predictor.read))
    columns = input_columns(frame, predictor.schema, source=str(data))
    frame = frame.select(columns)
    identifiers = [column.name for column in predictor.schema.identifiers if column.name in columns]
    heights: list[int] = []
    unreadable: list[dict[str, int]] = []

    left = threading.Event()

    # The folder is the output's sibling so that the rename stays within one file system, and it is swept up even
    # after a second Ctrl-C.
    with (
        tempfile.TemporaryDirectory(prefix=f".{out.name}.", dir=out.parent) as folder,
        ThreadPoolExecutor(1) as model,
        ThreadPoolExecutor(1) as engine,
    ):

        def run(network: Callable[[], Outputs]) -> Outputs:
            return model.submit(network).result()

        def predict(batch: pl.DataFrame) -> pl.DataFrame:
            if left.is_set():
                raise InterruptedError
            predictions = predictor.predict_with(run, batch, batch_size)
            if suffix == ".csv" and isinstance(predictions.schema["prediction"], pl.List):
                predictions = predictions.with_columns(pl.col("prediction").list.join(LABEL_SEPARATOR))
            heights.append(batch.height)
            unreadable.append(count_unreadable(batch, predictor.schema))
            return pl.concat([batch.select(identifiers), predictions], how="horizontal")

        schema = predict(pl.DataFrame(schema=frame.collect_schema())).schema
        part = Path(folder) / out.name
        stream = frame.map_batches(predict, schema=schema, streamable=True)
        try:
            engine.submit(_SINKS[suffix], stream, part).result()
        finally:
            left.set()
        part.replace(out)
    for name, count in sum(map(Counter, unreadable), Counter()).items():
        rest = f"of {name!r} could not be read and {'was' if count == 1 else 'were'} taken as missing"
        logger.warning("%s: %s %s.", data, how_many(count, "value"), rest)
    return sum(heights)


def input_columns(frame: pl.LazyFrame, schema: Schema, *, source: str) -> list[str]:
    """The columns of a file that a prediction needs: the identifiers it has, then all features.

    Raises:
        DataError: A feature's column is missing; the sentence names the closest one.
    """
    names = frame.collect_schema().names()
    for column in schema.features:
        if column.name not in names:
            others = [name for name in names if name not in schema]
            hint = did_you_mean(column.name, others or names)
            raise DataError(f"{source} has no column {column.name!r}, which the model needs.{hint}")
    return [c.name for c in schema.identifiers if c.name in names] + [c.name for c in schema.features]


def stored_options(read: Mapping[str, Any] | None) -> ReadOptions:
    """How the training file was read, for a file that may be of another format."""
    return replace(ReadOptions(**(read or {})), format=None)


def _check_out(data: str | Path, out: Path, *, overwrite: bool) -> None:
    if not out.parent.is_dir():
        raise ConfigError(f"{str(out)!r}: there is no folder {str(out.parent)!r} to write to.")
    if not out.exists():
        return
    archive = str(data).split("::")[0]
    if any(out.samefile(source) for source in [archive, *glob.glob(archive)] if Path(source).exists()):
        raise ConfigError(f"{str(out)!r} is the file to be predicted; choose another path for the predictions.")
    if not overwrite:
        raise ConfigError(f"{str(out)!r} exists already; --force replaces it.")
