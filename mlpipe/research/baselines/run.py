"""Fit and measure: baselines on a split table, and a finished run of ours on the same rows."""

from __future__ import annotations

import importlib
import json
import logging
import time
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

import polars as pl

from mlpipe.bundle.predictor import ModelPredictor, Predictor
from mlpipe.errors import ConfigError, MlpipeError
from mlpipe.features.calibration import EVEN
from mlpipe.features.config import FeaturesConfig
from mlpipe.logs import log_execution_time
from mlpipe.research.baselines.prepared import Floats, Prepared
from mlpipe.research.baselines.registry import (
    BASELINES,
    INCLUDED,
    Baseline,
    Form,
    absent,
    absent_sentence,
    check_names,
    features_for,
)
from mlpipe.research.baselines.table import BaselineResult
from mlpipe.schema import Role, Schema, TaskKind
from mlpipe.training.metrics import compute_metrics
from mlpipe.training.rundir import RunDirectory
from mlpipe.training.threshold import fit_threshold

log = logging.getLogger(__name__)

#: How a run of ours is called among them.
OURS = "mlpipe"


def run_baselines(
    schema: Schema,
    frames: Mapping[str, pl.DataFrame],
    names: Iterable[str] = INCLUDED,
    seed: int = 0,
    features: FeaturesConfig | None = None,
    metric: str | None = None,
) -> list[BaselineResult]:
    """`iter_baselines`, all at once."""
    return list(iter_baselines(schema, frames, names, seed, features, metric))


def iter_baselines(
    schema: Schema,
    frames: Mapping[str, pl.DataFrame],
    names: Iterable[str] = INCLUDED,
    seed: int = 0,
    features: FeaturesConfig | None = None,
    metric: str | None = None,
) -> Iterator[BaselineResult]:
    """Fit baselines on the training rows, one after the other, and measure them on the others.

    One whose library is not installed, or fails, is left out with a line in the log.

    Args:
        schema: What the columns are and what is predicted.
        frames: Raw rows of `train`, `validation` and `test`; the last may be empty or missing.
        names: Which of `BASELINES`, in the order of the answer.
        seed: For what is random in them.
        features: The `features` group of the config; how numbers are scaled and encoded is each baseline's own matter.
        metric: What they are compared by. Where a binary task's threshold decides on it, each gets its own from the
            validation rows, as ours does.

    Raises:
        ConfigError: A name is not one of `BASELINES`.
        DataError: A column is not what the schema says.
    """
    names = list(names)
    check_names(names)
    missing = absent(names)
    if missing:
        log.warning(absent_sentence(missing))
    prepared: dict[Form, Prepared] = {}
    for name in names:
        if name in missing:
            continue
        baseline = BASELINES[name]
        if baseline.form not in prepared:
            prepared[baseline.form] = Prepared(
                schema, frames, features_for(baseline.form, features or FeaturesConfig())
            )
        if schema.with_role(Role.WEIGHT) and not baseline.takes_weights:
            log.warning("%s takes no sample weights: it is fitted without them, and measured with them.", name)
        try:
            with log_execution_time(f"baseline {name}", log):
                result = _run(name, baseline, prepared[baseline.form], seed, metric)
        except MlpipeError:
            raise
        except Exception as error:
            if baseline.library is None:
                raise
            # Whatever a library comes up with: the others have hours of work to show.
            reason = " ".join(str(error).split())[:300]
            log.warning("%s has failed and is left out (%s: %s).", name, type(error).__name__, reason)
            log.debug("%s has failed", name, exc_info=error)
        else:
            yield result


def measure_run(directory: RunDirectory, frames: Mapping[str, pl.DataFrame]) -> BaselineResult:
    """A finished run on the same rows, by its bundle.

    Args:
        directory: What `mlpipe fit` left.
        frames: Raw rows of `validation` and `test`; the last may be empty or missing.

    Raises:
        BundleError: Names the file of the bundle that is wrong.
        ConfigError: The run is a cross-validation.
    """
    predictor = Predictor.load(directory.bundle)
    if not isinstance(predictor, ModelPredictor):
        raise ConfigError(f"{directory.path} is a cross-validation, not one run: name one of its folds.")
    preprocessor, kind = predictor.preprocessor, predictor.schema.task.kind
    metrics, outputs, speed = {}, {}, 0.0
    for part in ("validation", "test"):
        if part in frames and frames[part].height:
            arrays = preprocessor.transform(frames[part], with_target=True)
            started = time.perf_counter()
            answer: Floats = predictor.predict_arrays(arrays)
            speed = len(arrays) / (time.perf_counter() - started)
            truth: Any = arrays.target
            if kind is TaskKind.REGRESSION:
                answer = preprocessor.target_.values(answer, predictor.calibration.interval)
                truth = preprocessor.target_.in_units(truth)
            metrics[part] = compute_metrics(
                kind, answer, truth, arrays.weight, threshold=predictor.threshold, level=predictor.level
            )
            outputs[part] = answer
    seconds = json.loads(directory.metrics_json.read_text(encoding="utf-8"))["train_seconds"]
    return BaselineResult(OURS, metrics, seconds, speed, outputs=outputs)


def _run(name: str, baseline: Baseline, data: Prepared, seed: int, metric: str | None) -> BaselineResult:
    if baseline.library is not None:
        importlib.import_module(baseline.library)  # seconds that are no training
    started = time.perf_counter()
    fitted = data.fit(baseline.fit, seed)
    seconds = time.perf_counter() - started
    metrics, outputs, speed = {}, {}, 0.0
    for part in (part for part in data.arrays if part != "train"):
        started = time.perf_counter()
        outputs[part] = data.outputs(fitted, part)
        speed = len(outputs[part]) / (time.perf_counter() - started)
    threshold = EVEN
    if metric is not None and data.kind is TaskKind.BINARY:
        held_out = data.truth("validation"), data.arrays["validation"].weight
        threshold = fit_threshold(metric, outputs["validation"], *held_out)
    for part, answer in outputs.items():
        weight = data.arrays[part].weight
        metrics[part] = compute_metrics(data.kind, answer, data.truth(part), weight, threshold=threshold)
    rounds = fitted[0].rounds if len(fitted) == 1 else None
    return BaselineResult(name, metrics, seconds, speed, rounds, outputs)
