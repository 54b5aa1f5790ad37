"""One column's values to features by a table of those that are known; see `mlpipe.features.rowwise`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import polars as pl

from mlpipe.arrays import Arrays
from mlpipe.errors import InputError
from mlpipe.features.base import ColumnTransformer
from mlpipe.features.categorical import CategoryEncoder
from mlpipe.features.compute import Selection, compile_selection, to_arrays
from mlpipe.features.fields import read_field
from mlpipe.features.target_mean import TargetMean
from mlpipe.features.typed import effective_kind
from mlpipe.schema import Column, Kind, Schema

#: Values kept of one column, and features of them; when there are more, it starts anew.
MOST_KEPT, MOST_FEATURES = 16_384, 262_144
#: Longer text is not kept: it will hardly come again.
LONGEST_KEPT = 100
#: The place of a word that is in no vocabulary.
_UNSEEN = 1
_KEPT = {int, float, bool, type(None)}

#: For rows that cannot be encoded, by their place: why.
Faults = dict[int, InputError]
#: The values of one field, one for each row.
Field = Sequence[Any]


class KnownValues:
    """The encoder of one column by a table of known values.

    These are null, a word that is in no vocabulary, the vocabulary, and what was met before, in this order.

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
        vocabulary = _vocabulary(column, chosen)
        self._words = vocabulary is not None
        known = [None, _unseen(vocabulary), *vocabulary] if vocabulary is not None else [None]
        self._known = {_key(value): place for place, value in enumerate(known)}
        self._known.update((_key(int(word)), self._known[word]) for word in vocabulary or () if _is_whole(word))
        self._first = self._compute(known)
        self._most = len(known) + min(MOST_KEPT, MOST_FEATURES // max(1, self.null.numeric.shape[1]))
        self._forget()

    def _forget(self) -> None:
        self.table, self._places = self._first, dict(self._known)

    def encode(self, field: Field, arrays: Arrays) -> Faults:
        """Write the features of the rows, null in the place of a value that does not fit, which is returned."""
        keys = [_key(value) for value in field]
        places = [self._places.get(key, -1) for key in keys]
        if -1 in places and self._words:
            places = [
                _UNSEEN if place < 0 and _is_word(value) else place for place, value in zip(places, field, strict=True)
            ]
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
        return to_arrays([frame], frame.height, numbers, len(sizes) - numbers, self._selections[dtype])

    def _keep(self, keys: list[object], places: dict[object, int], table: Arrays) -> None:
        if len(self.table) + len(keys) > self._most:
            self._forget()
        keys = keys[: self._most - len(self.table)]
        start = len(self.table)
        self.table = _joined(self.table, table.take(np.array([places[key] for key in keys], dtype=np.intp)))
        self._places.update((key, start + index) for index, key in enumerate(keys))


def _key(value: object) -> object:
    """What a value is looked up by: 1, 1.0 and true are equal to Python, and three different words."""
    if type(value) is str:
        return value
    return (type(value), value if type(value) in _KEPT else repr(value))


def _vocabulary(column: Column, chosen: Sequence[ColumnTransformer]) -> list[str] | None:
    """The words that a column of categories knows; None if its features are not found by a vocabulary."""
    (transformer, *others) = chosen
    if others or effective_kind(column) is not Kind.CATEGORICAL:
        return None
    if not isinstance(transformer, CategoryEncoder | TargetMean):
        return None
    words: list[str] = transformer.columns_[column.name]["vocabulary"]
    return words


def _unseen(vocabulary: Sequence[str]) -> str:
    """A word that is not in the vocabulary."""
    word, known = "a", set(vocabulary)
    while word in known:
        word += "a"
    return word


def _is_whole(word: str) -> bool:
    """Whether a category is the canonical text of a whole number, which JSON may have as such."""
    # Python reads no whole number of more than some thousand digits; a JSON number of so many is looked up in full.
    return len(word) <= LONGEST_KEPT and word.removeprefix("-").isdecimal() and str(int(word)) == word


def _is_word(value: object) -> bool:
    """Whether a category's canonical text is this text itself: no blanks around it, and nothing that reads as a number.

    Then its place among the known ones is the only one that it could have.
    """
    return (
        type(value) is str
        and value[:1].isalpha()
        and not value[-1].isspace()
        and value[:3].lower() not in ("nan", "inf")
    )


def _worth_keeping(value: object) -> bool:
    return len(value) <= LONGEST_KEPT if isinstance(value, str) else type(value) in _KEPT


def _joined(first: Arrays, second: Arrays) -> Arrays:
    return Arrays(
        np.concatenate((first.numeric, second.numeric)),
        np.concatenate((first.missing, second.missing)),
        np.concatenate((first.categorical, second.categorical)),
    )
