"""What `mlpipe validate` and `mlpipe test` share: the best weights of a run, on its own rows or on another file."""

from __future__ import annotations

import argparse
import json
import logging

import polars as pl

from mlpipe.bundle.export import load_run
from mlpipe.commands.tables import print_metrics
from mlpipe.data.load import Part, dropped_sentence, load_table, read_labelled
from mlpipe.errors import DataError
from mlpipe.training.loop import predict_logits
from mlpipe.training.outcome import measure
from mlpipe.training.parser import RunConfig, config_from_file
from mlpipe.training.rundir import RunDirectory, open_run

logger = logging.getLogger(__name__)


def evaluate_run(args: argparse.Namespace, part: Part) -> int:
    """Print the metrics of a part of the run's table, or of a labelled file, as a table (or JSON with `--log json`)."""
    directory = open_run(args.run)
    config = config_from_file(directory.config)
    frame, where = labelled_rows(directory, config, args.data, part)
    metrics = score(directory, frame)
    if args.log == "json":
        print(json.dumps({where: metrics}))
    else:
        print_metrics({where: metrics})
    return 0


def score(directory: RunDirectory, frame: pl.DataFrame) -> dict[str, float]:
    """Metrics of a run's best weights on labelled raw rows."""
    contents = load_run(directory.path)
    arrays = contents.preprocessor.transform(frame, with_target=True)
    logits = predict_logits(contents.model, arrays, 4096)
    return measure(logits, arrays, contents.preprocessor.target_, contents.calibration)


def labelled_rows(directory: RunDirectory, config: RunConfig, data: str | None, part: Part) -> tuple[pl.DataFrame, str]:
    """The raw rows of a labelled file, or if there is none of a part of the run's table; and what they are called.

    Raises:
        DataError: There are none, or they are not what they have to be.
    """
    if data is None:
        table = load_table(config.data)
        if table.frames[part].is_empty():
            raise DataError(f"{directory.path} has no {part} rows; give a labelled file with --data.")
        return table.frames[part], part
    schema = load_run(directory.path).schema
    frame, dropped = read_labelled(data, schema, config.data.read, config.data.target_map)
    if dropped:
        logger.warning(dropped_sentence(data, dropped))
    return frame, data
