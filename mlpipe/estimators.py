"""The whole job behind scikit-learn's interface, for those who live in notebooks.

    model = TransformerClassifier(trainer={"max_epochs": 20}).fit(X, y)
    model.predict_proba(X_new)
    model.save("bundle")          # what `mlpipe serve bundle` takes

`X` is a Polars or pandas frame, or a NumPy array; strings, dates, nulls and unseen categories are welcome. Everything
else (schema, preprocessing, network, recipe) is what `mlpipe fit` uses.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.base import BaseEstimator, ClassifierMixin, RegressorMixin
from sklearn.utils.validation import check_is_fitted

from mlpipe.bundle.card import model_card
from mlpipe.bundle.ensemble import read_contents
from mlpipe.bundle.folder import is_bundle
from mlpipe.bundle.format import write_bundle
from mlpipe.bundle.predictor import ModelPredictor, Predictor, Values
from mlpipe.data.datamodule import TabularDataModule
from mlpipe.data.frames import (
    as_polars,
    class_positions,
    distinct_labels,
    group_of,
    has_names,
    number_of,
    seed_of,
    with_targets,
)
from mlpipe.data.infer import infer_schema
from mlpipe.data.load import PARTS, Part
from mlpipe.data.split import SplitConfig, split_rows
from mlpipe.errors import BundleError, ConfigError, DataError
from mlpipe.features.calibration import is_yes
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.rows import json_row
from mlpipe.models import TransformerConfig
from mlpipe.schema import Role, TaskKind, reject_unknown_keys
from mlpipe.training.config import TrainingConfig
from mlpipe.training.loop import train

#: One device: for more of them, the Trainer would run the whole script again, once for each.
DEFAULTS = {"devices": 1, "enable_progress_bar": False, "enable_model_summary": False}
#: The constructor's arguments that hold several.
_GROUPS = ("model", "training", "features", "trainer", "columns")


class _TransformerEstimator(BaseEstimator):  # type: ignore[misc]  # scikit-learn has no types
    """What both estimators share.

    Args:
        model: Fields of `TransformerConfig`.
        training: Fields of `TrainingConfig`, for example `{"metric": "f1", "class_weights": "balanced"}` or
            `{"loss": "quantile", "interval": 0.9}`.
        features: Fields of `FeaturesConfig`.
        trainer: Arguments of `lightning.Trainer`, for example `{"max_epochs": 20, "precision": "bf16-mixed"}`.
        columns: Kind by column name, where the inferred one is not wanted.
        validation_fraction: Share of the rows kept for early stopping and calibration.
        batch_size: Rows per step; None: by the number of rows.
        random_state: Seed of the split, the weights, the order of the rows and dropout; None: another each time.
    """

    _kinds: ClassVar[tuple[TaskKind, ...]]

    def __init__(
        self,
        *,
        model: Mapping[str, Any] | None = None,
        training: Mapping[str, Any] | None = None,
        features: Mapping[str, Any] | None = None,
        trainer: Mapping[str, Any] | None = None,
        columns: Mapping[str, str] | None = None,
        validation_fraction: float = 0.15,
        batch_size: int | None = None,
        random_state: int | np.random.RandomState | None = 0,
    ) -> None:
        self.model = model
        self.training = training
        self.features = features
        self.trainer = trainer
        self.columns = columns
        self.validation_fraction = validation_fraction
        self.batch_size = batch_size
        self.random_state = random_state

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """Fit to rows and their targets.

        Args:
            X: (T, columns) Polars or pandas frame, or array.
            y: (T,) labels or values. The name of a Series is that of the target in the model card and in messages.
            sample_weight: (T,) weights.

        Raises:
            ConfigError: An argument of the constructor is wrong.
            DataError: `X` and `y` do not fit together, or hold nothing to learn from.
        """
        given = {group: group_of(group, getattr(self, group)) for group in _GROUPS}
        for group, record in (("training", TrainingConfig), ("features", FeaturesConfig)):
            reject_unknown_keys(given[group], record, group)
        model = TransformerConfig.from_dict(given["model"])
        training, features = TrainingConfig(**given["training"]), FeaturesConfig(**given["features"])
        batch_size = number_of("batch_size", self.batch_size, int | None)
        if not 0 < (fraction := number_of("validation_fraction", self.validation_fraction, float)) < 1:
            raise ConfigError(
                f"`validation_fraction` is {fraction}; early stopping and calibration need some rows: it has to be "
                "above 0 and below 1."
            )
        frame = as_polars(X)
        self._set_features_in(X, frame)
        frame, target, weight = with_targets(frame, y, sample_weight)
        kind = self._kind_of(y)
        schema = infer_schema(frame, target, task=kind, columns=given["columns"], weight=weight, source="X")
        seed = seed_of(self.random_state)
        split = split_rows(frame, schema, SplitConfig(validation=fraction, test=0.0, seed=seed))
        frames: dict[Part, pl.DataFrame] = {part: frame[getattr(split, part)] for part in PARTS}
        data = TabularDataModule(schema, frames, features, batch_size=batch_size, seed=seed)
        with tempfile.TemporaryDirectory() as folder:
            trainer = {**DEFAULTS, **given["trainer"]}
            trained = train(data, model, training, trainer, checkpoints=Path(folder), seed=seed)
        self.metrics_ = {part: dict(values) for part, values in trained.metrics.items()}
        self.sample_row_ = json_row(frames["validation"], schema)
        self.predictor_: Predictor = ModelPredictor(
            schema=schema,
            preprocessor=data.preprocessor,
            model=trained.module.net,
            calibration=trained.calibration,
            statistics=trained.statistics,
        )
        return self

    def save(self, path: str | Path, *, overwrite: bool = False) -> Path:
        """Write a bundle, which `load`, `mlpipe predict` and `mlpipe serve` take; returns its folder.

        Args:
            path: The folder to make.
            overwrite: Replace a bundle that is there; anything else is never replaced.

        Raises:
            BundleError: There is something at `path`, or the estimator was loaded from an ensemble.
        """
        check_is_fitted(self, "predictor_")
        if is_bundle(Path(path)) and not overwrite:
            raise BundleError(f"There is a bundle at {str(path)!r} already; `overwrite=True` replaces it.")
        predictor = self.predictor_
        if not isinstance(predictor, ModelPredictor):
            raise BundleError("This estimator was loaded from an ensemble of several models: copy its bundle instead.")
        net = predictor.model
        return write_bundle(
            Path(path),
            schema=predictor.schema,
            preprocessor=predictor.preprocessor,
            model=net,
            config=net.config,
            calibration=predictor.calibration,
            statistics=predictor.statistics,
            metrics=self.metrics_,
            model_card=model_card(
                name=type(self).__name__,
                schema=predictor.schema,
                metrics=self.metrics_,
                sample_row=self.sample_row_,
                num_parameters=sum(p.numel() for p in net.parameters()),
                trunk=net.config.trunk,
                kept_rows=predictor.preprocessor.kept_rows,
                threshold=predictor.threshold,
                level=predictor.level,
            ),
            sample_row=self.sample_row_,
            overwrite=overwrite,
        )

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """An estimator that predicts with a bundle; its constructor's arguments are the defaults.

        Raises:
            BundleError: The bundle is damaged or of another task.
        """
        contents = read_contents(path)
        if (kind := contents.schema.task.kind) not in cls._kinds:
            raise DataError(f"The bundle is for {kind}; {cls.__name__} is for {' or '.join(cls._kinds)}.")
        estimator = cls()
        estimator.predictor_ = Predictor.of(contents)
        estimator.metrics_, estimator.sample_row_ = contents.manifest.metrics, contents.sample_request
        names = [column.name for column in contents.schema if column.role not in (Role.TARGET, Role.WEIGHT)]
        estimator.n_features_in_ = len(names)
        estimator.feature_names_in_ = np.array(names, dtype=object)
        return estimator

    def _values(self, X: Any) -> Values:
        check_is_fitted(self, "predictor_")
        frame = as_polars(X)
        # A frame's columns go by their names: preprocessing names the one that is missing.
        if not has_names(X) and frame.width != self.n_features_in_:
            raise DataError(f"X has {frame.width} columns; this model was fitted on {self.n_features_in_}.")
        return self.predictor_.values(frame)

    def _set_features_in(self, X: Any, frame: pl.DataFrame) -> None:
        self.n_features_in_ = frame.width
        if has_names(X):
            self.feature_names_in_ = np.array(frame.columns, dtype=object)
        elif hasattr(self, "feature_names_in_"):
            del self.feature_names_in_

    def _kind_of(self, y: Any) -> TaskKind:
        raise NotImplementedError  # each estimator knows which of its kinds the targets are


class TransformerClassifier(ClassifierMixin, _TransformerEstimator):  # type: ignore[misc]  # as above
    """Binary or multiclass classification with calibrated probabilities.

    Attributes:
        classes_: (C,) labels in ascending order, as in the columns of `predict_proba`: one for each class, also where
            several labels are the same category, such as `a` and ` a`.
        metrics_: Metrics on the rows kept for validation.

    Examples:
        >>> X = pl.DataFrame({"size": [1.0, 2.0, 8.0, 9.0] * 25, "color": ["red", "blue"] * 50})
        >>> y = np.array(["small", "small", "large", "large"] * 25)
        >>> tiny = {"width": 8, "num_heads": 1, "num_layers": 1, "readout_tokens": 2}
        >>> model = TransformerClassifier(model=tiny, trainer={"max_epochs": 3}).fit(X, y)
        >>> model.predict_proba(X.head(2)).shape
        (2, 2)
    """

    _kinds = (TaskKind.BINARY, TaskKind.MULTICLASS)

    def fit(self, X: Any, y: Any, sample_weight: Any = None) -> Self:
        """See `_TransformerEstimator.fit`; `y` holds labels of one type: strings, whole numbers or booleans."""
        super().fit(X, y, sample_weight)
        self.classes_ = distinct_labels(y)
        return self

    def predict_proba(self, X: Any) -> Values:
        """Probabilities (T, C), float32, columns as in `classes_`."""
        values = self._values(X)
        if values.shape[1] == 1:
            values = np.concatenate((1 - values, values), axis=1)
        return values[:, class_positions(self.classes_, self.predictor_.schema.task.classes)]

    def predict(self, X: Any) -> npt.NDArray[Any]:
        """The label that is answered for each row, (T,), in the labels' own type.

        It is the most probable one, but where `training.metric` or `training.threshold` asks for another threshold.
        """
        values = self._values(X)
        task = self.predictor_.schema.task
        best = values.argmax(axis=1)
        if task.kind is TaskKind.BINARY:
            best = is_yes(values[:, 0], self.predictor_.threshold).astype(np.int64)
        labels: npt.NDArray[Any] = self.classes_[np.argsort(class_positions(self.classes_, task.classes))[best]]
        return labels

    @classmethod
    def load(cls, path: str | Path) -> Self:
        """See `_TransformerEstimator.load`."""
        estimator = super().load(path)
        estimator.classes_ = np.unique(np.array(estimator.predictor_.schema.task.classes))
        return estimator

    def _kind_of(self, y: Any) -> TaskKind:
        return TaskKind.BINARY if len(distinct_labels(y)) <= 2 else TaskKind.MULTICLASS


class TransformerRegressor(RegressorMixin, _TransformerEstimator):  # type: ignore[misc]  # as above
    """Regression.

    Attributes:
        metrics_: Metrics on the rows kept for validation, in units of the target.
    """

    _kinds = (TaskKind.REGRESSION,)

    def predict(self, X: Any) -> Values:
        """Values (T,) in units of the target."""
        return self._values(X)[:, 0]

    def predict_interval(self, X: Any) -> Values:
        """Lower and upper bounds (T, 2) in units of the target.

        They hold the targets of rows like those kept for validation as often as `training={"interval": 0.9}` says.

        Raises:
            ConfigError: The estimator was fitted without an interval.
        """
        check_is_fitted(self, "predictor_")
        if self.predictor_.level is None:
            raise ConfigError('There is no interval to predict: fit with `training={"interval": 0.9}`, for example.')
        return self._values(X)[:, 1:]

    def _kind_of(self, y: Any) -> TaskKind:
        return TaskKind.REGRESSION
