"""Rows of requests are answered as `Predictor.predict` answers them, and a wrong one fails alone."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from mlpipe.arrays import Arrays
from mlpipe.bundle.ensemble import write_ensemble
from mlpipe.bundle.format import read_bundle
from mlpipe.bundle.online import OnlinePredictor
from mlpipe.bundle.predictor import ModelPredictor, Predictor
from mlpipe.schema import TaskKind

Fit = Callable[..., Any]


def features(source: Any, count: int) -> list[tuple[Any, ...]]:
    return list(source.frame.select(column.name for column in source.schema.features).head(count).iter_rows())


def flat(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """As the frame of `Predictor.predict` has them."""
    return [
        {
            "prediction": record["prediction"],
            **{f"probability_{name}": p for name, p in record.get("probabilities", {}).items()},
            **{name: value for name, value in record.items() if name not in ("prediction", "probabilities")},
        }
        for record in records
    ]


@pytest.mark.parametrize("kind", list(TaskKind))
def test_records_are_the_rows_of_predict(fitted: Fit, kind: TaskKind, tmp_path: Path) -> None:
    source = fitted(kind)
    predictor = Predictor.load(source.write(tmp_path / "bundle"))
    answered = OnlinePredictor(predictor).answer(features(source, 50))
    assert answered.faults == {}
    assert flat(answered.records) == predictor.predict(source.frame.head(50)).to_dicts()
    assert min(answered.preprocess_seconds, answered.model_seconds) > 0


def test_an_ensemble_answers_with_the_mean(fitted: Fit, tmp_path: Path) -> None:
    sources = [fitted(TaskKind.BINARY, seed) for seed in (1, 2)]
    members = [read_bundle(source.write(tmp_path / str(index))) for index, source in enumerate(sources)]
    described: dict[str, Any] = {"statistics": members[-1].statistics, "metrics": {}, "model_card": "# Two\n"}
    predictor = Predictor.load(write_ensemble(tmp_path / "all", members, **described))
    online = OnlinePredictor(predictor)
    answered = online.answer(features(sources[0], 20))
    assert flat(answered.records) == predictor.predict(sources[0].frame.head(20)).to_dicts()
    observed: list[Arrays] = []
    predictor.values(sources[0].frame.head(20), observe=observed.append)
    assert len(observed) == 1
    np.testing.assert_array_equal(answered.arrays.numeric, observed[0].numeric)
    assert online.spec == members[-1].preprocessor.input_spec_ != members[0].preprocessor.input_spec_


def test_wrong_rows_fail_alone(binary: Any, tmp_path: Path) -> None:
    online = OnlinePredictor(Predictor.load(binary.write(tmp_path / "bundle")))
    number = next(i for i, c in enumerate(binary.schema.features) if c.kind == "numeric")
    rows = [list(row) for row in features(binary, 5)]
    expected = online.answer(rows).records
    rows[1][number], rows[3][number] = "abc", [1]
    answered = online.answer(rows)
    assert {row: (error.row, error.field) for row, error in answered.faults.items()} == {
        row: (row, binary.schema.features[number].name) for row in (1, 3)
    }
    for row in (0, 2, 4):
        assert answered.records[row]["confidence"] == pytest.approx(expected[row]["confidence"], abs=1e-6)


def test_an_answer_that_is_not_finite_is_a_fault(binary: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    predictor = Predictor.load(binary.write(tmp_path / "bundle"))
    assert isinstance(predictor, ModelPredictor)

    def with_nan(arrays: Arrays) -> torch.Tensor:
        logits = torch.zeros((len(arrays), 2, 1))
        logits[2] = np.nan
        return logits

    monkeypatch.setattr(predictor, "network", with_nan)
    answered = OnlinePredictor(predictor).answer(features(binary, 4))
    assert [str(error) for error in answered.faults.values()] == [
        "row 2: the model has no finite answer; the values are out of range"
    ]


def test_no_rows_have_no_answers(binary: Any, tmp_path: Path) -> None:
    answered = OnlinePredictor(Predictor.load(binary.write(tmp_path / "bundle"))).answer([])
    assert (answered.records, answered.faults, len(answered.arrays)) == ([], {}, 0)
