"""The bodies that `POST /predict` takes, and the sentences for those that it doesn't."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpipe.errors import InputError
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind
from mlpipe.serving.protocol import MAX_FAULTS, Query, RequestError, Rules, answer, parse

SCHEMA = Schema(
    columns=(
        Column("id", Kind.IDENTIFIER, Role.IDENTIFIER),
        Column("age", Kind.NUMERIC),
        Column("job", Kind.CATEGORICAL, nullable=False),
        Column("y", Kind.BOOLEAN, Role.TARGET),
    ),
    task=Task(TaskKind.BINARY, ("y",), (False, True)),
)
RULES = Rules(SCHEMA)
ROW = {"age": 39, "job": "clerk"}


def parsed(payload: Any, rules: Rules = RULES) -> Query:
    return parse(json.dumps(payload).encode(), rules)


def detail(body: Any, rules: Rules = RULES) -> list[dict[str, Any]]:
    """The faults of a body given as JSON values or as bytes."""
    with pytest.raises(RequestError) as caught:
        parse(body if isinstance(body, bytes) else json.dumps(body).encode(), rules)
    return caught.value.detail


@pytest.mark.parametrize(
    ("payload", "rows", "single"),
    [
        (ROW, [(39, "clerk")], True),
        ([ROW, {**ROW, "age": None}], [(39, "clerk"), (None, "clerk")], False),
        ([ROW], [(39, "clerk")], False),
        ([], [], False),
        ({"features": [39, "clerk"]}, [[39, "clerk"]], True),
        ({"features": [[39, "clerk"], [2.5, None]]}, [[39, "clerk"], [2.5, None]], False),
        ({"features": []}, [], False),
        ({**ROW, "id": 7, "y": True}, [(39, "clerk")], True),
    ],
)
def test_every_form_of_a_body_gives_its_rows(payload: Any, rows: list[Any], single: bool) -> None:
    query = parsed(payload)
    assert query.rows == rows
    assert query.single is single


def test_a_column_called_features_does_not_get_in_the_way() -> None:
    rules = Rules(Schema((Column("features", Kind.NUMERIC),), SCHEMA.task))
    assert parsed({"features": 3}, rules).rows == [(3,)]
    assert parsed({"features": [3]}, rules).rows == [[3]]


def test_unknown_fields_may_be_ignored() -> None:
    rules = Rules(SCHEMA, unknown="ignore")
    assert parsed({**ROW, "agee": 1}, rules).rows == [(39, "clerk")]
    assert [fault["loc"] for fault in detail({"agee": 1, "job": "x"}, rules)] == [["body", "age"]]


def test_numbers_may_be_held_to_ranges() -> None:
    rules = Rules(SCHEMA, ranges={"age": (0.0, 120.0)})
    assert parsed([ROW, {**ROW, "age": None}], rules).rows == [(39, "clerk"), (None, "clerk")]
    (fault,) = detail([ROW, {**ROW, "age": 121}], rules)
    assert fault["loc"] == ["body", 1, "age"]
    assert fault["msg"] == "Row 1: the field 'age' is 121; it has to be from 0 to 120."


@pytest.mark.parametrize(
    ("body", "kind", "loc", "message"),
    [
        ({**ROW, "agee": 1}, "extra_forbidden", ["body", "agee"], "unknown field 'agee'. Did you mean 'age'?"),
        ([ROW, {"age": 1}], "missing", ["body", 1, "job"], "Row 1: the field 'job' is missing"),
        ({"age": 1}, "missing", ["body", "job"], "the field 'job' is missing; null is allowed"),
        ({"age": [1], "job": "x"}, "value_error", ["body", "age"], "'age' holds an object or a list"),
        ([{**ROW, "job": {}}], "value_error", ["body", 0, "job"], "Row 0: the field 'job' holds an object"),
        ({"features": [1]}, "list_type", ["body", "features"], "1 values; there are 2 features: age, job."),
        ({"features": [[1, 2], 3]}, "list_type", ["body", "features", 1], "Row 1: no list"),
        ({"features": [[{}, 2]]}, "value_error", ["body", "features", 0, "age"], "Row 0: the field 'age'"),
        ([ROW, 3], "dict_type", ["body", 1], "Row 1: not an object"),
        (3, "dict_type", ["body"], "has to be a row, a list of rows"),
        (None, "dict_type", ["body"], "has to be a row, a list of rows"),
        (b'{"age": NaN, "job": "x"}', "json_invalid", ["body"], "is not valid JSON"),
        (b'{"age": -Infinity, "job": "x"}', "json_invalid", ["body"], "is not valid JSON"),
        (b'{"age": 1e999, "job": "x"}', "json_invalid", ["body"], "number is infinity"),
        (b'{"age": 1' + b"0" * 400 + b', "job": "x"}', "json_invalid", ["body"], "number is infinity"),
        (b'{"age": 1, "job": "\\ud800"}', "json_invalid", ["body"], "no low surrogate"),
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
    error = InputError("bad", field="age", row=1)
    told = parsed([ROW, ROW]).fault(error)
    assert (told["loc"], told["msg"]) == (["body", 1, "age"], "Row 1: the field 'age': bad.")
    assert parsed({"features": [[1, 2], [3, 4]]}).fault(error)["loc"] == ["body", "features", 1, "age"]
    assert parsed(ROW).fault(error.at(0)) == {
        "type": "value_error",
        "loc": ["body", "age"],
        "msg": "the field 'age': bad.",
    }
    assert parsed(ROW).fault(InputError("bad", row=0))["loc"] == ["body"]


def test_the_answer_has_the_form_of_the_question() -> None:
    records = [{"prediction": True, "confidence": 0.75}, {"prediction": False, "confidence": 0.5}]
    assert answer(parsed(ROW), records[:1], "v1") == {**records[0], "model_version": "v1"}
    assert answer(parsed([ROW, ROW]), records, "v1") == {"predictions": records, "model_version": "v1"}
    assert answer(parsed([ROW]), records[:1], "v1")["predictions"] == records[:1]
    assert answer(parsed([]), [], "v1") == {"predictions": [], "model_version": "v1"}


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["age", "job", "features", "x"]), inner)
    ),
    max_leaves=8,
)


@given(JSON | st.binary())
def test_any_body_is_rows_or_a_fault_with_a_place(payload: Any) -> None:
    faults, query = [], None
    try:
        query = parse(payload if isinstance(payload, bytes) else json.dumps(payload).encode(), RULES)
    except RequestError as error:
        faults = error.detail
    assert bool(faults) is (query is None)
    assert all(fault["loc"][0] == "body" and fault["msg"] for fault in faults)
    assert query is None or all(len(row) == 2 for row in query.rows)
    assert query is None or not query.single or len(query.rows) == 1


def test_names_are_looked_at_once_however_many_rows_have_more_than_the_features(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks: list[int] = []

    def look(records: list[Any], query: Query, rules: Rules) -> None:
        looks.append(len(records))

    monkeypatch.setattr("mlpipe.serving.protocol._check_names", look)
    assert len(parsed([{**ROW, "id": index} for index in range(50)]).rows) == 50
    assert looks == [50]


def test_a_field_that_only_the_last_row_lacks_or_has_too_many_is_found() -> None:
    rows: list[dict[str, Any]] = [{**ROW, "id": index} for index in range(3)]
    assert detail([*rows, {"age": 1, "id": 3}])[0]["loc"] == ["body", 3, "job"]
    assert detail([*rows, {**ROW, "odd": 3}])[0]["loc"] == ["body", 3, "odd"]
