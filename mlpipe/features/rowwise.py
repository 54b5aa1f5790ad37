"""Few raw rows to `Arrays`, without a frame: the way of a server's requests.

A selection over a dozen columns costs Polars milliseconds, however few the rows are. Here plain numbers go through the
same NumPy function as there, and every other value is looked up among those met before: a new one goes through Polars,
by itself, and is kept. Since all expressions are elementwise, both ways give the same bits, and the tests hold them to
it.

The rows of one call may be of different clients: a value that does not fit is reported for its row, the others go on.

Legend of the shapes: T rows, F numeric features, C categorical features.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
import polars as pl

from mlpipe.arrays import Arrays
from mlpipe.errors import InputError
from mlpipe.features.base import ColumnTransformer
from mlpipe.features.compute import Selection, compile_selection, to_arrays
from mlpipe.features.fields import read_field
from mlpipe.features.numeric import Floats, MissingIndicator, NumericTransformer
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.typed import LARGEST_EXACT_INT, LARGEST_NUMBER, effective_kind
from mlpipe.schema import Column, Kind, Schema

#: Values kept of one column, and features of them; when there are more, it starts anew.
MOST_KEPT, MOST_FEATURES = 16_384, 262_144
#: Longer text is not kept: it will hardly come again.
LONGEST_KEPT = 100

_NUMBERS = {int, float, type(None)}
_KEPT = {int, float, bool, type(None)}

#: For rows that cannot be encoded, by their place: why.
Faults = dict[int, InputError]
#: The values of one field, one for each row.
Field = Sequence[Any]


class RowEncoder:
    """Raw rows to `Arrays`, by a fitted preprocessor; the same bits as its `transform`.

    Not to be shared by threads.

    Args:
        preprocessor: Fitted.

    Examples:
        >>> from mlpipe.schema import Role, Task, TaskKind
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
        self._values: list[_Values] = []
        self._numbers: list[_Number] = []
        numbers = categories = 0
        for index, (name, chosen) in enumerate(preprocessor.transformers_.items()):
            values = _Values(preprocessor.schema, preprocessor.schema[name], chosen, index, numbers, categories)
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


class _Values:
    """The encoder of one column by a table of the values that were met before; null has the first place.

    Args:
        schema: The column's.
        column: The column.
        chosen: Its fitted transformers.
        index: Its place among the fields of a row.
        number: The place of its first numeric feature.
        category: The place of its first categorical feature.
    """

    def __init__(
        self,
        schema: Schema,
        column: Column,
        chosen: Sequence[ColumnTransformer],
        index: int,
        number: int,
        category: int,
    ) -> None:
        self.schema, self.column, self.chosen = schema, column, chosen
        self.index, self.number, self.category = index, number, category
        self._selections: dict[pl.DataType, Selection] = {}
        self.null = self._compute([None])
        self._most = min(MOST_KEPT, MOST_FEATURES // max(1, self.null.numeric.shape[1]))
        self._forget()

    def _forget(self) -> None:
        self.table, self._places = self.null, {_key(None): 0}

    def encode(self, field: Field, arrays: Arrays) -> Faults:
        """Write the features of the rows, null in the place of a value that does not fit, which is returned."""
        keys = [_key(value) for value in field]
        places = [self._places.get(key, -1) for key in keys]
        if -1 not in places:
            self._write(self.table, places, arrays)
            return {}
        new = {key: value for key, value, place in zip(keys, field, places, strict=True) if place < 0}
        wrong = self._wrong(new)
        known = [key for key in new if key not in wrong]
        made = self._compute([new[key] for key in known])
        table, start = _joined(self.table, made), len(self.table)
        local = {key: start + index for index, key in enumerate(known)}
        places = [local.get(key, 0) if place < 0 else place for key, place in zip(keys, places, strict=True)]
        self._write(table, places, arrays)
        self._keep([key for key in known if _worth_keeping(new[key])], local, table)
        return {row: wrong[key].at(row) for row, key in enumerate(keys) if key in wrong}

    def _write(self, table: Arrays, places: list[int], arrays: Arrays) -> None:
        chosen = np.array(places, dtype=np.intp)
        numbers, categories = table.numeric.shape[1], table.categorical.shape[1]
        if numbers:
            arrays.numeric[:, self.number : self.number + numbers] = table.numeric.take(chosen, axis=0)
            arrays.missing[:, self.number : self.number + numbers] = table.missing.take(chosen, axis=0)
        if categories:
            arrays.categorical[:, self.category : self.category + categories] = table.categorical.take(chosen, axis=0)

    def _wrong(self, values: dict[object, Any]) -> dict[object, InputError]:
        """Those that do not fit the column."""
        try:
            read_field(self.column, list(values.values()))
        except InputError:
            wrong = {}
            for key, value in values.items():
                try:
                    read_field(self.column, [value])
                except InputError as error:
                    wrong[key] = error
            return wrong
        return {}

    def _compute(self, values: list[Any]) -> Arrays:
        """The features of values that fit, by the way of frames."""
        frame = read_field(self.column, values).to_frame()
        dtype = frame.dtypes[0]
        if dtype not in self._selections:
            name = self.column.name
            self._selections[dtype] = compile_selection({name: dtype}, self.schema, {name: self.chosen})
        sizes = [size for transformer in self.chosen for size in transformer.cardinalities(self.column.name)]
        numbers = sum(size is None for size in sizes)
        return to_arrays(iter([self._selections[dtype](frame)]), frame.height, numbers, len(sizes) - numbers)

    def _keep(self, keys: list[object], places: dict[object, int], table: Arrays) -> None:
        if len(self.table) + len(keys) > self._most:
            self._forget()
        keys = keys[: self._most - len(self.table)]
        start = len(self.table)
        self.table = _joined(self.table, table.take(np.array([places[key] for key in keys], dtype=np.intp)))
        self._places.update((key, start + index) for index, key in enumerate(keys))


@dataclass(frozen=True)
class _Number:
    """A column of numbers.

    Attributes:
        mappings: From finite numbers to each feature, (T,) -> (T,).
        values: The encoder for anything but plain numbers.
    """

    mappings: list[Callable[[Floats], Floats]]
    values: _Values


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


def _key(value: object) -> object:
    """What a value is looked up by: 1, 1.0 and true are equal to Python, and three different words."""
    if type(value) is str:
        return value
    return (type(value), value if type(value) in _KEPT else repr(value))


def _worth_keeping(value: object) -> bool:
    return len(value) <= LONGEST_KEPT if isinstance(value, str) else type(value) in _KEPT


def _joined(first: Arrays, second: Arrays) -> Arrays:
    return Arrays(
        np.concatenate((first.numeric, second.numeric)),
        np.concatenate((first.missing, second.missing)),
        np.concatenate((first.categorical, second.categorical)),
    )
