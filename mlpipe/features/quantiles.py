"""The mathematics of the quantile-normal transform: knots at fit, a piecewise-linear map at transform.

scikit-learn's `QuantileTransformer` interpolates ranks and then calls the normal quantile function for each value.
Here that function is called for the knots alone; towards the ends, where it bends, knots are added in between.
Knots of equal value are merged: the value itself goes to the middle of its ranks, what lies just beside it to
their ends, as scikit-learn has it.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from statistics import NormalDist
from typing import Self

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Ranks are kept this far from 0 and 1, so that their normal quantiles are finite (5.2 at most).
RANK_BOUND = 1e-7
#: Values mapped at once, which with all that is computed on the way stay in the processor's cache.
PART_ROWS = 32_768
#: Fewer values than this are searched for one by one.
FEW_ROWS = 1_024
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

    def to_dict(self) -> dict[str, list[float]]:
        """As lists; without jumps, the two limits are left out."""
        parts = {"at": self.at, "before": self.before, "on": self.on, "after": self.after}
        if np.array_equal(self.before, self.after):
            parts = {"at": self.at, "on": self.on}
        return {name: part.tolist() for name, part in parts.items()}

    @classmethod
    def from_dict(cls, values: Mapping[str, list[float]]) -> Self:
        """The inverse of `to_dict`."""
        return cls(*(np.asarray(values.get(part, values["on"])) for part in ("at", "before", "on", "after")))

    def mapping(self) -> Callable[[Floats], Floats]:
        """The map of finite values; each result depends on its own value alone.

        Returns:
            (T,) -> (T,)
        """
        at = self.at
        if len(at) < 2:
            # A constant: what else might come was never seen, and is not worth the far end of the scale.
            return np.zeros_like
        # One stretch before the first knot, one after each; the outermost are flat.
        start = np.concatenate((at[:1], at))
        width = np.concatenate(([np.inf], np.diff(at), [np.inf]))
        level = np.concatenate((self.before[:1], self.after))
        rise = np.concatenate(([0.0], self.before[1:] - self.after[:-1], [0.0]))
        jump = np.concatenate(([0.0], self.on - self.after))
        jumps = bool(jump.any())
        search = _bisection(at)

        def apply(values: Floats) -> Floats:
            stretch = search(values)
            left = start.take(stretch)
            mapped = values - left
            mapped /= width.take(stretch)
            mapped *= rise.take(stretch)
            mapped += level.take(stretch)
            if jumps:
                mapped += (values == left) * jump.take(stretch)
            return mapped

        def apply_in_parts(values: Floats) -> Floats:
            if len(values) <= PART_ROWS:
                return apply(values)
            mapped = np.empty_like(values)
            for first in range(0, len(values), PART_ROWS):
                mapped[first : first + PART_ROWS] = apply(values[first : first + PART_ROWS])
            return mapped

        return apply_in_parts


def _bisection(knots: Floats) -> Callable[[Floats], npt.NDArray[np.intp]]:
    """How many knots are at most a value: `searchsorted(knots, values, side="right")`, for many values at once.

    NumPy searches for each value by itself, and the processor mispredicts every other comparison. Here all values
    descend a binary tree together, without a branch: a third of the time. Place 1 of the tree is its root, places
    2 i and 2 i + 1 are the children of place i; who has passed the last level stands at the tree's size plus the count.
    """
    levels = len(knots).bit_length()
    size = 1 << levels
    padded = np.concatenate((knots, np.full(size - len(knots), np.inf)))
    tree = np.empty(size)
    for level in range(levels):
        step = size >> (level + 1)
        tree[1 << level : 2 << level] = padded[step - 1 :: 2 * step]

    def search(values: Floats) -> npt.NDArray[np.intp]:
        if len(values) < FEW_ROWS:
            return np.searchsorted(knots, values, side="right")
        place = np.ones(len(values), dtype=np.intp)
        knot, passed = np.empty_like(values), np.empty(len(values), dtype=np.bool_)
        for _ in range(levels):
            tree.take(place, out=knot, mode="clip")
            np.less_equal(knot, values, out=passed)
            np.add(place, place, out=place)
            np.add(place, passed, out=place)
        place -= size
        return place

    return search


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
    return _refined(distinct, before, (before + after) / 2, after)


def _refined(at: Floats, before: Floats, on: Floats, after: Floats) -> Knots:
    """Knots from ranks, and more of them halfway in rank wherever the normal quantile function bends too far.

    A stretch that needs no knot is not looked at again; its halves are.
    """
    before, on, after = _normal(np.stack((before, on, after)))
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
    cumulative = NormalDist().cdf
    return np.asarray([cumulative(score) for score in scores.tolist()])


def _normal(ranks: Floats) -> Floats:
    """The normal distribution's quantiles, finite at the ends."""
    inverse = NormalDist().inv_cdf
    distinct, places = np.unique(ranks.clip(RANK_BOUND, 1 - RANK_BOUND), return_inverse=True)
    return np.asarray([inverse(rank) for rank in distinct.tolist()])[places]
