import datetime as dt
import logging
from collections.abc import Mapping

import numpy as np
import polars as pl
import pytest

from mlpipe.research.baselines import INCLUDED, BaselineResult, run_baselines
from mlpipe.research.baselines.scikit import LINEAR_ITERATIONS
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

PARTS = {"train": slice(0, 600), "validation": slice(600, 800), "test": slice(800, 1000)}


def table(rows: int = 1000) -> pl.DataFrame:
    rng = np.random.default_rng(0)
    x = rng.normal(size=rows)
    city = rng.choice(np.array(["oslo", "rome", None], dtype=object), rows)
    start = dt.datetime(2024, 1, 1, tzinfo=None)  # noqa: DTZ001  # a naive column
    return pl.DataFrame(
        {
            "x": pl.Series(x).scatter(np.arange(0, rows, 10), None),
            "empty": pl.Series([None] * rows, dtype=pl.Float64),
            "city": city.tolist(),
            "flight": [f"f{i}" for i in rng.integers(0, 400, rows)],
            "when": [start + dt.timedelta(hours=7 * i) for i in range(rows)],
            "weight": rng.exponential(size=rows),
            "number": 1000 + 50 * x + 20 * (city == "oslo"),
            "yes": np.where(x + (city == "oslo") + 0.3 * rng.normal(size=rows) > 0.5, "yes", "no"),
            "third": np.digitize(x, [-0.5, 0.5]),
        }
    )


def schema(task: Task, *, weighted: bool = False) -> Schema:
    features = [
        Column("x", Kind.NUMERIC, dtype="Float64"),
        Column("empty", Kind.NUMERIC, dtype="Float64"),
        Column("city", Kind.CATEGORICAL, dtype="String"),
        Column("flight", Kind.CATEGORICAL, dtype="String"),
        Column("when", Kind.DATETIME, dtype="Datetime(time_unit='us', time_zone=None)"),
    ]
    targets = [Column(name, Kind.CATEGORICAL, Role.TARGET) for name in task.target]
    weights = [Column("weight", Kind.NUMERIC, Role.WEIGHT)] if weighted else []
    return Schema((*features, *targets, *weights), task)


BINARY = Task(TaskKind.BINARY, ("yes",), ("no", "yes"))
MULTICLASS = Task(TaskKind.MULTICLASS, ("third",), (0, 1, 2))
REGRESSION = Task(TaskKind.REGRESSION, ("number",))


def split(frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
    return {part: frame[rows] for part, rows in PARTS.items()}


def by_name(results: list[BaselineResult]) -> dict[str, Mapping[str, float]]:
    return {result.name: result.metrics["test"] for result in results}


def test_binary_with_nulls_dates_and_many_categories() -> None:
    frames = split(table())
    got = by_name(run_baselines(schema(BINARY), frames))
    assert list(got) == list(INCLUDED)
    share = (frames["train"]["yes"] == "yes").to_numpy().mean()
    truth = (frames["test"]["yes"] == "yes").to_numpy()
    assert got["most_frequent"]["log_loss"] == pytest.approx(-np.log(np.where(truth, share, 1 - share)).mean())
    assert got["most_frequent"]["auroc"] == pytest.approx(0.5)
    assert got["linear"]["auroc"] > 0.9
    assert got["hist_gradient_boosting"]["auroc"] > 0.9


def test_multiclass() -> None:
    got = by_name(run_baselines(schema(MULTICLASS), split(table())))
    assert got["most_frequent"]["accuracy"] < 0.5
    assert got["linear"]["accuracy"] > 0.75
    assert got["hist_gradient_boosting"]["accuracy"] > 0.85


def test_regression_is_measured_in_units_of_the_target() -> None:
    frames = split(table())
    got = by_name(run_baselines(schema(REGRESSION), frames))
    truth = frames["test"]["number"].to_numpy()
    mean = frames["train"]["number"].to_numpy().mean()
    assert got["most_frequent"]["rmse"] == pytest.approx(np.sqrt(((truth - mean) ** 2).mean()), rel=1e-5)
    assert got["linear"]["r2"] > 0.7
    assert got["hist_gradient_boosting"]["r2"] > 0.7


def test_multilabel_with_a_label_that_never_varies() -> None:
    frame = table().with_columns(yes=pl.col("yes") == "yes", never=pl.lit(value=False), high=pl.col("number") > 1010)
    task = Task(TaskKind.MULTILABEL, ("yes", "never", "high"), ("yes", "never", "high"))
    got = by_name(run_baselines(schema(task), split(frame)))
    assert got["linear"]["auroc"] > 0.9
    assert got["hist_gradient_boosting"]["subset_accuracy"] > got["most_frequent"]["subset_accuracy"]


def test_the_same_seed_gives_the_same_numbers() -> None:
    frames = split(table())
    first, second = (by_name(run_baselines(schema(BINARY), frames, seed=3)) for _ in range(2))
    assert first == second


def test_weights_reach_the_fit() -> None:
    frames = split(table())
    weighted = run_baselines(schema(BINARY, weighted=True), frames, ["most_frequent"])[0]
    train, test = frames["train"], frames["test"]
    share = np.average(train["yes"] == "yes", weights=train["weight"])
    truth = (test["yes"] == "yes").to_numpy()
    expected = np.average(-np.log(np.where(truth, share, 1 - share)), weights=test["weight"])
    assert weighted.metrics["test"]["log_loss"] == pytest.approx(expected, rel=1e-5)


def test_classes_that_training_lacks_or_has_once() -> None:
    # More than 10,000 rows, from where on scikit-learn holds rows of each class back for early stopping.
    rng = np.random.default_rng(0)
    x = rng.normal(size=10_400)
    label = np.digitize(x, [0]).astype(object)
    label[0], label[10_300] = 2, 3
    frame = pl.DataFrame({"x": x, "label": label.astype(int)})
    small = Schema(
        (Column("x", Kind.NUMERIC), Column("label", Kind.CATEGORICAL, Role.TARGET)),
        Task(TaskKind.MULTICLASS, ("label",), (0, 1, 2, 3)),
    )
    frames = {"train": frame[:10_200], "validation": frame[10_200:]}
    for result in run_baselines(small, frames, ["linear", "hist_gradient_boosting"]):
        assert set(result.metrics) == {"validation"}
        assert 0.95 < result.metrics["validation"]["accuracy"] < 1


def test_a_single_positive_row_does_not_stop_the_trees() -> None:
    frame = pl.DataFrame({"x": np.arange(10_200.0), "yes": ["yes"] + ["no"] * 10_199})
    small = Schema((Column("x", Kind.NUMERIC), Column("yes", Kind.CATEGORICAL, Role.TARGET)), BINARY)
    frames = {"train": frame[:10_100], "validation": frame[10_100:]}
    (result,) = run_baselines(small, frames, ["hist_gradient_boosting"])
    assert result.metrics["validation"]["accuracy"] == 1


def test_one_class_in_training_is_answered_all_the_time() -> None:
    frames = split(table())
    frames["train"] = frames["train"].filter(pl.col("yes") == "yes")
    got = by_name(run_baselines(schema(BINARY), frames))
    assert got["linear"] == got["hist_gradient_boosting"] == got["most_frequent"]


def test_an_unsettled_regression_is_told_and_not_warned_about(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("mlpipe.research.baselines.scikit.LINEAR_ITERATIONS", 1)
    with caplog.at_level(logging.INFO):
        run_baselines(schema(BINARY), split(table()), ["linear"])
    assert "had not settled after 1 iterations" in caplog.text
    assert LINEAR_ITERATIONS > 1
