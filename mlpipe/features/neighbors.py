"""What the targets of similar training rows were: a kernel regression whose sense of likeness is learnt.

A distance that weighs every feature the same is lost among many; here the weights are those with which the training
rows predict one another best (metric learning for kernel regression, Weinberger and Tesauro 2007, AISTATS; a diagonal
metric). Trees and Transformers see one column at a time or learn a smooth function of all; where like rows simply have
like targets (houses of one street), this says in one number what they would need many steps for.

Notable:

- For training rows the others vote fold by fold. To leave out no more than a row itself would give it away: where
  likeness says little, the mean of all others is the row's own target, turned over.
- The votes of all kept rows count, by exp(-distance); there is no number of neighbours to choose.
- Element by element in NumPy, without BLAS, where features are made: one row at a time gives the same bits as all
  rows at once.

Legend: T rows, M kept training rows, F features, O columns of the target.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import numpy.typing as npt

from mlpipe.features.sample import mix

Floats = npt.NDArray[np.float32]
Rows = npt.NDArray[np.int64]

#: Steps of Adam on the logarithms of the weights, rows whose targets are predicted in one step, and rows that vote.
STEPS, QUERIES, VOTERS = 150, 256, 6_000
LEARNING_RATE = 0.1
#: Logarithms of the weights stay within these.
LARGEST_LOG = 6.0
#: A feature that adds less than this to the mean squared distance of two rows is left out.
LEAST_SHARE = 0.01
#: Rows whose distances are computed at once; with all kept rows they stay in the processor's cache.
BLOCK_ROWS = 16


@dataclass(frozen=True)
class NeighborTargets:
    """Kept training rows, their targets, and a metric.

    Attributes:
        places: (F',) the features that count.
        scales: (F',) what they are multiplied by.
        rows_FM: (F', M) the kept rows, scaled.
        targets_OM: (O, M) their targets.
    """

    places: npt.NDArray[np.int64]
    scales: Floats
    rows_FM: Floats
    targets_OM: Floats

    @classmethod
    def fit(cls, features: Floats, targets: Floats, kept: Rows, seed: int = 0, steps: int = STEPS) -> Self:
        """Learn the metric on all rows, and keep some.

        Args:
            features: (T, F) of about unit variance.
            targets: (T, O).
            kept: (M,) positions of the rows that vote.
            seed: Of the order in which rows are looked at.
            steps: See `fit_metric`.
        """
        weights = fit_metric(features, targets, seed, steps)
        share = 2 * weights * features.var(axis=0)
        places = np.flatnonzero(share > min(LEAST_SHARE, float(share.max())))
        if len(places) == 0:
            places = np.asarray([int(share.argmax())])
        scales = np.sqrt(weights[places])
        rows = features[kept][:, places] * scales
        return cls(places, scales, np.ascontiguousarray(rows.T), np.ascontiguousarray(targets[kept].T))

    def predict(self, features: Floats) -> Floats:
        """The kernel regression.

        Args:
            features: (T, F).

        Returns:
            (T, O) means of the kept rows' targets, weighted by exp(-squared distance).
        """
        made = np.empty((len(features), len(self.targets_OM)), dtype=np.float32)
        for start in range(0, len(features), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            queries = features[block][:, self.places] * self.scales
            distances_TM = np.zeros((len(queries), self.rows_FM.shape[1]), dtype=np.float32)
            for row_M, query_T in zip(self.rows_FM, queries.T, strict=True):
                apart = row_M - query_T[:, None]
                np.multiply(apart, apart, out=apart)
                distances_TM += apart
            votes_TM = np.exp(distances_TM.min(axis=1, keepdims=True) - distances_TM)
            total = votes_TM.sum(axis=1)
            for index, target_M in enumerate(self.targets_OM):
                made[block, index] = (votes_TM * target_M).sum(axis=1) / total
        return made

    def voting(self, features: Floats, targets_OM: Floats) -> NeighborTargets:
        """The same metric, and other rows that vote: their features (M, F), and their targets."""
        rows = features[:, self.places] * self.scales
        return replace(self, rows_FM=np.ascontiguousarray(rows.T), targets_OM=targets_OM)

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values, the arrays as the base64 of their little-endian bytes."""
        return {
            "places": self.places.tolist(),
            "scales": _write(self.scales),
            "rows": _write(self.rows_FM),
            "targets": _write(self.targets_OM),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        places = np.asarray(values["places"], dtype=np.int64)
        rows = _read(values["rows"]).reshape(len(places), -1)
        return cls(places, _read(values["scales"]), rows, _read(values["targets"]).reshape(-1, rows.shape[1]))


def fit_metric(features: Floats, targets: Floats, seed: int = 0, steps: int = STEPS) -> Floats:
    """Weights of the squared differences with which rows predict the targets of others best.

    Minimises the squared error of the kernel regression by Adam; each step draws rows to be predicted and rows that
    vote, none for itself.

    Args:
        features: (T, F).
        targets: (T, O).
        seed: Of the draws.
        steps: Of Adam.

    Returns:
        (F,), all above 0.
    """
    rows, width = features.shape
    random = np.random.default_rng(seed)
    logs, first, second = np.full(width, np.log(2.0)), np.zeros(width), np.zeros(width)
    for step in range(1, steps + 1):
        asked, voters = (random.choice(rows, min(count, rows), replace=False) for count in (QUERIES, VOTERS))
        weights = np.exp(2 * logs).astype(np.float32)
        gradient = 2 * weights * _gradient(features, targets, weights, asked, voters)
        first += 0.1 * (gradient - first)
        second += 0.01 * (gradient**2 - second)
        rate = LEARNING_RATE * np.sqrt(1 - step / steps)
        change = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.99**step)) + 1e-12)
        logs = (logs - rate * change).clip(-LARGEST_LOG, LARGEST_LOG)
    learnt: Floats = np.exp(2 * logs).astype(np.float32)
    return learnt


def _gradient(features: Floats, targets: Floats, weights: Floats, asked: Rows, voters: Rows) -> Floats:
    """Derivative of the mean squared error of the asked rows with respect to the weights, (F,).

    With p the votes, y the targets and r the error of row i, the derivative by the squared distance of i and j is
    -2 p_ij r_i (y_j - prediction_i) / T; that of the distance by a weight is a squared difference, whose sum over all
    pairs is three matrix products.
    """
    x_TF, x_MF, y_TO, y_MO = features[asked], features[voters], targets[asked], targets[voters]
    distances_TM = ((x_TF**2) @ weights)[:, None] + (x_MF**2) @ weights - 2 * (x_TF * weights) @ x_MF.T
    distances_TM[asked[:, None] == voters] = np.inf
    votes_TM = np.exp(distances_TM.min(axis=1, keepdims=True) - distances_TM)
    votes_TM /= votes_TM.sum(axis=1, keepdims=True)
    predicted_TO = votes_TM @ y_MO
    error_TO = predicted_TO - y_TO
    gain_TM = error_TO @ y_MO.T - (error_TO * predicted_TO).sum(axis=1, keepdims=True)
    by_distance_TM = votes_TM * gain_TM * np.float32(-2 / len(asked))
    squares = by_distance_TM.sum(axis=1) @ x_TF**2 + by_distance_TM.sum(axis=0) @ x_MF**2
    gradient: Floats = squares - 2 * (x_TF * (by_distance_TM @ x_MF)).sum(axis=0)
    return gradient


def held_out(num_rows: int, seed: int = 0) -> npt.NDArray[np.bool_]:
    """A fifth of the rows, by hash of their position, (T,)."""
    outside: npt.NDArray[np.bool_] = mix(np.arange(num_rows, dtype=np.uint64), seed) % np.uint64(5) == 0
    return outside


def _write(values: Floats) -> str:
    return base64.b64encode(values.astype("<f4").tobytes()).decode()


def _read(text: str) -> Floats:
    return np.frombuffer(base64.b64decode(text, validate=True), dtype="<f4").astype(np.float32)
