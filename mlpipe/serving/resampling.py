"""Metrics of resampled rows, fast enough for thousands of resamples, and bootstrap intervals of their difference.

The interval is BCa, the bias-corrected and accelerated bootstrap (Efron 1987, "Better Bootstrap Confidence Intervals";
Efron and Tibshirani 1993, "An Introduction to the Bootstrap", chapter 14): percentiles of the resampled differences,
shifted by how far the resamples lie off the estimate and by how their spread changes with it, which the jackknife says.
It is second-order accurate where plain percentiles are first-order, which matters for skewed losses.

Legend of the shapes: N rows, B resamples, C classes.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Counts = npt.NDArray[np.int64]

RESAMPLES = 2_000


class Statistic(ABC):
    """A metric of N rows, each counted any number of times."""

    size: int

    @abstractmethod
    def value(self, counts_N: Counts) -> float:
        """The metric where row i is there `counts_N[i]` times; NaN if it is not defined."""

    @abstractmethod
    def leave_one_out(self) -> Floats:
        """(N,): the metric without row i."""

    def estimate(self) -> float:
        """The metric of the rows as they are."""
        return self.value(np.ones(self.size, dtype=np.int64))


class Mean(Statistic):
    """The mean of a loss; with `root` its square root, which is what makes an RMSE of squares.

    Args:
        loss_N: (N,) the loss of each row.
        root: Take the square root of the mean.

    Examples:
        >>> Mean(np.array([1.0, 7.0]), root=True).estimate()
        2.0
    """

    def __init__(self, loss_N: Floats, *, root: bool = False) -> None:
        self.size, self._loss_N, self._root = len(loss_N), loss_N, root

    def value(self, counts_N: Counts) -> float:
        """See `Statistic`."""
        mean = float(counts_N @ self._loss_N / counts_N.sum())
        return mean**0.5 if self._root else mean

    def leave_one_out(self) -> Floats:
        """See `Statistic`."""
        mean_N: Floats = (self._loss_N.sum() - self._loss_N) / max(self.size - 1, 1)
        return np.sqrt(np.maximum(mean_N, 0.0)) if self._root else mean_N


class Auroc(Statistic):
    """The area under the ROC curve: how often a row of the class has a higher score than a row of another, ties half.

    With several classes the mean over those that the rows have, each against the rest.

    Args:
        score_NC: (N, C) scores by class; one column is enough for two classes.
        truth_N: (N,) class of each row; with one column 1 stands for its class and 0 for the other.
    """

    def __init__(self, score_NC: Floats, truth_N: npt.NDArray[np.int64]) -> None:
        self.size = len(truth_N)
        classes = score_NC.shape[1]
        self._parts = (
            [_OneAgainstRest(score_NC[:, c], truth_N == c) for c in range(classes)]
            if classes > 1
            else [_OneAgainstRest(score_NC[:, 0], truth_N == 1)]
        )

    def value(self, counts_N: Counts) -> float:
        """See `Statistic`."""
        defined = [value for part in self._parts if not np.isnan(value := part.value(counts_N))]
        return float(np.mean(defined)) if defined else np.nan

    def leave_one_out(self) -> Floats:
        """See `Statistic`."""
        here = [part for part in self._parts if part.is_defined]
        values_N: Floats = np.mean([part.leave_one_out() for part in here], axis=0)
        return values_N


class _OneAgainstRest:
    """The Mann-Whitney statistic of one class, its rows sorted once."""

    def __init__(self, score_N: Floats, is_class_N: npt.NDArray[np.bool_]) -> None:
        _, self._group_N = np.unique(score_N, return_inverse=True)
        self._is_class_N = is_class_N
        self.is_defined = bool(is_class_N.any() and not is_class_N.all())

    def _tables(self, counts_N: Counts) -> tuple[Floats, Floats]:
        """By group of equal scores, ascending: how many rows of the class there are, and of the rest."""
        of_class = np.bincount(self._group_N, counts_N * self._is_class_N).astype(np.float64)
        return of_class, np.bincount(self._group_N, counts_N) - of_class

    def value(self, counts_N: Counts) -> float:
        of_class, of_rest = self._tables(counts_N)
        pairs = of_class.sum() * of_rest.sum()
        below = np.cumsum(of_rest) - of_rest / 2
        return float(of_class @ below / pairs) if pairs else np.nan

    def leave_one_out(self) -> Floats:
        of_class, of_rest = self._tables(np.ones(len(self._group_N), dtype=np.int64))
        below = np.cumsum(of_rest) - of_rest / 2
        above = of_class.sum() - np.cumsum(of_class) + of_class / 2
        won, positives, negatives = of_class @ below, of_class.sum(), of_rest.sum()
        lost_N = np.where(self._is_class_N, below[self._group_N], above[self._group_N])
        left_N = np.where(self._is_class_N, (positives - 1) * negatives, positives * (negatives - 1))
        # A class's only row cannot be left out: it is taken to make no difference.
        values_N: Floats = np.full(len(left_N), won / (positives * negatives))
        np.divide(won - lost_N, left_N, out=values_N, where=left_N > 0)
        return values_N


def paired_difference(
    first: Statistic, second: Statistic, rng: np.random.Generator, *, level: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """The interval of second minus first, both of the same rows, which are drawn together.

    Args:
        first: Of N rows.
        second: Of the same.
        rng: What is drawn from.
        level: The share of such intervals that are to hold the true difference.
        resamples: How many.

    Returns:
        Lower and upper bound.
    """
    drawn = np.empty(resamples)
    for index in range(resamples):
        counts_N = _draw(rng, first.size)
        drawn[index] = second.value(counts_N) - first.value(counts_N)
    return bca(
        second.estimate() - first.estimate(), drawn, [second.leave_one_out() - first.leave_one_out()], level=level
    )


def unpaired_difference(
    first: Statistic, second: Statistic, rng: np.random.Generator, *, level: float = 0.95, resamples: int = RESAMPLES
) -> tuple[float, float]:
    """As `paired_difference`, of two samples that have nothing to do with each other."""
    drawn = np.array(
        [second.value(_draw(rng, second.size)) - first.value(_draw(rng, first.size)) for _ in range(resamples)]
    )
    values = first.estimate(), second.estimate()
    jackknife = [values[1] - first.leave_one_out(), second.leave_one_out() - values[0]]
    return bca(values[1] - values[0], drawn, jackknife, level=level)


def bca(estimate: float, drawn_B: Floats, jackknife: Sequence[Floats], *, level: float) -> tuple[float, float]:
    """The BCa interval.

    Args:
        estimate: Of the rows as they are.
        drawn_B: (B,) of the resamples; those that are NaN don't count.
        jackknife: For each sample (N,): the estimate without row i of it.
        level: The share of such intervals that are to hold the true value.

    Returns:
        Lower and upper bound.
    """
    drawn_B = drawn_B[~np.isnan(drawn_B)]
    if len(drawn_B) == 0 or drawn_B.min() == drawn_B.max():
        return estimate, estimate
    normal = NormalDist()
    rounds = len(drawn_B)
    # Resamples that equal the estimate lie half on either side; at the ends the correction would be infinite.
    below = (np.sum(drawn_B < estimate) + np.sum(drawn_B <= estimate)) / (2 * rounds)
    bias = normal.inv_cdf(float(np.clip(below, 0.5 / rounds, 1 - 0.5 / rounds)))
    acceleration = _acceleration(jackknife)
    ends = []
    for z in (normal.inv_cdf((1 - level) / 2), normal.inv_cdf((1 + level) / 2)):
        shifted = bias + z
        ends.append(normal.cdf(bias + shifted / (1 - acceleration * shifted)))
    lower, upper = np.quantile(drawn_B, ends)
    return float(lower), float(upper)


def _acceleration(jackknife: Sequence[Floats]) -> float:
    """Of several samples: Efron and Tibshirani 1993, equation 14.15, their influences summed."""
    cubes, squares = 0.0, 0.0
    for values_N in jackknife:
        size = len(values_N)
        influence_N = (size - 1) * (values_N.mean() - values_N)
        cubes += float((influence_N**3).sum()) / size**3
        squares += float((influence_N**2).sum()) / size**2
    return cubes / (6 * squares**1.5) if squares > 0 else 0.0


def _draw(rng: np.random.Generator, size: int) -> Counts:
    """(N,): how often each of N rows comes up in N draws with replacement."""
    return np.bincount(rng.integers(0, size, size), minlength=size)
