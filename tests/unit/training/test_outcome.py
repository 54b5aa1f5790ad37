"""What follows from the metric, and what is measured of what is answered."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.arrays import Arrays
from mlpipe.errors import ConfigError
from mlpipe.features.calibration import Calibration, Interval
from mlpipe.features.target import TargetCodec
from mlpipe.schema import Task, TaskKind
from mlpipe.training.config import TrainingConfig
from mlpipe.training.outcome import (
    DECISION_SMOOTHING,
    Objective,
    before_training,
    check_kind,
    check_recipe,
    fit_calibration,
    measure,
)


@pytest.mark.parametrize(
    ("kind", "recipe", "metric", "smoothing"),
    [
        (TaskKind.BINARY, {}, "log_loss", 0.0),
        (TaskKind.BINARY, {"metric": "auroc"}, "auroc", 0.0),
        (TaskKind.BINARY, {"metric": "accuracy"}, "accuracy", DECISION_SMOOTHING),
        (TaskKind.MULTICLASS, {"metric": "balanced_accuracy"}, "balanced_accuracy", DECISION_SMOOTHING),
        (TaskKind.MULTICLASS, {"metric": "accuracy", "label_smoothing": 0.0}, "accuracy", 0.0),
        (TaskKind.MULTILABEL, {"metric": "subset_accuracy"}, "subset_accuracy", DECISION_SMOOTHING),
        (TaskKind.REGRESSION, {}, "rmse", 0.0),
        (TaskKind.REGRESSION, {"interval": 0.9}, "rmse", 0.0),
        (TaskKind.REGRESSION, {"interval": 0.9, "loss": "quantile"}, "pinball", 0.0),
    ],
)
def test_the_metric_decides_on_the_smoothing(
    kind: TaskKind, recipe: dict[str, Any], metric: str, smoothing: float
) -> None:
    assert Objective.of(TrainingConfig(**recipe), kind) == Objective(metric, smoothing)


@pytest.mark.parametrize(
    ("kind", "recipe", "sentence"),
    [
        (TaskKind.REGRESSION, {"metric": "auroc"}, "`training.metric` is 'auroc', which is none of a regression task"),
        (TaskKind.BINARY, {"metric": "pinball"}, "`training.metric` is 'pinball', which is none of a binary task"),
        (TaskKind.REGRESSION, {"metric": "pinball"}, "it goes with `training.loss: quantile` and `training.interval`"),
        (TaskKind.BINARY, {"interval": 0.9}, "`training.interval` is 0.9, but it is for regression; this task is bin"),
        (TaskKind.MULTICLASS, {"loss": "squared"}, "`training.loss` is 'squared', but it is for regression"),
        (TaskKind.MULTICLASS, {"threshold": 0.3}, "`training.threshold` is 0.3, but it is for two classes"),
    ],
)
def test_a_key_of_another_task_is_one_sentence(kind: TaskKind, recipe: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        Objective.of(TrainingConfig(**recipe), kind)


def test_class_weights_are_for_classes() -> None:
    for recipe in (TrainingConfig(class_weights="balanced"), TrainingConfig(class_weights={"yes": 2})):
        with pytest.raises(ConfigError, match=r"is for classes, but this is a regression; `data.weight`"):
            check_kind(recipe, TaskKind.REGRESSION)


def test_a_task_that_is_known_tells_which_labels_can_be_weighed() -> None:
    task = Task(TaskKind.BINARY, ("y",), ("no", "yes"))
    check_recipe(TrainingConfig(class_weights={"yes": 2}, threshold=0.3), task)
    with pytest.raises(ConfigError, match="names the class 'yess', which the target does not have"):
        check_recipe(TrainingConfig(class_weights={"yess": 2}), task)
    with pytest.raises(ConfigError, match=r"`training.interval` is 0\.9, but it is for regression"):
        check_recipe(TrainingConfig(interval=0.9), task)


@pytest.mark.parametrize(
    ("recipe", "sentence"),
    [
        ({"loss": "quantil", "interval": 0.9}, r"`training.loss` is 'quantil'.* mean 'quantile'"),
        ({"loss": "quantile"}, r"`training.loss: quantile` needs `training.interval`, such as 0.9"),
        ({"interval": 90}, r"`training.interval` is 90; it has to be above 0 and below 1, such as 0.9"),
        ({"threshold": 1.0}, r"`training.threshold` is 1.0; it has to be above 0 and below 1, such as 0.3"),
    ],
)
def test_the_config_refuses_what_no_task_has(recipe: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TrainingConfig(**recipe)


def test_too_few_rows_are_refused_before_the_first_step() -> None:
    with pytest.raises(ConfigError, match="it takes 9 validation rows; there are 8"):
        before_training(TrainingConfig(interval=0.9), 8)
    judged_by = before_training(TrainingConfig(interval=0.9, loss="quantile"), 9)
    assert judged_by.interval == Interval(0.9, quantiles=True)


def rows(target: np.ndarray) -> Arrays:
    nothing = np.zeros((len(target), 0))
    return Arrays(nothing.astype(np.float32), nothing.astype(bool), nothing.astype(np.int32), target)


def test_calibration_is_measured_before_and_after() -> None:
    random = np.random.default_rng(0)
    logits = torch.from_numpy(random.normal(size=(2_000, 1, 1)).astype(np.float32) * 4)
    truth = rows((random.random(2_000) < torch.sigmoid(logits[:, 0, 0] / 4).numpy()).astype(np.int64))
    task = Task(TaskKind.BINARY, ("y",), (0, 1))
    calibration = fit_calibration(logits, truth, task.kind, TrainingConfig())
    assert calibration.temperature == pytest.approx(4, rel=0.2)  # four times too sure
    metrics = measure(logits, truth, TargetCodec(task), calibration)
    assert metrics["calibration_error"] < 0.3 * metrics["calibration_error_uncalibrated"]
    without = measure(logits, truth, TargetCodec(task), Calibration())
    assert without["calibration_error"] == metrics["calibration_error_uncalibrated"]
    assert "calibration_error_uncalibrated" not in without


@pytest.mark.parametrize(
    ("recipe", "threshold"), [({}, 0.5), ({"metric": "f1"}, 0.3), ({"metric": "f1", "threshold": 0.7}, 0.7)]
)
def test_the_threshold_is_the_metric_s_or_the_user_s(recipe: dict[str, Any], threshold: float) -> None:
    p = np.array([0.1, 0.2, 0.4, 0.9] * 50)
    logits = torch.from_numpy(np.log(p / (1 - p)).astype(np.float32)).reshape(-1, 1, 1)
    truth = rows(np.array([0, 0, 1, 1] * 50))
    found = fit_calibration(logits, truth, TaskKind.BINARY, TrainingConfig(calibrate=False, **recipe))
    assert found.threshold == pytest.approx(threshold, abs=1e-6)
