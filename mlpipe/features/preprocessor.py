"""`Preprocessor`: a raw table to `Arrays`, by transformers fitted on the training rows only.

What is notable:
- one Polars selection computes every feature; a LazyFrame goes through the streaming engine;
- the selection is elementwise: one row at a time gives the bits that all rows at once give;
- the fitted state is plain JSON, which reads back bit for bit.
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import asdict, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.base import BaseEstimator, TransformerMixin
from sklearn.utils.validation import check_is_fitted

from mlpipe.arrays import Arrays
from mlpipe.errors import DataError, did_you_mean
from mlpipe.features.base import ColumnTransformer
from mlpipe.features.choice import read_transformer, write_transformer
from mlpipe.features.compute import BLOCK_ROWS, Selection, compact, compile_selection, to_arrays
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.describe import describe_features
from mlpipe.features.fitting import fit_columns, group_codes, put_out_of_fold, row_weights
from mlpipe.features.neighbor_features import NeighborFeatures, fit_neighbors, wanted
from mlpipe.features.neighbors import Floats
from mlpipe.features.sample import sample_rows
from mlpipe.features.spec import BIN_ROWS, specify, with_bins
from mlpipe.features.statistics import Statistics
from mlpipe.features.target import Target, TargetCodec
from mlpipe.schema import InputSpec, Role, Schema

logger = logging.getLogger(__name__)

#: Compiled selections kept at once.
KEPT_SELECTIONS = 16
STATE_VERSION = 2


class Preprocessor(TransformerMixin, BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """Fits on raw training rows and turns raw rows into `Arrays`.

    Args:
        schema: What the columns are.
        config: How they become features; None: the defaults.

    Attributes:
        transformers_: The fitted transformers of each feature column, in the schema's order.
        target_: Encodes the target and decodes predictions.
        neighbors_: Adds the targets of similar training rows to the numbers, if they are worth it.
        input_spec_: The columns of the arrays, with the edges of the piecewise-linear encoding.
        statistics_: What the training rows looked like; no part of `to_dict`, a bundle has a file for them.

    Examples:
        >>> from mlpipe.schema import Column, Kind, Task, TaskKind
        >>> schema = Schema(
        ...     (Column("x", Kind.NUMERIC), Column("c", Kind.CATEGORICAL), Column("y", Kind.NUMERIC, Role.TARGET)),
        ...     Task(TaskKind.REGRESSION, ("y",)),
        ... )
        >>> train = pl.DataFrame({"x": [1.0, 3.0, None], "c": ["a", "b", None], "y": [0.0, 1.0, 2.0]})
        >>> preprocessor = Preprocessor(schema, FeaturesConfig(numeric="standard")).fit(train)
        >>> arrays = preprocessor.transform(train)
        >>> arrays.numeric.tolist(), arrays.missing.tolist(), arrays.categorical.tolist()
        ([[-1.0], [1.0], [0.0]], [[False], [False], [True]], [[3], [4], [1]])
    """

    transformers_: dict[str, list[ColumnTransformer]]
    input_spec_: InputSpec
    target_: TargetCodec
    neighbors_: NeighborFeatures | None
    statistics_: Statistics

    def __init__(self, schema: Schema, config: FeaturesConfig | None = None) -> None:
        self.schema = schema
        self.config = config

    def fit(self, frame: pl.DataFrame | pl.LazyFrame, y: object = None) -> Self:
        """Fit on training rows.

        Args:
            frame: Raw rows with the feature and target columns. A LazyFrame's columns are collected.
            y: Ignored; the target is a column of the frame.

        Raises:
            DataError: A column is missing or of a type that cannot be read as its kind, or a target is null.
        """
        self._fit(self._collected(frame))
        return self

    def fit_arrays(self, frame: pl.DataFrame | pl.LazyFrame) -> Arrays:
        """`fit`, and the arrays of the training rows, in which target encodings are out of fold.

        Returns:
            As `transform(frame, with_target=True)` but for the target encodings.
        """
        frame = self._collected(frame)
        target, arrays, similar = self._fit(frame)
        if arrays is None:
            arrays = self._training_arrays(frame, target)
        arrays = replace(arrays, target=target, weight=row_weights(frame, self.schema))
        return arrays if self.neighbors_ is None else self.neighbors_.extend(arrays, similar)

    def compact(self, types: pl.Schema) -> list[pl.Expr]:
        """The columns that `fit_arrays` needs, in few bytes: for `mlpipe.data.read.read`, which then holds no others.

        Args:
            types: Of all columns of the raw table.

        Raises:
            DataError: A column is missing or of a type that cannot be read as its kind.
        """
        group = self.schema.with_role(Role.GROUP)
        extra = [group.name] if group and group.name in types else []
        return compact(self.schema, types, [*self._needed(types, self._target_columns()), *extra])

    def transform(self, frame: pl.DataFrame | pl.LazyFrame, *, with_target: bool = False) -> Arrays:
        """Raw rows as arrays; row order is kept.

        Args:
            frame: Raw rows with the feature columns; other columns are ignored.
            with_target: Whether to read the target and weight columns too.

        Raises:
            DataError: A column is missing or of a type that cannot be read as its kind; with the target: a label
                is unknown or a target or weight is null.
        """
        check_is_fitted(self, "transformers_")
        arrays, targets = self._transform(frame, self._target_columns() if with_target else [])
        if self.neighbors_ is not None:
            arrays = self.neighbors_.extend(arrays)
        if not with_target:
            return arrays
        return replace(arrays, target=self.target_.encode(targets), weight=row_weights(targets, self.schema))

    def get_feature_names_out(self, input_features: object = None) -> npt.NDArray[Any]:
        """Names of the features: the numeric ones, then the categorical ones."""
        check_is_fitted(self, "input_spec_")
        numbers = [feature.name for feature in self.input_spec_.numeric]
        categories = [feature.name for feature in self.input_spec_.categorical]
        return np.asarray(numbers + categories, dtype=object)

    @property
    def kept_rows(self) -> int:
        """Training rows whose features and targets are part of the state; see `neighbors_`."""
        return 0 if self.neighbors_ is None else self.neighbors_.targets.rows_FM.shape[1]

    def to_dict(self) -> dict[str, Any]:
        """Everything fitted, as plain JSON values; floats survive `json` bit for bit."""
        check_is_fitted(self, "transformers_")
        return {
            "version": STATE_VERSION,
            "schema": self.schema.to_dict(),
            "config": asdict(self._config),
            "transformers": {
                name: [write_transformer(transformer) for transformer in transformers]
                for name, transformers in self.transformers_.items()
            },
            "target": self.target_.to_dict(),
            "neighbors": None if self.neighbors_ is None else self.neighbors_.to_dict(),
            "input_spec": self.input_spec_.to_dict(),
        }

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            DataError: The state was written by a version of another format.
        """
        if values.get("version") != STATE_VERSION:
            raise DataError(
                f"The preprocessing state has version {values.get('version')!r}, this mlpipe reads {STATE_VERSION}."
            )
        preprocessor = cls(Schema.from_dict(values["schema"]), FeaturesConfig(**values["config"]))
        preprocessor.transformers_ = {
            name: [read_transformer(state) for state in states] for name, states in values["transformers"].items()
        }
        preprocessor.target_ = TargetCodec.from_dict(values["target"])
        neighbors = values["neighbors"]
        preprocessor.neighbors_ = None if neighbors is None else NeighborFeatures.from_dict(neighbors)
        preprocessor.input_spec_ = InputSpec.from_dict(values["input_spec"])
        return preprocessor

    def __getstate__(self) -> dict[str, Any]:
        state: dict[str, Any] = super().__getstate__()
        return {name: value for name, value in state.items() if name != "_selections"}

    def _selection(self, types: pl.Schema, carried: Sequence[str]) -> Selection:
        """The compiled selection, kept by the types of the feature columns: requests come in few of them."""
        kept: dict[object, Selection] = self.__dict__.setdefault("_selections", {})
        key = (*(types[name] for name in self.transformers_), *carried)
        if key not in kept:
            if len(kept) >= KEPT_SELECTIONS:
                kept.clear()
            kept[key] = compile_selection(types, self.schema, self.transformers_, carried)
        return kept[key]

    @property
    def _widths(self) -> tuple[int, int]:
        """How many numeric features come from the columns, and how many categorical ones."""
        added = 0 if self.neighbors_ is None else len(self.neighbors_.labels)
        return len(self.input_spec_.numeric) - added, len(self.input_spec_.categorical)

    @property
    def _config(self) -> FeaturesConfig:
        return self.config or FeaturesConfig()

    def _fit(self, frame: pl.DataFrame) -> tuple[Target, Arrays | None, Floats | None]:
        """Fit on a frame in memory.

        Returns:
            The encoded target; the arrays without `neighbors_`, if they were needed for them; and if there are any,
            the values of `neighbors_` for the frame's rows.
        """
        if not self.schema.features:
            raise DataError("The schema has no feature column: all are the target, identifiers or ignored.")
        if frame.is_empty():
            raise DataError("There are no training rows.")
        self.target_ = TargetCodec(self.schema.task, self._config.target_transform).fit(frame)
        self.__dict__.pop("_selections", None)

        self.transformers_, target = fit_columns(self.schema, frame, self.target_, self._config)
        self.input_spec_ = spec = specify(self.transformers_, self.schema.task)
        self.neighbors_, arrays, similar = None, None, None
        if wanted(self._config, frame.height, self.schema):
            arrays = self._training_arrays(frame, target)
            groups = group_codes(frame, self.schema)
            found = fit_neighbors(arrays, self.input_spec_, target, self.schema.task, self._config, groups)
            if found is not None:
                self.neighbors_, similar = found
                numeric = (*self.input_spec_.numeric, *self.neighbors_.features())
                self.input_spec_ = replace(self.input_spec_, numeric=numeric)
        rows = sample_rows(frame.height, BIN_ROWS, self._config.seed)
        sample = frame[rows]
        new = self._transform(sample, [])[0]
        self.statistics_ = describe_features(frame, sample, new, spec, self.schema, self.transformers_)
        sampled = new if arrays is None else arrays.take(rows)
        if self.neighbors_ is not None and similar is not None:
            sampled = self.neighbors_.extend(sampled, similar[rows])
        self.input_spec_ = with_bins(self.input_spec_, sampled, target[rows], self.schema.task.kind, self._config)
        return target, arrays, similar

    def _transform(self, frame: pl.DataFrame | pl.LazyFrame, extra: list[str]) -> tuple[Arrays, pl.DataFrame]:
        """The arrays without `neighbors_`, and the raw columns named in `extra`."""
        types = frame.collect_schema()
        self._needed(types, extra)
        if isinstance(frame, pl.LazyFrame):
            # What is held in memory are the features, not the raw columns.
            features = self._selection(types, extra)(frame).collect(engine="streaming")
            targets = features.select(pl.col(f"t{index}").alias(name) for index, name in enumerate(extra))
            return to_arrays(features.iter_slices(BLOCK_ROWS), features.height, *self._widths), targets
        select = self._selection(types, ())
        # What comes from a text file is in hundreds of chunks, each of which has its price in every expression.
        return to_arrays(
            frame.iter_slices(BLOCK_ROWS), frame.height, *self._widths, lambda raw: select(raw.rechunk())
        ), frame.select(extra)

    def _training_arrays(self, frame: pl.DataFrame, target: Target) -> Arrays:
        """The training rows as arrays, target encodings out of fold, without `neighbors_`."""
        arrays = self._transform(frame, [])[0]
        put_out_of_fold(arrays, self.schema, frame, self.transformers_, target)
        return arrays

    def _collected(self, frame: pl.DataFrame | pl.LazyFrame) -> pl.DataFrame:
        columns = self.compact(frame.collect_schema())
        return frame.lazy().select(columns).collect(engine="streaming" if isinstance(frame, pl.LazyFrame) else "auto")

    def _target_columns(self) -> list[str]:
        weight = self.schema.with_role(Role.WEIGHT)
        return [*self.schema.task.target, *([weight.name] if weight else [])]

    def _needed(self, schema: pl.Schema, extra: list[str]) -> list[str]:
        """Names of the columns to be read.

        Raises:
            DataError: One is not there.
        """
        names = [*(column.name for column in self.schema.features), *extra]
        for name in names:
            if name not in schema:
                raise DataError(f"There is no column {name!r} in the table.{did_you_mean(name, schema)}")
        return names
