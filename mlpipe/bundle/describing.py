"""What an ensemble knows of its training: the rows of all its members, seen through the features of one of them.

A member's own statistics are of the rows that it was trained on alone, and in its own features, whose bins and
vocabulary are not those of the others. So the rows of the whole are counted anew.
"""

from __future__ import annotations

import copy
from dataclasses import replace

import polars as pl

from mlpipe.bundle.format import BundleContents
from mlpipe.features.describe import describe_features
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.sample import sample_rows
from mlpipe.features.spec import BIN_ROWS
from mlpipe.features.statistics import Statistics, TableStatistics


def ensemble_statistics(observed: BundleContents, rows: pl.DataFrame, predictions: TableStatistics) -> Statistics:
    """The statistics of an ensemble.

    Args:
        observed: The member that `mlpipe.bundle.ensemble` says.
        rows: Raw, at least one: all that any member was trained on, each once.
        predictions: Of what is answered for rows that were not trained on; see `describe_answers`.
    """
    preprocessor = _by_column(observed)
    sample = rows[sample_rows(rows.height, BIN_ROWS)]
    arrays = preprocessor.transform(sample)
    described = describe_features(
        rows, sample, arrays, preprocessor.input_spec_, observed.schema, preprocessor.transformers_
    )
    return described.with_predictions(predictions)


def _by_column(observed: BundleContents) -> Preprocessor:
    """Its preprocessor without the features of similar rows, which are of no column: statistics leave them out."""
    preprocessor = copy.copy(observed.preprocessor)
    numeric = preprocessor.input_spec_.numeric[: len(observed.statistics.features.numeric)]
    preprocessor.input_spec_ = replace(preprocessor.input_spec_, numeric=numeric)
    preprocessor.neighbors_ = None
    return preprocessor
