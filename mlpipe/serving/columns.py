"""A column's values as JSON Schema and in words; what the OpenAPI document and the page say of them is the same."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from typing import Any

from mlpipe.features.typed import effective_kind
from mlpipe.schema import Column, Kind

JsonSchema = dict[str, Any]

#: What `mlpipe.features.times` reads of any column of times, whatever its own format.
ISO_TIME = r"^\d{4}-\d{2}-\d{2}([T ]\d{2}:\d{2}(:\d{2}(\.\d+)?)?([zZ]|[+-]\d{2}:?\d{2})?)?$"
_CLOCK = r"^-?(\d+:)?\d+:\d+(\.\d+)?$"
#: Categories told in a sentence; the others are in a list beside it.
_NAMED_CATEGORIES = 12

_FORMS: dict[Kind, JsonSchema] = {
    Kind.NUMERIC: {"type": ["number", "null"]},
    Kind.DURATION: {"type": ["number", "string", "null"], "pattern": _CLOCK},
    Kind.BOOLEAN: {"type": ["boolean", "null"]},
    Kind.DATE: {"type": ["string", "null"], "pattern": ISO_TIME},
    Kind.DATETIME: {"type": ["string", "null"], "pattern": ISO_TIME},
    Kind.TEXT: {"type": ["string", "null"]},
    Kind.CATEGORICAL: {"type": ["string", "number", "boolean", "null"]},
}
_WORDS = {
    Kind.NUMERIC: "A number.",
    Kind.DURATION: "A duration: a number of seconds, or text such as 1:30:00.",
    Kind.BOOLEAN: "True or false.",
    Kind.DATE: "A date such as 2024-01-31.",
    Kind.DATETIME: "A date and time such as 2024-01-31T12:00:00.",
    Kind.TEXT: "Text.",
    Kind.CATEGORICAL: "A category.",
}


def value_schema(column: Column, sample: Any) -> JsonSchema:
    """What a field of a row may hold: null always, and the type that the training file had.

    Args:
        column: A feature.
        sample: A value of it, of JSON.

    Examples:
        >>> value_schema(Column("age", Kind.NUMERIC), 39)
        {'type': ['number', 'null']}
        >>> value_schema(Column("age", Kind.NUMERIC, dtype="String"), "39")
        {'type': ['number', 'null', 'string']}
    """
    form = dict(_FORMS[effective_kind(column)])
    if (own := _json_type(sample)) not in form["type"]:
        form["type"] = [*form["type"], own]
    written = isinstance(sample, str) and re.match(form.get("pattern", ""), sample) is None
    if column.format is not None or written:
        form.pop("pattern", None)
    return form


def described(
    column: Column,
    sample: Any,
    extent: tuple[float, float] | None = None,
    categories: Sequence[str] = (),
) -> JsonSchema:
    """`value_schema` with all that is known of the column.

    The training range is an annotation: values outside of it are answered too, as are unseen categories.

    Args:
        column: A feature.
        sample: A value of it, of JSON.
        extent: The least and the largest value in training, if they are known.
        categories: Those seen in training, if they are known.
    """
    form = value_schema(column, sample)
    form["description"] = " ".join([_WORDS[effective_kind(column)], *_details(column, extent, categories)])
    if extent is not None:
        form["x-training-range"] = list(extent)
    if categories:
        form["x-training-categories"] = list(categories)
    return {**form, "examples": [sample]}


def range_words(extent: tuple[float, float]) -> str:
    """A range as people write it.

    Examples:
        >>> range_words((0.0, 37940.0)), range_words((0.42, 80.0)), range_words((-1e-7, 1e21))
        ('0 to 37940', '0.42 to 80', '-1e-07 to 1e+21')
    """
    return " to ".join(f"{bound:.10g}" for bound in extent)


def samples_of(features: Sequence[Column], sample: Mapping[str, Any]) -> dict[str, Any]:
    """The sample row, every feature in the schema's order; null where it has none."""
    return {column.name: sample.get(column.name) for column in features}


def _details(column: Column, extent: tuple[float, float] | None, categories: Sequence[str]) -> list[str]:
    details = []
    if column.format is not None:
        details.append(f"The training file writes it as {column.format}, which is read too.")
    if column.time_zone is not None:
        details.append(f"Without an offset it is local time in {column.time_zone}.")
    if extent is not None:
        details.append(f"In training from {range_words(extent)}.")
    if categories:
        more = f", … ({len(categories)} known)" if len(categories) > _NAMED_CATEGORIES else ""
        details.append(f"In training: {', '.join(categories[:_NAMED_CATEGORIES])}{more}.")
    if not column.nullable:
        details.append("Training saw no null here.")
    return details


def _json_type(value: Any) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "boolean"
        case int() | float():
            return "number"
    return "string"
