"""The bodies that `POST /predict` takes, and the sentences for those that it doesn't."""

from __future__ import annotations

import json
from typing import Any

import polars as pl
import pytest

from mlpipe.errors import InputError
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind
from mlpipe.serving.protocol import MAX_FAULTS, Query, RequestError, answer, parse

SCHEMA = Schema(
    columns=(
        Column("id", Kind.IDENTIFIER, Role.IDENTIFIER),
        Column("age", Kind.NUMERIC),
        Column("job", Kind.CATEGORICAL, nullable=False),
        Column("y", Kind.BOOLEAN, Role.TARGET),
    ),
    task=Task(TaskKind.BINARY, ("y",), (False, True)),
)
ROW = {"age": 39, "job": "clerk"}


def parsed(payload: Any, schema: Schema = SCHEMA) -> Query:
    return parse(json.dumps(payload).encode(), schema)


def detail(body: Any) -> list[dict[str, Any]]:
    """The faults of a body given as JSON values or as bytes."""
    with pytest.raises(RequestError) as caught:
        parse(body if isinstance(body, bytes) else json.dumps(body).encode(), SCHEMA)
    return caught.value.detail


@pytest.mark.parametrize(
    ("payload", "rows", "single"),
    [
        (ROW, [ROW], True),
        ([ROW, {**ROW, "age": None}], [ROW, {**ROW, "age": None}], False),
        ([ROW], [ROW], False),
        ([], [], False),
        ({"features": [39, "clerk"]}, [ROW], True),
        ({"features": [[39, "clerk"], [2.5, None]]}, [ROW, {"age": 2.5, "job": None}], False),
        ({"features": []}, [], False),
        ({**ROW, "id": 7, "y": True}, [ROW], True),
    ],
)
def test_every_form_of_a_body_gives_its_rows(payload: Any, rows: list[dict[str, Any]], single: bool) -> None:
    query = parsed(payload)
    assert query.rows == rows
    assert query.single is single


def test_a_column_called_features_does_not_get_in_the_way() -> None:
    schema = Schema((Column("features", Kind.NUMERIC),), SCHEMA.task)
    assert parsed({"features": 3}, schema).rows == [{"features": 3}]
    assert parsed({"features": [3]}, schema).rows == [{"features": 3}]


@pytest.mark.parametrize(
    ("body", "kind", "loc", "message"),
    [
        ({**ROW, "agee": 1}, "extra_forbidden", ["body", "agee"], "unknown field 'agee'. Did you mean 'age'?"),
        ([ROW, {"age": 1}], "missing", ["body", 1, "job"], "Row 1: the field 'job' is missing"),
        ({"age": 1}, "missing", ["body", "job"], "the field 'job' is missing; null is allowed"),
        ({"age": [1], "job": "x"}, "value_error", ["body", "age"], "'age' holds an object or a list"),
        ([{**ROW, "job": {}}], "value_error", ["body", 0, "job"], "Row 0: the field 'job' holds an object"),
        ({"features": [1]}, "list_type", ["body", "features"], "has 1 values; there are 2 features: age, job."),
        ({"features": [[1, 2], 3]}, "list_type", ["body", "features", 1], "Row 1: has no list"),
        ({"features": [[{}, 2]]}, "value_error", ["body", "features", 0, "age"], "Row 0: the field 'age'"),
        ([ROW, 3], "dict_type", ["body", 1], "Row 1 is not an object"),
        (3, "dict_type", ["body"], "has to be a row, a list of rows"),
        (None, "dict_type", ["body"], "has to be a row, a list of rows"),
        (b'{"age": NaN, "job": "x"}', "json_invalid", ["body"], "NaN is no JSON number"),
        (b'{"age": -Infinity, "job": "x"}', "json_invalid", ["body"], "-Infinity is no JSON number"),
        (b'{"age": 1e999, "job": "x"}', "value_error", ["body", "age"], "is too large a number"),
        (b'{"age": 1' + b"0" * 400 + b', "job": "x"}', "value_error", ["body", "age"], "is too large a number"),
        (b'{"age": 1, "job": "\\ud800"}', "value_error", ["body", "job"], "is no text"),
        (b"{", "json_invalid", ["body"], "is not valid JSON"),
        (b"", "json_invalid", ["body"], "is not valid JSON"),
        (b"\xff\xfe\xfa", "json_invalid", ["body"], "is not valid JSON"),
        (b"[" * 100_000, "json_invalid", ["body"], "is not valid JSON"),
        (b"age=39&job=clerk", "json_invalid", ["body"], "is not valid JSON"),
    ],
)
def test_a_wrong_body_is_led_back_to_the_field(body: Any, kind: str, loc: list[Any], message: str) -> None:
    (fault,) = detail(body)
    assert (fault["type"], fault["loc"]) == (kind, loc)
    assert message in fault["msg"]


def test_all_faults_are_told_at_once_but_not_without_end() -> None:
    assert [fault["loc"] for fault in detail([{"agee": 1}, ROW, {"age": 1}])] == [
        ["body", 0, "agee"],
        ["body", 0, "age"],
        ["body", 0, "job"],
        ["body", 2, "job"],
    ]
    assert len(detail([{}] * 1000)) == MAX_FAULTS


def test_an_error_of_preprocessing_is_led_back_too() -> None:
    error = InputError("Row 1: bad", field="age", row=1)
    assert parsed([ROW, ROW]).fault(error).detail[0]["loc"] == ["body", 1, "age"]
    assert parsed({"features": [[1, 2], [3, 4]]}).fault(error).detail[0]["loc"] == ["body", "features", 1, "age"]
    assert parsed(ROW).fault(InputError("bad", field="age", row=0)).detail[0]["loc"] == ["body", "age"]
    assert parsed(ROW).fault(InputError("bad")).detail[0]["loc"] == ["body"]


def test_the_answer_has_the_form_of_the_question() -> None:
    predictions = pl.DataFrame(
        {
            "prediction": [True, False],
            "probability_False": [0.25, 0.5],
            "probability_True": [0.75, 0.5],
            "confidence": 0.5,
        }
    )
    first = {"prediction": True, "probabilities": {"False": 0.25, "True": 0.75}, "confidence": 0.5}
    assert answer(parsed(ROW), predictions[:1], "v1") == {**first, "model_version": "v1"}
    several = answer(parsed([ROW, ROW]), predictions, "v1")
    assert several["model_version"] == "v1"
    assert several["predictions"][0] == first
    assert [row["prediction"] for row in several["predictions"]] == [True, False]
    assert answer(parsed([]), predictions[:0], "v1") == {"predictions": [], "model_version": "v1"}


def test_regression_answers_a_number_only() -> None:
    assert answer(parsed(ROW), pl.DataFrame({"prediction": [1.5]}), "v1") == {"prediction": 1.5, "model_version": "v1"}


def test_multilabel_answers_a_list_of_names() -> None:
    predictions = pl.DataFrame({"prediction": [["a"]], "probability_a": [0.75], "probability_b": [0.25]})
    assert answer(parsed(ROW), predictions, "v1") == {
        "prediction": ["a"],
        "probabilities": {"a": 0.75, "b": 0.25},
        "model_version": "v1",
    }
