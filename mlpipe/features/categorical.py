"""Categories to ids: `CategoryEncoder` with a vocabulary, `HashEncoder` without one.

Ids are 0 for padding (never made here), 1 for null, 2 for what was not seen in training or too rarely, then the
vocabulary, sorted by text; a Polars Enum, or levels that are declared, keep their order.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.features.base import ColumnTransformer, State
from mlpipe.features.sample import mix
from mlpipe.features.typed import LARGEST_EXACT_INT, category
from mlpipe.schema import FIRST_CATEGORY_ID, NULL_ID, UNSEEN_ID

#: Up to so many values are looked up one by one.
FEW_ROWS = 512
#: Whole numbers within such a range are looked up by a table.
MOST_CODES = 65_536
#: Rows counted at once.
COUNTED_ROWS = 1_048_576


Ids = npt.NDArray[np.int32]


class CategoryEncoder(ColumnTransformer):
    """Ids by a vocabulary of the training values.

    Args:
        min_frequency: Rarer categories share the unseen id, so that its embedding is trained too.
        max_categories: Only so many of the most frequent get an id of their own.
        levels: Declared categories by column, whose order is kept.

    Examples:
        >>> encoder = CategoryEncoder().fit(pl.DataFrame({"x": ["b", "a", None]}))
        >>> encoder.transform(pl.DataFrame({"x": ["a", "b", None, "zebra"]}))["x"].to_list()
        [3, 4, 1, 2]
    """

    numbers_only = False

    def __init__(
        self,
        min_frequency: int = 1,
        max_categories: int = 10_000,
        levels: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self.min_frequency = min_frequency
        self.max_categories = max_categories
        self.levels = levels

    def fit_column(self, name: str, values: pl.Series, target: npt.NDArray[Any] | None) -> State:
        """The vocabulary, in its order, and how many categories there were."""
        counts = count_categories(values)
        kept = sorted(counts, key=lambda text: (-counts[text], text))[: self.max_categories]
        kept = [text for text in kept if counts[text] >= self.min_frequency]
        declared = (self.levels or {}).get(name)
        if declared is None and isinstance(values.dtype, pl.Enum):
            declared = values.dtype.categories.to_list()
        if declared is not None:
            order = {text: index for index, text in enumerate(declared)}
            kept.sort(key=lambda text: (order.get(text, len(order)), text))
        else:
            kept.sort()
        return {"vocabulary": kept, "distinct": len(counts)}

    def output_names(self, name: str) -> list[str]:
        """The column's own name."""
        return [name]

    def cardinalities(self, name: str) -> list[int | None]:
        """The vocabulary and the three special ids."""
        return [FIRST_CATEGORY_ID + len(self.columns_[name]["vocabulary"])]

    def prepare(self, name: str, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """Int32 ids by the vocabulary."""
        lookup = vocabulary_ids(self.columns_[name]["vocabulary"], dtype)
        return value.map_batches(lookup, return_dtype=pl.Int32, is_elementwise=True)

    def outputs(self, name: str, prepared: pl.Expr) -> list[pl.Expr]:
        """The ids."""
        return [prepared]


class HashEncoder(ColumnTransformer):
    """Ids by a hash of the category, for columns with very many; collisions are left to the model.

    Args:
        buckets: How many ids there are, beside the first three.

    Examples:
        >>> encoder = HashEncoder(buckets=8).fit(pl.DataFrame({"x": ["a"]}))
        >>> encoder.transform(pl.DataFrame({"x": ["a", "b", None]}))["x"].to_list()
        [9, 10, 1]
    """

    numbers_only = False

    def __init__(self, buckets: int = 1_024) -> None:
        self.buckets = buckets

    def fit_column(self, name: str, values: pl.Series, target: npt.NDArray[Any] | None) -> State:
        """Nothing is learnt."""
        return {}

    def output_names(self, name: str) -> list[str]:
        """The column's own name."""
        return [name]

    def cardinalities(self, name: str) -> list[int | None]:
        """The buckets and the three special ids."""
        return [FIRST_CATEGORY_ID + self.buckets]

    def prepare(self, name: str, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """Int32 ids by the hash."""

        def bucket(values: pl.Series) -> pl.Series:
            distinct = values.drop_nulls().unique()
            ids = FIRST_CATEGORY_ID + (text_hashes(distinct) % np.uint64(self.buckets)).astype(np.int32)
            return values.replace_strict(distinct, pl.Series(ids), default=NULL_ID, return_dtype=pl.Int32)

        return category(value, dtype).map_batches(bucket, return_dtype=pl.Int32, is_elementwise=True)

    def outputs(self, name: str, prepared: pl.Expr) -> list[pl.Expr]:
        """The ids."""
        return [prepared]


def count_categories(values: pl.Series) -> dict[str, int]:
    """How often each category occurs, by its canonical text, sorted; null is left out."""
    canonical = _distinct(values.rename("v")).select(category(pl.col("v"), values.dtype), "n").drop_nulls()
    return dict(canonical.group_by("v").agg(pl.col("n").sum()).sort("v").iter_rows())


def _distinct(values: pl.Series) -> pl.DataFrame:
    """The distinct values `v` and how often each occurs, `n`; small whole numbers are counted by place, not by hash."""
    coded = isinstance(values.dtype, pl.Categorical | pl.Enum)
    first = 0 if coded else _smallest(values)
    if first is None:
        return values.value_counts(name="n")
    counts = np.zeros(0, dtype=np.int64)
    for part in values.to_physical().drop_nulls().to_frame().iter_slices(COUNTED_ROWS):
        numbers = part["v"].to_numpy() if coded else (part["v"].cast(pl.Int64) - first).to_numpy()
        counted = np.bincount(numbers, minlength=len(counts))
        counted[: len(counts)] += counts
        counts = counted
    found = np.flatnonzero(counts)
    tally = pl.DataFrame({"v": found + first, "n": counts[found]})
    physical = tally.with_columns(pl.col("v").cast(values.to_physical().dtype))
    return physical.with_columns(pl.col("v").cat.to(values.dtype)) if coded else physical


def vocabulary_ids(vocabulary: Sequence[str], dtype: pl.DataType) -> Callable[[pl.Series], pl.Series]:
    """A function from raw values of one type to Int32 ids.

    Text is looked up as it stands; only what is not found is brought to its canonical form and looked up again,
    which gives the same ids as doing so for all, since canonical text is its own canonical form.
    """
    known = pl.Enum(vocabulary)
    ids = {word: FIRST_CATEGORY_ID + index for index, word in enumerate(vocabulary)}

    def find(text: pl.Series) -> pl.Series:
        if len(text) <= FEW_ROWS:
            # Each cast to an Enum hashes all its categories: milliseconds for some thousands of them.
            return pl.Series(text.name, [ids.get(word) for word in text], dtype=pl.Int32)
        return text.cast(known, strict=False).to_physical().cast(pl.Int32) + FIRST_CATEGORY_ID

    def canonical(values: pl.Series) -> pl.Series:
        return values.to_frame("v").select(category(pl.col("v"), dtype)).to_series()

    def find_words(words: pl.Series) -> pl.Series:
        found = find(words)
        if found.null_count() == words.null_count():
            return found.fill_null(NULL_ID)
        missed = (found.is_null() & words.is_not_null()).arg_true()
        again = canonical(words.gather(missed))
        return found.fill_null(NULL_ID).scatter(missed, _with_special(find(again), again))

    def find_all(values: pl.Series) -> pl.Series:
        if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
            return find_words(values.cast(pl.String))
        text = canonical(values)
        return _with_special(find(text), text)

    tables: dict[pl.DataType, tuple[int, Ids]] = {}

    def lookup(values: pl.Series) -> pl.Series:
        coded = _codes(values) if len(values) > FEW_ROWS else None
        if coded is None:
            return find_all(values)
        first, codes = coded
        # The next block of rows has the same codes, or most of them. Those of a Categorical may stand for other words
        # there: Polars gives them out anew once the last column that had them is gone.
        lasting = not isinstance(values.dtype, pl.Categorical)
        unknown = first, np.zeros(0, dtype=np.int32)
        known_first, table = tables.get(values.dtype, unknown) if lasting else unknown
        if known_first != first:
            table = np.zeros(0, dtype=np.int32)
        table = np.concatenate((table, np.zeros(max(0, int(codes.max()) + 1 - len(table)), dtype=np.int32)))
        found = table.take(codes)
        while not found.all():
            # Each value that is new is looked up once, where it stands last among the first that are not known.
            missed = np.flatnonzero(found == 0)[:MOST_CODES]
            last = np.full(len(table), -1)
            last[codes[missed]] = missed
            new = last[last >= 0]
            table[codes[new]] = find_all(values.gather(new)).to_numpy()
            found = table.take(codes)
        if lasting:
            tables[values.dtype] = first, table
        return pl.Series(values.name, found)

    return lookup


def _codes(values: pl.Series) -> tuple[int, npt.NDArray[np.integer[Any]]] | None:
    """Small whole numbers, 0 for null; None for a type or range that has none.

    Returns:
        What stands for 1, and the numbers; the same number for the same value wherever the first is the same.
    """
    if isinstance(values.dtype, pl.Categorical | pl.Enum):
        return 0, (values.to_physical().cast(pl.UInt32) + 1).fill_null(0).to_numpy()
    smallest = _smallest(values)
    if smallest is None:
        return None
    # Blocks of rows whose smallest numbers differ have the same first one, or few have not.
    first = smallest // MOST_CODES * MOST_CODES
    return first, (values.cast(pl.Int64) - (first - 1)).fill_null(0).to_numpy()


def _smallest(values: pl.Series) -> int | None:
    """The smallest of whole numbers that lie in a range of less than MOST_CODES; None for others."""
    if not values.dtype.is_integer():
        return None
    low, high = values.min(), values.max()
    if low is None:
        return 0
    first, last = int(low), int(high)  # type: ignore[arg-type]  # of whole numbers
    return first if last - first < MOST_CODES and max(-first, last) < LARGEST_EXACT_INT else None


def _with_special(ids: pl.Series, text: pl.Series) -> pl.Series:
    """Ids of those that are null, or not in the vocabulary, filled in."""
    if not ids.null_count():
        return ids
    frame = pl.DataFrame({"id": ids, "text": text})
    special = pl.when(pl.col("text").is_null()).then(NULL_ID).otherwise(UNSEEN_ID)
    return frame.select(pl.coalesce("id", special).cast(pl.Int32)).to_series()


def text_hashes(texts: pl.Series) -> npt.NDArray[np.uint64]:
    """Hashes of strings that are the same in every process and with every library version.

    Shape:
        (T,)
    """
    checksums = np.fromiter((zlib.crc32(text.encode()) for text in texts), dtype=np.uint64, count=len(texts))
    return mix(checksums)
