"""Edges of the piecewise-linear encoding of a number, from the transformed training values.

After "On Embeddings for Numerical Features in Tabular Deep Learning" (Gorishniy et al. 2022).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from sklearn.tree import DecisionTreeClassifier, DecisionTreeRegressor

from mlpipe.schema import TaskKind

#: Edges closer than this part of the range are one: the encoding divides by the width of a bin.
CLOSEST = 1e-5


def quantile_bins(values: npt.NDArray[np.float32], num_bins: int) -> tuple[float, ...]:
    """Distinct quantiles at equal steps.

    Args:
        values: (T,) training values without the missing ones.
        num_bins: Most bins.

    Returns:
        Ascending edges, at least two; none for a constant.

    Examples:
        >>> quantile_bins(np.arange(101, dtype=np.float32), 4)
        (0.0, 25.0, 50.0, 75.0, 100.0)
        >>> quantile_bins(np.ones(10, dtype=np.float32), 4)
        ()
    """
    if len(values) == 0:
        return ()
    return _edges(np.quantile(values.astype(np.float64), np.linspace(0, 1, num_bins + 1)))


def tempered_bins(values: npt.NDArray[np.float32], num_bins: int) -> tuple[float, ...]:
    """Quantiles in which a value that occurs n times counts as the square root of n.

    Plain quantiles of a column that is mostly zero spend nearly all edges on zero, where they fall together, and leave
    none for the values that tell rows apart. Where all values differ, both are the same.

    Args:
        values: (T,) training values without the missing ones.
        num_bins: Most bins.

    Returns:
        Ascending edges, at least two; none for a constant.

    Examples:
        >>> mostly_zero = np.array([0] * 9996 + [1, 2, 3, 4], dtype=np.float32)
        >>> quantile_bins(mostly_zero, 8), tempered_bins(mostly_zero, 200)
        ((0.0, 4.0), (0.0, 1.0, 2.0, 3.0, 4.0))
    """
    if len(values) == 0:
        return ()
    distinct, counts = np.unique(values.astype(np.float64), return_counts=True)
    mass = np.cumsum(np.sqrt(counts))
    steps = np.linspace(mass[0], mass[-1], num_bins + 1)
    return _edges(distinct[np.searchsorted(mass, steps).clip(max=len(distinct) - 1)])


def tree_bins(
    values: npt.NDArray[np.float32],
    target: npt.NDArray[Any],
    kind: TaskKind,
    num_bins: int,
    seed: int = 0,
) -> tuple[float, ...]:
    """Thresholds of a decision tree that predicts the target from this one number.

    Args:
        values: (T,) training values without the missing ones.
        target: (T,) or (T, O) as in `Arrays.target`.
        kind: Of the task.
        num_bins: Most bins.
        seed: Of the tree.

    Returns:
        Ascending edges, at least two; none for a constant.

    Examples:
        >>> x = np.linspace(0, 1, 1000, dtype=np.float32)
        >>> [round(edge, 2) for edge in tree_bins(x, (x > 0.3).astype(np.float32), TaskKind.REGRESSION, 8)]
        [0.0, 0.3, 1.0]
    """
    if len(values) == 0:
        return ()
    tree_class = DecisionTreeRegressor if kind is TaskKind.REGRESSION else DecisionTreeClassifier
    tree = tree_class(
        max_leaf_nodes=num_bins, min_samples_leaf=64, min_impurity_decrease=1e-4, random_state=seed % 2**32
    )
    nodes = tree.fit(values.reshape(-1, 1), target).tree_
    thresholds = nodes.threshold[nodes.children_left != nodes.children_right]
    return _edges(np.concatenate(([values.min()], thresholds, [values.max()])))


def _edges(candidates: npt.NDArray[np.float64]) -> tuple[float, ...]:
    """Ascending edges that are distinct in float32, which the model computes in; both ends are kept."""
    edges = np.unique(candidates.astype(np.float32)).astype(np.float64)
    closest = CLOSEST * (edges[-1] - edges[0])
    kept = [float(edges[0])]
    for edge in edges[1:-1].tolist():
        if edge - kept[-1] > closest and edges[-1] - edge > closest:
            kept.append(edge)
    return (*kept, float(edges[-1])) if edges[-1] > edges[0] else ()
