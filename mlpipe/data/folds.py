"""Folds for cross-validation: which rows a model is scored on, which it trains and stops on.

What is notable here:
- The folds follow the same method as the split of a single run: an entity is never in two of them, a class is in all
  of them alike, and where rows have a time a model is only ever scored on what came after all that it has seen (an
  expanding window, as in Bergmeir & Benítez 2012, "On the use of cross-validation for time series predictor
  evaluation").
- The held-out fold chooses nothing: early stopping and calibration have rows of their own, split off the others.
- As for a single split, every draw is a hash of positions and the seed.

Legend of the shapes: N rows, U units (groups, or the rows of one time), K folds.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace

import numpy as np
import numpy.typing as npt
import polars as pl

from mlpipe.data.partition import by_column, group_codes, last_times, time_ranks
from mlpipe.data.split import Split, SplitConfig, class_codes, needed_column, split_method, split_rows
from mlpipe.errors import ConfigError, DataError
from mlpipe.features.sample import mix
from mlpipe.schema import Role, Schema

Positions = npt.NDArray[np.int64]

#: The number of rows that are never held out: those of the first window in time.
NEVER = -1


def split_fold(frame: pl.DataFrame, schema: Schema, config: SplitConfig) -> Split:
    """Split the rows for one fold: the fold is the test, the others are for training and validation.

    `config.validation` is a share of the other rows, split off by the same method; `config.test` is not used. With
    the method `column`, rows that the column gives to the test are in no part, those it gives to validation are the
    validation of every fold, and the folds are cut from its training rows, as `auto` would without that column. In
    time order, rows after the held-out window are in no part.

    Args:
        frame: The raw table.
        schema: What its columns are.
        config: Its `folds`, `fold` and `repeat` say which fold.

    Raises:
        ConfigError: The method needs a column that the schema does not have, or repeats what cannot be repeated.
        DataError: There are too few rows, groups or times for so many folds.
    """
    pool, fixed, rows = np.arange(frame.height), np.empty(0, dtype=np.int64), frame
    if split_method(schema, config) == "column":
        parts = by_column(frame, str(config.column), config.values, None, (0.0, 0.0), config.seed)
        pool, fixed = np.flatnonzero(parts == 0), np.flatnonzero(parts == 1)
        rows = frame[pool]
    config = replace(config, method=fold_method(schema, config), column=None, values=None)
    numbers = fold_numbers(rows, schema, config)
    rest = pool[numbers < config.fold if is_ordered(schema, config.method) else numbers != config.fold]
    held_out = pool[numbers == config.fold]
    if len(fixed):
        return Split(rest, fixed, held_out)
    inner = split_rows(frame[rest], schema, replace(config, test=0.0, folds=None, fold=0, repeat=0))
    return Split(rest[inner.train], rest[inner.validation], held_out)


def fold_method(schema: Schema, config: SplitConfig) -> str:
    """How the folds are cut: as a single run's split, or as `auto` would do without the column that says the parts.

    Raises:
        ConfigError: The task has no classes to stratify by.
    """
    method = split_method(schema, config)
    if method != "column":
        return method
    return split_method(schema, replace(config, method="auto", column=None, values=None))


def fold_numbers(frame: pl.DataFrame, schema: Schema, config: SplitConfig) -> Positions:
    """The fold in which each row is held out, from 0; `NEVER` for the first window in time.

    Stratified and random folds differ by a row at most, in all and in each class; folds of groups by the rows of the
    largest group at most. In time order, fold 0 is the earliest that is held out.

    Shape:
        (N,)

    Raises:
        ConfigError: The method needs a column that the schema does not have, or repeats what cannot be repeated.
        DataError: There are too few rows, groups or times.
    """
    folds, method = config.folds, split_method(schema, config)
    assert folds is not None  # these functions are called for folds only
    if is_ordered(schema, method):
        if config.repeat:
            raise ConfigError(
                "Folds in time order can be cut in one way only: leave out `--repeats` (`data.split.repeat`)."
            )
        return _windows(frame, schema, method, folds)
    # Positions of different repeats never meet: a table has less than 2^40 rows.
    keys = np.arange(frame.height, dtype=np.uint64) + np.uint64(config.repeat << 40)
    if method == "group":
        column = needed_column(schema, Role.GROUP)
        of_row = group_codes(frame, column)
        counts = np.bincount(of_row)
        _refuse_few(len(counts), folds, f"groups in {column.name!r}")
        return _deal_groups(counts, keys, folds, config.seed)[of_row]
    _refuse_few(frame.height, folds, "rows")
    classes = class_codes(frame, schema) if method == "stratified" else np.zeros(frame.height, dtype=np.int64)
    # Dealt out in turn, class by class: a class is one stretch of the deck, so folds differ by one of its rows at most.
    numbers = np.empty(frame.height, dtype=np.int64)
    numbers[np.lexsort((mix(keys, config.seed), classes))] = np.arange(frame.height) % folds
    return numbers


def all_folds(config: SplitConfig, repeats: int) -> Iterator[SplitConfig]:
    """The config of every fold of a cross-validation, repeat by repeat."""
    for repeat in range(repeats):
        for fold in range(config.folds or 0):
            yield replace(config, repeat=repeat, fold=fold)


def is_ordered(schema: Schema, method: str) -> bool:
    """Whether folds are windows in time: by time, or by groups of which each has a last time."""
    return method == "time" or (method == "group" and schema.with_role(Role.TIME) is not None)


def _windows(frame: pl.DataFrame, schema: Schema, method: str, folds: int) -> Positions:
    """Windows of about N / (K + 1) rows in time order; rows of the same time, and of the same group, stay together."""
    column = needed_column(schema, Role.TIME)
    unit_of_row, what = time_ranks(frame, column) - 1, f"times in {column.name!r}"
    if method == "group":
        group = needed_column(schema, Role.GROUP)
        of_row, what = group_codes(frame, group), f"groups in {group.name!r}"
        ranks = np.argsort(np.argsort(last_times(of_row, unit_of_row), kind="stable"))
        unit_of_row = ranks[of_row]
    ends = np.cumsum(np.bincount(unit_of_row))
    # Two units at least in the first window: one to train on, one to stop by.
    _refuse_few(len(ends), folds + 2, what, f"{folds} folds in time order")
    window_of_unit = np.zeros(len(ends), dtype=np.int64)
    first = 1
    for window in range(1, folds + 1):
        ahead = ends[first : len(ends) - 1 - (folds - window)]
        first += int(np.argmin(np.abs(ahead - ends[-1] * window / (folds + 1)))) + 1
        window_of_unit[first:] = window
    numbers: Positions = window_of_unit[unit_of_row] + NEVER
    return numbers


def _deal_groups(counts: Positions, keys: npt.NDArray[np.uint64], folds: int, seed: int) -> Positions:
    """Each group to the fold that has the fewest rows so far: the large ones first, those of like size as drawn.

    Shape:
        (U,) -> (U,)
    """
    order = np.lexsort((mix(keys[: len(counts)], seed), -np.log2(counts).astype(np.int64)))
    filled, fold_of_group = np.zeros(folds), np.empty(len(counts), dtype=np.int64)
    for group in order.tolist():
        fold_of_group[group] = fold = int(np.argmin(filled))
        filled[fold] += counts[group]
    return fold_of_group


def _refuse_few(count: int, needed: int, what: str, purpose: str | None = None) -> None:
    if count < needed:
        raise DataError(f"There are {count:,} {what}; {purpose or f'{needed} folds'} need at least {needed:,}.")
