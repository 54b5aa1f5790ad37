from __future__ import annotations

import numpy as np
import pytest
from sklearn.datasets import make_classification

from mlpipe.features.bins import quantile_bins, tree_bins
from mlpipe.schema import TaskKind


def test_quantile_edges_hold_equal_numbers_of_rows() -> None:
    values = np.random.default_rng(0).normal(size=10_000).astype(np.float32)
    edges = quantile_bins(values, 8)
    assert len(edges) == 9
    np.testing.assert_allclose(np.histogram(values, edges)[0], 1250, atol=2)


def test_values_that_are_frequent_make_fewer_bins() -> None:
    values = np.repeat(np.array([0, 1, 2], dtype=np.float32), [80, 10, 10])
    assert quantile_bins(values, 48) == (0.0, 1.0, 2.0)


@pytest.mark.parametrize("values", [[], [3.0], [3.0, 3.0]])
def test_a_constant_has_no_edges(values: list[float]) -> None:
    array = np.array(values, dtype=np.float32)
    assert quantile_bins(array, 4) == ()
    assert tree_bins(array, np.zeros(len(array)), TaskKind.REGRESSION, 4) == ()


def test_edges_are_far_enough_apart_for_float32() -> None:
    values = np.array([0.0, 1e-44, 1e-7, 1.0, 1.0 - 1e-7, 5.0], dtype=np.float32)
    edges = np.asarray(quantile_bins(values, 48), dtype=np.float32)
    assert (np.diff(edges) > 4e-5).all()
    assert (edges[0], edges[-1]) == (0.0, 5.0)


def test_tree_edges_lie_where_the_target_changes() -> None:
    values = np.linspace(-1, 1, 4_000, dtype=np.float32)
    target = np.digitize(values, [-0.5, 0.9])
    edges = tree_bins(values, target, TaskKind.MULTICLASS, 48)
    np.testing.assert_allclose(edges, [-1, -0.5, 0.9, 1], atol=1e-3)


def test_tree_edges_find_the_tail_that_quantiles_lose() -> None:
    # Like capital gains: nothing for most, and a step far out in the tail that a few reach.
    rng = np.random.default_rng(0)
    values = np.where(rng.random(20_000) < 0.97, 0, rng.exponential(1, 20_000)).astype(np.float32)
    target = (values > 2.0).astype(np.int64)
    tree = np.asarray(tree_bins(values, target, TaskKind.BINARY, 48))
    assert np.abs(tree - 2.0).min() < 0.02
    assert np.abs(np.asarray(quantile_bins(values, 8)) - 2.0).min() > 0.5


@pytest.mark.parametrize("kind", list(TaskKind))
def test_trees_for_every_task(kind: TaskKind) -> None:
    features, labels = make_classification(2_000, 4, n_informative=3, n_redundant=0, n_classes=3, random_state=0)
    target: np.ndarray = labels
    if kind is TaskKind.BINARY:
        target = labels // 2
    elif kind is TaskKind.MULTILABEL:
        target = np.stack([labels == 0, labels == 1], axis=1).astype(np.float32)
    elif kind is TaskKind.REGRESSION:
        target = labels.astype(np.float32)
    edges = tree_bins(features[:, 0].astype(np.float32), target, kind, 6)
    assert 2 <= len(edges) <= 7
    assert edges == tree_bins(features[:, 0].astype(np.float32), target, kind, 6)
