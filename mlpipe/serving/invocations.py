"""MLflow's scoring protocol: what `POST /invocations` takes.

A body has one of the keys of MLflow's scoring server, and may have others beside it, which say nothing to a bundle:

    {"dataframe_split": {"columns": ["age"], "data": [[39]]}}
    {"dataframe_records": [{"age": 39}]}
    {"instances": [{"age": 39}]}
    {"inputs": {"age": [39]}}                  columns, or as instances

It is answered as several rows are: `{"predictions": [{…}], "model_version": "…"}`.
"""

from __future__ import annotations

from typing import Any, NoReturn

from mlpipe.errors import did_you_mean
from mlpipe.serving.protocol import Query, RequestError, Rules, fault, from_records, from_values, read_json

FORMS = ("dataframe_split", "dataframe_records", "instances", "inputs")


def parse(body: bytes, rules: Rules) -> Query:
    """The rows of a body.

    Raises:
        RequestError: Says what is wrong where.
    """
    payload = read_json(body)
    form = next((form for form in FORMS if isinstance(payload, dict) and form in payload), None)
    if form is None:
        hint = did_you_mean(next(iter(payload), ""), FORMS) if isinstance(payload, dict) else ""
        _refuse(["body"], f"The body has to be an object with one of {', '.join(FORMS)}.{hint}")
    content, path = payload[form], ("body", form)
    if form == "dataframe_split":
        return _split(content, path, rules)
    if isinstance(content, dict):
        return _columns(content, path, rules)
    if not isinstance(content, list):
        _refuse([*path], f"{form!r} has to be a list of rows.")
    if content and all(isinstance(row, list) for row in content):
        return from_values(content, rules, single=False, path=path)
    return from_records(content, rules, path=path)


def _split(content: Any, path: tuple[str, ...], rules: Rules) -> Query:
    """Rows as lists, below the names of their columns."""
    if not isinstance(content, dict) or not {"columns", "data"} <= content.keys():
        _refuse([*path], "'dataframe_split' has to be an object with 'columns' and 'data'.")
    columns, data = content["columns"], content["data"]
    if not isinstance(columns, list) or not all(isinstance(name, str) for name in columns):
        _refuse([*path, "columns"], "'columns' has to be a list of names.")
    if not isinstance(data, list):
        _refuse([*path, "data"], "'data' has to be a list of rows.")
    records = []
    for index, row in enumerate(data):
        if not isinstance(row, list) or len(row) != len(columns):
            _refuse([*path, "data", index], f"Row {index}: not a list of {len(columns)} values.")
        records.append(dict(zip(columns, row, strict=True)))
    return from_records(records, rules, path=(*path, "data"))


def _columns(content: dict[str, Any], path: tuple[str, ...], rules: Rules) -> Query:
    """Columns as lists of the same length."""
    lengths = {len(values) if isinstance(values, list) else -1 for values in content.values()}
    if -1 in lengths or len(lengths) > 1:
        _refuse([*path], "The columns have to be lists of the same length.")
    rows = range(lengths.pop() if lengths else 0)
    return from_records([{name: values[row] for name, values in content.items()} for row in rows], rules, path=path)


def _refuse(location: list[str | int], message: str) -> NoReturn:
    raise RequestError([fault("value_error", location, message)])
