"""Against scikit-learn in float64, or a few lines that say the same."""

import logging

import numpy as np
import pytest
import sklearn.metrics as skm
import torch

from mlpipe.errors import TrainingError
from mlpipe.schema import TaskKind
from mlpipe.training.metrics import DEFAULT_METRIC, HIGHER_IS_BETTER, compute_metrics, mean_log_loss

ROWS = 400
#: torchmetrics counts in float32.
CLOSE = 1e-6


def softmax(scores: np.ndarray) -> np.ndarray:
    powers = np.exp(scores - scores.max(axis=1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=1, keepdims=True))


def calibration_error(p: np.ndarray, is_so: np.ndarray, weight: np.ndarray | None) -> float:
    weight = np.ones(len(p)) if weight is None else weight
    total = 0.0
    for low in np.arange(15) / 15:
        inside = (p >= low) & (p < low + 1 / 15)
        if inside.any():
            gap = np.average(p[inside], weights=weight[inside]) - np.average(is_so[inside], weights=weight[inside])
            total += abs(gap) * weight[inside].sum() / weight.sum()
    return total


@pytest.fixture(params=[False, True], ids=["plain", "weighted"])
def weight(request: pytest.FixtureRequest) -> np.ndarray | None:
    return np.random.default_rng(1).exponential(size=ROWS) if request.param else None


def expected_binary(
    p: np.ndarray, y: np.ndarray, weight: np.ndarray | None, threshold: float = 0.5
) -> dict[str, float]:
    return {
        "accuracy": skm.accuracy_score(y, p > threshold, sample_weight=weight),
        "balanced_accuracy": skm.balanced_accuracy_score(y, p > threshold, sample_weight=weight),
        "auroc": skm.roc_auc_score(y, p, sample_weight=weight),
        "average_precision": skm.average_precision_score(y, p, sample_weight=weight),
        "f1": skm.f1_score(y, p > threshold, sample_weight=weight),
        "log_loss": skm.log_loss(y, p, sample_weight=weight),
        "brier": skm.brier_score_loss(y, p, sample_weight=weight),
        "calibration_error": calibration_error(p, y, weight),
    }


def test_binary(weight: np.ndarray | None) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, ROWS)
    p = 1 / (1 + np.exp(-rng.normal(2 * y - 1, 1.5)))
    got = compute_metrics(TaskKind.BINARY, p[:, None], y, weight)
    assert got == pytest.approx(expected_binary(p, y, weight), CLOSE)
    got = compute_metrics(TaskKind.BINARY, p[:, None], y, weight, threshold=0.3)
    assert got == pytest.approx(expected_binary(p, y, weight, threshold=0.3), CLOSE)


def test_multiclass(weight: np.ndarray | None) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 4, ROWS)
    p = softmax(rng.normal(size=(ROWS, 4)) + 1.5 * np.eye(4)[y])
    answer = p.argmax(axis=1)
    assert compute_metrics(TaskKind.MULTICLASS, p, y, weight) == pytest.approx(
        {
            "accuracy": skm.accuracy_score(y, answer, sample_weight=weight),
            "balanced_accuracy": skm.balanced_accuracy_score(y, answer, sample_weight=weight),
            "auroc": skm.roc_auc_score(y, p, multi_class="ovr", sample_weight=weight),
            "average_precision": skm.average_precision_score(np.eye(4)[y], p, sample_weight=weight),
            "f1": skm.f1_score(y, answer, average="macro", sample_weight=weight),
            "log_loss": skm.log_loss(y, p, sample_weight=weight),
            "brier": skm.brier_score_loss(y, p, sample_weight=weight),
            "calibration_error": calibration_error(p.max(axis=1), answer == y, weight),
        },
        CLOSE,
    )


def test_multilabel_is_the_mean_over_the_labels(weight: np.ndarray | None) -> None:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, (ROWS, 3))
    p = 1 / (1 + np.exp(-rng.normal(2 * y - 1, 1.5)))
    per_label = [expected_binary(p[:, i], y[:, i], weight) for i in range(3)]
    expected = {name: np.mean([values[name] for values in per_label]) for name in per_label[0]}
    expected["subset_accuracy"] = np.average(((p > 0.5) == y).all(axis=1), weights=weight)
    got = compute_metrics(TaskKind.MULTILABEL, p, y.astype(np.float32), weight)
    assert got == pytest.approx(expected, CLOSE)


@pytest.mark.parametrize("offset", [0.0, 1e9])
def test_regression(weight: np.ndarray | None, offset: float) -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=ROWS) + offset
    value = y + rng.normal(size=ROWS) / 2
    got = compute_metrics(TaskKind.REGRESSION, value[:, None], y, weight)
    assert got == pytest.approx(
        {
            "rmse": skm.root_mean_squared_error(y, value, sample_weight=weight),
            "mae": skm.mean_absolute_error(y, value, sample_weight=weight),
            "r2": skm.r2_score(y, value, sample_weight=weight),
        }
    )


@pytest.mark.parametrize("scale", [1e-6, 1e-20, 1e12])
def test_r2_is_the_same_in_any_unit(weight: np.ndarray | None, scale: float) -> None:
    rng = np.random.default_rng(0)
    y, noise = rng.normal(size=(2, ROWS))
    got, expected = (
        compute_metrics(TaskKind.REGRESSION, unit * noise[:, None], unit * y, weight)["r2"] for unit in (scale, 1.0)
    )
    assert expected < 0
    assert got == pytest.approx(expected)


def test_intervals(weight: np.ndarray | None) -> None:
    rng = np.random.default_rng(0)
    y = rng.normal(size=ROWS)
    value = y + rng.normal(size=ROWS) / 2
    lower, upper = value - rng.exponential(size=ROWS), value + rng.exponential(size=ROWS)
    got = compute_metrics(TaskKind.REGRESSION, np.stack((value, lower, upper), axis=1), y, weight, level=0.8)
    inside = [low <= truth <= high for low, truth, high in zip(lower, y, upper, strict=True)]
    losses = [skm.mean_pinball_loss(y, q, sample_weight=weight, alpha=a) for q, a in ((lower, 0.1), (upper, 0.9))]
    assert got["coverage"] == pytest.approx(np.average(inside, weights=weight))
    assert got["interval_width"] == pytest.approx(np.average(upper - lower, weights=weight))
    assert got["pinball"] == pytest.approx((sum(losses) + got["mae"] / 2) / 3)
    assert got["mae"] == compute_metrics(TaskKind.REGRESSION, value[:, None], y, weight)["mae"]


@pytest.mark.parametrize("kind", list(TaskKind))
def test_whole_weights_count_rows_so_often(kind: TaskKind) -> None:
    rng = np.random.default_rng(0)
    p = softmax(rng.normal(size=(ROWS, 3)))
    targets: dict[TaskKind, np.ndarray] = {
        TaskKind.BINARY: rng.integers(0, 2, ROWS),
        TaskKind.MULTICLASS: rng.integers(0, 3, ROWS),
        TaskKind.MULTILABEL: rng.integers(0, 2, (ROWS, 3)).astype(np.float32),
        TaskKind.REGRESSION: rng.normal(size=ROWS),
    }
    target = targets[kind]
    outputs = p if kind in (TaskKind.MULTICLASS, TaskKind.MULTILABEL) else p[:, :1]
    times = rng.integers(0, 4, ROWS)
    repeated = compute_metrics(kind, outputs.repeat(times, axis=0), target.repeat(times, axis=0))
    assert compute_metrics(kind, outputs, target, times.astype(np.float32)) == pytest.approx(repeated, CLOSE)


def test_a_class_that_the_rows_lack_is_no_trouble(weight: np.ndarray | None) -> None:
    rng = np.random.default_rng(0)
    y = rng.choice([0, 2, 3], ROWS)
    p = softmax(rng.normal(size=(ROWS, 5)) + 1.5 * np.eye(5)[y])
    got = compute_metrics(TaskKind.MULTICLASS, p, y, weight)
    one_by_one = [skm.roc_auc_score(y == c, p[:, c], sample_weight=weight) for c in (0, 2, 3)]
    assert got["auroc"] == pytest.approx(np.mean(one_by_one), CLOSE)
    assert got["f1"] == pytest.approx(skm.f1_score(y, p.argmax(axis=1), average="macro", sample_weight=weight), CLOSE)
    assert set(got) == set(compute_metrics(TaskKind.MULTICLASS, p, rng.integers(0, 5, ROWS)))


@pytest.mark.parametrize("y", [np.zeros(5, np.int64), np.ones(5, np.int64)], ids=["negative", "positive"])
def test_with_one_class_only_ranks_are_left_out(y: np.ndarray, caplog: pytest.LogCaptureFixture) -> None:
    p = np.linspace(0.1, 0.9, 5)[:, None]
    with caplog.at_level(logging.DEBUG):
        got = compute_metrics(TaskKind.BINARY, p, y)
    assert set(HIGHER_IS_BETTER) > set(got) >= {"accuracy", "f1", "log_loss", "brier", "calibration_error"}
    assert not {"auroc", "average_precision"} & set(got)
    assert "Not defined on these 5 rows: balanced_accuracy, auroc, average_precision." in caplog.text
    for kind in (TaskKind.MULTICLASS, TaskKind.MULTILABEL):
        two = np.hstack([1 - p, p])
        target = y if kind is TaskKind.MULTICLASS else np.stack([y, y], axis=1)
        assert "auroc" not in compute_metrics(kind, two, target)


def test_f1_of_nothing_is_left_out() -> None:
    assert "f1" not in compute_metrics(TaskKind.BINARY, np.full((3, 1), 0.2), np.zeros(3, np.int64))
    assert compute_metrics(TaskKind.BINARY, np.full((3, 1), 0.2), np.array([0, 0, 1]))["f1"] == 0.0


@pytest.mark.parametrize("target", [np.array([2.0]), np.full(3, 2.0)], ids=["one row", "constant"])
@pytest.mark.parametrize("weighted", [False, True])
def test_r2_needs_a_spread(target: np.ndarray, weighted: bool) -> None:
    weight = np.full(len(target), 2.0) if weighted else None
    assert compute_metrics(TaskKind.REGRESSION, np.ones((len(target), 1)), target, weight) == {"rmse": 1.0, "mae": 1.0}


def test_no_rows_no_metrics() -> None:
    assert compute_metrics(TaskKind.BINARY, np.empty((0, 1)), np.empty(0, np.int64)) == {}
    assert compute_metrics(TaskKind.BINARY, np.ones((2, 1)), np.array([0, 1]), np.zeros(2)) == {}


def test_outputs_have_to_be_finite() -> None:
    with pytest.raises(TrainingError, match="not finite"):
        compute_metrics(TaskKind.REGRESSION, np.array([[1.0], [np.nan]]), np.zeros(2))


def test_tensors_and_read_only_arrays_do_as_well() -> None:
    rng = np.random.default_rng(0)
    p, y = rng.random((ROWS, 1)).astype(np.float32), rng.integers(0, 2, ROWS)
    expected = compute_metrics(TaskKind.BINARY, p, y)
    assert compute_metrics(TaskKind.BINARY, torch.tensor(p, requires_grad=True), torch.tensor(y)) == expected
    p.flags.writeable = y.flags.writeable = False
    assert compute_metrics(TaskKind.BINARY, p, y) == expected
    assert compute_metrics(TaskKind.BINARY, torch.tensor(p).bfloat16(), torch.tensor(y)) == pytest.approx(
        expected, rel=0.05
    )


def test_a_probability_one_rounding_above_one_is_one() -> None:
    above = np.nextafter(np.float32(1), np.float32(2))
    p = np.array([[0.1], [0.7], [above]], np.float32)
    y = np.array([0, 1, 1])
    assert compute_metrics(TaskKind.BINARY, p, y) == compute_metrics(TaskKind.BINARY, np.minimum(p, 1), y)


def test_a_sure_mistake_costs_no_more_than_float32_can_tell() -> None:
    assert mean_log_loss(TaskKind.BINARY, np.array([[0.0]]), np.array([1])) == pytest.approx(-np.log(2**-23))


def test_every_metric_has_a_direction_and_every_task_a_default() -> None:
    y = np.array([0, 1, 1, 0])
    p = np.array([0.2, 0.9, 0.4, 0.3])[:, None]
    names: set[str] = set()
    for kind in TaskKind:
        pair = np.hstack([1 - p, p]) if kind is TaskKind.MULTICLASS else p
        target = y[:, None] if kind is TaskKind.MULTILABEL else y
        found = set(compute_metrics(kind, pair, target))
        assert DEFAULT_METRIC[kind] in found
        names |= found
    values = np.array([[0.5, 0.0, 1.0]] * 4)
    of_intervals = set(compute_metrics(TaskKind.REGRESSION, values, y, level=0.9)) - names
    assert of_intervals == {"coverage", "interval_width", "pinball"}
    assert names | of_intervals - {"coverage", "interval_width"} == set(HIGHER_IS_BETTER)
