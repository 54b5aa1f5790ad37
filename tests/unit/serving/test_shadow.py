"""What a version in the shadow answers, beside the one whose answers clients get."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from mlpipe.bundle.ensemble import read_contents
from mlpipe.bundle.predictor import Predictor
from mlpipe.errors import BundleError
from mlpipe.features.calibration import Calibration
from mlpipe.schema import TaskKind
from mlpipe.serving import shadow as module
from mlpipe.serving.engine import Exchange, Served, check_alike, work
from mlpipe.serving.settings import Checks
from mlpipe.serving.shadow import Shadow
from mlpipe.serving.wire import Kind, Question


def questions(source: Any, count: int, rows: int = 1) -> list[Question]:
    frame = source.frame.select(column.name for column in source.schema.features).head(count * rows)
    found = json.loads(frame.with_columns(day=frame["day"].cast(str)).write_json())
    return [Question(Kind.PREDICT, json.dumps(found[rows * i : rows * (i + 1)]).encode()) for i in range(count)]


@pytest.fixture
def versions(fitted: Callable[..., Any], tmp_path: Path) -> Callable[[TaskKind], tuple[Any, list[Served]]]:
    """A source, and two versions of it that differ."""

    def make(kind: TaskKind) -> tuple[Any, list[Served]]:
        source = fitted(kind)
        bundles = [source.write(tmp_path / "1"), fitted(kind, 1).write(tmp_path / "2")]
        return source, [Served.of(read_contents(bundle), "shop", Checks()) for bundle in bundles]

    return make


@pytest.mark.parametrize("kind", list(TaskKind))
def test_differences_are_those_of_the_predictors(
    versions: Callable[[TaskKind], tuple[Any, list[Served]]], kind: TaskKind, tmp_path: Path
) -> None:
    source, (first, second) = versions(kind)
    shadow = Shadow(batch=4)
    assert shadow.take(work(questions(source, 6, rows=2), [first]).exchanges) == 0
    found = [shadow.step(second), shadow.step(second)]
    assert not shadow.pending
    one, two = (Predictor.load(tmp_path / name).predict(source.frame.head(12)) for name in "12")
    if kind is TaskKind.REGRESSION:
        scale = source.preprocessor.target_.scale
        expected = np.abs(one["prediction"].to_numpy() - two["prediction"].to_numpy()) / scale
        disagreements = int((expected > module.TOLERANCE).sum())
    else:
        names = [name for name in one.columns if name.startswith("probability_")]
        expected = np.abs(one.select(names).to_numpy() - two.select(names).to_numpy()).max(axis=1)
        disagreements = sum(
            a != b for a, b in zip(one["prediction"].to_list(), two["prediction"].to_list(), strict=True)
        )
    assert found[0].differences + found[1].differences == pytest.approx(expected.tolist(), abs=1e-5)
    assert sum(compared.disagreements for compared in found) == disagreements
    assert [compared.failed for compared in found] == [0, 0]
    assert all(exchange.served is second for compared in found for exchange in compared.worked.exchanges)


def test_rows_that_the_shadow_does_not_take_are_counted(binary: Any, tmp_path: Path) -> None:
    bundle = binary.write(tmp_path / "bundle")
    loose, strict = (Served.of(read_contents(bundle), "shop", Checks(ranges=ranges)) for ranges in ("ignore", "error"))
    good, beyond = questions(binary, 2)
    row = json.loads(beyond.body)[0]
    beyond = Question(Kind.PREDICT, json.dumps([{**row, "visits": 10**6}] * 3).encode())
    shadow = Shadow(batch=8)
    shadow.take(work([beyond, good], [loose]).exchanges)
    compared = shadow.step(strict)
    assert (compared.failed, compared.disagreements) == (3, 0)
    assert compared.differences == pytest.approx([0.0], abs=1e-6)  # another batch may be rounded another way


def test_what_there_is_no_time_for_is_dropped_oldest_first(
    binary: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    served = Served.of(read_contents(binary.write(tmp_path / "bundle")), "shop", Checks())
    exchanges = work(questions(binary, 5, rows=2), [served]).exchanges
    monkeypatch.setattr(module, "MOST_WAITING", 3)
    shadow = Shadow(batch=8)
    assert shadow.take(exchanges) == 4
    kept = [exchange.question for exchange in shadow.step(served).worked.exchanges]
    assert [question.body for question in kept] == [exchange.question.body for exchange in exchanges[2:]]
    monkeypatch.setattr(module, "MOST_BYTES", len(exchanges[0].question.body) - 1)
    assert shadow.take(exchanges[:1]) == 2
    assert not shadow.pending


def test_versions_of_different_tasks_are_refused(fitted: Callable[..., Any], tmp_path: Path) -> None:
    kinds = (TaskKind.BINARY, TaskKind.REGRESSION)
    folders = [fitted(kind).write(tmp_path / kind.value) for kind in kinds]
    served = [Served.of(read_contents(folder), "shop", Checks()) for folder in folders]
    check_alike(served[:1] * 2, folders[:1] * 2)
    with pytest.raises(BundleError, match=r"regression': schema.json is of another task \(regression of price\) than"):
        check_alike(served, folders)


def test_an_exchange_is_what_was_asked_and_told(binary: Any, tmp_path: Path) -> None:
    served = Served.of(read_contents(binary.write(tmp_path / "b", calibration=Calibration(2.0))), "shop", Checks())
    asked = questions(binary, 2, rows=3)
    worked = work([asked[0], Question(Kind.PREDICT, b"{"), asked[1]], [served])
    assert [(exchange.place, exchange.question) for exchange in worked.exchanges] == [(0, asked[0]), (2, asked[1])]
    told = [json.loads(worked.answers[place].body)["predictions"] for place in (0, 2)]
    assert [list(exchange.records) for exchange in worked.exchanges] == told
    assert all(isinstance(exchange, Exchange) and len(exchange.rows) == 3 for exchange in worked.exchanges)
