"""The Open Inference Protocol, version 2 (KServe): what `POST /v2/models/{model}/infer` takes and answers.

Each feature is an input of its own; `data` may be flat or nested, as the protocol allows:

    {"id": "7", "inputs": [{"name": "age", "shape": [2], "datatype": "FP64", "data": [39, 52]}, …]}

Outputs are `prediction` (multilabel: one truth value for each label) and, as the task has them, `probabilities` (rows
by classes, in the order of the metadata's `classes`), `confidence`, `lower` and `upper`. Values that are missing are
null, which JSON has and tensors lack.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, NoReturn

from mlpipe.errors import did_you_mean
from mlpipe.features.typed import effective_kind
from mlpipe.schema import Column, Kind, Schema, TaskKind
from mlpipe.serving.protocol import Query, RequestError, Rules, fault, from_records, read_json

#: The protocol's types whose JSON is a number, a string or a truth value.
DATATYPES = (
    *("BOOL", "UINT8", "UINT16", "UINT32", "UINT64", "INT8", "INT16", "INT32", "INT64"),
    *("FP16", "FP32", "FP64", "BYTES"),
)


def parse(body: bytes, rules: Rules) -> tuple[Query, str | None]:
    """The rows of a body, and its `id`.

    Raises:
        RequestError: Says what is wrong where.
    """
    payload = read_json(body)
    if not isinstance(payload, dict) or not isinstance(payload.get("inputs"), list):
        _refuse(["body"], "The body has to be an object with a list of 'inputs'.")
    name = payload.get("id")
    if name is not None and not isinstance(name, str):
        _refuse(["body", "id"], "'id' has to be text.")
    columns: dict[str, list[Any]] = {}
    for index, given in enumerate(payload["inputs"]):
        column, values = _input(given, index)
        if column in columns:
            _refuse(["body", "inputs", index, "name"], f"The input {column!r} is given twice.")
        columns[column] = values
    if len({len(values) for values in columns.values()}) > 1:
        counts = ", ".join(f"{column} has {len(values)}" for column, values in columns.items())
        _refuse(["body", "inputs"], f"The inputs have different numbers of rows: {counts}.")
    rows = range(len(next(iter(columns.values()), ())))
    records = [{column: values[row] for column, values in columns.items()} for row in rows]
    if not records:
        lacking = [name for name in rules.names if name not in columns]
        if lacking:
            _refuse(["body", "inputs"], f"The input {lacking[0]!r} is missing.")
    return from_records(records, rules, path=("body", "inputs")), name


def answer(records: list[dict[str, Any]], schema: Schema, model: str, version: str, name: str | None) -> dict[str, Any]:
    """The body that answers a query.

    Args:
        records: As `TargetCodec.records` gives them.
        schema: Of the bundle.
        model: The name under which the model is served.
        version: The bundle's version.
        name: The `id` that the query had.
    """
    outputs = [
        {**output, "shape": [len(records), *output["shape"][1:]], "data": _data(output["name"], records)}
        for output in outputs_of(schema, interval=bool(records) and "lower" in records[0])
    ]
    told = {"model_name": model, "model_version": version, "outputs": outputs}
    return told if name is None else {**told, "id": name}


def metadata(schema: Schema, model: str, versions: Sequence[str], *, interval: bool) -> dict[str, Any]:
    """What `GET /v2/models/{model}` answers.

    Args:
        schema: Of the bundle.
        model: The name under which the model is served.
        versions: All that are served under it.
        interval: Whether answers have a lower and an upper bound.
    """
    return {
        "name": model,
        "versions": list(versions),
        "platform": "mlpipe",
        "inputs": [{"name": column.name, "datatype": _datatype(column), "shape": [-1]} for column in schema.features],
        "outputs": outputs_of(schema, interval=interval),
        "parameters": {"task": schema.task.kind.value, "classes": list(schema.task.classes)},
    }


def outputs_of(schema: Schema, *, interval: bool) -> list[dict[str, Any]]:
    """Names, types and shapes of what is answered."""
    task, classes = schema.task, schema.task.classes
    kind = {bool: "BOOL", int: "INT64", float: "FP64"}.get(type(classes[0]) if classes else float, "BYTES")
    outputs: list[dict[str, Any]] = [{"name": "prediction", "datatype": kind, "shape": [-1]}]
    if task.kind is TaskKind.MULTILABEL:
        outputs = [{"name": "prediction", "datatype": "BOOL", "shape": [-1, len(classes)]}]
    if task.is_classification:
        outputs.append({"name": "probabilities", "datatype": "FP32", "shape": [-1, len(classes)]})
    if task.is_classification and task.kind is not TaskKind.MULTILABEL:
        outputs.append({"name": "confidence", "datatype": "FP32", "shape": [-1]})
    if interval:
        outputs += [{"name": name, "datatype": "FP64", "shape": [-1]} for name in ("lower", "upper")]
    return outputs


def _data(output: str, records: list[dict[str, Any]]) -> list[Any]:
    if output == "probabilities":
        return [share for record in records for share in record["probabilities"].values()]
    if output == "prediction" and records and isinstance(records[0][output], list):
        return [name in record[output] for record in records for name in record["probabilities"]]
    return [record[output] for record in records]


def _datatype(column: Column) -> str:
    match effective_kind(column):
        case Kind.NUMERIC | Kind.DURATION:
            return "FP64"
        case Kind.BOOLEAN:
            return "BOOL"
    return "BYTES"


def _input(given: Any, index: int) -> tuple[str, list[Any]]:
    """The name of an input and its values, one for each row."""
    place: list[str | int] = ["body", "inputs", index]
    if not isinstance(given, dict) or not isinstance(given.get("name"), str):
        _refuse(place, f"Input {index} has to be an object with a 'name'.")
    name, datatype, shape = given["name"], given.get("datatype"), given.get("shape")
    if datatype not in DATATYPES:
        _refuse(
            [*place, "datatype"], f"The input {name!r} has no known datatype.{did_you_mean(str(datatype), DATATYPES)}"
        )
    values = _flat(given.get("data"))
    if values is None:
        _refuse([*place, "data"], f"The input {name!r} has no list as 'data'.")
    if shape not in ([len(values)], [len(values), 1]):
        found = f"its shape {shape!r} does not fit its {len(values)} values"
        _refuse([*place, "shape"], f"The input {name!r} has to be a column: {found}.")
    return name, values


def _flat(data: Any) -> list[Any] | None:
    """A list of values, which may each stand in a list of its own."""
    if not isinstance(data, list):
        return None
    if data and all(isinstance(row, list) and len(row) == 1 for row in data):
        return [row[0] for row in data]
    return data


def _refuse(location: Sequence[str | int], message: str) -> NoReturn:
    raise RequestError([fault("value_error", list(location), message)])
