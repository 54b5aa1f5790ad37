from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mlpipe.features.config import FeaturesConfig
from mlpipe.research.baselines.prepared import Fitted, Inputs, Prepared, Problem
from mlpipe.research.baselines.registry import features_for
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

PLAIN = features_for("plain", FeaturesConfig())


def prepared(
    kind: TaskKind, target: str | tuple[str, ...], frames: dict[str, pl.DataFrame], **features: object
) -> Prepared:
    targets = (target,) if isinstance(target, str) else target
    classes = {
        TaskKind.BINARY: (False, True),
        TaskKind.MULTICLASS: (0, 1, 2, 3),
        TaskKind.MULTILABEL: targets,
        TaskKind.REGRESSION: (),
    }[kind]
    columns = [
        Column("size", Kind.NUMERIC),
        Column("color", Kind.CATEGORICAL),
        *(Column(name, Kind.CATEGORICAL, Role.TARGET) for name in targets),
    ]
    plain = features_for("plain", FeaturesConfig(**features))  # type: ignore[arg-type]  # as given
    return Prepared(Schema(tuple(columns), Task(kind, targets, classes)), frames, plain)


def test_nulls_and_unseen_categories_are_missing_to_trees_and_ids_to_others() -> None:
    inputs = Inputs(np.array([[1.5], [np.nan]]), np.array([[1, 3], [2, 4]], dtype=np.int32))
    np.testing.assert_array_equal(inputs.matrix(), [[1.5, 1, 3], [np.nan, 2, 4]])
    np.testing.assert_array_equal(inputs.tree_matrix(), [[1.5, np.nan, 0], [np.nan, np.nan, 1]])


def test_a_frame_keeps_numbers_and_categories_apart() -> None:
    pytest.importorskip("pandas")
    frame = Inputs(np.array([[1.5], [np.nan]]), np.array([[1], [3]], dtype=np.int32)).frame()
    assert [str(dtype) for dtype in frame.dtypes] == ["float64", "int32"]


def test_classes_are_counted_without_gaps_and_spread_again(frames: dict[str, pl.DataFrame]) -> None:
    frames["train"] = frames["train"].with_columns(level=pl.col("level").replace({1: 3}))
    data = prepared(TaskKind.MULTICLASS, "level", frames)
    seen: list[Problem] = []

    def shares(problem: Problem, _seed: int) -> Fitted:
        seen.append(problem)
        return Fitted(lambda inputs: np.tile([0.2, 0.3, 0.5], (len(inputs), 1)), 7)

    (fitted,) = data.fit(shares, 0)
    (problem,) = seen
    assert problem.num_classes == 3
    assert set(problem.train.target) == {0, 1, 2}
    # Training has no class 1, so validation rows of it cannot stop anything.
    kept = frames["validation"].filter(pl.col("level") != 1)
    assert 0 < kept.height < frames["validation"].height
    assert problem.validation.target.tolist() == (kept["level"].replace({2: 1, 3: 2})).to_list()
    np.testing.assert_array_equal(data.outputs([fitted], "test")[0], [0.2, 0, 0.3, 0.5])
    assert fitted.rounds == 7


def test_one_class_needs_no_model(frames: dict[str, pl.DataFrame]) -> None:
    frames["train"] = frames["train"].with_columns(high=True)
    data = prepared(TaskKind.BINARY, "high", frames)

    def never(problem: Problem, _seed: int) -> Fitted:
        raise AssertionError(problem)

    np.testing.assert_array_equal(data.outputs(data.fit(never, 0), "test"), np.ones((60, 1)))


@pytest.mark.parametrize("transform", ["none", "log"])
def test_a_regression_is_fitted_unstandardised_and_answered_in_units(
    transform: str, frames: dict[str, pl.DataFrame]
) -> None:
    data = prepared(TaskKind.REGRESSION, "price", frames, target_transform=transform)

    def mean(problem: Problem, _seed: int) -> Fitted:
        return Fitted(lambda inputs: np.full(len(inputs), problem.train.target.mean()))

    price = frames["train"]["price"].to_numpy()
    expected = np.expm1(np.log1p(price).mean()) if transform == "log" else price.mean()
    assert data.outputs(data.fit(mean, 0), "test")[0, 0] == pytest.approx(expected, rel=1e-6)
    np.testing.assert_allclose(data.truth("test"), frames["test"]["price"], rtol=1e-6)


def test_labels_are_taken_one_by_one(frames: dict[str, pl.DataFrame]) -> None:
    data = prepared(TaskKind.MULTILABEL, ("high", "red"), frames)
    targets: list[list[int]] = []

    def remember(problem: Problem, _seed: int) -> Fitted:
        targets.append(problem.train.target.tolist())
        return Fitted(lambda inputs: np.tile([0.25, 0.75], (len(inputs), 1)))

    assert data.outputs(data.fit(remember, 0), "test").tolist() == [[0.75, 0.75]] * 60
    assert targets == [frames["train"][name].cast(pl.Int64).to_list() for name in ("high", "red")]


def test_a_number_that_training_lacks_is_0_everywhere(frames: dict[str, pl.DataFrame]) -> None:
    frames["train"] = frames["train"].with_columns(size=pl.lit(None, pl.Float64))
    data = prepared(TaskKind.REGRESSION, "price", frames)
    assert (data.inputs["test"].numeric[:, 0] == 0).all()
