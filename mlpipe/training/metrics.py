"""What a model is measured by: one function for validation, test, the baselines and the report.

Notable:
- probabilities in, numbers out: the function sees what the server answers, not the logits;
- torchmetrics for classes without weights, scikit-learn or NumPy for the rest: torchmetrics' functional metrics take no
  sample weights, and its R² takes small sums of squares for zero;
- what is not defined on the rows at hand (AUROC with one class only) is left out and not NaN, and a class that is
  absent from the validation rows is no reason for a warning.

Legend of the shapes: T rows, O outputs.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics as skm
import torch
import torchmetrics.functional.classification as tmc

from mlpipe.errors import ConfigError, TrainingError, did_you_mean
from mlpipe.features.calibration import EVEN, is_yes
from mlpipe.schema import TaskKind
from mlpipe.training.numbers import regression_metrics

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.floating[Any]]
Values = npt.NDArray[Any]
#: NumPy in the baselines and the tests, tensors in the training loop.
ArrayLike = npt.NDArray[Any] | torch.Tensor

#: Whether more is better, for every metric that a run can be best at.
HIGHER_IS_BETTER: dict[str, bool] = {
    "accuracy": True,
    "balanced_accuracy": True,
    "subset_accuracy": True,
    "auroc": True,
    "average_precision": True,
    "f1": True,
    "log_loss": False,
    "brier": False,
    "calibration_error": False,
    "rmse": False,
    "mae": False,
    "pinball": False,
    "r2": True,
}

#: What early stopping and the choice of the best checkpoint watch.
DEFAULT_METRIC: dict[TaskKind, str] = {
    TaskKind.BINARY: "log_loss",
    TaskKind.MULTICLASS: "log_loss",
    TaskKind.MULTILABEL: "log_loss",
    TaskKind.REGRESSION: "rmse",
}

#: Probabilities are kept this far from 0 and 1 in the log-loss: the resolution of float32, which they come in.
EPSILON = float(np.finfo(np.float32).eps)
#: Bins of equal width of the expected calibration error (Guo et al. 2017, "On Calibration of Modern Neural
#: Networks").
CALIBRATION_BINS = 15


def metrics_of(kind: TaskKind) -> list[str]:
    """The metrics that a run of a kind of task can be best at.

    Examples:
        >>> metrics_of(TaskKind.REGRESSION)
        ['rmse', 'mae', 'pinball', 'r2']
    """
    of_regression = ("rmse", "mae", "r2", "pinball")
    names = [name for name in HIGHER_IS_BETTER if (name in of_regression) == (kind is TaskKind.REGRESSION)]
    return [name for name in names if name != "subset_accuracy" or kind is TaskKind.MULTILABEL]


def check_metric(kind: TaskKind, metric: str) -> None:
    """Whether a task has a metric.

    Raises:
        ConfigError: It has not; the sentence names the closest one.
    """
    known = metrics_of(kind)
    if metric not in known:
        hint = did_you_mean(metric, known)
        raise ConfigError(f"`training.metric` is {metric!r}, which is none of a {kind} task.{hint}")


def compute_metrics(
    kind: TaskKind,
    outputs: ArrayLike,
    target: ArrayLike,
    weight: ArrayLike | None = None,
    *,
    threshold: float = EVEN,
    level: float | None = None,
) -> dict[str, float]:
    """All metrics of a task on one set of rows.

    Binary: the positive class is class 1; `accuracy`, `balanced_accuracy` and `f1` are those of the answers at the
    threshold, all others of the probabilities. `balanced_accuracy` is the mean over the classes of the share of their
    rows that are answered right. Multiclass: `f1`, `auroc` and `average_precision` are means over the
    classes, one against the rest (a class that these rows do not have, or have alone, does not count);
    `calibration_error` is that of the most probable class; `brier` is the sum over the classes, from 0 to 2.
    Multilabel: the mean over the labels of each one's binary metric, so that `accuracy` is one minus the Hamming
    loss; `subset_accuracy` asks for all labels of a row at once. Regression with an interval: `coverage` is the share
    of targets in it, `interval_width` its mean width, and `pinball` the mean of the quantile losses of the lower bound,
    the value (as the median) and the upper bound.

    Args:
        kind: Decides which metrics there are.
        outputs: (T, O) probabilities; for regression (T, 1) values, or (T, 3) with the bounds of an interval behind.
        target: As in `Arrays.target`: (T,) class ids, (T, O) zeros and ones for multilabel, (T,) values.
        weight: (T,) sample weights; rows of weight 0 do not count.
        threshold: Binary: the answer is class 1 where its probability is above this.
        level: The interval's, which says which quantiles its bounds stand for.

    Returns:
        Metric names and values, without those that are not defined here; empty if there are no rows.

    Raises:
        TrainingError: An output is NaN or infinite.

    Examples:
        >>> outputs = np.array([[0.1], [0.4], [0.8]])
        >>> compute_metrics(TaskKind.BINARY, outputs, np.array([0, 0, 1]))["auroc"]
        1.0
        >>> compute_metrics(TaskKind.REGRESSION, np.array([[1.0], [3.0]]), np.array([2.0, 2.0]))
        {'rmse': 1.0, 'mae': 1.0}
    """
    outputs_TO = as_numpy(outputs)
    truth = as_numpy(target)
    weight_T = None if weight is None else as_numpy(weight).astype(np.float64)
    if not np.isfinite(outputs_TO).all():
        raise TrainingError("The model's outputs are not finite, so there is nothing to measure.")
    if weight_T is not None:
        counted = weight_T > 0
        outputs_TO, truth, weight_T = outputs_TO[counted], truth[counted], weight_T[counted]
    if len(truth) == 0:
        log.debug("No rows to measure.")
        return {}
    if kind is not TaskKind.REGRESSION:
        # A mean of probabilities may end one rounding above 1, and torchmetrics then takes all of them for logits.
        outputs_TO = outputs_TO.clip(0, 1)
    match kind:
        case TaskKind.BINARY:
            values = _binary(outputs_TO, truth, weight_T, threshold)
        case TaskKind.MULTICLASS:
            values = _multiclass(outputs_TO, truth, weight_T)
        case TaskKind.MULTILABEL:
            values = _multilabel(outputs_TO, truth, weight_T)
        case TaskKind.REGRESSION:
            values = regression_metrics(outputs_TO, truth, weight_T, level)
    undefined = [name for name, value in values.items() if np.isnan(value)]
    if undefined:
        log.debug("Not defined on these %d rows: %s.", len(truth), ", ".join(undefined))
    return {name: value for name, value in values.items() if name not in undefined}


def mean_log_loss(kind: TaskKind, outputs: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None) -> float:
    """The `log_loss` of `compute_metrics` alone, in float64; multilabel: the mean over the labels.

    Args:
        kind: Any but regression.
        outputs: (T, O) probabilities.
        target: As in `Arrays.target`.
        weight: (T,) sample weights.
    """
    p_TO = as_numpy(outputs)
    truth = as_numpy(target)
    if kind is TaskKind.MULTICLASS:
        of_truth = np.take_along_axis(p_TO, truth.astype(np.int64)[:, None], axis=1)
    else:
        of_truth = np.where(truth.reshape(p_TO.shape) > 0.5, p_TO, 1 - p_TO)
    losses_TO = -np.log(np.clip(of_truth.astype(np.float64), EPSILON, 1.0))
    return _average(losses_TO.mean(axis=1), None if weight is None else as_numpy(weight).astype(np.float64))


def _binary(p_TO: Floats, y_T: Values, weight_T: Floats | None, threshold: float = EVEN) -> dict[str, float]:
    """The metrics of one label; `p_TO` is (T, 1) or (T,)."""
    p_T, y_T = p_TO.reshape(-1), y_T.astype(np.int64)
    answer_T = is_yes(p_T, threshold).astype(np.int64)
    return {
        "accuracy": _average((answer_T == y_T).astype(np.float64), weight_T),
        "balanced_accuracy": np.nan if y_T.min() == y_T.max() else _balanced_accuracy(answer_T, y_T, weight_T),
        "auroc": _auroc(p_T, y_T, weight_T),
        "average_precision": _average_precision(p_T, y_T, weight_T),
        "f1": _f1(answer_T, y_T, weight_T, classes=None),
        "log_loss": mean_log_loss(TaskKind.BINARY, p_T[:, None], y_T, weight_T),
        "brier": _average((p_T.astype(np.float64) - y_T) ** 2, weight_T),
        "calibration_error": _calibration_error(p_T, y_T == 1, weight_T),
    }


def _multiclass(p_TO: Floats, y_T: Values, weight_T: Floats | None) -> dict[str, float]:
    y_T = y_T.astype(np.int64)
    answer_T = p_TO.argmax(axis=1)
    one_against_rest = [(p_TO[:, c], (y_T == c).astype(np.int64)) for c in np.unique(y_T)]
    # The sum over the classes of (p - [y = c])², without the one-hot matrix.
    p_truth_T = np.take_along_axis(p_TO, y_T[:, None], axis=1)[:, 0].astype(np.float64)
    brier_T = np.einsum("to,to->t", p_TO, p_TO, dtype=np.float64) - 2 * p_truth_T + 1
    return {
        "accuracy": _average((answer_T == y_T).astype(np.float64), weight_T),
        "balanced_accuracy": _balanced_accuracy(answer_T, y_T, weight_T),
        "auroc": _mean(_auroc(p_T, is_c_T, weight_T) for p_T, is_c_T in one_against_rest),
        "average_precision": _mean(_average_precision(p_T, is_c_T, weight_T) for p_T, is_c_T in one_against_rest),
        "f1": _f1(answer_T, y_T, weight_T, classes=p_TO.shape[1]),
        "log_loss": mean_log_loss(TaskKind.MULTICLASS, p_TO, y_T, weight_T),
        "brier": _average(brier_T, weight_T),
        "calibration_error": _calibration_error(p_TO.max(axis=1), answer_T == y_T, weight_T),
    }


def _multilabel(p_TO: Floats, y_TO: Values, weight_T: Floats | None) -> dict[str, float]:
    per_label = [_binary(p_TO[:, label], y_TO[:, label], weight_T) for label in range(p_TO.shape[1])]
    all_right_T = (is_yes(p_TO) == (y_TO.astype(np.float64) > 0.5)).all(axis=1)
    means = {name: _mean(values[name] for values in per_label) for name in per_label[0]}
    return {**means, "subset_accuracy": _average(all_right_T.astype(np.float64), weight_T)}


def _balanced_accuracy(answer_T: npt.NDArray[np.int64], y_T: npt.NDArray[np.int64], weight_T: Floats | None) -> float:
    """The mean over the classes that the rows have; torchmetrics' would count those that are answered alone as well."""
    of_class = np.bincount(y_T, weight_T)
    right = np.bincount(y_T, (answer_T == y_T) * (1.0 if weight_T is None else weight_T))
    return float(np.mean(right[of_class > 0] / of_class[of_class > 0]))


def _auroc(p_T: Floats, y_T: npt.NDArray[np.int64], weight_T: Floats | None) -> float:
    if y_T.min() == y_T.max():
        return np.nan
    if weight_T is None:
        return float(tmc.binary_auroc(torch.tensor(p_T), torch.tensor(y_T), validate_args=False))
    return float(skm.roc_auc_score(y_T, p_T, sample_weight=weight_T))


def _average_precision(p_T: Floats, y_T: npt.NDArray[np.int64], weight_T: Floats | None) -> float:
    if y_T.min() == y_T.max():
        return np.nan
    if weight_T is None:
        return float(tmc.binary_average_precision(torch.tensor(p_T), torch.tensor(y_T), validate_args=False))
    return float(skm.average_precision_score(y_T, p_T, sample_weight=weight_T))


def _f1(
    answer_T: npt.NDArray[np.int64],
    y_T: npt.NDArray[np.int64],
    weight_T: Floats | None,
    classes: int | None,
) -> float:
    """F1 of class 1, or with `classes` the mean over those that are in the truth or among the answers."""
    if classes is None and answer_T.max() == 0 and y_T.max() == 0:
        return np.nan
    if weight_T is not None:
        average = "binary" if classes is None else "macro"
        return float(skm.f1_score(y_T, answer_T, sample_weight=weight_T, average=average, zero_division=0))
    answer, y = torch.tensor(answer_T), torch.tensor(y_T)
    if classes is None:
        return float(tmc.binary_f1_score(answer, y, validate_args=False))
    return float(tmc.multiclass_f1_score(answer, y, num_classes=classes, average="macro", validate_args=False))


def _calibration_error(p_T: Floats, is_so_T: npt.NDArray[np.bool_], weight_T: Floats | None) -> float:
    """Expected calibration error: how far the mean probability of a bin is from the share that came true."""
    if weight_T is None:
        p, is_so = torch.tensor(p_T), torch.tensor(is_so_T, dtype=torch.int64)
        return float(tmc.binary_calibration_error(p, is_so, n_bins=CALIBRATION_BINS, norm="l1", validate_args=False))
    bin_T = np.minimum((p_T * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
    gaps = np.bincount(bin_T, weights=weight_T * (is_so_T - p_T.astype(np.float64)), minlength=CALIBRATION_BINS)
    return float(np.abs(gaps).sum() / weight_T.sum())


def as_numpy(values: ArrayLike) -> Values:
    """A tensor or an array as an array."""
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        # NumPy has no bfloat16, the type of a mixed-precision run.
        return (values.float() if values.dtype is torch.bfloat16 else values).numpy()
    return values


def _average(values_T: Values, weight_T: Floats | None) -> float:
    return float(np.average(values_T, weights=weight_T))


def _mean(values: Iterator[float]) -> float:
    """The mean of those that are defined; NaN if none is."""
    defined = [value for value in values if not np.isnan(value)]
    return float(np.mean(defined)) if defined else np.nan
