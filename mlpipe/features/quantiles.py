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
PART_ROWS = 65_536
#: Fewer values than this are searched for one by one.
FEW_ROWS = 1_024
#: Cells are tried in numbers of about 2**bits; tables of that many stay in the processor's cache.
CELL_BITS = (12, 13, 14, 15, 16)
#: The share of the knots that may lie in cells with others.
MOST_CROWDED = 0.1
#: How far below the knots the cells are counted from, as parts of their range.
NEARNESS = (1.0, 2.0**-4, 2.0**-8, 2.0**-12)
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
        with np.errstate(over="ignore"):
            slope = (self.before[1:] - self.after[:-1]) / np.diff(at)
        # Nothing lies between two knots so near to each other that the slope is infinite.
        slope = np.concatenate(([0.0], np.where(np.isfinite(slope), slope, 0.0), [0.0]))
        level = np.concatenate((self.before[:1], self.after))
        jumps = not np.array_equal(self.on, self.after)
        if jumps:
            # Two levels for each stretch: behind its first knot, and on it.
            level = np.stack((level, np.concatenate((self.before[:1], self.on))), axis=1).ravel()
        search = _search(at)

        def apply(values: Floats) -> Floats:
            stretch = search(values)
            mapped = start.take(stretch)
            if jumps:
                on_knot = values == mapped
            np.subtract(values, mapped, out=mapped)
            mapped *= slope.take(stretch)
            if jumps:
                np.add(stretch, stretch, out=stretch)
                np.add(stretch, on_knot, out=stretch)
            mapped += level.take(stretch)
            return mapped

        def apply_in_parts(values: Floats) -> Floats:
            if len(values) <= PART_ROWS:
                return apply(values)
            mapped = np.empty_like(values)
            for first in range(0, len(values), PART_ROWS):
                mapped[first : first + PART_ROWS] = apply(values[first : first + PART_ROWS])
            return mapped

        return apply_in_parts


def _search(knots: Floats) -> Callable[[Floats], npt.NDArray[np.intp]]:
    """How many knots are at most a value: `searchsorted(knots, values, side="right")`, for many values at once.

    NumPy searches for each value by itself, and the processor mispredicts every other comparison. Here a table says
    for the cell that a value lies in how many knots lie in the cells before it, and one comparison adds the knot in the
    cell itself. Values in a cell of several knots, where the distribution has a spike or an end, are left to NumPy.
    """
    cell_of, counts = _grid(knots)
    before = np.concatenate(([0], np.cumsum(counts)[:-1]))
    before[counts > 1] = -1  # one table for both: each look-up is a pass over all values
    padded = np.append(knots, np.inf)

    def search(values: Floats) -> npt.NDArray[np.intp]:
        if len(values) < FEW_ROWS:
            return np.searchsorted(knots, values, side="right")
        place = before.take(cell_of(values))
        left = np.flatnonzero(place < 0)
        np.add(place, padded.take(place) <= values, out=place)
        if len(left):
            place[left] = np.searchsorted(knots, values[left], side="right")
        return place

    return search


def _grid(knots: Floats) -> tuple[Callable[[Floats], npt.NDArray[np.intp]], npt.NDArray[np.intp]]:
    """Cells that share out the range of the knots, and how many knots are in each.

    A cell is named by the first bits of the distance from a point below the range: within one power of two cells are
    equally wide, and twice as wide in the next. A point far below makes them all alike, a near one follows a long tail.
    Taken are the fewest cells that leave few knots crowded. Whatever the rounding, a larger value is never in an
    earlier cell, which is all that the search needs.

    Returns:
        From values to their cells, and the knots in each cell.
    """
    best: tuple[int, _Cells, npt.NDArray[np.intp]] | None = None
    for cell_bits in CELL_BITS:
        for nearness in NEARNESS:
            cell_of = _Cells.over(knots, nearness, cell_bits)
            counts = np.bincount(cell_of(knots))
            crowded = int(counts[counts > 1].sum())
            if best is None or crowded < best[0]:
                best = crowded, cell_of, counts
        if best is not None and best[0] <= MOST_CROWDED * len(knots):
            break
    assert best is not None  # there are cells of some size
    return best[1:]


@dataclass(frozen=True)
class _Cells:
    """From values to their cells; see `_grid`.

    Attributes:
        shift: What is added to a value to make it a distance.
        low: The smallest distance.
        high: The largest.
        bits: Bits of a distance that tell nothing of its cell.
        first: The cell of `low`, which counts as 0.
    """

    shift: float
    low: float
    high: float
    bits: int
    first: int

    @classmethod
    def over(cls, knots: Floats, nearness: float, cell_bits: int) -> Self:
        """Some 2**cell_bits cells, counted from a point that is `nearness` times their range below the knots."""
        span = knots[-1] - knots[0]
        low = max(span * nearness, np.finfo(np.float64).tiny)
        pattern = np.array([low, low + span]).view(np.int64)
        bits = max(0, int(pattern[1] - pattern[0]).bit_length() - cell_bits)
        return cls(low - knots[0], low, low + span, bits, int(pattern[0]) >> bits)

    def __call__(self, values: Floats) -> npt.NDArray[np.intp]:
        """(T,) -> (T,), from 0."""
        distance = values + self.shift
        np.clip(distance, self.low, self.high, out=distance)
        cell = distance.view(np.int64)
        np.right_shift(cell, self.bits, out=cell)
        return np.subtract(cell, self.first, out=cell)


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
    at = np.maximum.accumulate(_quantiles(values, ranks))
    distinct, first = np.unique(at, return_index=True)
    last = np.append(first[1:], len(at)) - 1
    before, after = ranks[first], ranks[last]
    if len(distinct) < 2:
        return Knots(*(np.zeros(0),) * 4)
    return _refined(distinct, before, (before + after) / 2, after)


def _quantiles(ordered: Floats, ranks: Floats) -> Floats:
    """`np.quantile` of values that are in order already."""
    place = ranks * (len(ordered) - 1)
    below = place.astype(np.intp)
    above = np.minimum(below + 1, len(ordered) - 1)
    return ordered[below] + (ordered[above] - ordered[below]) * (place - below)


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
