"""The server's OpenAPI document, with the bundle's own columns and classes, and examples that work when pasted.

OpenAPI 3.1, whose schemas are JSON Schema of 2020-12.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from mlpipe.schema import Schema
from mlpipe.serving.columns import JsonSchema, samples_of
from mlpipe.serving.components import ref, schemas

#: The ways in which an answer fails, and the sentence that says why.
FAULTS = {
    400: "The request is not HTTP as the server understands it.",
    401: "The key is missing or wrong.",
    404: "There is no such model, or no such version of it.",
    405: "The address takes another method, which `Allow` names.",
    408: "The body took too long to arrive.",
    413: "The body is too large.",
    415: "The body's type or encoding is not JSON.",
    422: "The body is no row, or a value does not fit its column; `loc` leads to the fault.",
    429: "Too many requests; come back after `Retry-After` seconds.",
    502: "The process that worked on the request died; try again.",
    503: "Not ready, or too busy; come back after `Retry-After` seconds.",
    504: "The answer took too long.",
}
_OF_ANY_REQUEST = (401, 405, 429)
_OF_A_PREDICTION = tuple(status for status in FAULTS if status != 404)
_PATH_PARAMETERS = {"name": "The model's name.", "version": "The model's version, as in `model_version`."}


def openapi(
    schema: Schema,
    *,
    sample: Mapping[str, Any],
    ranges: Mapping[str, tuple[float, float]],
    categories: Mapping[str, Sequence[str]],
    version: str,
    model_name: str,
    model_version: str,
    card: str,
    level: float | None = None,
) -> dict[str, Any]:
    """The document, as plain JSON values.

    Args:
        schema: The bundle's.
        sample: The bundle's sample request, one raw row.
        ranges: The least and the largest training value by column, as far as they are known.
        categories: The training categories by column, as far as they are known; see `mlpipe.serving.choices`.
        version: mlpipe's.
        model_name: Under which the model is served.
        model_version: The bundle's.
        card: The model card, Markdown; it is the document's description.
        level: Regression with an interval: the share of rows whose target it is to hold.
    """
    target = ", ".join(schema.task.target)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": f"Predictions of {target}",
            "version": version,
            "summary": f"A model of the task {schema.task.kind.value}, version {model_version}, "
            f"served by mlpipe {version}.",
            "description": card,
            "x-model-version": model_version,
        },
        "security": [{}, {"bearer": []}],
        "paths": {
            "/predict": {"post": _predict(schema, sample)},
            "/invocations": {"post": _invocations(schema, sample)},
            **_inference_protocol(schema, sample, {"name": model_name, "version": model_version}),
            **_operations(),
        },
        "components": {
            "schemas": schemas(schema, sample, ranges, categories, level),
            "responses": {str(status): _fault(status, sentence) for status, sentence in FAULTS.items()},
            "securitySchemes": {
                "bearer": {
                    "type": "http",
                    "scheme": "bearer",
                    "description": "Needed only if the server was started with keys.",
                }
            },
        },
    }


def example_rows(schema: Schema, sample: Mapping[str, Any]) -> dict[str, Any]:
    """The sample row in each form of `POST /predict`."""
    row = samples_of(schema.features, sample)
    return {"row": row, "rows": [row], "values": {"features": list(row.values())}}


def example_invocations(schema: Schema, sample: Mapping[str, Any]) -> dict[str, Any]:
    """The sample row in each form of `POST /invocations`."""
    row = samples_of(schema.features, sample)
    return {
        "dataframe_split": {"dataframe_split": {"columns": list(row), "data": [list(row.values())]}},
        "dataframe_records": {"dataframe_records": [row]},
        "instances": {"instances": [row]},
        "inputs": {"inputs": {name: [value] for name, value in row.items()}},
    }


def example_tensors(schema: Schema, sample: Mapping[str, Any]) -> dict[str, Any]:
    """The sample row as the Open Inference Protocol has it: a tensor for each column."""
    row = samples_of(schema.features, sample)
    return {"id": "1", "inputs": [_tensor(name, value) for name, value in row.items()]}


def _tensor(name: str, value: Any) -> dict[str, Any]:
    match value:
        case bool():
            datatype = "BOOL"
        case int() | float():
            datatype = "FP64"
        case _:
            datatype = "BYTES"
    return {"name": name, "shape": [1], "datatype": datatype, "data": [value]}


def _predict(schema: Schema, sample: Mapping[str, Any]) -> dict[str, Any]:
    answers = {"anyOf": [{"title": "Of one row", **ref("Answer")}, {"title": "Of several", **ref("Answers")}]}
    return _post(
        "predict",
        "Predict one row or several",
        _body(ref("Question"), example_rows(schema, sample)),
        "One row is answered by one answer, several by a list in their order.",
        answers,
    )


def _invocations(schema: Schema, sample: Mapping[str, Any]) -> dict[str, Any]:
    return _post(
        "invocations",
        "Predict, in the forms of MLflow's scoring server",
        _body(ref("Invocation"), example_invocations(schema, sample)),
        "The answers, in the order of the rows.",
        ref("Answers"),
    )


def _inference_protocol(schema: Schema, sample: Mapping[str, Any], model: Mapping[str, str]) -> dict[str, Any]:
    live, ready = {"live": {"type": "boolean"}}, {"ready": {"type": "boolean"}}
    paths: dict[str, Any] = {
        "/v2": {"get": _get("server_metadata", "The server's name and version", ref("ServerMetadata"))},
        "/v2/health/live": {"get": _get("server_live", "Whether the server runs", _state(live))},
        "/v2/health/ready": {"get": _get("server_ready", "Whether it can answer", _state(ready), 503)},
    }
    infer = _body(ref("InferRequest"), {"tensors": example_tensors(schema, sample)})
    named = {"name": {"type": "string"}, **ready}
    for base, suffix in (("/v2/models/{name}", ""), ("/v2/models/{name}/versions/{version}", "_of_version")):
        parameters = [_path_parameter(name, model[name]) for name in model if f"{{{name}}}" in base]
        operations = {
            "": {"get": _get(f"model_metadata{suffix}", "The model's columns and outputs", ref("ModelMetadata"), 404)},
            "/ready": {"get": _get(f"model_ready{suffix}", "Whether it can answer", _state(named), 404, 503)},
            "/infer": {
                "post": _post(
                    f"infer{suffix}",
                    "Predict, in the form of the Open Inference Protocol",
                    infer,
                    "A tensor for each output.",
                    ref("InferResponse"),
                    404,
                )
            },
        }
        paths |= {f"{base}{path}": {"parameters": parameters, **item} for path, item in operations.items()}
    return paths


def _operations() -> dict[str, Any]:
    ready, text = _state({"ready": {"type": "boolean"}}), {"type": "string"}
    counts = "Counts and times, in the text format of Prometheus"
    return {
        "/ping": {"get": _get("ping", "Whether the server can answer, for MLflow's clients", ready, 503)},
        "/health": {"get": _get("health", "Whether the server can answer", ready, 503)},
        "/version": {"get": _get("version", "The version of the server", _state({"mlpipe": text}))},
        "/metrics": {"get": _get("metrics", counts, text, media="text/plain")},
        "/openapi.json": {"get": _get("openapi", "This document", {"type": "object"})},
    }


def _post(
    name: str, summary: str, body: JsonSchema, described: str, answer: JsonSchema, *faults: int
) -> dict[str, Any]:
    return {
        "operationId": name,
        "summary": summary,
        "requestBody": body,
        "responses": {"200": _content(described, answer, "application/json"), **_faults(*_OF_A_PREDICTION, *faults)},
    }


def _get(name: str, summary: str, answer: JsonSchema, *faults: int, media: str = "application/json") -> dict[str, Any]:
    responses = {"200": _content(f"{summary}.", answer, media), **_faults(*_OF_ANY_REQUEST, *faults)}
    return {"operationId": name, "summary": summary, "responses": responses}


def _body(schema: JsonSchema, examples: Mapping[str, Any]) -> dict[str, Any]:
    named = {name: {"value": value} for name, value in examples.items()}
    return {"required": True, "content": {"application/json": {"schema": schema, "examples": named}}}


def _content(description: str, schema: JsonSchema, media: str) -> dict[str, Any]:
    return {"description": description, "content": {media: {"schema": schema}}}


def _state(properties: Mapping[str, JsonSchema]) -> JsonSchema:
    return {"type": "object", "properties": dict(properties), "required": list(properties)}


def _path_parameter(name: str, value: str) -> dict[str, Any]:
    parameter = {"name": name, "in": "path", "required": True, "schema": {"type": "string"}}
    return {**parameter, "description": _PATH_PARAMETERS[name], "example": value}


def _faults(*statuses: int) -> dict[str, Any]:
    return {str(status): {"$ref": f"#/components/responses/{status}"} for status in sorted(statuses)}


def _fault(status: int, sentence: str) -> dict[str, Any]:
    fault = _content(sentence, ref("Error"), "application/json")
    header = {401: "WWW-Authenticate", 405: "Allow", 429: "Retry-After", 503: "Retry-After"}.get(status)
    return fault if header is None else {**fault, "headers": {header: {"schema": {"type": "string"}}}}
