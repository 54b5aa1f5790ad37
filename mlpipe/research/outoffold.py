"""What a cross-validation's models say of the rows that they have not seen, and how well.

Predictions come from the folds' bundles, by the code that serves them; scores are those of the folds' own runs.
"""

from __future__ import annotations

import json
import statistics
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl

from mlpipe.bundle.averages import mean_threshold
from mlpipe.bundle.describing import ensemble_statistics
from mlpipe.bundle.ensemble import OBSERVED
from mlpipe.bundle.format import BundleContents, read_bundle
from mlpipe.bundle.predictor import EnsemblePredictor, Predictor
from mlpipe.data.load import Source
from mlpipe.data.split import SplitConfig
from mlpipe.errors import ConfigError
from mlpipe.features.describe import describe_answers
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.statistics import Statistics
from mlpipe.features.target import label_text
from mlpipe.schema import Role, Schema, TaskKind
from mlpipe.training.metrics import compute_metrics
from mlpipe.training.rundir import RunDirectory, write_json

#: Columns of `out_of_fold.parquet` beside the identifiers, the target and the predictions.
FOLD, REPEAT, ROW = "fold", "repeat", "row"
_OWN_NAMES = (FOLD, REPEAT, ROW, "prediction", "confidence", "lower", "upper")


def measure(directory: RunDirectory, source: Source, folds: Mapping[str, SplitConfig]) -> dict[str, Any]:
    """Write `out_of_fold.parquet`, `statistics.json` and `metrics.json` of a cross-validation whose folds are finished.

    Args:
        directory: Of the cross-validation.
        source: The table.
        folds: How the table is cut for each fold, by the name of its run.

    Returns:
        What `metrics.json` holds: `mean`, `std`, `min` and `max` of each metric over the folds; `folds`, a record
        for each; `test`, how well the average of all models does on the rows that no fold has, if there are any; and
        `train_seconds` of all folds together.
    """
    contents = {name: read_bundle(RunDirectory(directory.path / name).bundle) for name in folds}
    predictors = {name: Predictor.of(content) for name, content in contents.items()}
    parts = [_out_of_fold(source, split, predictors[name]) for name, split in folds.items()]
    out_of_fold = pl.concat(parts).sort(REPEAT, ROW)
    _write_parquet(out_of_fold, directory.out_of_fold)
    described = _describe(source, folds, list(contents.values()), out_of_fold)
    write_json(directory.statistics, described.to_dict())

    runs = {name: json.loads(RunDirectory(directory.path / name).metrics_json.read_bytes()) for name in folds}
    metrics: dict[str, Any] = spread([run["test"] for run in runs.values()])
    metrics["folds"] = [{"run": name, "metrics": run["test"]} for name, run in runs.items()]
    some_fold = next(iter(folds))
    rows = source.set_aside(folds[some_fold])
    if rows.height:
        average = EnsemblePredictor(list(predictors.values()), described)
        metrics["test"] = _score(average, contents[some_fold].preprocessor, rows)
    metrics["train_seconds"] = sum(run["train_seconds"] for run in runs.values())
    write_json(directory.metrics_json, metrics)
    return metrics


def spread(scores: Sequence[Mapping[str, float]]) -> dict[str, dict[str, float]]:
    """Mean, standard deviation (of a sample: N - 1), least and greatest of each metric.

    A metric that is not defined in each fold (AUROC where a fold has one class) is over those where it is; the standard
    deviation of one value is left out.

    Examples:
        >>> spread([{"rmse": 1.0}, {"rmse": 3.0, "r2": 0.5}])
        {'mean': {'rmse': 2.0, 'r2': 0.5}, 'std': {'rmse': 1.4142135623730951}, 'min': {'rmse': 1.0, 'r2': 0.5},
        'max': {'rmse': 3.0, 'r2': 0.5}}
    """
    names = list(dict.fromkeys(name for score in scores for name in score))
    values = {name: [score[name] for score in scores if name in score] for name in names}
    return {
        "mean": {name: statistics.fmean(found) for name, found in values.items()},
        "std": {name: statistics.stdev(found) for name, found in values.items() if len(found) > 1},
        "min": {name: min(found) for name, found in values.items()},
        "max": {name: max(found) for name, found in values.items()},
    }


def refuse_own_names(schema: Schema) -> None:
    """Refuse a table whose identifiers or target have a name that the out-of-fold file needs for itself.

    Raises:
        ConfigError: Names the column.
    """
    for column in schema:
        taken = column.name in _OWN_NAMES or column.name.startswith("probability_")
        if taken and column.role in (Role.IDENTIFIER, Role.TARGET):
            remedy = (
                "rename it in the file"
                if column.role is Role.TARGET
                else f"say `data.columns: {{{column.name}: ignore}}`"
            )
            raise ConfigError(
                f"The {column.role} column is called {column.name!r}, which is a column of its own in "
                f"out_of_fold.parquet; {remedy}."
            )


def _out_of_fold(source: Source, split: SplitConfig, predictor: Predictor) -> pl.DataFrame:
    positions = source.positions(split).test
    rows, schema = source.frame[positions], source.schema
    names = [*(column.name for column in schema.identifiers), *schema.task.target]
    own = [
        pl.lit(split.fold).alias(FOLD),
        pl.lit(split.repeat).alias(REPEAT),
        pl.Series(ROW, source.numbers[positions]),
    ]
    return pl.concat([rows.select(names).with_columns(own), predictor.predict(rows)], how="horizontal")


def _describe(
    source: Source, folds: Mapping[str, SplitConfig], members: Sequence[BundleContents], out_of_fold: pl.DataFrame
) -> Statistics:
    """What the average of all models knows of its training: the rows of any fold, and the answers out of fold."""
    task, threshold = source.schema.task, mean_threshold(member.calibration.threshold for member in members)
    trained = np.unique(np.concatenate([source.positions(split).train for split in folds.values()]))
    values = [f"probability_{label_text(label)}" for label in task.classes] or ["prediction"]
    if task.kind is TaskKind.BINARY:
        values = values[1:]
    once = out_of_fold.filter(pl.col(REPEAT) == 0)  # a row that is answered again is no further row
    answers = describe_answers(once.select(values).to_numpy(), task, threshold)
    return ensemble_statistics(members[OBSERVED], source.frame[trained], answers)


def _score(predictor: Predictor, preprocessor: Preprocessor, frame: pl.DataFrame) -> dict[str, float]:
    """Metrics on labelled raw rows; the preprocessor is any of the table's, for the target and the weights."""
    kind, arrays = predictor.schema.task.kind, preprocessor.transform(frame, with_target=True)
    target: Any = arrays.target
    if kind is TaskKind.REGRESSION:
        target = preprocessor.target_.in_units(target)
    return compute_metrics(
        kind,
        predictor.values(frame),
        target,
        arrays.weight,
        threshold=predictor.threshold,
        level=predictor.level,
    )


def _write_parquet(frame: pl.DataFrame, path: Path) -> None:
    """As a whole or not at all."""
    part = path.with_name(f".{path.name}")
    try:
        frame.write_parquet(part)
        part.replace(path)
    finally:
        part.unlink(missing_ok=True)
