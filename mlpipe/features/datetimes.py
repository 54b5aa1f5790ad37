"""Dates and times to numbers and categories: `DatetimeParts`.

Seconds since the earliest training row, counted in UTC, and calendar parts as the clock on the wall showed them.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.features.base import ColumnTransformer, State
from mlpipe.features.config import DATETIME_PARTS
from mlpipe.features.numeric import LARGEST_SCORE
from mlpipe.features.sample import moments
from mlpipe.features.typed import timestamp
from mlpipe.schema import FIRST_CATEGORY_ID, NULL_ID, UNSEEN_ID, Column, Kind

MICROS_PER_DAY = 86_400_000_000
#: From so many rows on, a part is looked up among those of all days (hours, minutes) between the first and the last.
MANY_ROWS = 4_096
#: Unless these are more than so many.
MOST_UNITS = 65_536
#: Microseconds in one unit of the clock, and how many units there are.
_CLOCK = {"hour": (3_600_000_000, 24), "minute": (60_000_000, 60)}

#: Parts with few values and no order that goes on: one id for each value seen in training.
CATEGORICAL_PARTS = ("month", "weekday", "hour")


class DatetimeParts(ColumnTransformer):
    """Elapsed time and those calendar parts that vary in training.

    Numbers (elapsed, year, day, day of year, minute) are standardised; month, weekday and hour are ids, as
    `CategoryEncoder` gives them.

    Args:
        parts: Calendar parts, of `mlpipe.features.config.DATETIME_PARTS`.
        time_zone: IANA name of the zone of the calendar, and of values without an offset; None: as they stand.

    Examples:
        >>> frame = pl.DataFrame({"t": ["2024-01-01", "2024-01-03"]})
        >>> DatetimeParts().fit_transform(frame)
        shape: (2, 3)
        ┌───────────┬───────────────┬───────────┐
        │ t.elapsed ┆ t.day_of_year ┆ t.weekday │
        │ ---       ┆ ---           ┆ ---       │
        │ f64       ┆ f64           ┆ i32       │
        ╞═══════════╪═══════════════╪═══════════╡
        │ -1.0      ┆ -1.0          ┆ 3         │
        │ 1.0       ┆ 1.0           ┆ 4         │
        └───────────┴───────────────┴───────────┘
    """

    numbers_only = False

    def __init__(
        self,
        parts: Sequence[str] = ("day_of_year", "weekday", "hour", "minute"),
        time_zone: str | None = None,
    ) -> None:
        self.parts = parts
        self.time_zone = time_zone

    def fit_column(self, name: str, values: pl.Series, target: npt.NDArray[Any] | None) -> State:
        """Origin, means and scales, and the values of the categorical parts."""
        times = values.to_frame("v").select(self._times(name, pl.col("v"), values.dtype)).to_series().drop_nulls()
        if times.is_empty():
            return {"origin": 0, "numbers": {"elapsed": [0.0, 1.0]}, "categories": {}}
        # Rows share their times, and a calendar is slow: each time is looked at once.
        distinct = times.value_counts(name="n").sort("v")
        times, counts = distinct["v"], distinct["n"].cast(pl.Int64).to_numpy()
        stamps = times.dt.timestamp("us")
        origin = int(stamps[0])
        state: State = {"origin": origin, "numbers": {}, "categories": {}}
        state["numbers"]["elapsed"] = _moments(stamps - origin, counts)
        for part in (part for part in DATETIME_PARTS if part in self.parts):
            counted = times.to_frame().select(_part(pl.col("v"), part, zoned=self.time_zone is not None)).to_series()
            found = counted.unique().sort().to_list()
            if len(found) < 2:
                continue
            if part in CATEGORICAL_PARTS:
                state["categories"][part] = found
            else:
                state["numbers"][part] = _moments(counted, counts)
        return state

    def output_names(self, name: str) -> list[str]:
        """One name per part: `t.elapsed`, `t.weekday`, ..."""
        state = self.columns_[name]
        return [f"{name}.{part}" for part in (*state["numbers"], *state["categories"])]

    def cardinalities(self, name: str) -> list[int | None]:
        """None for the numeric parts; the values seen and the three special ids for the others."""
        state = self.columns_[name]
        ids = [FIRST_CATEGORY_ID + len(values) for values in state["categories"].values()]
        return [None] * len(state["numbers"]) + ids

    def prepare(self, name: str, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        """The time in microseconds."""
        return self._times(name, value, dtype)

    def outputs(self, name: str, prepared: pl.Expr) -> list[pl.Expr]:
        """Standardised numbers and Int32 ids."""
        state, zoned = self.columns_[name], self.time_zone is not None
        made = []
        for part, (mean, scale) in state["numbers"].items():
            if part == "elapsed":
                made.append(_score((prepared.dt.timestamp("us") - state["origin"]).cast(pl.Float64), mean, scale))
            else:
                score = _score(pl.col("v").cast(pl.Float64), mean, scale)
                made.append(_feature(prepared, part, score, pl.Float64(), zoned=zoned))
        for part, values in state["categories"].items():
            made.append(_feature(prepared, part, _ids(pl.col("v"), values), pl.Int32(), zoned=zoned))
        return made

    def _times(self, name: str, value: pl.Expr, dtype: pl.DataType) -> pl.Expr:
        return timestamp(value, dtype, Column(name, Kind.DATETIME, time_zone=self.time_zone))


def _score(raw: pl.Expr, mean: float, scale: float) -> pl.Expr:
    return ((raw - mean) * (1 / scale)).clip(-LARGEST_SCORE, LARGEST_SCORE)


def _part(times: pl.Expr, part: str, *, zoned: bool) -> pl.Expr:
    """A calendar part of times with or without a zone, Int32."""
    return _feature(times, part, pl.col("v"), pl.Int32(), zoned=zoned)


def _feature(times: pl.Expr, part: str, made: pl.Expr, dtype: pl.DataType, *, zoned: bool) -> pl.Expr:
    """What is made of a calendar part of times with or without a zone.

    Args:
        times: The times.
        part: The part.
        made: From the part `v`, Int32, elementwise.
        dtype: Of what is made.
        zoned: Whether the times have a zone.
    """
    method = {"day_of_year": "ordinal_day"}.get(part, part)

    def compute(values: pl.Series) -> pl.Series:
        counted: pl.Series = getattr(values.dt, method)()
        return counted.cast(pl.Int32).to_frame("v").select(made).to_series()

    shared = compute if zoned else partial(_shared, compute, _CLOCK.get(method, (MICROS_PER_DAY, 0))[0])
    return times.map_batches(shared, return_dtype=dtype, is_elementwise=True)


def _shared(compute: Callable[[pl.Series], pl.Series], unit: int, times: pl.Series) -> pl.Series:
    """An elementwise function of the days (hours, minutes) of naive times; many rows share few of them.

    Args:
        compute: The function.
        unit: Microseconds in a day (an hour, a minute).
        times: Without a zone.
    """
    micros = times.dt.timestamp("us")
    earliest = micros.min()
    if len(times) >= MANY_ROWS and earliest is not None:
        units = micros.fill_null(earliest).to_numpy() // unit
        first, last = int(units.min()), int(units.max())
        if last - first < MOST_UNITS:
            calendar = pl.Series(np.arange(first, last + 1) * unit).cast(times.dtype)
            found = pl.Series(times.name, compute(calendar).to_numpy().take(units - first))
            return found.set(times.is_null(), compute(times.clear(1))[0]) if times.null_count() else found
    return compute(times)


def _ids(counted: pl.Expr, known: Sequence[int]) -> pl.Expr:
    """Int32 ids of a part, whose values are at most 24, by a table: the first place is for null, the next for 0."""
    table = np.full(26, UNSEEN_ID, dtype=np.int32)
    table[0] = NULL_ID
    table[np.asarray(known, dtype=np.int64) + 1] = np.arange(FIRST_CATEGORY_ID, FIRST_CATEGORY_ID + len(known))

    def gather(values: pl.Series) -> pl.Series:
        if not values.null_count():
            return pl.Series(values.name, table[1:].take(values.to_numpy()))
        return pl.Series(values.name, table.take(values.fill_null(-1).to_numpy() + 1))

    return counted.map_batches(gather, return_dtype=pl.Int32, is_elementwise=True)


def _moments(values: pl.Series, counts: npt.NDArray[np.int64]) -> list[float]:
    """Mean and standard deviation; 1 for a constant."""
    mean, scale = moments(values.cast(pl.Float64).to_numpy(), counts)
    return [mean, scale or 1.0]
