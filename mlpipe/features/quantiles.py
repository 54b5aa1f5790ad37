"""The mathematics of the quantile-normal transform: knots at fit, a piecewise-linear map at transform.

scikit-learn's `QuantileTransformer` interpolates ranks and then calls the normal quantile function for each value.
Here that function is called for the knots alone; towards the ends, where it bends, knots are added in between.
Knots of equal value are merged: the value itself goes to the middle of its ranks, what lies just beside it to
their ends, as scikit-learn has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Ranks are kept this far from 0 and 1, so that their normal quantiles are finite (5.2 at most).
RANK_BOUND = 1e-7
#: Knots are added until a straight line between two is as near as this to the normal quantile function.
LARGEST_BEND = 1e-3


@dataclass(frozen=True)
class Knots:
    """A piecewise-linear map with jumps.

    Attributes:
        at: (K,) ascending distinct values; `wide` columns: after the centre was subtracted.
        before: (K,) limit of the map from the left.
        on: (K,) value of the map.
        after: (K,) limit from the right.
    """

    at: Floats
    before: Floats
    on: Floats
    after: Floats

    def __call__(self, values: Floats) -> Floats:
        """Map finite values; each result depends on its own value alone.

        Shape:
            (T,) -> (T,)
        """
        if len(self.at) < 2:
            # A constant: what else might come was never seen, and is not worth the far end of the scale.
            return np.zeros_like(values)
        inside = values.clip(self.at[0], self.at[-1])
        index = np.searchsorted(self.at, inside, side="right") - 1
        left = index.clip(None, len(self.at) - 2)
        fraction = (inside - self.at.take(left)) / np.diff(self.at).take(left)
        mapped = self.after.take(left) + fraction * (self.before[1:] - self.after[:-1]).take(left)
        mapped = np.where(inside == self.at.take(index), self.on.take(index), mapped)
        mapped[values < self.at[0]] = self.before[0]
        mapped[values > self.at[-1]] = self.after[-1]
        return mapped


def num_quantiles(num_rows: int) -> int:
    """Knots by rows: one for 30 rows, from 10 to 1,000 (the recipe of Gorishniy et al. 2021)."""
    return max(min(num_rows // 30, 1000), 10)


def fit_knots(values: Floats, num_knots: int, noise: float = 0.0, seed: int = 0) -> Knots:
    """Knots that map `values` to a standard normal distribution.

    Args:
        values: (T,) finite training values.
        num_knots: Quantiles to take.
        noise: Standard deviation of noise on the values, in their own standard deviations.
        seed: Of the noise.
    """
    values = np.sort(values)
    if len(values) == 0 or values[0] == values[-1]:
        return Knots(*(np.zeros(0),) * 4)
    if noise:
        spread = np.std(values / np.abs(values).max()) * np.abs(values).max()
        values = np.sort(values + noise * spread * np.random.default_rng(seed).normal(size=len(values)))
    ranks = np.linspace(0, 1, num_knots)
    at = np.maximum.accumulate(np.quantile(values, ranks))
    distinct, first = np.unique(at, return_index=True)
    last = np.append(first[1:], len(at)) - 1
    before, after = ranks[first], ranks[last]
    if len(distinct) < 2:
        return Knots(*(np.zeros(0),) * 4)
    return _refined(distinct, *(_normal(part) for part in (before, (before + after) / 2, after)))


def _refined(at: Floats, before: Floats, on: Floats, after: Floats) -> Knots:
    """Knots halfway in rank wherever the normal quantile function bends too far from a straight line.

    A stretch that needs no knot is not looked at again; its halves are.
    """
    pending = np.arange(len(at) - 1)
    while len(pending):
        low, high = after[pending], before[pending + 1]
        middle = (at[pending] + at[pending + 1]) / 2
        score = _normal((_rank(low) + _rank(high)) / 2)
        bent = np.abs(score - (low + high) / 2) > LARGEST_BEND
        split = bent & (middle > at[pending]) & (middle < at[pending + 1])
        places = pending[split] + 1
        at = np.insert(at, places, middle[split])
        before, on, after = (np.insert(part, places, score[split]) for part in (before, on, after))
        left = pending[split] + np.arange(len(places))
        pending = np.sort(np.concatenate((left, left + 1)))
    return Knots(at, before, on, after)


def _rank(scores: Floats) -> Floats:
    return np.asarray([NormalDist().cdf(score) for score in scores.tolist()])


def _normal(ranks: Floats) -> Floats:
    """The normal distribution's quantiles, finite at the ends."""
    inverse = NormalDist().inv_cdf
    return np.asarray([inverse(rank) for rank in ranks.clip(RANK_BOUND, 1 - RANK_BOUND).tolist()])
