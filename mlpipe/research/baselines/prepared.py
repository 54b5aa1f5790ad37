"""The rows as baselines take them: numbers with NaN, ids of categories, one target at a time.

Legend of the shapes: T rows, F numeric features, C categorical features, K classes of one target, O outputs.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.arrays import Arrays
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.schema import FIRST_CATEGORY_ID, InputSpec, Schema, TaskKind

if TYPE_CHECKING:
    import pandas as pd

Floats = npt.NDArray[np.floating[Any]]
Values = npt.NDArray[Any]


@dataclass(frozen=True)
class Inputs:
    """The features of some rows.

    Attributes:
        numeric: float64 (T, F), NaN where the value is missing.
        categorical: int32 (T, C): 1 null, 2 unseen, 3… the vocabulary.
    """

    numeric: Floats
    categorical: npt.NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.numeric)

    def take(self, rows: npt.NDArray[np.bool_]) -> Inputs:
        """Those rows only."""
        return Inputs(self.numeric[rows], self.categorical[rows])

    def matrix(self) -> Floats:
        """float64 (T, F + C): the numbers, then the ids as they are."""
        return np.hstack([self.numeric, self.categorical.astype(np.float64)])

    def tree_matrix(self) -> Floats:
        """float64 (T, F + C): as `matrix`, but categories from 0, and NaN for null and unseen ones.

        Trees know how to treat a missing category; one that training did not have is no better than that.
        """
        ids = self.categorical.astype(np.float64) - FIRST_CATEGORY_ID
        return np.hstack([self.numeric, np.where(ids < 0, np.nan, ids)])

    def frame(self) -> pd.DataFrame:
        """A pandas frame of float and int columns, for libraries that tell categories by a column's type."""
        import pandas as pd

        columns = [*self.numeric.T, *self.categorical.T]
        return pd.DataFrame({f"x{index}": values for index, values in enumerate(columns)})


@dataclass(frozen=True)
class Rows:
    """Labelled rows.

    Attributes:
        inputs: Their features.
        target: int64 (T,), from 0 to K - 1, or float64 (T,).
        weight: float32 (T,), or None.
    """

    inputs: Inputs
    target: Values
    weight: npt.NDArray[np.float32] | None

    def __len__(self) -> int:
        return len(self.target)

    def take(self, rows: npt.NDArray[np.bool_]) -> Rows:
        """Those rows only."""
        return Rows(self.inputs.take(rows), self.target[rows], None if self.weight is None else self.weight[rows])


@dataclass(frozen=True)
class Problem:
    """One target to fit.

    Attributes:
        spec: What the features are.
        num_classes: K, the classes that training has, at least 2; 0 for regression.
        train: Rows to fit.
        validation: Rows to stop on; their classes are among those of training.
    """

    spec: InputSpec
    num_classes: int
    train: Rows
    validation: Rows

    @property
    def num_features(self) -> int:
        """F + C."""
        return len(self.spec.numeric) + len(self.spec.categorical)

    @property
    def categories(self) -> list[int]:
        """Positions of the categories in a matrix, behind the numbers."""
        first = len(self.spec.numeric)
        return list(range(first, first + len(self.spec.categorical)))


@dataclass(frozen=True)
class Fitted:
    """What a baseline has come to on one problem.

    Attributes:
        predict: From inputs to (T, K) probabilities, or (T,) values.
        rounds: Trees or epochs that were kept, where a library counts them.
    """

    predict: Callable[[Inputs], Floats]
    rounds: int | None = None


#: Solves a problem with a seed.
Fit = Callable[[Problem, int], Fitted]


class Prepared:
    """A split table in the features that a `FeaturesConfig` makes, fitted on the training rows.

    A number that no training row has is 0 everywhere: histograms cannot bin it.

    Args:
        schema: What the columns are.
        frames: Raw rows of `train` and `validation`, and `test`, which may be empty or missing.
        features: How they become numbers and ids.

    Raises:
        DataError: A column is not what the schema says.
    """

    def __init__(self, schema: Schema, frames: Mapping[str, pl.DataFrame], features: FeaturesConfig) -> None:
        preprocessor = Preprocessor(schema, features)
        self.kind = schema.task.kind
        self.arrays = {"train": preprocessor.fit_arrays(frames["train"])}
        for part in ("validation", "test"):
            if part in frames and frames[part].height:
                self.arrays[part] = preprocessor.transform(frames[part], with_target=True)
        self.spec, self.codec = preprocessor.input_spec_, preprocessor.target_
        nowhere = np.asarray(self.arrays["train"].missing.all(axis=0))
        self.inputs = {part: _inputs(arrays, nowhere) for part, arrays in self.arrays.items()}

    def fit(self, fit: Fit, seed: int) -> list[Fitted]:
        """Solve the task: of a multilabel one, each label is a problem of its own."""
        labels = range(self.spec.num_outputs) if self.kind is TaskKind.MULTILABEL else (None,)
        return [self._solve(fit, seed, label) for label in labels]

    def outputs(self, fitted: Sequence[Fitted], part: str) -> Floats:
        """(T, O) as `compute_metrics` takes it; regression in units of the target."""
        columns = np.hstack([self._output(model.predict(self.inputs[part])) for model in fitted])
        if self.kind is TaskKind.REGRESSION:
            return self.codec.in_units(((columns - self.codec.mean) / self.codec.scale).astype(np.float32))
        return columns

    def truth(self, part: str) -> Values:
        """As `compute_metrics` takes it; regression in units of the target."""
        target: Any = self.arrays[part].target
        return self.codec.in_units(target) if self.kind is TaskKind.REGRESSION else target

    def _output(self, answer: Floats) -> Floats:
        if self.kind is TaskKind.REGRESSION:
            return np.asarray(answer, dtype=np.float64).reshape(-1, 1)
        return answer if self.kind is TaskKind.MULTICLASS else answer[:, 1:]

    def _solve(self, fit: Fit, seed: int, label: int | None) -> Fitted:
        train, validation = self._rows("train", label), self._rows("validation", label)
        if self.kind is TaskKind.REGRESSION:
            return fit(Problem(self.spec, 0, train, validation), seed)
        classes = np.unique(train.target)
        count = self.spec.num_outputs if self.kind is TaskKind.MULTICLASS else 2
        if len(classes) == 1:
            # There is nothing to tell apart, and classifiers refuse.
            return Fitted(lambda inputs: _spread(np.ones((len(inputs), 1)), classes, count))
        validation = validation.take(np.isin(validation.target, classes))
        fitted = fit(
            Problem(self.spec, len(classes), _counted(train, classes), _counted(validation, classes)),
            seed,
        )
        return Fitted(lambda inputs: _spread(fitted.predict(inputs), classes, count), fitted.rounds)

    def _rows(self, part: str, label: int | None) -> Rows:
        arrays = self.arrays[part]
        target: Any = arrays.target
        if self.kind is TaskKind.REGRESSION:
            # Standardising is part of a recipe, so a library gets the target as it is (or its logarithm).
            target = target.astype(np.float64) * self.codec.scale + self.codec.mean
        else:
            target = (target if label is None else target[:, label]).astype(np.int64)
        return Rows(self.inputs[part], target, arrays.weight)


def _inputs(arrays: Arrays, nowhere: npt.NDArray[np.bool_]) -> Inputs:
    numeric = np.where(arrays.missing, np.nan, arrays.numeric).astype(np.float64)
    numeric[:, nowhere] = 0
    return Inputs(numeric, arrays.categorical)


def _counted(rows: Rows, classes: Values) -> Rows:
    """Classes counted from 0, without gaps."""
    return Rows(rows.inputs, np.searchsorted(classes, rows.target), rows.weight)


def _spread(p_TK: Floats, classes: Values, count: int) -> Floats:
    """Probabilities of all classes; one that training did not have gets 0."""
    p_TC = np.zeros((len(p_TK), count))
    p_TC[:, classes] = p_TK
    return p_TC
