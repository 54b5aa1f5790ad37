"""`TargetMean`: a category as the mean of the target among the training rows that have it.

Out of fold: the value of a training row comes from the rows of the other folds, since with its own target in it
the feature would tell the answer. New rows get the statistics of all training rows (Micci-Barreca 2001).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.features.base import ColumnTransformer, State
from mlpipe.features.categorical import count_categories, vocabulary_ids
from mlpipe.features.sample import folds
from mlpipe.schema import FIRST_CATEGORY_ID, NULL_ID, UNSEEN_ID

Floats = npt.NDArray[np.float64]


class TargetMean(ColumnTransformer):
    """(sum of the target + smoothing * overall mean) / (rows + smoothing), by category.

    `fit_transform` gives the out-of-fold values and so differs from `fit` and `transform`.

    Args:
        smoothing: Rows of the overall mean mixed into each category's.
        folds: For the training rows; a row's fold comes from its position, or from its group.
        seed: Of the folds.

    Examples:
        >>> frame, y = pl.DataFrame({"x": ["a", "a", "b", "b"]}), [0.0, 0.0, 1.0, 1.0]
        >>> TargetMean(smoothing=2.0).fit(frame, y).transform(pl.DataFrame({"x": ["a", "zebra"]}))["x"].to_list()
        [0.25, 0.5]
    """

    numbers_only = False

    def __init__(self, smoothing: float = 20.0, folds: int = 5, seed: int = 0) -> None:
        self.smoothing = smoothing
        self.folds = folds
        self.seed = seed

    def fit_column(self, name: str, values: pl.Series, target: npt.NDArray[Any] | None) -> State:
        """The vocabulary and the table of means by id."""
        if target is None:
            raise ValueError("TargetMean requires y to be passed, but the target y is None.")
        vocabulary = list(count_categories(values))
        ids = vocabulary_ids(vocabulary, values.dtype)(values).to_numpy()
        table = self._means(ids, _as_matrix(target), FIRST_CATEGORY_ID + len(vocabulary))
        return {"vocabulary": vocabulary, "means": table.tolist()}

    def fit_transform(self, X: Any, y: Any = None) -> Any:
        """Fit on all rows and give the out-of-fold values of them."""
        features = self.fit(X, y).transform(X)
        frame, target = self._frame(X, reset=False), _as_matrix(np.asarray(y))
        columns = [self.out_of_fold(frame[name], target) for name in self.columns_]
        matrix = np.concatenate(columns, axis=1)
        if isinstance(features, pl.DataFrame | pl.LazyFrame):
            replaced = pl.DataFrame(matrix, schema=list(self.get_feature_names_out()))
            return replaced.lazy() if isinstance(features, pl.LazyFrame) else replaced
        return matrix

    def out_of_fold(
        self, values: pl.Series, target: npt.NDArray[Any], groups: npt.NDArray[np.int64] | None = None
    ) -> Floats:
        """The values of the training rows of a fitted column.

        Args:
            values: The column.
            target: Of these rows.
            groups: (T,) the group of each row, from 0; rows of one group are in one fold.

        Shape:
            (T,), (T, O) -> (T, O)
        """
        vocabulary = self.columns_[values.name]["vocabulary"]
        size = FIRST_CATEGORY_ID + len(vocabulary)
        ids = vocabulary_ids(vocabulary, values.dtype)(values).to_numpy()
        fold = folds(len(values), self.folds, self.seed, groups)
        encoded = np.empty((len(values), _as_matrix(target).shape[1]))
        for index in range(self.folds):
            inside = fold == index
            # Too few rows to leave any out: all of them.
            kept = ~inside if not inside.all() else inside
            encoded[inside] = self._means(ids[kept], _as_matrix(target)[kept], size)[ids[inside]]
        return encoded

    def output_names(self, name: str) -> list[str]:
        """The column's own name, with a number where there are several targets."""
        outputs = len(self.columns_[name]["means"][0])
        return [name] if outputs == 1 else [f"{name}.{index}" for index in range(outputs)]

    def prepare(self, name: str, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """Int32 ids by the vocabulary."""
        lookup = vocabulary_ids(self.columns_[name]["vocabulary"], dtype)
        return value.map_batches(lookup, return_dtype=pl.Int32, is_elementwise=True)

    def outputs(self, name: str, prepared: pl.Expr) -> list[pl.Expr]:
        """The mean of each target by id."""
        return [_gathered(prepared, np.asarray(means)) for means in zip(*self.columns_[name]["means"], strict=True)]

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.target_tags.required = True
        return tags

    def _means(self, ids: npt.NDArray[np.int32], target: Floats, size: int) -> Floats:
        """Smoothed means by id; the overall mean where there is no row."""
        rows = np.bincount(ids, minlength=size).astype(np.float64)
        prior = target.mean(axis=0)
        sums = np.stack([np.bincount(ids, weights=column, minlength=size) for column in target.T], axis=1)
        weight = rows + self.smoothing
        known = weight > 0
        table = np.tile(prior, (size, 1))
        table[known] = (sums[known] + self.smoothing * prior) / weight[known, None]
        table[UNSEEN_ID] = prior
        if not rows[NULL_ID]:
            table[NULL_ID] = prior
        return table


def _gathered(ids: pl.Expr, table: Floats) -> pl.Expr:
    def gather(values: pl.Series) -> pl.Series:
        return pl.Series(values.name, table.take(values.to_numpy()))

    return ids.map_batches(gather, return_dtype=pl.Float64, is_elementwise=True)


def _as_matrix(target: npt.NDArray[Any]) -> Floats:
    """(T,) or (T, O) numbers as float64 (T, O); labels as one column of 0 and 1 per class, one for two classes."""
    if target.dtype.kind in "OUS":
        classes = np.unique(target)
        hot: Floats = np.equal(target[:, None], classes).astype(np.float64)
        return hot[:, 1:] if hot.shape[1] == 2 else hot
    real: Floats = target.astype(np.float64)
    return real[:, None] if real.ndim == 1 else real
