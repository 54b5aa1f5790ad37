"""MLflow's and the Open Inference Protocol's bodies give the same rows as `/predict`'s."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind
from mlpipe.serving import inference, invocations
from mlpipe.serving.protocol import RequestError, Rules

SCHEMA = Schema(
    (Column("age", Kind.NUMERIC), Column("job", Kind.CATEGORICAL), Column("y", Kind.BOOLEAN, Role.TARGET)),
    Task(TaskKind.BINARY, ("y",), (False, True)),
)
RULES = Rules(SCHEMA)
ROWS = [(39, "clerk"), (None, "smith")]
RECORDS = [{"age": 39, "job": "clerk"}, {"age": None, "job": "smith"}]


def dumped(payload: Any) -> bytes:
    return json.dumps(payload).encode()


@pytest.mark.parametrize(
    "payload",
    [
        {"dataframe_split": {"columns": ["job", "age"], "data": [["clerk", 39], ["smith", None]], "index": [0, 1]}},
        {"dataframe_records": RECORDS},
        {"instances": RECORDS},
        {"instances": [[39, "clerk"], [None, "smith"]]},
        {"inputs": RECORDS},
        {"inputs": {"age": [39, None], "job": ["clerk", "smith"]}, "params": {}},
    ],
)
def test_every_form_of_mlflow_gives_the_rows(payload: Any) -> None:
    query = invocations.parse(dumped(payload), RULES)
    assert [tuple(row) for row in query.rows] == ROWS
    assert not query.single


@pytest.mark.parametrize(
    ("payload", "loc", "words"),
    [
        ([], ["body"], "dataframe_split, dataframe_records, instances, inputs"),
        ({"dataframe_recors": []}, ["body"], "Did you mean 'dataframe_records'?"),
        ({"instances": 3}, ["body", "instances"], "a list of rows"),
        ({"instances": [{"age": 1}]}, ["body", "instances", 0, "job"], "is missing"),
        ({"dataframe_split": {"columns": ["age"]}}, ["body", "dataframe_split"], "'columns' and 'data'"),
        ({"dataframe_split": {"columns": ["age", 3], "data": []}}, ["body", "dataframe_split", "columns"], "names"),
        ({"dataframe_split": {"columns": ["age"], "data": [[1, 2]]}}, ["body", "dataframe_split", "data", 0], "Row 0"),
        ({"inputs": {"age": [1], "job": []}}, ["body", "inputs"], "the same length"),
    ],
)
def test_what_mlflow_would_not_send_is_led_back(payload: Any, loc: list[Any], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        invocations.parse(dumped(payload), RULES)
    assert caught.value.detail[0]["loc"] == loc
    assert words in caught.value.detail[0]["msg"]


def tensors(**changes: Any) -> dict[str, Any]:
    ages = {"name": "age", "shape": [2], "datatype": "FP64", "data": [39, None]}
    jobs = {"name": "job", "shape": [2, 1], "datatype": "BYTES", "data": [["clerk"], ["smith"]]}
    return {"id": "7", "inputs": [{**ages, **changes}, jobs]}


def test_tensors_give_the_rows() -> None:
    query, name = inference.parse(dumped(tensors()), RULES)
    assert (query.rows, name) == (ROWS, "7")


@pytest.mark.parametrize(
    ("payload", "loc", "words"),
    [
        ({}, ["body"], "a list of 'inputs'"),
        ({"inputs": []}, ["body", "inputs"], "The input 'age' is missing."),
        ({"inputs": [3]}, ["body", "inputs", 0], "an object with a 'name'"),
        ({"inputs": [], "id": 3}, ["body", "id"], "text"),
        (tensors(datatype="FP65"), ["body", "inputs", 0, "datatype"], "Did you mean 'FP64'?"),
        (tensors(data=3), ["body", "inputs", 0, "data"], "no list"),
        (tensors(shape=[3]), ["body", "inputs", 0, "shape"], "does not fit its 2 values"),
        (tensors(data=[1], shape=[1]), ["body", "inputs"], "age has 1, job has 2"),
        (tensors(name="job"), ["body", "inputs", 1, "name"], "given twice"),
        (tensors(name="agee"), ["body", "inputs", 0, "agee"], "Did you mean 'age'?"),
    ],
)
def test_tensors_that_do_not_fit_are_led_back(payload: Any, loc: list[Any], words: str) -> None:
    with pytest.raises(RequestError) as caught:
        inference.parse(dumped(payload), RULES)
    assert caught.value.detail[0]["loc"] == loc
    assert words in caught.value.detail[0]["msg"]


def test_answers_are_tensors_whose_shapes_fit() -> None:
    shares = {"false": 0.25, "true": 0.75}
    records = [{"prediction": True, "probabilities": shares, "confidence": 0.75}] * 3
    told = inference.answer(records, SCHEMA, "m", "v", "7")
    assert (told["model_name"], told["model_version"], told["id"]) == ("m", "v", "7")
    outputs = {output["name"]: output for output in told["outputs"]}
    assert outputs["prediction"] == {"name": "prediction", "datatype": "BOOL", "shape": [3], "data": [True] * 3}
    assert outputs["probabilities"]["shape"] == [3, 2]
    assert outputs["probabilities"]["data"] == [0.25, 0.75] * 3
    assert [o["name"] for o in inference.metadata(SCHEMA, "m", ["v"], interval=False)["outputs"]] == list(outputs)


def test_several_labels_are_a_truth_value_each() -> None:
    schema = Schema(SCHEMA.columns[:2], Task(TaskKind.MULTILABEL, ("a", "b"), ("a", "b")))
    records = [{"prediction": ["b"], "probabilities": {"a": 0.1, "b": 0.9}}]
    prediction = inference.answer(records, schema, "m", "v", None)["outputs"][0]
    assert prediction == {"name": "prediction", "datatype": "BOOL", "shape": [1, 2], "data": [False, True]}


def test_intervals_are_outputs_too() -> None:
    schema = Schema(SCHEMA.columns[:2], Task(TaskKind.REGRESSION, ("p",)))
    told = inference.answer([{"prediction": 2.0, "lower": 1.0, "upper": 4.0}], schema, "m", "v", None)
    assert [(output["name"], output["data"]) for output in told["outputs"]] == [
        ("prediction", [2.0]),
        ("lower", [1.0]),
        ("upper", [4.0]),
    ]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(["age", "job", "name", "shape", "datatype", "data", "columns"]), inner)
    ),
    max_leaves=8,
)


@given(JSON, st.sampled_from([invocations.parse, inference.parse]))
def test_any_content_is_rows_or_a_fault(content: Any, read: Any) -> None:
    for form in invocations.FORMS:
        faults = []
        try:
            read(dumped({form: content}), RULES)
        except RequestError as error:
            faults = error.detail
        assert all(fault["loc"][0] == "body" and fault["msg"] for fault in faults)
