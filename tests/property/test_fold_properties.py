"""Folds of any table: every row held out once, groups whole, time in order, classes alike, always the same."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data.folds import NEVER, all_folds, fold_numbers, split_fold
from mlpipe.data.split import Split, SplitConfig
from mlpipe.errors import DataError
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

FOLDS, SEEDS = st.integers(2, 8), st.integers(0, 2**31)


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(12, 120))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    classes = draw(st.integers(1, 12))
    sizes = random.exponential(size=draw(st.integers(3, 30)))
    return pl.DataFrame(
        {
            "x": random.normal(size=rows),
            "y": [f"c{c}" for c in random.integers(0, classes, rows)],
            "who": random.choice(len(sizes), size=rows, p=sizes / sizes.sum()),
            "when": random.integers(-5, draw(st.integers(3, 60)), rows),
        }
    )


def schema_of(frame: pl.DataFrame, **roles: Role) -> Schema:
    kinds = {"y": Kind.CATEGORICAL}
    columns = [Column(name, kinds.get(name, Kind.NUMERIC), roles.get(name, Role.FEATURE)) for name in frame.columns]
    classes = tuple(sorted(frame["y"].unique()))
    return Schema(tuple(columns), Task(TaskKind.MULTICLASS, ("y",), classes)).replacing("y", role=Role.TARGET)


def splits_or_refuse(frame: pl.DataFrame, schema: Schema, config: SplitConfig) -> list[Split] | None:
    """The split of every fold; None if there are too few rows, groups or times, which is refused."""
    try:
        return [split_fold(frame, schema, fold) for fold in all_folds(config, repeats=1)]
    except DataError:
        return None


def check(frame: pl.DataFrame, schema: Schema, config: SplitConfig, splits: list[Split]) -> None:
    """What holds of folds by every method; `splits` come from `splits_or_refuse`."""
    numbers = fold_numbers(frame, schema, config)
    for fold, split in enumerate(splits):
        parts = np.concatenate((split.train, split.validation, split.test))
        assert len(np.unique(parts)) == len(parts)
        assert all((np.diff(part) > 0).all() for part in (split.train, split.validation, split.test))
        assert min(len(split.train), len(split.validation), len(split.test)) > 0
        assert np.array_equal(split.test, np.flatnonzero(numbers == fold))
    held_out = np.concatenate([split.test for split in splits])
    assert np.array_equal(np.sort(held_out), np.flatnonzero(numbers >= 0))
    again = [split_fold(frame, schema, fold) for fold in all_folds(config, repeats=1)]
    assert all(np.array_equal(a.train, b.train) for a, b in zip(splits, again, strict=True))


@settings(max_examples=80, deadline=None)
@given(
    frame=tables(), folds=st.integers(2, 8), seed=st.integers(0, 2**31), repeat=st.integers(0, 3), named=st.booleans()
)
def test_draws(frame: pl.DataFrame, folds: int, seed: int, repeat: int, named: bool) -> None:
    schema = schema_of(frame)
    config = SplitConfig("random" if named else "auto", folds=folds, seed=seed)
    splits = splits_or_refuse(frame, schema, config)
    if splits is None:
        return
    check(frame, schema, config, splits)
    numbers = fold_numbers(frame, schema, replace(config, repeat=repeat))
    sizes = np.bincount(numbers, minlength=folds)
    assert sizes.sum() == frame.height
    assert sizes.max() - sizes.min() <= 1
    if not named:
        for label in frame["y"].unique():
            sizes = np.bincount(numbers[(frame["y"] == label).to_numpy()], minlength=folds)
            assert sizes.max() - sizes.min() <= 1, label


@settings(max_examples=80, deadline=None)
@given(frame=tables(), folds=FOLDS, seed=SEEDS)
def test_groups(frame: pl.DataFrame, folds: int, seed: int) -> None:
    schema, config = schema_of(frame, who=Role.GROUP), SplitConfig("auto", folds=folds, seed=seed)
    splits = splits_or_refuse(frame, schema, config)
    if splits is None:
        return
    check(frame, schema, config, splits)
    assert sum(len(split.test) for split in splits) == frame.height
    for split in splits:
        people = [set(frame[part]["who"]) for part in (split.train, split.validation, split.test)]
        assert sum(map(len, people)) == frame["who"].n_unique()
    sizes = [len(split.test) for split in splits]
    assert max(sizes) - min(sizes) <= frame["who"].value_counts()["count"].max()  # type: ignore[operator]


@settings(max_examples=80, deadline=None)
@given(frame=tables(), folds=FOLDS, grouped=st.booleans())
def test_time(frame: pl.DataFrame, folds: int, grouped: bool) -> None:
    roles = {"when": Role.TIME} | ({"who": Role.GROUP} if grouped else {})
    schema, config = schema_of(frame, **roles), SplitConfig("auto", folds=folds)
    splits = splits_or_refuse(frame, schema, config)
    if splits is None:
        return
    check(frame, schema, config, splits)
    numbers = fold_numbers(frame, schema, config)
    assert (numbers == NEVER).sum() >= 2
    for fold, split in enumerate(splits):
        seen = np.sort(np.concatenate((split.train, split.validation)))
        assert np.array_equal(seen, np.flatnonzero(numbers < fold))
    windows = [frame.filter(pl.Series(numbers == number)) for number in range(NEVER, folds)]
    if grouped:
        assert sum(window["who"].n_unique() for window in windows) == frame["who"].n_unique()
        times = [window.group_by("who").agg(pl.col("when").max())["when"] for window in windows]
        assert all(earlier.max() <= later.min() for earlier, later in pairwise(times))  # type: ignore[operator]
    else:
        times = [window["when"] for window in windows]
        assert all(earlier.max() < later.min() for earlier, later in pairwise(times))  # type: ignore[operator]
