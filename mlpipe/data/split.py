"""Which rows are for training, which for validation, which for the test.

What is notable here:
- `auto` does what the columns call for: a table with an entity column is never split through an entity, one with a
  time column never tested on what came before its training rows.
- An empty part that was asked for is an error here, and not a metric of nothing later on.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.checks import check_types
from mlpipe.data.partition import PARTS, by_column, by_group, by_time, codes, draw
from mlpipe.errors import ConfigError, DataError, did_you_mean, how_many
from mlpipe.features.typed import category, number
from mlpipe.schema import Column, Role, Schema, TaskKind

METHODS = ("auto", "random", "stratified", "group", "time", "column")
Positions = npt.NDArray[np.int64]


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
        folds: One fold of a cross-validation in so many folds: the fold is the test, `test` is not used, and
            `validation` is a share of the other rows. `mlpipe crossval` sets this; null: no folds.
        fold: Which of the folds is held out, from 0.
        repeat: The folds are drawn anew for each number from 0.
    """

    method: str = "auto"
    validation: float = 0.15
    test: float = 0.15
    column: str | None = None
    values: dict[str, list[Any]] | None = None
    seed: int = 0
    folds: int | None = None
    fold: int = 0
    repeat: int = 0

    def __post_init__(self) -> None:
        check_types(self, "data.split")
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
        if self.folds is not None and self.folds < 2:
            raise ConfigError(f"`data.split.folds` is {self.folds}; it has to be at least 2, or null.")
        if not 0 <= self.fold < (self.folds or 1):
            raise ConfigError(
                f"`data.split.fold` is {self.fold}; it has to be from 0 to below `data.split.folds` ({self.folds})."
            )
        check_seed("data.split.seed", self.seed)
        if self.repeat < 0:
            raise ConfigError(f"`data.split.repeat` is {self.repeat}; it cannot be negative.")
        for part in self.values or {}:
            if part not in PARTS:
                raise ConfigError(f"`data.split.values`: {part!r} is no part.{did_you_mean(part, PARTS)}")


def check_seed(name: str, seed: int) -> None:
    """Refuse what some of the random generators do not take: below 0, or more than 32 bits.

    Raises:
        ConfigError: Names the key.
    """
    if not 0 <= seed < 2**32:
        raise ConfigError(f"`{name}` is {seed}; it has to be from 0 to {2**32 - 1:,}.")


@dataclass(frozen=True)
class Split:
    """Row positions of each part, ascending.

    Shape:
        (rows of the part,) each; together every row of the table once, and of a fold every row at most once.
    """

    train: Positions
    validation: Positions
    test: Positions


def split_rows(frame: pl.DataFrame, schema: Schema, config: SplitConfig = SplitConfig()) -> Split:
    """Split the rows of a table; the folds of a cross-validation are cut by `mlpipe.data.folds`.

    Raises:
        ConfigError: The method needs a column that the schema does not have.
        DataError: A part that was asked for would be empty, or a value of the split column belongs to no part.
    """
    method = split_method(schema, config)
    shares = (config.validation, config.test)
    stratified = method == "stratified" or (method == "column" and _has_classes(schema))
    classes = class_codes(frame, schema) if stratified else None
    if method == "column":
        parts = by_column(frame, str(config.column), config.values, classes, shares, config.seed)
    elif method == "group":
        parts = by_group(frame, needed_column(schema, Role.GROUP), schema.with_role(Role.TIME), shares, config.seed)
    elif method == "time":
        parts = by_time(frame, needed_column(schema, Role.TIME), shares)
    else:
        parts = draw(frame.height, classes, shares, config.seed)
    split = Split(*(np.flatnonzero(parts == i) for i in range(3)))
    asked = {"train": True, "validation": config.validation > 0, "test": config.test > 0}
    for name, wanted in asked.items():
        if wanted and len(getattr(split, name)) == 0:
            raise DataError(
                f"The {method} split of {how_many(frame.height, 'row')} leaves none for {name}; change `data.split`"
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


def split_method(schema: Schema, config: SplitConfig) -> str:
    """The method that `auto` stands for, or the one that is named.

    Raises:
        ConfigError: The task has no classes to stratify by.
    """
    if config.method == "stratified" and not _has_classes(schema):
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
    return "stratified" if _has_classes(schema) else "random"


def needed_column(schema: Schema, role: Role) -> Column:
    """The column with a role that the method asks for.

    Raises:
        ConfigError: There is none.
    """
    column = schema.with_role(role)
    if column is None:
        raise ConfigError(f"`data.split.method` is {role.value!r}, but `data.{role.value}` names no column.")
    return column


def _has_classes(schema: Schema) -> bool:
    return schema.task.kind in (TaskKind.BINARY, TaskKind.MULTICLASS)


def class_codes(frame: pl.DataFrame, schema: Schema) -> Positions:
    """A number for each row's class, from 0.

    Shape:
        (N,)
    """
    name = schema.task.target[0]
    return codes(frame.select(category(pl.col(name), frame.schema[name])).to_series())


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
