"""What training saw of each column: categories, and the ends of numbers; for documents and checks."""

from __future__ import annotations

from mlpipe.features.categorical import CategoryEncoder
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.statistics import Statistics
from mlpipe.features.typed import LARGEST_NUMBER, effective_kind
from mlpipe.schema import Kind, Schema

#: Categories told of one column; a longer list is no help to anyone.
MOST_CATEGORIES = 200


def categories_of(*preprocessors: Preprocessor) -> dict[str, list[str]]:
    """The categories of each column that fitted preprocessings have seen; several, of an ensemble, are put together.

    Args:
        preprocessors: Fitted, of one schema.

    Returns:
        For each categorical and boolean column `MOST_CATEGORIES` at most, in the vocabulary's order. Columns without a
        vocabulary are left out.

    Examples:
        >>> import polars as pl
        >>> from mlpipe.schema import Column, Role, Schema, Task, TaskKind
        >>> columns = (Column("x", Kind.NUMERIC), Column("c", Kind.CATEGORICAL), Column("y", Kind.NUMERIC, Role.TARGET))
        >>> table = pl.DataFrame({"x": [1.0, 3.0, None], "c": ["b", "a", None], "y": [0.0, 1.0, 2.0]})
        >>> categories_of(Preprocessor(Schema(columns, Task(TaskKind.REGRESSION, ("y",)))).fit(table))
        {'c': ['a', 'b']}
    """
    categories: dict[str, dict[str, None]] = {}
    for preprocessor in preprocessors:
        for column in preprocessor.schema.features:
            if effective_kind(column) not in (Kind.CATEGORICAL, Kind.BOOLEAN):
                continue
            for transformer in preprocessor.transformers_[column.name]:
                if isinstance(transformer, CategoryEncoder):
                    words = transformer.columns_[column.name]["vocabulary"]
                    categories.setdefault(column.name, {}).update(dict.fromkeys(words))
    return {name: list(known)[:MOST_CATEGORIES] for name, known in categories.items() if known}


def ranges_of(schema: Schema, statistics: Statistics) -> dict[str, tuple[float, float]]:
    """The smallest and the largest training value of each column of numbers that had any."""
    found = {name: statistics.range(name) for name in _numbers(schema)}
    return {name: span for name, span in found.items() if span is not None}


def limits_of(schema: Schema, statistics: Statistics) -> dict[str, tuple[float, float]]:
    """What each column of numbers can be held to: its training range, else what does not count as missing."""
    return {name: statistics.range(name) or (-LARGEST_NUMBER, LARGEST_NUMBER) for name in _numbers(schema)}


def _numbers(schema: Schema) -> list[str]:
    return [column.name for column in schema.features if effective_kind(column) is Kind.NUMERIC]
