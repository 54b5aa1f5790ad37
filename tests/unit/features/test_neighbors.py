"""The kernel regression with a learnt metric: against a slow reference, and whether it leaks."""

from __future__ import annotations

import json

import numpy as np
import numpy.typing as npt

from mlpipe.features.neighbors import NeighborTargets, _gradient, fit_metric, held_out


def table(rows: int = 600, seed: int = 0) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Two features that count, in a way no straight line follows, and two that do not."""
    random = np.random.default_rng(seed)
    features = random.normal(size=(rows, 4)).astype(np.float32)
    target = np.sin(6 * features[:, 0]) * np.sign(features[:, 1])
    return features, target[:, None].astype(np.float32)


def reference(
    features: npt.NDArray[np.float32],
    targets: npt.NDArray[np.float32],
    weights: npt.NDArray[np.float32],
    row: npt.NDArray[np.float32],
) -> npt.NDArray[np.float64]:
    """The prediction for one row, in float64, by the formula."""
    votes = np.zeros(len(features))
    for index, other in enumerate(features.astype(np.float64)):
        votes[index] = np.exp(-(weights * (row - other) ** 2).sum())
    answer: npt.NDArray[np.float64] = votes @ targets.astype(np.float64) / votes.sum()
    return answer


def test_it_is_the_kernel_regression() -> None:
    features, targets = table(40)
    fitted = NeighborTargets.fit(features[:30], targets[:30], np.arange(30))
    weights = np.zeros(4, dtype=np.float32)
    weights[fitted.places] = fitted.scales**2
    expected = np.stack([reference(features[:30], targets[:30], weights, row) for row in features])
    np.testing.assert_allclose(fitted.predict(features), expected, atol=2e-5)


def test_only_some_vote() -> None:
    features, targets = table(40)
    voters = np.arange(40) % 2 == 0
    fitted = NeighborTargets.fit(features, targets, np.arange(40))
    few = NeighborTargets(fitted.places, fitted.scales, fitted.rows_FM[:, ::2], fitted.targets_OM[:, ::2])
    np.testing.assert_array_equal(
        fitted.voting(features[voters], targets[voters].T).predict(features), few.predict(features)
    )


def test_the_gradient_is_the_derivative() -> None:
    features, targets = table(60)
    asked, voters, weights = np.arange(0, 60, 3), np.arange(50), np.array([0.7, 1.3, 0.2, 2.0], dtype=np.float32)

    def loss(weights: npt.NDArray[np.float64]) -> float:
        error = 0.0
        for row in asked:
            others = voters[voters != row]
            apart = (features[row].astype(np.float64) - features[others]) ** 2
            votes = np.exp(-(apart @ weights))
            error += float((votes @ targets[others, 0].astype(np.float64) / votes.sum() - targets[row, 0]) ** 2)
        return error / len(asked)

    wide, step = weights.astype(np.float64), 1e-5
    slopes = [(loss(wide + step * unit) - loss(wide - step * unit)) / (2 * step) for unit in np.eye(4)]
    np.testing.assert_allclose(_gradient(features, targets, weights, asked, voters), slopes, rtol=2e-3, atol=1e-5)


def test_the_metric_finds_what_counts() -> None:
    weights = fit_metric(*table(600))
    assert weights[:2].min() > 10 * weights[2:].max()


def test_like_rows_predict_what_no_line_does() -> None:
    features, targets = table(1200)
    train, test = np.arange(1000), np.arange(1000, 1200)
    fitted = NeighborTargets.fit(features[train], targets[train], train)
    error = np.square(fitted.predict(features[test]) - targets[test]).mean()
    assert error < 0.5 * targets[test].var()


def test_a_row_by_itself_gives_the_same_bits() -> None:
    features, targets = table(300)
    fitted = NeighborTargets.fit(features, np.concatenate((targets, -targets), axis=1), np.arange(200))
    together = fitted.predict(features)
    alone = np.concatenate([fitted.predict(features[row : row + 1]) for row in range(300)])
    assert together.tobytes() == alone.tobytes()


def test_json_keeps_the_bits() -> None:
    features, targets = table(100)
    fitted = NeighborTargets.fit(features, targets, np.arange(80))
    again = NeighborTargets.from_dict(json.loads(json.dumps(fitted.to_dict())))
    assert again.predict(features).tobytes() == fitted.predict(features).tobytes()


def test_the_same_seed_gives_the_same_metric() -> None:
    first, second, other = (fit_metric(*table(200), seed, steps=20) for seed in (0, 0, 1))
    assert first.tobytes() == second.tobytes() != other.tobytes()


def test_a_fifth_is_held_out() -> None:
    assert 0.18 < held_out(10_000).mean() < 0.22
