"""From the logits of a part to its metrics: what is fitted on the validation rows, and what is then measured on any."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from mlpipe.arrays import Arrays
from mlpipe.errors import ConfigError
from mlpipe.features.calibration import EVEN, Calibration, Interval
from mlpipe.features.describe import describe_answers
from mlpipe.features.statistics import TableStatistics
from mlpipe.features.target import TargetCodec
from mlpipe.models import member_average
from mlpipe.schema import Task, TaskKind
from mlpipe.training.balance import named_weights
from mlpipe.training.calibration import fit_temperature
from mlpipe.training.config import TrainingConfig
from mlpipe.training.conformal import check_enough_rows, conformal_margin, conformal_scores
from mlpipe.training.metrics import DEFAULT_METRIC, as_numpy, check_metric, compute_metrics
from mlpipe.training.threshold import DECISION_METRICS, fit_threshold

Floats = npt.NDArray[np.floating[Any]]

#: Share of the mass that is spread where the metric is one of decisions and the config leaves it open; where it is one
#: of probabilities it is 0. RealMLP's (Holzmüller et al. 2024, arXiv 2407.04491), who smooth for accuracy alone.
DECISION_SMOOTHING = 0.1


@dataclass(frozen=True)
class Objective:
    """What a run is to be best at, and what follows from that for its recipe.

    Attributes:
        metric: That early stopping and the choice of the best epoch watch.
        label_smoothing: Of the training loss.
    """

    metric: str
    label_smoothing: float

    @classmethod
    def of(cls, training: TrainingConfig, kind: TaskKind) -> Objective:
        """The objective of a recipe.

        Raises:
            ConfigError: A key of the recipe is of another task.
        """
        metric = training.metric or ("pinball" if training.quantiles is not None else DEFAULT_METRIC[kind])
        check_metric(kind, metric)
        if metric == "pinball" and training.quantiles is None:
            raise ConfigError(
                "`training.metric` is 'pinball', the loss of quantiles: it goes with `training.loss: quantile` and "
                "`training.interval`."
            )
        if kind is not TaskKind.REGRESSION:
            for name, value in (("loss", training.loss), ("interval", training.interval)):
                if value is not None:
                    raise ConfigError(f"`training.{name}` is {value!r}, but it is for regression; this task is {kind}.")
        if training.threshold is not None and kind is not TaskKind.BINARY:
            raise ConfigError(
                f"`training.threshold` is {training.threshold:g}, but it is for two classes; this task is {kind}."
            )
        smoothing = training.label_smoothing
        if smoothing is None:
            smoothing = DECISION_SMOOTHING if metric in (*DECISION_METRICS, "subset_accuracy") else 0.0
        return cls(metric, smoothing)


def check_kind(training: TrainingConfig, kind: TaskKind) -> None:
    """Refuse a recipe with keys of another kind of task; it takes no row to know that.

    Raises:
        ConfigError: Names the key.
    """
    Objective.of(training, kind)
    if training.class_weights is not None and kind is TaskKind.REGRESSION:
        raise ConfigError(
            "`training.class_weights` is for classes, but this is a regression; `data.weight` names a column with a "
            "weight for each row."
        )


def check_recipe(training: TrainingConfig, task: Task) -> None:
    """Refuse a recipe that is not of this task, before anything is fitted.

    Raises:
        ConfigError: A key is of another kind of task, or a class weight of no class of the target.
    """
    check_kind(training, task.kind)
    if isinstance(training.class_weights, Mapping):
        named_weights(training.class_weights, task)


def before_training(training: TrainingConfig, rows: int) -> Calibration:
    """What is known of a run's calibration before its first step: by this the epochs are judged.

    Args:
        training: The recipe.
        rows: Validation rows that count.

    Raises:
        ConfigError: There are too few of them for the interval.
    """
    interval = None
    if training.interval is not None:
        check_enough_rows(rows, training.interval)
        if training.quantiles is not None:  # around a single value the width is not known yet
            interval = Interval(training.interval, quantiles=True)
    return Calibration(threshold=training.threshold or EVEN, interval=interval)


def fit_calibration(logits_TKO: Tensor, arrays: Arrays, kind: TaskKind, training: TrainingConfig) -> Calibration:
    """All that is fitted on the validation rows.

    Args:
        logits_TKO: Of these rows, as `Transformer` gives them.
        arrays: Their targets and weights.
        kind: The task.
        training: The recipe.

    Raises:
        ConfigError: There are too few rows for the interval.
    """
    target, weight = truth(arrays)
    temperature = fit_temperature(logits_TKO, target, kind, weight) if training.calibrate else 1.0
    outputs = member_average(logits_TKO, kind, temperature)
    if kind is TaskKind.REGRESSION:
        if training.interval is None:
            return Calibration(temperature)
        scores = conformal_scores(outputs.numpy(), as_numpy(target))
        margin = conformal_margin(scores, training.interval, arrays.weight)
        return Calibration(temperature, interval=Interval(training.interval, margin, training.quantiles is not None))
    threshold = training.threshold
    if threshold is None and kind is TaskKind.BINARY:
        threshold = fit_threshold(Objective.of(training, kind).metric, outputs, target, weight)
    return Calibration(temperature, threshold or EVEN)


def measure(logits_TKO: Tensor, arrays: Arrays, codec: TargetCodec, calibration: Calibration) -> dict[str, float]:
    """The metrics of a part, of what is answered: behind temperature, threshold and interval.

    Where the temperature is not 1, `calibration_error_uncalibrated` is that of the probabilities before it.

    Args:
        logits_TKO: As `Transformer` gives them.
        arrays: Targets and weights of the same rows.
        codec: Turns outputs and targets into the target's units.
        calibration: As it was fitted.
    """
    kind, target = codec.task.kind, as_numpy(truth(arrays)[0])
    if kind is TaskKind.REGRESSION:
        target = codec.in_units(target)

    def measured(calibration: Calibration) -> dict[str, float]:
        return compute_metrics(
            kind,
            values(logits_TKO, codec, calibration),
            target,
            arrays.weight,
            threshold=calibration.threshold,
            level=calibration.level,
        )

    metrics = measured(calibration)
    if calibration.temperature != 1.0:
        before = measured(replace(calibration, temperature=1.0)).get("calibration_error")
        metrics |= {} if before is None else {"calibration_error_uncalibrated": before}
    return metrics


def values(logits_TKO: Tensor, codec: TargetCodec, calibration: Calibration) -> Floats:
    """What is answered, as numbers: probabilities, or values in the target's units with the bounds of an interval."""
    return codec.values(
        member_average(logits_TKO, codec.task.kind, calibration.temperature).numpy(), calibration.interval
    )


def answer_statistics(logits_TKO: Tensor, codec: TargetCodec, calibration: Calibration) -> TableStatistics:
    """What new answers are compared with; see `mlpipe.features.describe.describe_answers`."""
    return describe_answers(values(logits_TKO, codec, calibration), codec.task, calibration.threshold)


def truth(arrays: Arrays) -> tuple[Tensor, Tensor | None]:
    """Targets and sample weights of labelled rows, as tensors."""
    assert arrays.target is not None  # these rows are labelled
    return torch.from_numpy(arrays.target), None if arrays.weight is None else torch.from_numpy(arrays.weight)
