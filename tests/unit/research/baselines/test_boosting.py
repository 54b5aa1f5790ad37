"""Needs the extra `baselines`: each library on all kinds of tasks, with nulls, unseen categories and weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from mlpipe.research.baselines import BASELINES, BaselineResult
from mlpipe.research.baselines import boosting as boosting_module
from mlpipe.schema import TaskKind

RunOne = Callable[..., BaselineResult]
#: What learning nothing does not reach by far.
LIMITS = {TaskKind.BINARY: ("auroc", 0.9), TaskKind.MULTICLASS: ("accuracy", 0.6), TaskKind.REGRESSION: ("r2", 0.5)}


@pytest.fixture(params=["lightgbm", "xgboost", "catboost"])
def name(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    library = BASELINES[request.param].library
    assert library is not None
    pytest.importorskip(library)
    monkeypatch.setattr(boosting_module, "PATIENCE", 20)
    return str(request.param)


@pytest.mark.parametrize("kind", LIMITS)
@pytest.mark.parametrize("weighted", [False, True])
def test_every_kind_of_task(name: str, kind: TaskKind, weighted: bool, run_one: RunOne) -> None:
    result = run_one(name, kind, weighted=weighted)
    metric, limit = LIMITS[kind]
    assert result.metrics["test"][metric] > limit
    assert result.metrics["validation"][metric] > limit
    assert result.rounds is not None
    assert 1 <= result.rounds < 4_000
    assert result.rows_per_second
    assert {part: len(outputs) for part, outputs in result.outputs.items()} == {"validation": 60, "test": 60}


def test_probabilities_of_classes_that_training_has_sum_to_one(name: str, run_one: RunOne) -> None:
    p_TC = run_one(name, TaskKind.MULTICLASS).outputs["test"]
    assert p_TC.shape == (60, 4)
    assert (p_TC[:, 3] == 0).all()  # no training row has it
    np.testing.assert_allclose(p_TC.sum(axis=1), 1, atol=1e-5)


def test_each_label_is_a_problem_of_its_own(name: str, run_one: RunOne) -> None:
    result = run_one(name, TaskKind.MULTILABEL)
    assert result.metrics["test"]["auroc"] > 0.9
    assert result.outputs["test"].shape == (60, 2)
    assert result.rounds is None
    # The first of them alone is the binary task.
    np.testing.assert_array_equal(result.outputs["test"][:, :1], run_one(name, TaskKind.BINARY).outputs["test"])


def test_weights_reach_the_fit(name: str, run_one: RunOne) -> None:
    weighted, plain = (run_one(name, TaskKind.REGRESSION, weighted=w).outputs["test"] for w in (True, False))
    assert np.abs(weighted - plain).max() > 1


@pytest.mark.parametrize("features", [("size",), ("color",)])
def test_numbers_or_categories_alone(name: str, features: tuple[str, ...], run_one: RunOne) -> None:
    assert run_one(name, TaskKind.REGRESSION, features=features).metrics["test"]["rmse"] > 0


def test_the_same_seed_gives_the_same_numbers(name: str, run_one: RunOne) -> None:
    first, second = (run_one(name, TaskKind.BINARY).outputs["test"] for _ in range(2))
    np.testing.assert_array_equal(first, second)
