"""Measurements accumulate: nothing is lost, a later one takes the place of an earlier one of the same key."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from records import Key, Record, Store, row_losses

KEY = Key("churn", "mlpipe", "default", 0)


def record(key: Key = KEY, recipe: str = "a", **values: Any) -> Record:
    return Record(key, recipe, {"accuracy": 0.9}, {"accuracy": 0.8}, 1.5, **values)


@pytest.fixture
def store(tmp_path: Path) -> Store:
    return Store(tmp_path / "results")


def test_a_record_reads_back_as_it_was(store: Store) -> None:
    kept = record(curve=((1.0, 0.5), (2.0, 0.75)), epochs=2, machine={"cpu": "x", "threads": 1, "shared": False})
    store.add(kept, np.zeros(4, dtype=np.bool_))
    assert store.records == {KEY: kept}


def test_records_add_up_over_stores_and_are_sorted(tmp_path: Path) -> None:
    keys = [KEY, Key("churn", "mlpipe", "default", 1), Key("adult", "lightgbm", "", 0)]
    for key in keys:
        Store(tmp_path).add(record(key), np.zeros(4, dtype=np.bool_))
    assert list(Store(tmp_path).records) == sorted(keys)
    assert [values["table"] for values in json.loads((tmp_path / "accuracy.json").read_text())] == [
        "adult",
        "churn",
        "churn",
    ]


def test_two_processes_lose_nothing(tmp_path: Path) -> None:
    first, second, other = Store(tmp_path), Store(tmp_path), Key("churn", "catboost", "", 0)
    assert first.records == second.records == {}
    first.add(record(), np.zeros(4, dtype=np.bool_))
    second.add(record(other), np.ones(4, dtype=np.bool_))
    assert set(first.records) == {KEY, other}
    assert first.losses([KEY]) is not None
    assert first.losses([other]) is not None


def test_a_later_measurement_takes_the_place_of_an_earlier_one(store: Store) -> None:
    store.add(record(recipe="a"), np.zeros(4, dtype=np.bool_))
    store.add(record(recipe="b"), np.ones(4, dtype=np.bool_))
    assert [kept.recipe for kept in store.records.values()] == ["b"]
    losses = store.losses([KEY])
    assert losses is not None
    assert losses.tolist() == [1.0] * 4


def test_losses_are_shares_of_wrong_answers_or_mean_squares(store: Store) -> None:
    keys = [Key("churn", "mlpipe", "default", seed) for seed in range(2)]
    store.add(record(keys[0]), np.array([True, False]))
    store.add(record(keys[1]), np.array([True, True]))
    wrong = store.losses(keys)
    store.add(record(Key("diamond", "lightgbm", "", 0)), np.array([3.0, 0.5], dtype=np.float16))
    squares = store.losses([Key("diamond", "lightgbm", "", 0)])
    assert wrong is not None
    assert squares is not None
    assert (wrong.tolist(), squares.tolist()) == ([1.0, 0.5], [9.0, 0.25])


def test_without_the_rows_there_are_no_losses(store: Store) -> None:
    assert store.losses([KEY]) is None


@pytest.mark.parametrize(
    ("metric", "outputs", "truth", "expected"),
    [
        ("accuracy", [[0.2], [0.5], [0.9]], [0, 1, 1], [False, True, False]),
        ("accuracy", [0.2, 0.6], [1, 1], [True, False]),
        ("accuracy", [[0.2, 0.7, 0.1], [0.5, 0.2, 0.3]], [1, 2], [False, True]),
        ("rmse", [[1.0], [4.0]], [3.0, 3.5], [2.0, 0.5]),
    ],
)
def test_each_rows_loss(metric: str, outputs: Any, truth: Any, expected: Any) -> None:
    losses = row_losses(metric, np.asarray(outputs), np.asarray(truth, dtype=np.float64))
    assert losses.tolist() == expected
    assert losses.dtype == (np.bool_ if metric == "accuracy" else np.float16)
