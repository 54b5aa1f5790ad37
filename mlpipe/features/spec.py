"""`InputSpec` from fitted transformers: the names of all features, and the bins of the numbers among them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from mlpipe.arrays import Arrays
from mlpipe.features.base import ColumnTransformer
from mlpipe.features.bins import quantile_bins, tempered_bins, tree_bins
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.target import Target
from mlpipe.features.text import HashedNgrams
from mlpipe.schema import CategoricalFeature, InputSpec, NumericFeature, Task, TaskKind

#: Rows from which bins are computed.
BIN_ROWS = 100_000


def specify(transformers: Mapping[str, Sequence[ColumnTransformer]], task: Task) -> InputSpec:
    """The columns of the arrays, without bins.

    Args:
        transformers: The fitted ones, by column.
        task: What is predicted.
    """
    numeric: list[NumericFeature] = []
    categorical: list[CategoricalFeature] = []
    for column, chosen in transformers.items():
        for transformer in chosen:
            group = column if isinstance(transformer, HashedNgrams) else None
            names = transformer.output_names(column)
            for name, cardinality in zip(names, transformer.cardinalities(column), strict=True):
                if cardinality is None:
                    numeric.append(NumericFeature(name, column, group))
                else:
                    categorical.append(CategoricalFeature(name, column, cardinality))
    return InputSpec(tuple(numeric), tuple(categorical), task.num_outputs)


def with_bins(spec: InputSpec, arrays: Arrays, target: Target, kind: TaskKind, config: FeaturesConfig) -> InputSpec:
    """The spec with the edges of the piecewise-linear encoding; numbers that share a token get none.

    Args:
        spec: Of the arrays.
        arrays: Training rows, transformed: all of them or a sample.
        target: Of these rows.
        kind: Of the task.
        config: Says which bins and how many.
    """
    if config.bins == "none":
        return spec
    binned = []
    for index, feature in enumerate(spec.numeric):
        present = ~arrays.missing[:, index]
        values = arrays.numeric[present, index]
        if feature.group is not None:
            edges: tuple[float, ...] = ()
        elif config.bins == "tree":
            edges = tree_bins(values, target[present], kind, config.num_bins, config.seed)
        else:
            edges = (tempered_bins if config.bins == "tempered" else quantile_bins)(values, config.num_bins)
        binned.append(replace(feature, bins=edges))
    return replace(spec, numeric=tuple(binned))
