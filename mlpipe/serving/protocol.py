"""What `POST /predict` takes and answers, apart from any server.

A body is one of

- one row: `{"age": 39, "education": "Bachelors"}`;
- several: `[{...}, {...}]`;
- the values alone, in the schema's order of features: `{"features": [39, "Bachelors"]}`, or a list of such lists.

One row is answered by

    {"prediction": ">50K", "probabilities": {"<=50K": 0.2, ">50K": 0.8}, "confidence": 0.8, "model_version": "…"}

and several by `{"predictions": [{"prediction": …}, …], "model_version": "…"}`, in order, even if it is a list of one.
`prediction` keeps the label's own type, keys are strings; `confidence` is its probability. Regression has no
`probabilities`, but with an interval `lower` and `upper`; neither it nor multilabel, whose prediction is a list of
names, has a `confidence`.

A wrong body is answered by status 422 and, in the form that FastAPI gives it,

    {"detail": [{"type": "missing", "loc": ["body", 1, "age"], "msg": "…"}]}

where `loc` leads to the fault: the row's index, if there are several, then the field.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, NoReturn

from mlpipe.errors import InputError, did_you_mean
from mlpipe.schema import Schema

if TYPE_CHECKING:
    import polars as pl

#: Faults reported for one body; the rest would drown the first.
MAX_FAULTS = 20

#: What decode gives a class's column; the rest of its name is the class.
_PROBABILITY = "probability_"

Fault = dict[str, Any]


class RequestError(Exception):
    """A body that cannot be answered.

    Attributes:
        detail: One record for each fault: `type`, `loc` and `msg`.
    """

    def __init__(self, faults: list[Fault]) -> None:
        super().__init__(faults[0]["msg"])
        self.detail = faults[:MAX_FAULTS]


@dataclass(frozen=True)
class Query:
    """The rows of a body.

    Attributes:
        rows: Every feature's value by name.
        single: The body was one row, not a list.
        path: Where in the body the rows are.
    """

    rows: list[dict[str, Any]]
    single: bool
    path: tuple[str, ...] = ("body",)

    def location(self, row: int | None, *field: str) -> list[str | int]:
        """The way to a field, as it goes into `loc`."""
        return [*self.path, *([] if self.single or row is None else [row]), *field]

    def fault(self, error: InputError) -> RequestError:
        """An error of preprocessing, as the client gets to see it."""
        field = () if error.field is None else (error.field,)
        return RequestError([_fault("value_error", self.location(error.row, *field), str(error))])


def parse(body: bytes, schema: Schema) -> Query:
    """The rows of a body, every feature given and nothing but finite plain values in them.

    A field may hold null, whether or not training saw nulls there, but it has to be given. Columns of the training
    file that are no features may be left in a row and are ignored.

    Raises:
        RequestError: Says what is wrong where.
    """
    query = _rows(_json(body), schema)
    faults: list[Fault] = []
    for index, row in enumerate(query.rows):
        faults += _row_faults(row, query, index, schema)
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise RequestError(faults)
    features = [column.name for column in schema.features]
    return Query([{name: row[name] for name in features} for row in query.rows], query.single, query.path)


def answer(query: Query, predictions: pl.DataFrame, version: str) -> dict[str, Any]:
    """The body that answers a query.

    Args:
        query: What was asked.
        predictions: As `Predictor.predict` gives them, one row for each of the query.
        version: The bundle's version.
    """
    answers = [_answer(row) for row in predictions.to_dicts()]
    if query.single:
        return {**answers[0], "model_version": version}
    return {"predictions": answers, "model_version": version}


def _answer(row: dict[str, Any]) -> dict[str, Any]:
    probabilities = {key.removeprefix(_PROBABILITY): p for key, p in row.items() if key.startswith(_PROBABILITY)}
    answered = {"prediction": row["prediction"]}
    if probabilities:
        answered["probabilities"] = probabilities
    return answered | {key: row[key] for key in ("confidence", "lower", "upper") if key in row}


def _json(body: bytes) -> Any:
    try:
        return json.loads(body, parse_constant=_refuse_constant)
    except (ValueError, RecursionError) as error:
        raise RequestError([_fault("json_invalid", ["body"], f"The body is not valid JSON: {error}.")]) from None


def _rows(payload: Any, schema: Schema) -> Query:
    if isinstance(payload, dict) and set(payload) == {"features"} and isinstance(payload["features"], list):
        values = payload["features"]
        single = not any(isinstance(row, list) for row in values) and bool(values)
        return _from_values([values] if single else values, single, schema)
    if isinstance(payload, dict):
        return Query([payload], single=True)
    if isinstance(payload, list):
        for index, row in enumerate(payload):
            if not isinstance(row, dict):
                raise RequestError([_fault("dict_type", ["body", index], f"Row {index} is not an object of fields.")])
        return Query(payload, single=False)
    message = 'The body has to be a row, a list of rows, or {"features": [...]}.'
    raise RequestError([_fault("dict_type", ["body"], message)])


def _from_values(matrix: list[Any], single: bool, schema: Schema) -> Query:
    names = [column.name for column in schema.features]
    query = Query([], single, ("body", "features"))
    for index, values in enumerate(matrix):
        if not isinstance(values, list) or len(values) != len(names):
            found = f"{len(values)} values" if isinstance(values, list) else "no list"
            message = f"{_row_words(query, index)}has {found}; there are {len(names)} features: {', '.join(names)}."
            raise RequestError([_fault("list_type", query.location(index), message)])
        query.rows.append(dict(zip(names, values, strict=True)))
    return query


def _row_faults(row: Mapping[str, Any], query: Query, index: int, schema: Schema) -> list[Fault]:
    where = _row_words(query, index)
    names = [column.name for column in schema.features]
    faults = []
    for name in row:
        if name not in schema:
            message = f"{where}unknown field {name!r}.{did_you_mean(name, names)}"
            faults.append(_fault("extra_forbidden", query.location(index, name), message))
    for name in names:
        if name not in row:
            message = f"{where}the field {name!r} is missing; null is allowed, leaving it out is not."
            faults.append(_fault("missing", query.location(index, name), message))
        elif (problem := _problem(row[name])) is not None:
            faults.append(_fault("value_error", query.location(index, name), f"{where}the field {name!r} {problem}."))
    return faults


def _problem(value: Any) -> str | None:
    """Why a value cannot be a cell of a table, or None."""
    if isinstance(value, dict | list):
        return "holds an object or a list; a plain value is needed"
    if isinstance(value, str) and not _encodable(value):
        return "holds half a surrogate pair, which is no text"
    if isinstance(value, int | float) and not _finite(value):
        return "is too large a number"
    return None


def _encodable(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _finite(value: float) -> bool:
    try:
        return math.isfinite(value)
    except OverflowError:  # an integer beyond the largest float
        return False


def _row_words(query: Query, index: int) -> str:
    return "" if query.single else f"Row {index}: "


def _fault(kind: str, location: list[str | int], message: str) -> Fault:
    return {"type": kind, "loc": location, "msg": message}


def _refuse_constant(constant: str) -> NoReturn:
    raise ValueError(f"{constant} is no JSON number")
