"""Which rows are for training, which for validation, which for the test.

What is notable here:
- The order behind every draw is a hash of row positions and the seed, not a random generator: the same rows on every
  machine, with every version of every library, and with any number of threads.
- A split by time never cuts through rows of the same time; a split by group never through a group. With both, whole
  groups are ordered by the time of their last row.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.errors import ConfigError, DataError, did_you_mean
from mlpipe.features.sample import mix
from mlpipe.features.typed import category, number, typed
from mlpipe.schema import Column, Kind, Role, Schema, TaskKind

METHODS = ("auto", "random", "stratified", "group", "time", "column")
PARTS = ("train", "validation", "test")
_PART_WORDS = {
    "train": "train",
    "training": "train",
    "validation": "validation",
    "valid": "validation",
    "val": "validation",
    "dev": "validation",
    "test": "test",
    "testing": "test",
}

Positions = npt.NDArray[np.int64]
#: 0 for training, 1 for validation, 2 for test.
Parts = npt.NDArray[np.int8]


@dataclass(frozen=True)
class SplitConfig:
    """How rows are split.

    Args:
        method: random, stratified (as random, but within each class), group (all rows of an entity on one side), time
            (the latest rows are the test, those before them the validation), column (a column says it), or auto:
            column if one is named, else group or time if the table has such a column, else stratified for
            classification and random for regression.
        validation: Share of the rows for validation; 0: none.
        test: Share of the rows for the test; 0: none.
        column: For the method column: the column that says which part a row is of.
        values: For the method column: the values that stand for each part; without them the column holds the words
            train, validation and test. A part without values is drawn from the training rows.
        seed: Of the draw.
    """

    method: str = "auto"
    validation: float = 0.15
    test: float = 0.15
    column: str | None = None
    values: dict[str, list[Any]] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        if self.method not in METHODS:
            raise ConfigError(f"`data.split.method` is {self.method!r}.{did_you_mean(self.method, METHODS)}")
        for name, share in (("validation", self.validation), ("test", self.test)):
            if not 0 <= share < 1:
                raise ConfigError(f"`data.split.{name}` is {share}; it has to be a share from 0 to below 1.")
        if self.validation + self.test >= 1:
            raise ConfigError(
                f"`data.split.validation` ({self.validation}) and `data.split.test` ({self.test}) leave no rows to "
                "train on; together they have to stay below 1."
            )
        if self.method == "column" and self.column is None:
            raise ConfigError("`data.split.method` is 'column', but `data.split.column` names none.")
        if self.values is not None and self.column is None:
            raise ConfigError("`data.split.values` goes with `data.split.column`, which names no column.")
        for part in self.values or {}:
            if part not in PARTS:
                raise ConfigError(f"`data.split.values`: {part!r} is no part.{did_you_mean(part, PARTS)}")


@dataclass(frozen=True)
class Split:
    """Row positions of each part, ascending.

    Shape:
        (rows of the part,) each; together every row of the table once.
    """

    train: Positions
    validation: Positions
    test: Positions


def split_rows(frame: pl.DataFrame, schema: Schema, config: SplitConfig = SplitConfig()) -> Split:
    """Split the rows of a table.

    Raises:
        ConfigError: The method needs a column that the schema does not have.
        DataError: A part that was asked for would be empty, or a value of the split column belongs to no part.
    """
    method = _method(schema, config)
    if method == "column":
        parts = _by_column(frame, schema, config)
    elif method == "group":
        parts = _by_group(frame, schema, config)
    elif method == "time":
        parts = _by_time(frame, _with_role(schema, Role.TIME), config)
    else:
        shares = (config.validation, config.test)
        parts = draw(
            _classes(frame, schema) if method == "stratified" else np.zeros(len(frame), int), shares, config.seed
        )
    split = Split(*(np.flatnonzero(parts == i) for i in range(3)))
    asked = {"train": True, "validation": config.validation > 0, "test": config.test > 0}
    for name, wanted in asked.items():
        if wanted and len(getattr(split, name)) == 0:
            raise DataError(
                f"The {method} split of {frame.height:,} rows leaves none for {name}; change `data.split`"
                f"{'' if name == 'train' else f', or set `data.split.{name}: 0` to do without'}."
            )
    return split


def describe_split(frames: Mapping[str, pl.DataFrame], schema: Schema) -> list[dict[str, Any]]:
    """Size of each part, and what its target looks like.

    Returns:
        A record per part: `part`, `rows`, `share`, and `classes` (share of the rows by label; for multilabel the
        share of positives by column), or for regression `mean` and `std` of the target.
    """
    total = sum(frame.height for frame in frames.values())
    records = []
    for part, frame in frames.items():
        record: dict[str, Any] = {"part": part, "rows": frame.height, "share": frame.height / max(total, 1)}
        records.append(record | (_balance(frame, schema) if frame.height else {}))
    return records


def draw(classes: npt.NDArray[np.int64], shares: tuple[float, float], seed: int) -> Parts:
    """Draw shares of the rows for validation and test, the same shares of every class.

    A class of one or two rows stays in training. Where a class's share is no whole number, the classes with the
    largest remainders get a row more, so that the parts have the sizes that were asked for.

    Args:
        classes: (N,) class of each row, from 0.
        shares: Of validation and of test.
        seed: Of the draw.

    Returns:
        (N,) 0 for training, 1 for validation, 2 for test.
    """
    rows = len(classes)
    counts = np.bincount(classes)
    test = _quotas(counts, shares[1], np.where(counts < 3, 0, counts - 1))
    validation = _quotas(counts, shares[0], np.where(counts < 3, 0, counts - 1 - test))
    order = np.lexsort((mix(np.arange(rows, dtype=np.uint64), seed), classes))
    rank = np.empty(rows, dtype=np.int64)
    rank[order] = np.arange(rows) - (np.cumsum(counts) - counts)[classes[order]]
    held_out = (rank < (test + validation)[classes]).astype(np.int8)
    return held_out + (rank < test[classes])


def _quotas(counts: Positions, share: float, most: Positions) -> Positions:
    """Rows of each class: `share` of all rows in total, at least one, as far as `most` allows."""
    if share == 0 or len(counts) == 0:
        return np.zeros_like(counts)
    exact = counts * share
    quotas = np.minimum(np.floor(exact).astype(np.int64), most)
    total = max(round(counts.sum() * share), 1)
    for i in np.argsort(-(exact - np.floor(exact)), kind="stable"):
        if quotas.sum() >= total:
            break
        quotas[i] += quotas[i] < most[i]
    return quotas


def _method(schema: Schema, config: SplitConfig) -> str:
    if config.method == "stratified" and schema.task.kind in (TaskKind.REGRESSION, TaskKind.MULTILABEL):
        raise ConfigError(
            f"`data.split.method` is 'stratified', which a {schema.task.kind} task cannot be; say 'random'."
        )
    if config.method != "auto":
        return config.method
    if config.column is not None:
        return "column"
    for role in (Role.GROUP, Role.TIME):
        if schema.with_role(role) is not None:
            return role.value
    return "stratified" if schema.task.kind in (TaskKind.BINARY, TaskKind.MULTICLASS) else "random"


def _with_role(schema: Schema, role: Role) -> Column:
    column = schema.with_role(role)
    if column is None:
        raise ConfigError(f"`data.split.method` is {role.value!r}, but `data.{role.value}` names no column.")
    return column


def _classes(frame: pl.DataFrame, schema: Schema) -> Positions:
    name = schema.task.target[0]
    return _codes(frame.select(category(pl.col(name), frame.schema[name])).to_series())


def _codes(text: pl.Series) -> Positions:
    """Each value's rank among the different ones; null is one of them."""
    ranks = text.rank("dense").fill_null(0).cast(pl.Int64).to_numpy()
    return ranks - ranks.min() if len(ranks) else ranks


def _by_column(frame: pl.DataFrame, schema: Schema, config: SplitConfig) -> Parts:
    name = config.column
    if name is None or name not in frame.columns:
        raise DataError(
            f"`data.split.column` names {name!r}, which is no column.{did_you_mean(str(name), frame.columns)}"
        )
    text = frame.select(_text(name, frame.schema[name])).to_series()
    part_of = {word: part for word, part in _PART_WORDS.items()}
    if config.values is not None:
        part_of = {}
        for part, values in config.values.items():
            for value in (
                pl.DataFrame({"v": values}, strict=False)
                .select(_text("v", pl.Series(values, strict=False).dtype))
                .to_series()
            ):
                if part_of.setdefault(value, part) != part:
                    raise ConfigError(f"`data.split.values` names {value!r} for {part_of[value]} and for {part}.")
    else:
        text = text.str.to_lowercase()
    present = text.unique().to_list()
    for value in present:
        if value not in part_of:
            raise DataError(
                f"Column {name!r}, which splits the rows, holds {value!r}, which belongs to no part; list it in "
                f"`data.split.values`.{did_you_mean(str(value), part_of)}"
            )
    if config.values is not None and (absent := [value for value in part_of if value not in present]):
        raise DataError(f"`data.split.values` names {absent[0]!r}, which column {name!r} never holds.")
    found = {part_of[value] for value in present}
    parts = (
        text.replace_strict({value: PARTS.index(part_of[value]) for value in present}, return_dtype=pl.Int8)
        .to_numpy()
        .copy()
    )
    shares = [
        0.0 if part in found else share for part, share in (("validation", config.validation), ("test", config.test))
    ]
    if any(shares) and (train := np.flatnonzero(parts == 0)).size:
        stratified = schema.task.kind in (TaskKind.BINARY, TaskKind.MULTICLASS)
        classes = _classes(frame[train], schema) if stratified else np.zeros(len(train), int)
        parts[train] = draw(classes, (shares[0], shares[1]), config.seed)
    return parts


def _text(name: str, dtype: pl.DataType) -> pl.Expr:
    column = pl.col(name)
    return column.cast(pl.String) if dtype.is_temporal() else category(column, dtype)


def _by_group(frame: pl.DataFrame, schema: Schema, config: SplitConfig) -> Parts:
    """Whole groups, drawn, or those with the latest last row if there is a time, until a part is full."""
    column = _with_role(schema, Role.GROUP)
    codes = _codes(frame.select(_text(column.name, frame.schema[column.name])).to_series())
    counts = np.bincount(codes)
    needed = 1 + (config.validation > 0) + (config.test > 0)
    if len(counts) < needed:
        raise DataError(
            f"Column {column.name!r}, by which `data.group` splits, has {len(counts)} different values; "
            f"{needed} parts need as many."
        )
    time = schema.with_role(Role.TIME)
    if time is None:
        order = np.argsort(mix(np.arange(len(counts), dtype=np.uint64), config.seed), kind="stable")
    else:
        last = np.full(len(counts), -np.inf)
        np.maximum.at(last, codes, _times(frame, time))
        order = np.argsort(-last, kind="stable")
    part_of = np.zeros(len(counts), dtype=np.int8)
    waiting = list(order)
    later = needed - 1
    for part, share in ((2, config.test), (1, config.validation)):
        if share == 0:
            continue
        later -= 1
        wanted, filled = share * len(codes), 0
        kept = []
        for i, group in enumerate(waiting):
            left = len(waiting) - i + len(kept)
            closer = abs(filled + counts[group] - wanted) <= wanted - filled
            if left > later + 1 and (closer or (filled == 0 and (time is not None or i == len(waiting) - 1))):
                part_of[group] = part
                filled += counts[group]
            else:
                kept.append(group)
                if time is not None or filled >= wanted:
                    kept += waiting[i + 1 :]
                    break
        if filled == 0:
            smallest = min(kept, key=lambda group: counts[group])
            part_of[smallest] = part
            kept.remove(smallest)
        waiting = kept
    return part_of[codes]


def _by_time(frame: pl.DataFrame, column: Column, config: SplitConfig) -> Parts:
    """The latest rows, cut where the time changes, as near to the wanted size as that allows."""
    times = _times(frame, column)
    ordered = np.sort(times)
    changes = np.flatnonzero(np.diff(ordered)) + 1
    parts = np.zeros(len(times), dtype=np.int8)
    needed = 1 + (config.validation > 0) + (config.test > 0)
    if len(changes) + 1 < needed:
        raise DataError(
            f"Column {column.name!r}, by which `data.time` splits, has {len(changes) + 1} different times; "
            f"{needed} parts need as many."
        )
    end, held_out = len(changes), 0.0
    for part, share in ((2, config.test), (1, config.validation)):
        if share == 0:
            continue
        needed -= 1
        held_out += share
        possible = changes[needed - 1 : end]
        nearest = int(np.argmin(np.abs(possible - len(times) * (1 - held_out)))) + needed - 1
        parts[(times >= ordered[changes[nearest]]) & (parts == 0)] = part
        end = nearest
    return parts


def _times(frame: pl.DataFrame, column: Column) -> npt.NDArray[np.float64]:
    """Numbers in the order of a column's times.

    Raises:
        DataError: A row has none.
    """
    expression, dtype = typed(column, frame.schema[column.name])
    if dtype.is_temporal():
        expression = expression.cast(pl.Int64).cast(pl.Float64)  # microseconds: exact until the year 2255
    elif column.kind is not Kind.DURATION:
        expression = number(expression, dtype)
    times = frame.select(expression).to_series()
    if times.null_count():
        raise DataError(
            f"Column {column.name!r}, by which `data.time` orders the rows, has no time in {times.null_count():,} rows."
        )
    return times.to_numpy()


def _balance(frame: pl.DataFrame, schema: Schema) -> dict[str, Any]:
    names = schema.task.target
    if schema.task.kind is TaskKind.MULTILABEL:
        return {"classes": {name: frame[name].cast(pl.Float64).mean() for name in names}}
    target, dtype = pl.col(names[0]), frame.schema[names[0]]
    if schema.task.kind is TaskKind.REGRESSION:
        values = frame.select(number(target, dtype)).to_series()
        return {"mean": values.mean(), "std": values.std()}
    counts = dict(frame.select(category(target, dtype).alias("label")).to_series().value_counts().iter_rows())
    labels = pl.DataFrame({"label": list(schema.task.classes)}, strict=False)
    texts = labels.select(category(pl.col("label"), labels.schema["label"])).to_series()
    shares = [counts.get(text, 0) / frame.height for text in texts]
    return {"classes": dict(zip(map(str, schema.task.classes), shares, strict=True))}
