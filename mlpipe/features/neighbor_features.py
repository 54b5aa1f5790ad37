"""Whether a table gains from `NeighborTargets`, and the features that it gives.

The rule for `features.neighbors: auto`: two quick boosted-tree models are fitted on four fifths of a sample of the
training rows, one with the features and one without; on the last fifth, of which the metric has seen nothing, the
loss has to fall by 3 %. Tables of fewer than 1,000 rows say too little, and with more than 200,000 the features cost
more than they have been seen to give.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss

from mlpipe.arrays import Arrays
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.neighbors import Floats, NeighborTargets, Rows, held_out
from mlpipe.features.sample import folds, sample_rows
from mlpipe.features.target import Target
from mlpipe.schema import FIRST_CATEGORY_ID, InputSpec, NumericFeature, Task, TaskKind

logger = logging.getLogger(__name__)

#: Rows between which `auto` looks for a gain, the rows it looks at, the steps in which it learns a metric, and the
#: share by which the loss has to fall.
FEWEST_ROWS, MOST_ROWS = 1_000, 200_000
CHECK_ROWS, CHECK_STEPS = 6_000, 75
LEAST_GAIN = 0.03
#: Rounds of the check's trees. Fewer would be a weaker model, which gains from what the Transformer does not need.
CHECK_ROUNDS = 60
#: Numbers and encoded categories are cut off here.
LARGEST = 4.0
#: Categories are encoded by the means of at most so many columns of the target, those that vary most.
MOST_MEANS = 4
#: Folds in which the training rows get their features, and rows predicted by one thread at a time.
FOLDS, PART_ROWS = 10, 1_024
NAME = "neighbors"


@dataclass(frozen=True)
class NeighborFeatures:
    """`NeighborTargets` on the features of a preprocessor.

    Attributes:
        tables: For each categorical feature, (cardinality, K): what its ids are to the metric.
        targets: The kernel regression.
        scale: (O,) standard deviations of its answers on the training rows, by which they are divided.
        labels: (O,) ends of the features' names; one empty text for a single feature.
    """

    tables: list[Floats]
    targets: NeighborTargets
    scale: Floats
    labels: tuple[str, ...]

    def features(self) -> tuple[NumericFeature, ...]:
        """What is added to the `InputSpec`: a token of its own, or one for all where there are several."""
        group = NAME if len(self.labels) > 1 else None
        return tuple(NumericFeature(f"{NAME}.{label}" if label else NAME, NAME, group) for label in self.labels)

    def extend(self, arrays: Arrays, made: Floats | None = None) -> Arrays:
        """The arrays with the features behind the other numbers; `made` if they are there already."""
        if made is None:
            made = _in_parts(self.targets, _design(arrays, self.tables)) / self.scale
        return replace(
            arrays,
            numeric=np.concatenate((arrays.numeric, made), axis=1),
            missing=np.concatenate((arrays.missing, np.zeros(made.shape, dtype=np.bool_)), axis=1),
        )

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "tables": [table.tolist() for table in self.tables],
            "targets": self.targets.to_dict(),
            "scale": self.scale.tolist(),
            "labels": list(self.labels),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        tables = [np.asarray(table, dtype=np.float32) for table in values["tables"]]
        scale = np.asarray(values["scale"], dtype=np.float32)
        return cls(tables, NeighborTargets.from_dict(values["targets"]), scale, tuple(values["labels"]))


def wanted(config: FeaturesConfig, num_rows: int) -> bool:
    """Whether `fit_neighbors` is to be asked for a table of so many rows."""
    if config.neighbors == "auto":
        return FEWEST_ROWS <= num_rows <= MOST_ROWS
    return config.neighbors == "always" and num_rows > 1


def fit_neighbors(
    arrays: Arrays, spec: InputSpec, target: Target, task: Task, config: FeaturesConfig
) -> tuple[NeighborFeatures, Floats] | None:
    """The features and, for the training rows themselves, their values out of fold.

    Args:
        arrays: All training rows.
        spec: Of the arrays.
        target: Encoded, of these rows.
        task: What is predicted.
        config: Says whether to look for a gain (`neighbors`) and how many rows are kept (`neighbor_rows`).

    Returns:
        None if no column varies or, with `auto`, if they are not worth their price.
    """
    rows = len(arrays)
    columns, labels = _columns(target, task)
    cardinalities = [feature.cardinality for feature in spec.categorical]
    tables = _tables(arrays.categorical, cardinalities, columns, config.target_smoothing)
    design = _design(arrays, tables)
    if not (design.std(axis=0) > 1e-6).any():
        return None
    if config.neighbors == "auto":
        gain = _gain(design, columns, task.kind, config.seed)
        logger.info(
            "The targets of similar rows as features: the loss of a quick model %s by %.1f %%",
            "rises" if gain < 0 else "falls",
            100 * abs(gain),
        )
        if gain < LEAST_GAIN:
            return None
    kept = sample_rows(rows, config.neighbor_rows, config.seed)
    targets = NeighborTargets.fit(design, columns, kept, config.seed)
    made = _out_of_fold(targets, design, kept, config.seed)
    scale = made.std(axis=0)
    scale[scale < 1e-6] = 1.0
    return NeighborFeatures(tables, targets, scale, labels), made / scale


def _columns(target: Target, task: Task) -> tuple[Floats, tuple[str, ...]]:
    """The target as centred columns, (T, O), and their labels: one column per class only if there are several."""
    if task.kind is TaskKind.MULTICLASS:
        columns = np.equal(target[:, None], np.arange(len(task.classes))).astype(np.float32)
        labels: tuple[str, ...] = tuple(str(label) for label in task.classes)
    else:
        columns = target.astype(np.float32).reshape(len(target), -1)
        labels = tuple(task.target) if columns.shape[1] > 1 else ("",)
    return columns - columns.mean(axis=0), labels


def _tables(ids_TC: npt.NDArray[np.int32], cardinalities: list[int], columns: Floats, smoothing: float) -> list[Floats]:
    """Every id as its rows' mean targets, drawn to the mean of all rows, in standard deviations."""
    varied = np.argsort(-columns.var(axis=0), kind="stable")[:MOST_MEANS]
    tables = []
    for ids, cardinality in zip(ids_TC.T, cardinalities, strict=True):
        counts = np.bincount(ids, minlength=cardinality)
        sums = np.stack([np.bincount(ids, weights=columns[:, v], minlength=cardinality) for v in varied], axis=1)
        means = sums / (counts[:, None] + max(smoothing, 1.0))
        spread = means[ids].std(axis=0)
        tables.append((means / np.where(spread > 1e-9, spread, 1.0)).astype(np.float32))
    return tables


def _design(arrays: Arrays, tables: list[Floats]) -> Floats:
    """Numbers and encoded categories side by side, (T, F); an id that a table lacks counts as never seen."""
    encoded = []
    for ids, table in zip(arrays.categorical.T, tables, strict=True):
        encoded.append(table[np.where(ids < len(table), ids, FIRST_CATEGORY_ID - 1)])
    return np.concatenate((arrays.numeric, *encoded), axis=1).clip(-LARGEST, LARGEST)


def _in_parts(targets: NeighborTargets, design: Floats) -> Floats:
    """`NeighborTargets.predict`, on all threads if there are many rows."""
    if len(design) <= PART_ROWS:
        return targets.predict(design)
    parts = [design[start : start + PART_ROWS] for start in range(0, len(design), PART_ROWS)]
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        return np.concatenate(list(pool.map(targets.predict, parts)))


def _out_of_fold(targets: NeighborTargets, design: Floats, kept: Rows, seed: int) -> Floats:
    """For training rows: only kept rows of other folds vote."""
    fold = folds(len(design), FOLDS, seed)
    made = np.empty((len(design), len(targets.targets_OM)), dtype=np.float32)
    for number in range(FOLDS):
        inside = fold == number
        voters = ~inside[kept]
        if inside.any():
            made[inside] = _in_parts(targets.only(voters) if voters.any() else targets, design[inside])
    return made


def _gain(design: Floats, columns: Floats, kind: TaskKind, seed: int) -> float:
    """The share by which a quick model's loss on rows held out falls with the features."""
    sample = sample_rows(len(design), CHECK_ROWS, seed)
    design, columns = design[sample], columns[sample]
    outside = held_out(len(design), seed)
    inside = np.flatnonzero(~outside)
    everyone = np.arange(len(inside))
    targets = NeighborTargets.fit(design[inside], columns[inside], everyone, seed, CHECK_STEPS)
    made = np.empty_like(columns)
    made[inside] = _out_of_fold(targets, design[inside], everyone, seed)
    made[outside] = _in_parts(targets, design[outside])
    varied = int(columns.var(axis=0).argmax())
    truth = columns.argmax(axis=1) if kind is TaskKind.MULTICLASS else columns[:, varied]
    if kind not in (TaskKind.MULTICLASS, TaskKind.REGRESSION):
        truth = truth > 0

    def loss(features: Floats) -> float:
        if kind is TaskKind.REGRESSION:
            trees = HistGradientBoostingRegressor(max_iter=CHECK_ROUNDS, early_stopping=False, random_state=seed)
            trees.fit(features[inside], truth[inside])
            return float(np.square(trees.predict(features[outside]) - truth[outside]).mean())
        classes = HistGradientBoostingClassifier(max_iter=CHECK_ROUNDS, early_stopping=False, random_state=seed)
        classes.fit(features[inside], truth[inside])
        known = np.isin(truth[outside], classes.classes_)
        shares = classes.predict_proba(features[outside])[known]
        return float(log_loss(truth[outside][known], shares, labels=classes.classes_))

    if len(np.unique(truth[inside])) < 2:
        return 0.0
    without = loss(design)
    return 1 - loss(np.concatenate((design, made), axis=1)) / without if without > 0 else 0.0
