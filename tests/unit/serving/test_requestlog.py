from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlpipe.errors import DataError
from mlpipe.serving.requestlog import read_answers


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    log = pl.DataFrame(
        {
            "request_id": ["a", "b", "c", "a", "b", "d", "c"],
            "model_version": ["v1", "v1", "v1", "v2", "v2", "v1", "v2"],
            "prediction": ["yes", "no", "no", "no", "yes", "yes", None],
            "probability_no": [0.25, 0.75, 0.5, 0.75, 0.25, 0.1, None],
            "probability_yes": [0.75, 0.25, 0.5, 0.25, 0.75, 0.9, None],
            "shadow": [False, False, False, True, True, False, True],
            "latency_ms": [1.0] * 7,
        }
    )
    log.write_parquet("log.parquet")
    pl.DataFrame({"request_id": ["a", "b", "c", "z"], "bought": ["yes", "yes", "no", "no"]}).write_csv("outcomes.csv")
    return tmp_path


def test_answers_meet_outcomes(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        answers = read_answers("log.parquet", "outcomes.csv", on="request_id", target="bought")
    assert answers.classes == ("no", "yes")
    assert answers.unknown == 1  # d
    assert list(answers.versions) == ["v1", "v2"]
    one, two = answers.versions["v1"], answers.versions["v2"]
    assert (one.ids, two.ids) == (["a", "b", "c"], ["a", "b"])
    assert one.truth.tolist() == [1, 1, 0]
    assert one.prediction.tolist() == [1, 0, 0]
    assert one.probabilities is not None
    np.testing.assert_array_equal(one.probabilities, [[0.25, 0.75], [0.75, 0.25], [0.5, 0.5]])
    assert (one.served, two.served) == (3, 0)
    assert [record.message for record in caplog.records] == ["log.parquet: 1 answer without a prediction left out."]


def test_labels_meet_whatever_they_are_written_as(folder: Path) -> None:
    log = pl.DataFrame(
        {
            "request_id": [1, 2],
            "model_version": ["v1", "v1"],
            "prediction": [True, False],
            "probability_false": [0.25, 0.75],
            "probability_true": [0.75, 0.25],
        }
    )
    log.write_parquet("log.parquet")
    pl.DataFrame({"id": ["1", "2"], "bought": [True, True]}).rename({"id": "request_id"}).write_parquet("o.parquet")
    answers = read_answers("log.parquet", "o.parquet", on="request_id", target="bought")
    assert answers.versions["v1"].truth.tolist() == [1, 1]
    assert answers.versions["v1"].prediction.tolist() == [1, 0]
    assert answers.versions["v1"].served == 2


def test_numbers(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    log = {"order": ["a", "b", "a"], "model_version": ["v1"] * 3, "prediction": [1.5, 2.5, 9.0]}
    pl.DataFrame(log).write_csv("log.csv")
    pl.DataFrame({"order": ["a", "b", "c"], "price": [1, 2, None]}).write_csv("o.csv")
    answers = read_answers("log.csv", "o.csv", on="order", target="price")
    assert answers.classes == ()
    assert answers.versions["v1"].truth.tolist() == [1.0, 2.0]
    assert answers.versions["v1"].prediction.tolist() == [1.5, 2.5]
    assert answers.versions["v1"].probabilities is None
    assert [record.message for record in caplog.records] == [
        "log.csv: 1 second answer of a version left out.",
        "o.csv: 1 row without an outcome left out.",
    ]


@pytest.mark.parametrize(
    ("log", "outcomes", "target", "sentence"),
    [
        ({}, {}, "bougth", r"^outcomes\.csv has no column 'bougth'\. Did you mean 'bought'\?$"),
        ({"request_id": None}, {}, "bought", r"^log\.parquet has no column 'request_id'\."),
        ({}, {"bought": ["yes", "maybe", "no", "no"]}, "bought", r"'bought' is 'maybe', which is no class of the log"),
        ({}, {"request_id": ["a", "b", "b", "z"]}, "bought", r"has several rows whose 'request_id' is 'b'"),
        ({}, {"request_id": ["k", "l", "m", "n"]}, "bought", r"^No 'request_id' of outcomes\.csv is one of log\.parq"),
        (
            {"prediction": ["yes"] * 7},
            {},
            "bought",
            r"^log\.parquet has no 'probability_no' in some answers of version v2\.$",
        ),
        ({"prediction": [["red"]] * 7}, {}, "bought", r"^log\.parquet is of a model with several labels"),
        (
            {"probability_no": None, "probability_yes": None},
            {},
            "bought",
            r"^outcomes\.csv: 'bought' has 'yes', which is no number; the log has no probabilities of classes\.$",
        ),
    ],
)
def test_what_does_not_fit_is_one_sentence(
    folder: Path, log: dict[str, list[str] | None], outcomes: dict[str, list[str]], target: str, sentence: str
) -> None:
    frame = pl.read_parquet("log.parquet")
    for name, values in log.items():
        frame = frame.drop(name) if values is None else frame.with_columns(pl.Series(name, values))
    frame.write_parquet("log.parquet")
    pl.read_csv("outcomes.csv").with_columns(pl.Series(k, v) for k, v in outcomes.items()).write_csv("outcomes.csv")
    with pytest.raises(DataError, match=sentence):
        read_answers("log.parquet", "outcomes.csv", on="request_id", target=target)
