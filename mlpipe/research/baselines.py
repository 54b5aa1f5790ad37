"""Three honest baselines on the same rows, with the same metrics: what a neural model has to beat.

Notable:
- they read the features that mlpipe's preprocessing makes of the raw columns, dates and texts included, in the form
  that suits them; scaling and encoding on top of that are scikit-learn's;
- hyperparameters are scikit-learn's defaults but for two named below: no baseline is tuned, and none is crippled;
- rows of the test part are never looked at before the last line.

Legend of the shapes: T rows, F features, O outputs.
"""

from __future__ import annotations

import logging
import time
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.exceptions import ConvergenceWarning
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

from mlpipe.arrays import Arrays
from mlpipe.errors import ConfigError, did_you_mean
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.target import TargetCodec
from mlpipe.logs import log_execution_time
from mlpipe.schema import FIRST_CATEGORY_ID, InputSpec, Schema, TaskKind
from mlpipe.training.metrics import compute_metrics

log = logging.getLogger(__name__)

Floats = npt.NDArray[np.floating[Any]]
Values = npt.NDArray[Any]

#: Most distinct values of a category that histogram gradient boosting splits on; it bins into 255, one for null.
MOST_CATEGORIES = 254
#: Iterations of the logistic regression's solver; separable classes ask for ever more.
LINEAR_ITERATIONS = 300
#: Pull of the leaves to 0, which is XGBoost's default. With scikit-learn's, none, rare classes run away: with the 23 of
#: KDD Cup 99, AUROC is 0.46, and 1.00 with it; where no class is rare it hardly matters.
TREE_L2 = 1.0

#: The raw numbers and dates, as they are; categories as ids.
_PLAIN = FeaturesConfig(numeric="none", bins="none")
#: The same, but columns with too many categories for the trees as the target's (out-of-fold) mean by category.
_FOR_TREES = FeaturesConfig(
    numeric="none", bins="none", high_cardinality="target", high_cardinality_threshold=MOST_CATEGORIES
)


@dataclass(frozen=True)
class BaselineResult:
    """How well a baseline (or a model beside it) does.

    Attributes:
        name: What it is.
        metrics: By part, `validation` and `test`, then by name; see `compute_metrics`.
        train_seconds: Wall time of the fit alone, without reading and preprocessing.
    """

    name: str
    metrics: dict[str, dict[str, float]] = field(default_factory=dict)
    train_seconds: float = 0.0


def run_baselines(
    schema: Schema,
    frames: Mapping[str, pl.DataFrame],
    names: Iterable[str] = ("most_frequent", "linear", "hist_gradient_boosting"),
    seed: int = 0,
) -> list[BaselineResult]:
    """Fit baselines on the training rows and measure them on the others.

    `most_frequent` answers with the share of each class (or the mean) whatever the row; `linear` is a logistic or ridge
    regression on standardised numbers and one-hot categories; `hist_gradient_boosting` gets nulls and categories as
    they are.

    Args:
        schema: What the columns are and what is predicted.
        frames: Raw rows of `train`, `validation` and `test`; a part that is missing or empty is left out.
        names: Which of `BASELINES`, in the order of the answer.
        seed: For what is random in them.

    Raises:
        ConfigError: A name is not one of `BASELINES`.
        DataError: A column is not what the schema says.
    """
    names = list(names)
    for name in names:
        if name not in BASELINES:
            raise ConfigError(f"There is no baseline {name!r}.{did_you_mean(name, BASELINES)}")
    prepared: dict[bool, _Prepared] = {}
    results = []
    for name in names:
        make, for_trees = BASELINES[name]
        if for_trees not in prepared:
            prepared[for_trees] = _Prepared.of(schema, frames, _FOR_TREES if for_trees else _PLAIN)
        with log_execution_time(f"baseline {name}", log):
            results.append(_run(name, make, prepared[for_trees], schema.task.kind, seed))
    return results


def render_table(results: Sequence[BaselineResult], part: str = "test") -> str:
    """An aligned Markdown table: a line per model, a column per metric, and the seconds that the fit took.

    Args:
        results: Of the same task.
        part: Whose metrics.

    Examples:
        >>> print(render_table([BaselineResult("linear", {"test": {"rmse": 1.5, "r2": 0.25}}, 2.0)]))
        | model  |   rmse |     r2 | seconds |
        |:-------|-------:|-------:|--------:|
        | linear | 1.5000 | 0.2500 |     2.0 |
    """
    metrics = list(dict.fromkeys(name for result in results for name in result.metrics.get(part, {})))
    rows = [["model", *metrics, "seconds"]]
    for result in results:
        values = result.metrics.get(part, {})
        cells = [_digits(values[name]) if name in values else "" for name in metrics]
        rows.append([result.name, *cells, f"{result.train_seconds:.1f}"])
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["| " + " | ".join([row[0].ljust(widths[0]), *map(str.rjust, row[1:], widths[1:])]) + " |" for row in rows]
    rule = "|:" + "-" * (widths[0] + 1) + "|" + "".join("-" * (width + 1) + ":|" for width in widths[1:])
    return "\n".join([lines[0], rule, *lines[1:]])


def _digits(value: float) -> str:
    return f"{value:.4f}" if 0.001 <= abs(value) < 1000 or value == 0 else f"{value:.5g}"


@dataclass(frozen=True)
class _Prepared:
    """The parts as matrices: numbers (NaN where missing), then ids of categories, all float64.

    A number that no training row has is 0 everywhere: the trees cannot bin it.
    """

    matrices: dict[str, Floats]
    arrays: dict[str, Arrays]
    spec: InputSpec
    codec: TargetCodec

    @classmethod
    def of(cls, schema: Schema, frames: Mapping[str, pl.DataFrame], features: FeaturesConfig) -> Self:
        preprocessor = Preprocessor(schema, features)
        arrays = {"train": preprocessor.fit_arrays(frames["train"])}
        for part in ("validation", "test"):
            if part in frames and frames[part].height:
                arrays[part] = preprocessor.transform(frames[part], with_target=True)
        matrices = {part: _matrix(values) for part, values in arrays.items()}
        nowhere = np.isnan(matrices["train"]).all(axis=0)
        for matrix in matrices.values():
            matrix[:, nowhere] = 0
        return cls(matrices, arrays, preprocessor.input_spec_, preprocessor.target_)


def _matrix(arrays: Arrays) -> Floats:
    numeric = np.where(arrays.missing, np.nan, arrays.numeric).astype(np.float64)
    return np.hstack([numeric, arrays.categorical.astype(np.float64)])


def _run(name: str, make: Make, data: _Prepared, kind: TaskKind, seed: int) -> BaselineResult:
    train = data.arrays["train"]
    assert train.target is not None
    started = time.perf_counter()
    if kind is TaskKind.MULTILABEL:
        targets = list(train.target.T.astype(np.int64))
    else:
        targets = [train.target.astype(np.float64 if kind is TaskKind.REGRESSION else np.int64)]
    models = [_fit(make, data, kind, target, seed) for target in targets]
    seconds = time.perf_counter() - started
    metrics = {}
    for part in (part for part in data.arrays if part != "train"):
        outputs = np.hstack([_outputs(model, data.matrices[part], kind, data.spec.num_outputs) for model in models])
        truth: Any = data.arrays[part].target
        if kind is TaskKind.REGRESSION:
            outputs, truth = data.codec.in_units(outputs), data.codec.in_units(truth)
        metrics[part] = compute_metrics(kind, outputs, truth, data.arrays[part].weight)
    return BaselineResult(name, metrics, seconds)


def _fit(make: Make, data: _Prepared, kind: TaskKind, target: Values, seed: int) -> Pipeline:
    """One pipeline on one target: of a multilabel task, each label is a binary task."""
    matrix, weight = data.matrices["train"], data.arrays["train"].weight
    if make is _hist_gradient_boosting and kind is not TaskKind.REGRESSION:
        # A class of one row teaches nothing, and has none to hold back for early stopping, which scikit-learn refuses.
        counted = np.bincount(target)[target] > 1
        matrix, target, weight = matrix[counted], target[counted], None if weight is None else weight[counted]
    if kind is not TaskKind.REGRESSION and len(np.unique(target)) == 1:
        make = _most_frequent  # there is nothing to tell apart, and scikit-learn's classifiers refuse
    encode, model = make(data.spec, kind, seed)
    pipeline = Pipeline([("encode", encode), ("model", model)])
    with warnings.catch_warnings():
        # It is told below, with the number of iterations.
        warnings.simplefilter("ignore", ConvergenceWarning)
        pipeline.fit(matrix, target, model__sample_weight=weight)
    if isinstance(model, LogisticRegression) and max(model.n_iter_) >= model.max_iter:
        log.info("The logistic regression had not settled after %d iterations, and is used as it is.", model.max_iter)
    return pipeline


def _outputs(model: Pipeline, matrix: Floats, kind: TaskKind, num_outputs: int) -> Floats:
    """(T, O) as `compute_metrics` takes it; a class that training did not have gets probability 0."""
    if kind is TaskKind.REGRESSION:
        return np.asarray(model.predict(matrix)).reshape(-1, 1)
    classes = num_outputs if kind is TaskKind.MULTICLASS else 2
    p_TC = np.zeros((len(matrix), classes))
    p_TC[:, model.classes_.astype(np.int64)] = model.predict_proba(matrix)
    return p_TC if kind is TaskKind.MULTICLASS else p_TC[:, 1:]


def _most_frequent(_spec: InputSpec, kind: TaskKind, _seed: int) -> tuple[Any, Any]:
    return "passthrough", DummyRegressor() if kind is TaskKind.REGRESSION else DummyClassifier(strategy="prior")


def _linear(spec: InputSpec, kind: TaskKind, seed: int) -> tuple[Any, Any]:
    numbers, categories = _columns(spec)
    fill = SimpleImputer(strategy="median", add_indicator=True)
    encode = ColumnTransformer(
        [
            ("numbers", make_pipeline(fill, StandardScaler()), numbers),
            ("categories", OneHotEncoder(handle_unknown="ignore"), categories),
        ]
    )
    if kind is TaskKind.REGRESSION:
        return encode, Ridge(random_state=seed)
    return encode, LogisticRegression(max_iter=LINEAR_ITERATIONS, random_state=seed)


def _hist_gradient_boosting(spec: InputSpec, kind: TaskKind, seed: int) -> tuple[Any, Any]:
    _, categories = _columns(spec)
    estimator = HistGradientBoostingRegressor if kind is TaskKind.REGRESSION else HistGradientBoostingClassifier
    return FunctionTransformer(_unknown_as_missing, kw_args={"first": len(spec.numeric)}), estimator(
        categorical_features=categories or None, l2_regularization=TREE_L2, random_state=seed
    )


def _unknown_as_missing(matrix: Floats, first: int) -> Floats:
    """Null and unseen categories as NaN, which the trees know how to treat; the others counted from 0."""
    ids = matrix[:, first:] - FIRST_CATEGORY_ID
    return np.hstack([matrix[:, :first], np.where(ids < 0, np.nan, ids)])


def _columns(spec: InputSpec) -> tuple[list[int], list[int]]:
    """Positions of the numbers and of the categories in a matrix."""
    first, end = len(spec.numeric), len(spec.numeric) + len(spec.categorical)
    return list(range(first)), list(range(first, end))


#: Makes the encoder and the estimator of a baseline from the input's columns, the task and the seed.
Make = Callable[[InputSpec, TaskKind, int], tuple[Any, Any]]

#: By name: how it is made, and whether it reads the features for trees.
BASELINES: dict[str, tuple[Make, bool]] = {
    "most_frequent": (_most_frequent, False),
    "linear": (_linear, False),
    "hist_gradient_boosting": (_hist_gradient_boosting, True),
}
