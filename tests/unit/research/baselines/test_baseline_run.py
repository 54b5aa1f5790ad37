from __future__ import annotations

import logging
from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from mlpipe.errors import ConfigError, DataError
from mlpipe.research.baselines import BASELINES, BaselineResult, iter_baselines, run_baselines
from mlpipe.research.baselines.prepared import Fitted, Problem
from mlpipe.research.baselines.registry import Baseline
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind
from mlpipe.training.metrics import compute_metrics

RunOne = Callable[..., BaselineResult]
SCHEMA = Schema(
    (Column("size", Kind.NUMERIC), Column("price", Kind.NUMERIC, Role.TARGET)), Task(TaskKind.REGRESSION, ("price",))
)


def zeros(problem: Problem, _seed: int) -> Fitted:
    return Fitted(lambda inputs: np.zeros(len(inputs)), rounds=3)


def test_the_outputs_are_what_was_measured(frames: dict[str, pl.DataFrame]) -> None:
    (result,) = run_baselines(SCHEMA, frames, ["linear"])
    for part in ("validation", "test"):
        truth = frames[part]["price"].to_numpy()
        assert result.outputs[part].shape == (60, 1)
        expected = compute_metrics(TaskKind.REGRESSION, result.outputs[part], truth)
        assert result.metrics[part] == pytest.approx(expected, rel=1e-5)
    assert result.train_seconds > 0
    assert result.rows_per_second is not None


def test_a_test_part_that_is_empty_is_left_out(frames: dict[str, pl.DataFrame]) -> None:
    frames["test"] = frames["test"].clear()
    (result,) = run_baselines(SCHEMA, frames, ["linear"])
    assert set(result.metrics) == set(result.outputs) == {"validation"}
    assert result.rows_per_second is not None


def test_they_come_one_by_one(frames: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(problem: Problem, _seed: int) -> Fitted:
        raise KeyboardInterrupt

    monkeypatch.setitem(BASELINES, "long", Baseline(interrupted))
    results = iter_baselines(SCHEMA, frames, ["linear", "long"])
    assert next(results).name == "linear"
    with pytest.raises(KeyboardInterrupt):
        next(results)


def test_a_library_that_is_missing_or_fails_leaves_the_others_alone(
    frames: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(problem: Problem, _seed: int) -> Fitted:
        raise ValueError("all features\nare constant")

    monkeypatch.setitem(BASELINES, "failing", Baseline(fail, library="sklearn"))
    monkeypatch.setitem(BASELINES, "dreams", Baseline(zeros, library="a_library_of_dreams"))
    monkeypatch.setitem(BASELINES, "working", Baseline(zeros, library="sklearn"))
    with caplog.at_level(logging.WARNING):
        results = run_baselines(SCHEMA, frames, ["failing", "dreams", "working"])
    assert [(result.name, result.rounds) for result in results] == [("working", 3)]
    assert "Not installed, and left out: dreams; `pip install 'mlpipe[baselines]'` brings it." in caplog.messages
    assert "failing has failed and is left out (ValueError: all features are constant)." in caplog.messages


def test_a_fault_of_ours_is_none_of_a_librarys(
    frames: dict[str, pl.DataFrame], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(problem: Problem, _seed: int) -> Fitted:
        raise ValueError("ours")

    monkeypatch.setitem(BASELINES, "ours", Baseline(fail))
    with pytest.raises(ValueError, match="ours"):
        run_baselines(SCHEMA, frames, ["ours"])
    with pytest.raises(DataError, match="size"):
        run_baselines(SCHEMA, {part: frame.drop("size") for part, frame in frames.items()}, ["linear"])


def test_weights_that_a_library_does_not_take_are_told(
    run_one: RunOne, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setitem(BASELINES, "plain", Baseline(zeros, takes_weights=False))
    with caplog.at_level(logging.WARNING):
        run_one("plain", TaskKind.REGRESSION)
        assert caplog.messages == []
        run_one("plain", TaskKind.REGRESSION, weighted=True)
    assert caplog.messages == ["plain takes no sample weights: it is fitted without them, and measured with them."]


def test_an_unknown_baseline_is_refused_before_any_is_fitted(frames: dict[str, pl.DataFrame]) -> None:
    with pytest.raises(ConfigError, match=r"There is no baseline 'lineer'\. Did you mean 'linear'\?"):
        run_baselines(SCHEMA, frames, ["linear", "lineer"])
