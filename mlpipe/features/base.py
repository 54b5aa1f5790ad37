"""`ColumnTransformer`: scikit-learn's estimator interface over Polars expressions.

What is notable:
- a fitted transformer is a dictionary of plain JSON values per column (`columns_`); the expressions are built from
  it when they are needed, since Polars calls its own serialised expressions unstable;
- a LazyFrame gives a LazyFrame, a Polars DataFrame a DataFrame; anything else (ndarray, pandas) a float64 ndarray,
  where null is NaN, which `set_output` turns into what was asked for;
- every expression is elementwise, so that one row at a time gives the bits that all rows at once give.
"""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterable
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils._set_output import _get_output_config
from sklearn.utils.validation import _check_feature_names_in, check_is_fitted, validate_data

from mlpipe.features.frame import from_pandas
from mlpipe.features.typed import refuse_nested

#: What a fitted column is: plain JSON values.
State = dict[str, Any]


class ColumnTransformer(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Base of the transformers that treat each column by itself.

    A child stores its arguments in the constructor and implements `fit_column`, `output_names`, `prepare` and
    `outputs`.

    Attributes:
        columns_: State of each fitted column, by name, in the order of the training table.
        feature_names_in_: Names of the columns, if the training table had names.
        n_features_in_: How many they are.
    """

    #: Whether an ndarray has to be of numbers.
    numbers_only = True

    columns_: dict[str, State]

    @abstractmethod
    def fit_column(self, name: str, values: pl.Series, target: npt.NDArray[Any] | None) -> State:
        """The state of one column from its training values."""

    @abstractmethod
    def output_names(self, name: str) -> list[str]:
        """Names of the features made of one fitted column."""

    @abstractmethod
    def prepare(self, name: str, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """What all features of one fitted column are computed from.

        Args:
            name: The column.
            value: The expression that gives its values.
            dtype: The type of that expression.
        """

    @abstractmethod
    def outputs(self, name: str, prepared: pl.Expr) -> list[pl.Expr]:
        """The features, one for each of `output_names`, from the column that `prepare` made."""

    def cardinalities(self, name: str) -> list[int | None]:
        """For each of `output_names`: how many ids it has if it is categorical, None if it is a number."""
        return [None for _ in self.output_names(name)]

    def fit(self, X: Any, y: Any = None) -> Self:
        """Fit every column.

        Args:
            X: (T, F) Polars DataFrame or LazyFrame, ndarray, or what scikit-learn takes.
            y: (T,) target, for the transformers that need one.
        """
        frame = self._frame(X, reset=True)
        target = None if y is None else np.asarray(y)
        return self.fit_columns((frame[name] for name in frame.columns), target)

    def fit_columns(self, columns: Iterable[pl.Series], target: npt.NDArray[Any] | None = None) -> Self:
        """`fit` on Series, one at a time, so that no more than one has to be there at once."""
        self.columns_ = {}
        for values in columns:
            refuse_nested(values.name, values.dtype)
            self.columns_[values.name] = self.fit_column(values.name, values, target)
        return self

    def transform(self, X: Any) -> Any:
        """The features of each row; row order is kept.

        Args:
            X: (T, F), as for `fit`, with the same columns.

        Returns:
            (T, F_out): lazy if `X` is, a Polars DataFrame for one, else a float64 ndarray.
        """
        check_is_fitted(self, "columns_")
        plain = _get_output_config("transform", self)["dense"] == "default"
        if isinstance(X, pl.LazyFrame) and plain:
            schema = X.collect_schema()
            validate_data(self, schema.to_frame(), reset=False, skip_check_array=True)
            return X.select(self._prepared(schema)).select(self._outputs())
        frame = self._frame(X, reset=False)
        features = frame.select(self._prepared(frame.schema)).select(self._outputs())
        if isinstance(X, pl.DataFrame) and plain:
            return features
        return features.cast(pl.Float64).fill_null(float("nan")).to_numpy(order="c")

    def get_feature_names_out(self, input_features: Any = None) -> npt.NDArray[Any]:
        """Names of the features, in the order of `transform`.

        Args:
            input_features: Names of the columns, if the training table had none.
        """
        check_is_fitted(self, "columns_")
        given = _check_feature_names_in(self, input_features)
        # Every output name starts with its column's.
        names = [
            f"{column}{feature[len(name) :]}"
            for name, column in zip(self.columns_, given, strict=True)
            for feature in self.output_names(name)
        ]
        return np.asarray(names, dtype=object)

    def to_dict(self) -> dict[str, Any]:
        """The arguments and the fitted state as plain JSON values; floats survive `json` bit for bit."""
        return {"arguments": self.get_params(deep=False), "columns": self.columns_}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        transformer = cls(**values["arguments"])
        transformer.columns_ = values["columns"]
        transformer.n_features_in_ = len(transformer.columns_)
        transformer.feature_names_in_ = np.asarray(list(transformer.columns_), dtype=object)
        return transformer

    def __sklearn_tags__(self) -> Any:
        tags = super().__sklearn_tags__()
        tags.input_tags.allow_nan = True
        tags.input_tags.string = not self.numbers_only
        tags.input_tags.categorical = not self.numbers_only
        tags.transformer_tags.preserves_dtype = []
        return tags

    def _prepared(self, schema: pl.Schema) -> list[pl.Expr]:
        return [self.prepare(name, pl.col(name), schema[name]).alias(name) for name in self.columns_]

    def _outputs(self) -> list[pl.Expr]:
        return [
            expression.alias(feature)
            for name in self.columns_
            for feature, expression in zip(self.output_names(name), self.outputs(name, pl.col(name)), strict=True)
        ]

    def _frame(self, X: Any, *, reset: bool) -> pl.DataFrame:
        """A Polars frame of the input, its names and width checked against (or, on `reset`, stored in) the fit."""
        if isinstance(X, pl.LazyFrame):
            X = X.collect()
        if isinstance(X, pl.DataFrame) or hasattr(X, "columns"):
            validate_data(self, X, reset=reset, skip_check_array=True)
            return X if isinstance(X, pl.DataFrame) else from_pandas(X)
        dtype = np.float64 if self.numbers_only else None
        array = validate_data(self, X, reset=reset, dtype=dtype, ensure_all_finite=False)
        names = list(getattr(self, "feature_names_in_", [f"x{index}" for index in range(array.shape[1])]))
        return pl.DataFrame({name: _series(array[:, index]) for index, name in enumerate(names)})


def _series(values: npt.NDArray[Any]) -> pl.Series:
    """A column of an ndarray; of an object array by the types of its values."""
    return pl.Series(values.tolist(), strict=False) if values.dtype == object else pl.Series(values)
