"""The rows of a file as a `DriftMeter` sees them."""

from __future__ import annotations

import threading
from collections.abc import Collection
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from mlpipe.arrays import Arrays
from mlpipe.bundle.scoring import input_columns, scan_rows
from mlpipe.bundle.streaming import Tally, stream
from mlpipe.data.options import ReadOptions
from mlpipe.errors import ConfigError, did_you_mean
from mlpipe.features.drift import DriftMeter

if TYPE_CHECKING:
    from mlpipe.bundle.network import Run
    from mlpipe.bundle.predictor import Predictor


def observe_file(
    predictor: Predictor,
    meter: DriftMeter,
    data: str | Path,
    read: ReadOptions | None = None,
    *,
    without: Collection[str] = (),
    batch_size: int = 4096,
) -> int:
    """Count every row of a file and what is predicted for it, in memory that does not grow with the file.

    Args:
        predictor: Whose features and predictions they are.
        meter: Of its statistics.
        data: Anything `mlpipe.data.read.scan` reads with all features in it; other columns are ignored.
        read: How to read `data`; None: as the training file was read.
        without: Features that are not looked at, and need not be there, such as those that a request log leaves out.
        batch_size: Rows that are worked on at once.

    Returns:
        How many rows there were.

    Raises:
        ConfigError: `without` names what is no feature.
        DataError: A feature's column is missing.
        InputError: A value does not fit its column.
    """
    frame = scan_rows(predictor, data, read)
    features = [column.name for column in predictor.schema.features]
    for name in without:
        if name not in features:
            raise ConfigError(f"The bundle has no feature {name!r} to leave out.{did_you_mean(name, features)}")
    frame = frame.with_columns(pl.lit(None, dtype=pl.String).alias(name) for name in without)
    identifiers = {column.name for column in predictor.schema.identifiers}
    columns = [name for name in input_columns(frame, predictor.schema, source=str(data)) if name not in identifiers]
    seen = Tally(data, predictor.schema)
    one_at_a_time = threading.Lock()

    def observe(arrays: Arrays) -> None:
        with one_at_a_time:
            meter.observe(arrays)

    def count(batch: pl.DataFrame, run: Run) -> pl.DataFrame:
        for rows in batch.iter_slices(batch_size):
            values_TO = predictor.values(rows, run, observe)
            with one_at_a_time:
                meter.observe_predictions(values_TO)
        seen.add(batch)
        return pl.DataFrame({"rows": [batch.height]})

    stream(frame.select(columns), count, lambda counts: counts.sum().collect(engine="streaming"))
    seen.warn()
    return seen.rows
