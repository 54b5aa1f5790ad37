"""The document is valid OpenAPI, its examples and the answers are of the schemas that it gives, whatever the names."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from jsonschema import Draft202012Validator
from openapi_spec_validator import OpenAPIV31SpecValidator

from mlpipe.bundle.ensemble import read_contents
from mlpipe.features.calibration import Calibration, Interval
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind
from mlpipe.serving.engine import Served, work
from mlpipe.serving.openapi import openapi
from mlpipe.serving.settings import Checks
from mlpipe.serving.wire import Kind as Asked
from mlpipe.serving.wire import Question

CARD = "# A card\n\n<b>Not</b> HTML\n"


def conforms(instance: Any, name: str, document: dict[str, Any]) -> bool:
    """Whether a value is of a schema of the document."""
    schema = {"$ref": f"#/components/schemas/{name}", "components": document["components"]}
    return Draft202012Validator(schema).is_valid(instance)


@pytest.mark.parametrize(
    ("kind", "interval"),
    [*((kind, None) for kind in TaskKind), (TaskKind.REGRESSION, Interval(0.9, margin=2.0))],
    ids=str,
)
def test_the_document_is_valid_and_answers_are_as_it_says(
    fitted: Callable[..., Any], kind: TaskKind, interval: Interval | None, tmp_path: Path
) -> None:
    bundle = fitted(kind).write(tmp_path / "bundle", calibration=Calibration(interval=interval), model_card=CARD)
    served = Served.of(read_contents(bundle), "shop", Checks())
    (told,) = work([Question(Asked.OPENAPI, b"")], [served]).answers
    document = json.loads(told.body)
    OpenAPIV31SpecValidator(document).validate()
    assert document["info"]["description"] == CARD
    assert document["info"]["x-model-version"] == served.version

    posts = [(path, item["post"]) for path, item in document["paths"].items() if "post" in item]
    forms = {"predict": Asked.PREDICT, "invocations": Asked.INVOCATIONS, "infer": Asked.INFER}
    for path, operation in posts:
        body = operation["requestBody"]["content"]["application/json"]
        question, answer = (
            body["schema"]["$ref"].rsplit("/")[-1],
            operation["responses"]["200"]["content"]["application/json"]["schema"],
        )
        for example in body["examples"].values():
            assert conforms(example["value"], question, document)
            asked = Question(forms[path.rsplit("/")[-1]], orjson.dumps(example["value"]))
            (told,) = work([asked], [served]).answers
            assert told.status == 200
            checked = {**answer, "components": document["components"]}
            Draft202012Validator(checked).validate(json.loads(told.body))
    (refused,) = work([Question(Asked.PREDICT, b"{}")], [served]).answers
    assert conforms(json.loads(refused.body), "Error", document)
    assert not conforms({}, "Row", document)
    assert conforms({"prediction": 1.0, "model_version": "x"}, "Answer", document) == (
        kind is TaskKind.REGRESSION and interval is None
    )


NAMES = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=20) | st.sampled_from(
    ["__proto__", "7", "<img src=x onerror=alert(1)>", "a/b~c", "$ref", "{name}", "'\"`", "features"]
)


@settings(max_examples=20, deadline=None)
@given(
    columns=st.lists(NAMES, min_size=1, max_size=4, unique=True),
    classes=st.lists(NAMES.filter(lambda name: name.strip() == name), min_size=2, max_size=4, unique=True),
)
def test_names_stand_as_they_are(columns: list[str], classes: list[str]) -> None:
    features = tuple(Column(name, Kind.CATEGORICAL) for name in columns)
    target = Column("".join(columns) + "!", Kind.CATEGORICAL, Role.TARGET)
    schema = Schema((*features, target), Task(TaskKind.MULTICLASS, (target.name,), tuple(classes)))
    sample = dict.fromkeys(columns, "<b>")
    document = openapi(
        schema,
        sample=sample,
        ranges={},
        categories=dict.fromkeys(columns, classes),
        version="1",
        model_name="shop",
        model_version="2",
        card=CARD,
    )
    read = json.loads(orjson.dumps(document))
    OpenAPIV31SpecValidator(read).validate()
    assert read["components"]["schemas"]["Row"]["required"] == columns
    assert conforms(sample, "Row", read)
    shares = {name: 1 / len(classes) for name in classes}
    answer = {"prediction": classes[0], "probabilities": shares, "confidence": 0.5, "model_version": "2"}
    assert conforms(answer, "Answer", read)
