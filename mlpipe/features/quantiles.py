"""The mathematics of the quantile-normal transform: knots at fit, a piecewise-linear map at transform.

scikit-learn's `QuantileTransformer` interpolates ranks and then calls the normal quantile function for each value.
Here that function is called for the knots alone; in the outermost two stretches, where it bends, knots are added
in between. Knots of equal value are merged: the value itself goes to the middle of its ranks, what lies just
beside it to their ends, as scikit-learn has it.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]

#: Ranks are kept this far from 0 and 1, so that their normal quantiles are finite (5.2 at most).
RANK_BOUND = 1e-7
#: Ranks of the knots added in the first stretch (and, mirrored, in the last), as fractions of its width.
TAIL_FRACTIONS = (1e-4, 3e-4, 1e-3, 3e-3, 1e-2, 3e-2, 0.1, 0.2, 0.35, 0.5, 0.75)


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
    knots = (distinct, before, (before + after) / 2, after)
    return _to_normal(*_with_tails(*knots)) if len(distinct) > 1 else Knots(*(np.zeros(0),) * 4)


def _with_tails(at: Floats, before: Floats, on: Floats, after: Floats) -> tuple[Floats, Floats, Floats, Floats]:
    """Knots added in the outermost stretches, on the straight line that joins their ends."""
    fractions = np.asarray(TAIL_FRACTIONS)

    def between(left: int, fractions: Floats) -> tuple[Floats, Floats]:
        added = at[left] + fractions * (at[left + 1] - at[left])
        ranks = after[left] + fractions * (before[left + 1] - after[left])
        inside = (added > at[left]) & (added < at[left + 1]) & np.append(True, np.diff(added) > 0)
        return added[inside], ranks[inside]

    low, low_ranks = between(0, fractions)
    high, high_ranks = between(len(at) - 2, 1 - fractions[::-1])
    if len(at) == 2:
        # One stretch is both the first and the last.
        low, kept = np.unique(np.concatenate((low, high)), return_index=True)
        low_ranks, high, high_ranks = np.concatenate((low_ranks, high_ranks))[kept], high[:0], high_ranks[:0]

    def insert(ends: Floats, first: Floats, last: Floats) -> Floats:
        return np.concatenate((ends[:1], first, ends[1:-1], last, ends[-1:]))

    return (
        insert(at, low, high),
        insert(before, low_ranks, high_ranks),
        insert(on, low_ranks, high_ranks),
        insert(after, low_ranks, high_ranks),
    )


def _to_normal(at: Floats, *ranks: Floats) -> Knots:
    inverse = NormalDist().inv_cdf
    bounded = (np.clip(part, RANK_BOUND, 1 - RANK_BOUND) for part in ranks)
    before, on, after = (np.asarray([inverse(float(rank)) for rank in part]) for part in bounded)
    return Knots(at, before, on, after)
