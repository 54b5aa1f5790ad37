"""Numbers to numbers: `Standardise`, `RobustClip`, `QuantileNormal`, `MissingIndicator`.

What is notable:
- null, NaN, infinite and unreadable values are left out of the fit and stay null in the output;
- a constant column is scaled by 1, an all-null one becomes 0, and both keep their place;
- integers beyond 2**53 are centred as integers, before float64 would merge them;
- quantiles come from a deterministic sample of large tables, means from all rows, summed in a fixed order.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.features.base import ColumnTransformer, State
from mlpipe.features.quantiles import Knots, fit_knots, num_quantiles
from mlpipe.features.sample import SAMPLE_ROWS, column_seed, moments, sample_rows
from mlpipe.features.typed import in_numpy, is_wide, number

#: No training row of fewer than 10**8 lies farther from the mean; what does was not seen in training.
LARGEST_SCORE = 1e4
#: Numbers that differ by less are one: the reciprocal of their spread would be infinite.
SMALLEST_SCALE = 1e-200

Floats = npt.NDArray[np.float64]


class NumericTransformer(ColumnTransformer):
    """Base of the transformers of numbers: reads, centres wide integers, and keeps null as null."""

    def sampling(self) -> tuple[int, int] | None:
        """The most rows from which the state is fitted and the seed of the sample; None: all rows."""
        return None

    def fit_numbers(self, name: str, values: Floats) -> State:
        """The state from the finite training values, of which there is at least one."""
        raise NotImplementedError

    def scaler(self, state: State) -> Callable[[Floats], Floats]:
        """The transform of finite numbers, (T,) -> (T,), each by itself."""
        raise NotImplementedError

    def fit_column(self, name: str, values: pl.Series, target: npt.NDArray[Any] | None) -> State:
        """The state from the values that are numbers; integers are centred if they are wide."""
        wide = is_wide(values)
        frame = (
            (values if (sampling := self.sampling()) is None else _sampled(values, *sampling))
            .drop_nulls()
            .to_frame("v")
        )
        if wide:
            whole = frame.select(number(pl.col("v"), values.dtype, wide=True)).to_series()
            centre = int(whole.min())  # type: ignore[arg-type]  # of whole numbers
            state, real = {"centre": centre}, _centred(pl.col("v"), values.dtype, centre)
        else:
            state, real = {}, number(pl.col("v"), values.dtype)
        numbers = frame.select(real).to_series().drop_nulls().to_numpy()
        return {**state, **self.fit_numbers(name, numbers)} if len(numbers) else {"empty": True}

    def output_names(self, name: str) -> list[str]:
        """The column's own name."""
        return [name]

    def prepare(self, name: str, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """The number in float64, null where there is none."""
        state = self.columns_[name]
        return _centred(value, dtype, state["centre"]) if "centre" in state else number(value, dtype)

    def outputs(self, name: str, prepared: pl.Expr) -> list[pl.Expr]:
        """The transformed number."""
        return [in_numpy(prepared, self.mapping(name))]

    def mapping(self, name: str) -> Callable[[Floats], Floats]:
        """The transform of one fitted column's finite numbers, (T,) -> (T,); 0 for a column that held none."""
        state = self.columns_[name]
        return np.zeros_like if state.get("empty") else self.scaler(state)


class Standardise(NumericTransformer):
    """(x - mean) / standard deviation.

    Examples:
        >>> frame = pl.DataFrame({"x": [1.0, None, 3.0]})
        >>> Standardise().fit_transform(frame)["x"].to_list()
        [-1.0, None, 1.0]
    """

    def fit_numbers(self, name: str, values: Floats) -> State:
        """Mean and standard deviation."""
        mean, scale = moments(values)
        return {"mean": mean, "scale": scale if scale > SMALLEST_SCALE else 1.0}

    def scaler(self, state: State) -> Callable[[Floats], Floats]:
        """(x - mean) / scale."""
        return partial(_scores, middle=state["mean"], scale=state["scale"])


class RobustClip(NumericTransformer):
    """z = (x - median) / interquartile range, then z / sqrt(1 + (z / 3)**2), which stays within -3 and 3.

    Where the quartiles are equal, half the range takes their place; a constant becomes 0. From RealMLP (Holzmüller
    et al. 2024).

    Examples:
        >>> frame = pl.DataFrame({"x": [0.0, 1.0, 2.0, 3.0, 1000.0]})
        >>> [round(x, 2) for x in RobustClip().fit_transform(frame)["x"]]
        [-0.95, -0.49, 0.0, 0.49, 3.0]
    """

    def sampling(self) -> tuple[int, int]:
        """As many rows as for quantiles."""
        return SAMPLE_ROWS, 0

    def fit_numbers(self, name: str, values: Floats) -> State:
        """Median and interquartile range, or what takes its place."""
        low, median, high = (float(q) for q in np.quantile(values, (0.25, 0.5, 0.75)))
        scale = high - low or (float(values.max()) - float(values.min())) / 2
        return {"median": median, "scale": scale if scale > SMALLEST_SCALE else 0.0}

    def scaler(self, state: State) -> Callable[[Floats], Floats]:
        """Scaled, then bent."""
        if state["scale"] == 0:
            return np.zeros_like

        def bent(values: Floats) -> Floats:
            scores = _scores(values, state["median"], state["scale"])
            third = scores * (1 / 3)
            return scores / np.sqrt(1 + third * third)

        return bent


class QuantileNormal(NumericTransformer):
    """The normal distribution's quantile at the rank of a value among the training values.

    Values beyond the training range go to the ends, -5.2 and 5.2.

    Args:
        noise: Noise on the training values, in standard deviations of the column. It spreads equal values, so that
            one which fills many quantiles lands in the middle of them, at the ends of the range too.
        seed: Of the noise and the sample.
        sample: Most rows the quantiles are computed from.

    Examples:
        >>> frame = pl.DataFrame({"x": range(11)})
        >>> [round(x, 2) for x in QuantileNormal(noise=0.0).fit_transform(frame)["x"][3:8]]
        [-0.52, -0.25, 0.0, 0.25, 0.52]
    """

    def __init__(self, noise: float = 1e-5, seed: int = 0, sample: int = SAMPLE_ROWS) -> None:
        self.noise = noise
        self.seed = seed
        self.sample = sample

    def sampling(self) -> tuple[int, int]:
        """`sample` rows and the seed."""
        return self.sample, self.seed

    def fit_numbers(self, name: str, values: Floats) -> State:
        """The knots, as lists."""
        knots = fit_knots(values, num_quantiles(len(values)), self.noise, column_seed(name, self.seed))
        return knots.to_dict()

    def scaler(self, state: State) -> Callable[[Floats], Floats]:
        """Interpolated between the knots."""
        return Knots.from_dict(state).mapping()


class Identity(NumericTransformer):
    """The number as it is, for trees and for columns that are scaled already."""

    def fit_numbers(self, name: str, values: Floats) -> State:
        """Nothing is learnt."""
        return {}

    def scaler(self, state: State) -> Callable[[Floats], Floats]:
        """As it is."""
        return partial(np.clip, a_min=-1e30, a_max=1e30)


class MissingIndicator(NumericTransformer):
    """1 where a value is null, NaN, infinite or no number, else 0.

    Examples:
        >>> frame = pl.DataFrame({"x": [1.0, None, float("nan"), float("inf")]})
        >>> MissingIndicator().fit_transform(frame)["x"].to_list()
        [0, 1, 1, 1]
    """

    def fit_column(self, name: str, values: pl.Series, target: npt.NDArray[Any] | None) -> State:
        """Nothing is learnt."""
        return {}

    def outputs(self, name: str, prepared: pl.Expr) -> list[pl.Expr]:
        """1 or 0."""
        return [prepared.is_null().cast(pl.Int8)]


def _scores(values: Floats, middle: float, scale: float) -> Floats:
    """Distances from the middle in units of the scale, within bounds."""
    scores: Floats = ((values - middle) * (1 / scale)).clip(-LARGEST_SCORE, LARGEST_SCORE)
    return scores


def _sampled(values: pl.Series, size: int, seed: int) -> pl.Series:
    """About `size` values that are not null, and some nulls among them: those are in the sample as they are in all."""
    known = len(values) - values.null_count()
    if known <= size:
        return values
    return values.gather(sample_rows(len(values), size * len(values) // known, seed))


def _centred(value: pl.Expr, dtype: pl.DataType, centre: int) -> pl.Expr:
    """Float64 distance of wide integers from their centre."""
    whole: pl.Expr = number(value, dtype, wide=True) - pl.lit(centre, dtype=pl.Int128)
    return whole.cast(pl.Float64)
