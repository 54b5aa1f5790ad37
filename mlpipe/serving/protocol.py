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

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from operator import itemgetter
from typing import Any, Literal

import orjson

from mlpipe.errors import InputError, did_you_mean
from mlpipe.schema import Schema

#: Faults reported for one body; the rest would drown the first.
MAX_FAULTS = 20

Fault = dict[str, Any]
#: The values of a row's features, in the schema's order.
Values = Sequence[Any]


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
        rows: Of each the values of the features.
        single: The body was one row, not a list.
        path: Where in the body the rows are.
    """

    rows: list[Values]
    single: bool
    path: tuple[str, ...] = ("body",)

    def location(self, row: int | None, *names: str) -> list[str | int]:
        """The way to a field, as it goes into `loc`."""
        return [*self.path, *([] if self.single or row is None else [row]), *names]

    def fault(self, error: InputError) -> Fault:
        """An error of preprocessing, as the client gets to see it."""
        names = () if error.field is None else (error.field,)
        where = "" if error.field is None else f"the field {error.field!r}: "
        message = f"{_row_words(error.row, single=self.single)}{where}{error.reason}."
        return fault("value_error", self.location(error.row, *names), message)


@dataclass(frozen=True)
class Rules:
    """What rows have to be.

    Attributes:
        schema: The raw table.
        unknown: Whether a field that is no column is an error or ignored.
        ranges: By column, the smallest and the largest number that is accepted; empty: any.
    """

    schema: Schema
    unknown: Literal["error", "ignore"] = "error"
    ranges: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    names: tuple[str, ...] = field(init=False)
    pick: Callable[[Any], Values] = field(init=False)

    def __post_init__(self) -> None:
        names = tuple(column.name for column in self.schema.features)
        # With one name, itemgetter gives the value alone.
        pick = itemgetter(*names) if len(names) > 1 else lambda row: (row[names[0]],)
        object.__setattr__(self, "names", names)
        object.__setattr__(self, "pick", pick)


def parse(body: bytes, rules: Rules) -> Query:
    """The rows of a body, every feature given and nothing but finite plain values in them.

    A field may hold null, whether or not training saw nulls there, but it has to be given. Columns of the training
    file that are no features may be left in a row and are ignored.

    Raises:
        RequestError: Says what is wrong where.
    """
    payload = read_json(body)
    if isinstance(payload, dict) and payload.keys() == {"features"} and isinstance(payload["features"], list):
        values = payload["features"]
        single = not any(isinstance(row, list) for row in values) and bool(values)
        return from_values([values] if single else values, rules, single=single, path=("body", "features"))
    if isinstance(payload, dict):
        return from_records([payload], rules, single=True)
    if isinstance(payload, list):
        return from_records(payload, rules)
    message = 'The body has to be a row, a list of rows, or {"features": [...]}.'
    raise RequestError([fault("dict_type", ["body"], message)])


def read_json(body: bytes) -> Any:
    """What a body says. Whole numbers of more than 64 bits are read as float64.

    Raises:
        RequestError: It is not JSON; NaN and infinite numbers are none.
    """
    try:
        return orjson.loads(body)
    except orjson.JSONDecodeError as error:
        raise RequestError([fault("json_invalid", ["body"], f"The body is not valid JSON: {error}.")]) from None


def from_records(records: list[Any], rules: Rules, *, single: bool = False, path: tuple[str, ...] = ("body",)) -> Query:
    """The rows of objects by the names of columns.

    Raises:
        RequestError: Says what is wrong where.
    """
    query = Query([], single, path)
    wide, checked = len(rules.names), False
    for index, row in enumerate(records):
        if not isinstance(row, dict):
            message = f"{_row_words(index, single=single)}not an object of fields."
            raise RequestError([fault("dict_type", query.location(index), message)])
        try:
            query.rows.append(rules.pick(row))
        except KeyError:
            query.rows.append(())
        if not checked and (len(row) != wide or not query.rows[-1]):
            _check_names(records, query, rules)  # of all rows, and so once
            checked = True
    _check_values(query, rules)
    return query


def from_values(matrix: list[Any], rules: Rules, *, single: bool, path: tuple[str, ...]) -> Query:
    """The rows of lists of values, in the schema's order.

    Raises:
        RequestError: Says what is wrong where.
    """
    query = Query(matrix, single, path)
    for index, values in enumerate(matrix):
        if not isinstance(values, list) or len(values) != len(rules.names):
            found = f"{len(values)} values" if isinstance(values, list) else "no list"
            there_are = f"there are {len(rules.names)} features: {', '.join(rules.names)}"
            message = f"{_row_words(index, single=single)}{found}; {there_are}."
            raise RequestError([fault("list_type", query.location(index), message)])
    _check_values(query, rules)
    return query


def answer(query: Query, records: list[dict[str, Any]], version: str) -> dict[str, Any]:
    """The body that answers a query.

    Args:
        query: What was asked.
        records: As `TargetCodec.records` gives them, one for each row of the query.
        version: The bundle's version.
    """
    if query.single:
        return {**records[0], "model_version": version}
    return {"predictions": records, "model_version": version}


def fault(kind: str, location: list[str | int], message: str) -> Fault:
    """One record of `RequestError.detail`."""
    return {"type": kind, "loc": location, "msg": message}


def _check_names(records: list[Any], query: Query, rules: Rules) -> None:
    """Refuse rows that lack a feature, or have fields that are no columns.

    Raises:
        RequestError: Some do.
    """
    faults: list[Fault] = []
    for index, row in enumerate(records):
        if not isinstance(row, dict) or len(faults) >= MAX_FAULTS:
            break
        where = _row_words(index, single=query.single)
        for name in row if rules.unknown == "error" else ():
            if name not in rules.schema:
                message = f"{where}unknown field {name!r}.{did_you_mean(name, rules.names)}"
                faults.append(fault("extra_forbidden", query.location(index, name), message))
        for name in rules.names:
            if name not in row:
                message = f"{where}the field {name!r} is missing; null is allowed, leaving it out is not."
                faults.append(fault("missing", query.location(index, name), message))
    if faults:
        raise RequestError(faults)


_PLAIN = {int, float, str, bool, type(None)}


def _check_values(query: Query, rules: Rules) -> None:
    """Refuse what cannot be a cell of a table, and numbers out of the ranges that were asked for.

    Raises:
        RequestError: There is such a value.
    """
    faults: list[Fault] = []
    for index, row in enumerate(query.rows):
        if not rules.ranges and set(map(type, row)) <= _PLAIN:
            continue
        for name, value in zip(rules.names, row, strict=True):
            if (problem := _problem(value, rules.ranges.get(name))) is not None:
                message = f"{_row_words(index, single=query.single)}the field {name!r} {problem}."
                faults.append(fault("value_error", query.location(index, name), message))
        if len(faults) >= MAX_FAULTS:
            break
    if faults:
        raise RequestError(faults)


def _problem(value: Any, span: tuple[float, float] | None) -> str | None:
    """Why a value cannot be a cell of a table, or None."""
    if isinstance(value, dict | list):
        return "holds an object or a list; a plain value is needed"
    number = None if span is None else _number(value)
    if span is not None and number is not None:
        low, high = span
        if not low <= number <= high:
            return f"is {number:g}; it has to be from {low:g} to {high:g}"
    return None


def _number(value: Any) -> float | None:
    """The number that a value is, also as text; None: it is missing, or none, which preprocessing refuses."""
    if isinstance(value, str):
        try:
            value = float(value)
        except ValueError:
            return None
    if isinstance(value, bool) or not isinstance(value, int | float) or math.isnan(value):
        return None
    return value


def _row_words(row: int | None, *, single: bool) -> str:
    return "" if single or row is None else f"Row {row}: "
