"""Few raw rows to `Arrays`, without a frame: the way of a server's requests.

A selection over a dozen columns costs Polars milliseconds, however few the rows are. Here plain numbers go through the
same NumPy function as there, and every other value is looked up among those known: the vocabulary, and what was met
before. A new one goes through Polars, by itself, and is kept. Since all expressions are elementwise, both ways give the
same bits, and the tests hold them to it.

The rows of one call may be of different clients: a value that does not fit is reported for its row, the others go on.

Legend of the shapes: T rows, F numeric features, C categorical features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np

from mlpipe.arrays import Arrays
from mlpipe.features.base import ColumnTransformer
from mlpipe.features.known_values import Faults, Field, KnownValues
from mlpipe.features.numeric import Floats, MissingIndicator, NumericTransformer
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.typed import LARGEST_EXACT_INT, LARGEST_NUMBER, effective_kind
from mlpipe.schema import Column, Kind

_NUMBERS = {int, float, type(None)}


class RowEncoder:
    """Raw rows to `Arrays`, by a fitted preprocessor; the same bits as its `transform`.

    Not to be shared by threads.

    Args:
        preprocessor: Fitted.

    Examples:
        >>> import polars as pl
        >>> from mlpipe.schema import Role, Schema, Task, TaskKind
        >>> columns = (Column("x", Kind.NUMERIC), Column("c", Kind.CATEGORICAL), Column("y", Kind.NUMERIC, Role.TARGET))
        >>> schema = Schema(columns, Task(TaskKind.REGRESSION, ("y",)))
        >>> train = pl.DataFrame({"x": [1.0, 3.0, None], "c": ["a", "b", None], "y": [0.0, 1.0, 2.0]})
        >>> encoder = RowEncoder(Preprocessor(schema).fit(train))
        >>> arrays, faults = encoder([(1.0, "b"), ("abc", "a"), (None, "zebra")])
        >>> arrays.categorical.tolist(), [str(error) for error in faults.values()]
        ([[4], [3], [2]], ["row 1, field 'x': expected a number, got 'abc'"])
    """

    def __init__(self, preprocessor: Preprocessor) -> None:
        self._neighbors = preprocessor.neighbors_
        self._values: list[KnownValues] = []
        self._numbers: list[_Number] = []
        numbers = categories = 0
        for index, (name, chosen) in enumerate(preprocessor.transformers_.items()):
            values = KnownValues(preprocessor.schema, preprocessor.schema[name], chosen, index, numbers, categories)
            mappings = _mappings(preprocessor.schema[name], chosen)
            if mappings:
                self._numbers.append(_Number(mappings, values))
            else:
                self._values.append(values)
            numbers += values.null.numeric.shape[1]
            categories += values.null.categorical.shape[1]
        self._width = numbers, categories

    def __call__(self, rows: Sequence[Sequence[Any]]) -> tuple[Arrays, Faults]:
        """The arrays of rows, and why some of them could not be encoded.

        Args:
            rows: Of each the values of the schema's features, in the schema's order.

        Returns:
            The arrays of all rows, in order, and the first fault of each row that has one; its own features are of no
            meaning.
        """
        numbers, categories = self._width
        arrays = Arrays(
            np.empty((len(rows), numbers), dtype=np.float32),
            np.zeros((len(rows), numbers), dtype=np.bool_),
            np.empty((len(rows), categories), dtype=np.int32),
        )
        faults: Faults = {}
        if rows:
            fields = list(zip(*rows, strict=True))
            others = self._values
            if not _write_plain(self._numbers, fields, arrays):
                odd = [number.values for number in self._numbers if not _write_plain([number], fields, arrays)]
                others = sorted((*self._values, *odd), key=lambda values: values.index)
            for values in others:
                for row, error in values.encode(fields[values.index], arrays).items():
                    faults.setdefault(row, error)
        return (arrays if self._neighbors is None else self._neighbors.extend(arrays)), faults


@dataclass(frozen=True)
class _Number:
    """A column of numbers.

    Attributes:
        mappings: From finite numbers to each feature, (T,) -> (T,).
        values: The encoder for anything but plain numbers.
    """

    mappings: list[Callable[[Floats], Floats]]
    values: KnownValues


def _write_plain(columns: Sequence[_Number], fields: Sequence[Field], arrays: Arrays) -> bool:
    """Write columns of numbers all at once; False if one of them holds anything but plain numbers."""
    if not columns:
        return True
    numbers_FT = _plain_numbers([fields[column.values.index] for column in columns])
    if numbers_FT is None:
        return False
    missing_FT = ~(np.abs(numbers_FT) <= LARGEST_NUMBER)
    if some_missing := bool(missing_FT.any()):
        numbers_FT[missing_FT] = 0.0
    for column, numbers_T, missing_T in zip(columns, numbers_FT, missing_FT, strict=True):
        for place, mapping in enumerate(column.mappings, start=column.values.number):
            arrays.numeric[:, place] = mapping(numbers_T)
            if some_missing:
                arrays.numeric[missing_T, place] = 0.0
                arrays.missing[:, place] = missing_T
    return True


def _plain_numbers(fields: Sequence[Field]) -> Floats | None:
    """Columns of numbers in float64, NaN for null; None if there is anything that float64 cannot hold."""
    types = set(map(type, chain.from_iterable(fields)))
    if not types <= _NUMBERS:
        return None
    try:
        numbers = np.array(fields, dtype=np.float64)
    except OverflowError:
        return None
    # Whole numbers this large may not be what was written; the other encoder reads them as they are.
    return None if int in types and (np.abs(numbers) > LARGEST_EXACT_INT).any() else numbers


def _mappings(column: Column, chosen: Sequence[ColumnTransformer]) -> list[Callable[[Floats], Floats]]:
    """The functions of finite numbers that the transformers of a column are, if all of them are; else none."""
    mappings = []
    for transformer in chosen:
        mapped = isinstance(transformer, NumericTransformer) and not isinstance(transformer, MissingIndicator)
        if not mapped or effective_kind(column) is not Kind.NUMERIC or "centre" in transformer.columns_[column.name]:
            return []
        assert isinstance(transformer, NumericTransformer)
        mappings.append(transformer.mapping(column.name))
    return mappings
