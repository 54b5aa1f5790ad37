"""The schemas of the OpenAPI document: the bundle's questions and answers, MLflow's forms and those of the v2 protocol.

The forms of `POST /predict` are those of `mlpipe.serving.protocol`; the Open Inference Protocol is
<https://github.com/open-inference/open-inference-protocol>, version 2.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlpipe.features.target import label_text
from mlpipe.schema import Schema, Task, TaskKind
from mlpipe.serving.columns import JsonSchema, described, samples_of, value_schema

PROBABILITY: JsonSchema = {"type": "number", "minimum": 0, "maximum": 1}
#: What a cell of a table may be, apart from its column.
CELL: JsonSchema = {"type": ["string", "number", "boolean", "null"]}
DATATYPES = [
    "BOOL", *(f"{kind}{bits}" for kind in ("UINT", "INT") for bits in (8, 16, 32, 64)), "FP16", "FP32", "FP64", "BYTES",
]  # fmt: skip


def ref(name: str) -> JsonSchema:
    """A reference to one of the schemas."""
    return {"$ref": f"#/components/schemas/{name}"}


def schemas(
    schema: Schema,
    sample: Mapping[str, Any],
    ranges: Mapping[str, tuple[float, float]],
    categories: Mapping[str, Sequence[str]],
    level: float | None,
) -> dict[str, JsonSchema]:
    """All schemas by name; see `mlpipe.serving.openapi.openapi` for the arguments."""
    return {
        **_questions(schema, sample, ranges, categories),
        **_answers(schema.task, level),
        **_mlflow(),
        **_inference_protocol(),
        **_errors(),
    }


def record(properties: Mapping[str, Any], *optional: str, **more: Any) -> JsonSchema:
    """An object whose properties are all required but for those named."""
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": dict(properties), "required": required, **more}


def array(items: JsonSchema, **more: Any) -> JsonSchema:
    """A list of things of one kind."""
    return {"type": "array", "items": items, **more}


def _questions(
    schema: Schema,
    sample: Mapping[str, Any],
    ranges: Mapping[str, tuple[float, float]],
    categories: Mapping[str, Sequence[str]],
) -> dict[str, JsonSchema]:
    values = samples_of(schema.features, sample)
    fields: dict[str, JsonSchema] = {
        column.name: described(column, values[column.name], ranges.get(column.name), categories.get(column.name, ()))
        for column in schema.features
    }
    ignored = {
        column.name: {"description": "Ignored: no feature of the model."}
        for column in schema
        if column.name not in fields
    }
    places = [{"title": c.name, **value_schema(c, values[c.name])} for c in schema.features]
    exact = {"minItems": len(places), "maxItems": len(places)}
    return {
        "Row": record(
            {**fields, **ignored},
            *ignored,
            additionalProperties=False,
            description="Raw: as it stands in the training file. Every feature has to be given; null is a value. "
            "Values outside of what training has seen are answered too.",
            examples=[values],
        ),
        "Values": {
            "type": "array",
            "prefixItems": places,
            **exact,
            "description": f"The values alone, in this order: {', '.join(values)}.",
        },
        "Question": {
            "anyOf": [
                {"title": "One row", **ref("Row")},
                {"title": "Several rows", **array(ref("Row"))},
                record(
                    {"features": {"anyOf": [ref("Values"), array(ref("Values"))]}},
                    title="Values alone",
                    additionalProperties=False,
                ),
            ]
        },
    }


def _answers(task: Task, level: float | None) -> dict[str, JsonSchema]:
    answer = _answer(task, level)
    version = {"type": "string", "description": "The bundle that answered."}
    single = {**answer, "properties": {**answer["properties"], "model_version": version}}
    single["required"] = [*answer["required"], "model_version"]
    return {
        "RowAnswer": answer,
        "Answer": single,
        "Answers": record({"predictions": array(ref("RowAnswer")), "model_version": version}),
    }


def _answer(task: Task, level: float | None) -> JsonSchema:
    if task.kind is TaskKind.REGRESSION:
        share = "the" if level is None else f"a share of {level:.4g} of the"
        bound = {"type": "number", "description": f"Of the interval that is made to hold {share} targets."}
        properties = {
            "prediction": {"type": "number", "description": f"{task.target[0]}, in its own unit."},
            "lower": bound,
            "upper": bound,
        }
        return record(properties, *(("lower", "upper") if level is None else ()))
    names = [str(label_text(label)) for label in task.classes]
    probabilities = record(dict.fromkeys(names, PROBABILITY), additionalProperties=False)
    if task.kind is TaskKind.MULTILABEL:
        chosen = array({"enum": names}, description="The labels whose probability is above one half.")
        return record({"prediction": chosen, "probabilities": probabilities})
    label = {"enum": list(task.classes), "description": f"{task.target[0]}, as the training file has it."}
    confidence = {**PROBABILITY, "description": "The probability of the prediction."}
    return record({"prediction": label, "probabilities": probabilities, "confidence": confidence})


def _mlflow() -> dict[str, JsonSchema]:
    by_row = {"anyOf": [array(ref("Row")), array(ref("Values"))]}
    by_column = {"type": "object", "additionalProperties": array(CELL), "description": "Values by column."}
    split = {
        "columns": array({"type": "string"}),
        "data": array(array(CELL)),
        "index": array({"type": ["integer", "string"]}),
    }
    bodies = {
        "dataframe_split": record(split, "index"),
        "dataframe_records": array(ref("Row")),
        "instances": by_row,
        "inputs": {"anyOf": [by_column, *by_row["anyOf"]]},
    }
    return {"Invocation": {"oneOf": [record({name: body}, title=name) for name, body in bodies.items()]}}


def _inference_protocol() -> dict[str, JsonSchema]:
    name, text = {"type": "string"}, {"type": "string"}
    datatype = {"type": "string", "enum": DATATYPES}
    shape = array({"type": "integer", "minimum": -1})
    parameters = {"type": "object"}
    data = array(CELL, description="In row-major order; one value for each row of the question.")
    tensor = {"name": name, "shape": shape, "datatype": datatype, "data": data, "parameters": parameters}
    described_tensor = {"name": name, "shape": shape, "datatype": datatype}
    asked = record({"name": name, "parameters": parameters}, "parameters")
    request = {"id": text, "parameters": parameters, "inputs": array(ref("Tensor")), "outputs": array(asked)}
    response = {
        "model_name": text,
        "model_version": text,
        "id": text,
        "parameters": parameters,
        "outputs": array(ref("Tensor")),
    }
    metadata = {
        "name": text,
        "versions": array(text),
        "platform": text,
        "inputs": array(record(described_tensor)),
        "outputs": array(record(described_tensor)),
    }
    return {
        "Tensor": record(tensor, "parameters", description="One column; `BYTES` are texts."),
        "InferRequest": record(request, "id", "parameters", "outputs"),
        "InferResponse": record(response, "model_version", "id", "parameters"),
        "ModelMetadata": record(metadata, "versions"),
        "ServerMetadata": record({"name": text, "version": text, "extensions": array(text)}),
    }


def _errors() -> dict[str, JsonSchema]:
    place = {"anyOf": [{"type": "string"}, {"type": "integer"}]}
    fault = {
        "type": {"type": "string", "description": "The kind of fault, for programs."},
        "loc": array(place, description="The way to the fault: body, the row's index if there are several, the field."),
        "msg": {"type": "string", "description": "One sentence, for people."},
    }
    detail = {"anyOf": [array(ref("Fault")), {"type": "string"}]}
    return {"Fault": record(fault), "Error": record({"detail": detail})}
