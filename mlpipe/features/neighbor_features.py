"""Whether a table gains from `NeighborTargets`, and the features that it gives.

The rule for `features.neighbors: auto`: two quick boosted-tree models are fitted on four fifths of a sample of the
training rows, one with the features and one without; on the last fifth, of which the metric has seen nothing, the
loss has to fall by 3 %. Tables of fewer than 1,000 rows say too little, and with more than 200,000 the features cost
more than they have been seen to give. A table with a group or a time goes without: the last fifth has rows of the same
groups and days, which new rows have not.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import polars as pl
from sklearn.ensemble import HistGradientBoostingClassifier, HistGradientBoostingRegressor
from sklearn.metrics import log_loss

from mlpipe.arrays import Arrays
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.neighbor_tables import CategoryMeans, design
from mlpipe.features.neighbors import Floats, NeighborTargets, Rows, held_out
from mlpipe.features.sample import folds, sample_rows
from mlpipe.features.target import Target
from mlpipe.schema import InputSpec, NumericFeature, Role, Schema, Task, TaskKind

logger = logging.getLogger(__name__)

#: Rows between which `auto` looks for a gain, the rows it looks at, the steps in which it learns a metric, and the
#: share by which the loss has to fall.
FEWEST_ROWS, MOST_ROWS = 1_000, 200_000
CHECK_ROWS, CHECK_STEPS = 6_000, 75
LEAST_GAIN = 0.03
#: Rounds of the check's trees. Fewer would be a weaker model, which gains from what the Transformer does not need.
CHECK_ROUNDS = 60
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
            made = _in_parts(self.targets, design(arrays, self.tables)) / self.scale
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


def wanted(config: FeaturesConfig, num_rows: int, schema: Schema) -> bool:
    """Whether `fit_neighbors` is to be asked for a table of so many rows; `auto` says why not where that is no size."""
    if config.neighbors == "auto":
        if not FEWEST_ROWS <= num_rows <= MOST_ROWS:
            return False
        for role in (Role.GROUP, Role.TIME):
            # Rows of its own entity, or of its future, would vote for a training row; a new row has no such voters.
            if column := schema.with_role(role):
                logger.info(
                    "The targets of similar rows as features: none, since `data.%s` names %r and new rows have no such "
                    "voters; `features.neighbors: always` adds them all the same",
                    role.value,
                    column.name,
                )
                return False
        return True
    return config.neighbors == "always" and num_rows > 1


def fit_neighbors(
    arrays: Arrays,
    spec: InputSpec,
    target: Target,
    task: Task,
    config: FeaturesConfig,
    groups: Rows | None = None,
) -> tuple[NeighborFeatures, Floats] | None:
    """The features and, for the training rows themselves, their values out of fold.

    Args:
        arrays: All training rows.
        spec: Of the arrays.
        target: Encoded, of these rows.
        task: What is predicted.
        config: Says whether to look for a gain (`neighbors`) and how many rows are kept (`neighbor_rows`).
        groups: (T,) the group of each row, from 0, if groups are to stay together: other groups vote for a row.

    Returns:
        None if no column varies or, with `auto`, if they are not worth their price.
    """
    columns, labels = _columns(target, task)
    cardinalities = [feature.cardinality for feature in spec.categorical]
    fold = folds(len(arrays), FOLDS, config.seed, groups)
    means = CategoryMeans(arrays, cardinalities, columns, config.target_smoothing, fold)
    features = means.out_of_fold(np.arange(len(arrays)))
    if not (features.std(axis=0) > 1e-6).any():
        return None
    if config.neighbors == "auto":
        gain = _gain(arrays, cardinalities, columns, task.kind, config)
        logger.info(
            "The targets of similar rows as features: the loss of a quick model %s by %.1f %%",
            "rises" if gain < 0 else "falls",
            100 * abs(gain),
        )
        if gain < LEAST_GAIN:
            return None
    kept = sample_rows(len(arrays), config.neighbor_rows, config.seed)
    targets = NeighborTargets.fit(features, columns, kept, config.seed)
    made = _out_of_fold(targets, means, features, kept)
    scale = made.std(axis=0)
    scale[scale < 1e-6] = 1.0
    return NeighborFeatures(means.tables(), targets, scale, labels), made / scale


def _columns(target: Target, task: Task) -> tuple[Floats, tuple[str, ...]]:
    """The target as centred columns, (T, O), and their labels: one column per class only if there are several."""
    if task.kind is TaskKind.MULTICLASS:
        columns = np.equal(target[:, None], np.arange(len(task.classes))).astype(np.float32)
        labels: tuple[str, ...] = tuple(str(label) for label in task.classes)
    else:
        columns = target.astype(np.float32).reshape(len(target), -1)
        labels = tuple(task.target) if columns.shape[1] > 1 else ("",)
    return columns - columns.mean(axis=0), labels


def _in_parts(targets: NeighborTargets, design: Floats) -> Floats:
    """`NeighborTargets.predict`, on all threads if there are many rows."""
    if len(design) <= PART_ROWS:
        return targets.predict(design)
    parts = [design[start : start + PART_ROWS] for start in range(0, len(design), PART_ROWS)]
    with ThreadPoolExecutor(pl.thread_pool_size()) as pool:
        return np.concatenate(list(pool.map(targets.predict, parts)))


def _out_of_fold(targets: NeighborTargets, means: CategoryMeans, features: Floats, kept: Rows) -> Floats:
    """For training rows: only kept rows of other folds vote, and nothing of the row's own fold is in their features.

    Args:
        targets: Fitted on these rows.
        means: Of these rows.
        features: (T, F) these rows out of fold.
        kept: (M,) positions of the rows that vote.
    """
    made = np.empty((len(features), len(targets.targets_OM)), dtype=np.float32)
    for number in np.unique(means.fold).tolist():
        inside = means.fold == number
        voters = means.fold[kept] != number
        if not voters.any():
            voters[:] = True  # too few rows to leave any out
        others = targets.voting(means.out_of_fold(kept[voters], number), targets.targets_OM[:, voters])
        made[inside] = _in_parts(others, features[inside])
    return made


def _gain(arrays: Arrays, cardinalities: list[int], columns: Floats, kind: TaskKind, config: FeaturesConfig) -> float:
    """The share by which a quick model's loss on rows held out falls with the features."""
    sample, seed = sample_rows(len(arrays), CHECK_ROWS, config.seed), config.seed
    arrays, columns = arrays.take(sample), columns[sample]
    outside = held_out(len(sample), seed)
    inside = np.flatnonzero(~outside)
    everyone = np.arange(len(inside))
    fold = folds(len(inside), FOLDS, seed)
    means = CategoryMeans(arrays.take(inside), cardinalities, columns[inside], config.target_smoothing, fold)
    # The rows held out are new ones to the tables too.
    features = design(arrays, means.tables())
    features[inside] = means.out_of_fold(everyone)
    targets = NeighborTargets.fit(features[inside], columns[inside], everyone, seed, CHECK_STEPS)
    made = np.empty_like(columns)
    made[inside] = _out_of_fold(targets, means, features[inside], everyone)
    made[outside] = _in_parts(targets, features[outside])
    varied = int(columns.var(axis=0).argmax())
    truth = columns.argmax(axis=1) if kind is TaskKind.MULTICLASS else columns[:, varied]
    if kind not in (TaskKind.MULTICLASS, TaskKind.REGRESSION):
        truth = truth > 0

    def loss(given: Floats) -> float:
        if kind is TaskKind.REGRESSION:
            trees = HistGradientBoostingRegressor(max_iter=CHECK_ROUNDS, early_stopping=False, random_state=seed)
            trees.fit(given[inside], truth[inside])
            return float(np.square(trees.predict(given[outside]) - truth[outside]).mean())
        classes = HistGradientBoostingClassifier(max_iter=CHECK_ROUNDS, early_stopping=False, random_state=seed)
        classes.fit(given[inside], truth[inside])
        known = np.isin(truth[outside], classes.classes_)
        shares = classes.predict_proba(given[outside])[known]
        return float(log_loss(truth[outside][known], shares, labels=classes.classes_))

    if len(np.unique(truth[inside])) < 2:
        return 0.0
    without = loss(features)
    return 1 - loss(np.concatenate((features, made), axis=1)) / without if without > 0 else 0.0
