"""Every row to a part: 0 for training, 1 for validation, 2 for the test.

What is notable here:
- The order behind every draw is a hash of row positions and the seed, not a random generator: the same rows on every
  machine, with every version of every library, and with any number of threads.
- A split by time never cuts through rows of the same time; a split by group never through a group. With both, whole
  groups are ordered by the time of their last row.

Legend of the shapes: N rows, G groups, C classes.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.errors import ConfigError, DataError, did_you_mean, how_many
from mlpipe.features.sample import mix
from mlpipe.features.typed import category, number, typed
from mlpipe.schema import Column, Kind

PARTS = ("train", "validation", "test")
_PART_OF_WORD: dict[str | None, str] = {
    **dict.fromkeys(("train", "training"), "train"),
    **dict.fromkeys(("validation", "valid", "val", "dev"), "validation"),
    **dict.fromkeys(("test", "testing"), "test"),
}

Positions = npt.NDArray[np.int64]
#: (N,) 0 for training, 1 for validation, 2 for test.
Parts = npt.NDArray[np.int8]
#: Of validation and of test.
Shares = tuple[float, float]


def draw(rows: int, classes: Positions | None, shares: Shares, seed: int) -> Parts:
    """Draw shares of the rows for validation and test, the same shares of every class.

    A class of one or two rows stays in training. Where a class's share is no whole number, the classes with the
    largest remainders get a row more, so that the parts have the sizes that were asked for.

    Args:
        rows: N.
        classes: (N,) class of each row, from 0; None: all are of one.
        shares: Of validation and of test.
        seed: Of the draw.
    """
    if classes is None:
        classes = np.zeros(rows, dtype=np.int64)
    counts = np.bincount(classes)
    test = _quotas(counts, shares[1], np.where(counts < 3, 0, counts - 1))
    validation = _quotas(counts, shares[0], np.where(counts < 3, 0, counts - 1 - test))
    order = np.lexsort((mix(np.arange(rows, dtype=np.uint64), seed), classes))
    rank = np.empty(rows, dtype=np.int64)
    rank[order] = np.arange(rows) - (np.cumsum(counts) - counts)[classes[order]]
    held_out: Parts = (rank < (test + validation)[classes]).astype(np.int8)
    return held_out + (rank < test[classes])


def by_group(frame: pl.DataFrame, group: Column, time: Column | None, shares: Shares, seed: int) -> Parts:
    """Whole groups: drawn, or, if there is a time, those whose last row is the latest.

    Raises:
        DataError: There are fewer groups than parts, or a row has no time.
    """
    of_row = group_codes(frame, group)
    counts = np.bincount(of_row)
    _refuse_few(len(counts), group.name, "data.group", shares)
    if time is None:
        waiting = np.argsort(mix(np.arange(len(counts), dtype=np.uint64), seed), kind="stable")
    else:
        waiting = np.argsort(-last_times(of_row, time_ranks(frame, time)), kind="stable")
    part_of_group = np.zeros(len(counts), dtype=np.int8)
    for part, share in ((2, shares[1]), (1, shares[0])):
        if share:
            spare = 2 if part == 2 and shares[0] else 1
            taken = _take(counts[waiting], share * len(of_row), spare, in_order=time is not None)
            part_of_group[waiting[taken]] = part
            waiting = waiting[~taken]
    parts: Parts = part_of_group[of_row]
    return parts


def by_time(frame: pl.DataFrame, time: Column, shares: Shares) -> Parts:
    """The latest rows are the test, those before them the validation; cut where the time changes.

    Raises:
        DataError: There are fewer times than parts, or a row has no time.
    """
    times = time_ranks(frame, time)
    ordered = np.sort(times)
    changes = np.flatnonzero(np.diff(ordered)) + 1
    _refuse_few(len(changes) + 1, time.name, "data.time", shares)
    parts = np.zeros(len(times), dtype=np.int8)
    end, held_out = len(changes), 0.0
    for part, share in ((2, shares[1]), (1, shares[0])):
        if share:
            held_out += share
            first = 1 if part == 2 and shares[0] else 0
            nearest = first + int(np.argmin(np.abs(changes[first:end] - len(times) * (1 - held_out))))
            parts[(times >= ordered[changes[nearest]]) & (parts == 0)] = part
            end = nearest
    return parts


def by_column(
    frame: pl.DataFrame,
    name: str,
    values: Mapping[str, Sequence[Any]] | None,
    classes: Positions | None,
    shares: Shares,
    seed: int,
) -> Parts:
    """What a column says: the words train, validation and test, or the values listed for them.

    A part that no value stands for is drawn from the training rows.

    Raises:
        ConfigError: A value stands for two parts.
        DataError: There is no such column, it holds a value that stands for no part, or a listed value is not in it.
    """
    if name not in frame.columns:
        raise DataError(f"`data.split.column` names {name!r}, which is no column.{did_you_mean(name, frame.columns)}")
    text = frame.select(_text(name, frame.schema[name])).to_series()
    part_of = _PART_OF_WORD if values is None else _listed(values)
    if values is None:
        text = text.str.to_lowercase()
    present = text.unique(maintain_order=True).to_list()
    for value in present:
        if value not in part_of:
            raise DataError(
                f"Column {name!r}, which splits the rows, holds {value!r}, which stands for no part; list it in "
                f"`data.split.values`.{did_you_mean(str(value), part_of)}"
            )
    if values is not None and (absent := [value for value in part_of if value not in present]):
        raise DataError(f"`data.split.values` names {absent[0]!r}, which column {name!r} never holds.")
    numbers = {value: PARTS.index(part_of[value]) for value in present}
    parts: Parts = text.replace_strict(numbers, return_dtype=pl.Int8).to_numpy().copy()
    found = {part_of[value] for value in present}
    missing = (0.0 if "validation" in found else shares[0], 0.0 if "test" in found else shares[1])
    train = np.flatnonzero(parts == 0)
    if any(missing) and len(train):
        parts[train] = draw(len(train), None if classes is None else codes(classes[train]), missing, seed)
    return parts


def codes(values: pl.Series | Positions) -> Positions:
    """Each value's rank among the different ones, from 0; null is one of them.

    Examples:
        >>> codes(pl.Series(["b", None, "a", "b"])).tolist()
        [2, 0, 1, 2]
    """
    ranks: Positions = pl.Series(values).rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    return ranks - ranks.min() if len(ranks) else ranks


def group_codes(frame: pl.DataFrame, column: Column) -> Positions:
    """A number for each row's group, from 0; rows without one are a group.

    Shape:
        (N,)
    """
    return codes(frame.select(_text(column.name, frame.schema[column.name])).to_series())


def last_times(of_row: Positions, times: Positions) -> Positions:
    """The time of each group's last row.

    Shape:
        (N,), (N,) -> (G,)
    """
    last = np.zeros(of_row.max() + 1, dtype=np.int64)
    np.maximum.at(last, of_row, times)
    return last


def time_ranks(frame: pl.DataFrame, column: Column) -> Positions:
    """The rank of each row's time among the different ones, from 1.

    Shape:
        (N,)

    Raises:
        DataError: A row has none.
    """
    expression, dtype = typed(column, frame.schema[column.name])
    if column.kind is not Kind.DURATION and not dtype.is_temporal() and not dtype.is_integer():
        expression = number(expression, dtype)
    ranks = frame.select(expression.rank("dense")).to_series()
    if ranks.null_count():
        raise DataError(
            f"Column {column.name!r}, by which `data.time` orders the rows, has no time in "
            f"{how_many(ranks.null_count(), 'row')}."
        )
    times: Positions = ranks.cast(pl.Int64).to_numpy()
    return times


def _quotas(counts: Positions, share: float, most: Positions) -> Positions:
    """Rows of each class: `share` of all rows in total, at least one, as far as `most` allows.

    Shape:
        (C,), (C,) -> (C,)
    """
    if share == 0:
        return np.zeros_like(counts)
    exact = counts * share
    quotas: Positions = np.minimum(np.floor(exact).astype(np.int64), most)
    total = max(round(counts.sum() * share), 1)
    for i in np.argsort(np.floor(exact) - exact, kind="stable"):
        if quotas.sum() >= total:
            break
        quotas[i] += quotas[i] < most[i]
    return quotas


def _take(counts: Positions, wanted: float, spare: int, *, in_order: bool) -> npt.NDArray[np.bool_]:
    """Which groups fill a part: each in turn that brings it nearer to the wanted size; `spare` groups are left.

    Shape:
        (G,) -> (G,)
    """
    taken = np.zeros(len(counts), dtype=bool)
    filled = chosen = 0
    for i, count in enumerate(counts.tolist()):
        if chosen == len(counts) - spare or filled >= wanted:
            break
        if filled + count - wanted <= wanted - filled:
            taken[i] = True
            filled += count
            chosen += 1
        elif in_order:
            break
    if not chosen:
        taken[0 if in_order else int(np.argmin(counts))] = True
    return taken


def _listed(values: Mapping[str, Sequence[Any]]) -> dict[str | None, str]:
    part_of: dict[str | None, str] = {}
    for part, listed in values.items():
        column = pl.DataFrame({"v": list(listed)}, strict=False)
        for value in column.select(_text("v", column.schema["v"])).to_series():
            if part_of.setdefault(value, part) != part:
                raise ConfigError(f"`data.split.values` lists {value!r} for both {part_of[value]} and {part}.")
    return part_of


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).cast(pl.String) if dtype.is_temporal() else category(pl.col(name), dtype)


def _refuse_few(count: int, name: str, key: str, shares: Shares) -> None:
    needed = 1 + sum(share > 0 for share in shares)
    if count < needed:
        raise DataError(
            f"Column {name!r}, by which `{key}` splits, has {how_many(count, 'different value')}; {needed} parts need "
            "as many."
        )
