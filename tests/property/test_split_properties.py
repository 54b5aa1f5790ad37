"""Splits of any table: every row once, groups whole, time in order, the same rows every time."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
import polars as pl
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data.split import Split, SplitConfig, split_rows
from mlpipe.errors import DataError
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

SHARES = st.tuples(st.floats(0, 0.45), st.floats(0, 0.45))


@st.composite
def tables(draw: st.DrawFn) -> pl.DataFrame:
    rows = draw(st.integers(12, 120))
    random = np.random.default_rng(draw(st.integers(0, 2**32)))
    classes = draw(st.integers(1, 12))
    return pl.DataFrame(
        {
            "x": random.normal(size=rows),
            "y": [f"c{c}" for c in random.integers(0, classes, rows)],
            "who": random.integers(0, draw(st.integers(3, 30)), rows),
            "when": random.integers(-5, draw(st.integers(3, 60)), rows),
        }
    )


def schema_of(frame: pl.DataFrame, **roles: Role) -> Schema:
    kinds = {"y": Kind.CATEGORICAL}
    columns = [Column(name, kinds.get(name, Kind.NUMERIC), roles.get(name, Role.FEATURE)) for name in frame.columns]
    classes = tuple(sorted(frame["y"].unique()))
    return Schema(tuple(columns), Task(TaskKind.MULTICLASS, ("y",), classes)).replacing("y", role=Role.TARGET)


def split_or_refuse(frame: pl.DataFrame, schema: Schema, config: SplitConfig) -> Split | None:
    """None if a part would be empty, which is refused."""
    try:
        return split_rows(frame, schema, config)
    except DataError:
        return None


def check_partition(frame: pl.DataFrame, split: Split) -> None:
    parts = (split.train, split.validation, split.test)
    assert np.array_equal(np.sort(np.concatenate(parts)), np.arange(frame.height))
    assert all((np.diff(part) > 0).all() for part in parts)
    assert len(split.train) > 0


@settings(max_examples=100, deadline=None)
@given(
    frame=tables(), shares=SHARES, seed=st.integers(0, 2**31), method=st.sampled_from(["random", "stratified", "auto"])
)
def test_draws(frame: pl.DataFrame, shares: tuple[float, float], seed: int, method: str) -> None:
    schema = schema_of(frame)
    config = SplitConfig(method, *shares, seed=seed)
    split = split_or_refuse(frame, schema, config)
    if split is None:
        return
    check_partition(frame, split)
    again = split_rows(frame, schema, config)
    assert np.array_equal(split.test, again.test)
    assert np.array_equal(split.validation, again.validation)
    if method == "random":
        for part, share in ((split.validation, shares[0]), (split.test, shares[1])):
            assert len(part) == (max(round(frame.height * share), 1) if share else 0)
        return
    for (label,), rows in frame.with_row_index().group_by("y"):
        positions = rows["index"].to_numpy()
        held_out = [np.isin(positions, part).sum() for part in (split.validation, split.test)]
        if len(positions) < 3:
            assert held_out == [0, 0], label
        for count, share in zip(held_out, shares, strict=True):
            # Remainders, the least of one row, and the row that stays in training move a class by a row at most.
            assert abs(count - share * len(positions)) < 2 or len(positions) < 3, label


@settings(max_examples=100, deadline=None)
@given(frame=tables(), shares=SHARES, seed=st.integers(0, 2**31), timed=st.booleans())
def test_groups(frame: pl.DataFrame, shares: tuple[float, float], seed: int, timed: bool) -> None:
    roles = {"who": Role.GROUP} | ({"when": Role.TIME} if timed else {})
    split = split_or_refuse(frame, schema_of(frame, **roles), SplitConfig("auto", *shares, seed=seed))
    if split is None:
        return
    check_partition(frame, split)
    parts = [frame[positions] for positions in (split.train, split.validation, split.test)]
    people = [set(part["who"]) for part in parts]
    assert sum(map(len, people)) == frame["who"].n_unique()
    if timed:
        last = [part.group_by("who").agg(pl.col("when").max())["when"] for part in parts if part.height]
        for earlier, later in pairwise(last):
            assert earlier.max() <= later.min()  # type: ignore[operator]


@settings(max_examples=100, deadline=None)
@given(frame=tables(), shares=SHARES)
def test_time(frame: pl.DataFrame, shares: tuple[float, float]) -> None:
    split = split_or_refuse(frame, schema_of(frame, when=Role.TIME), SplitConfig("auto", *shares))
    if split is None:
        return
    check_partition(frame, split)
    times = [frame[part]["when"] for part in (split.train, split.validation, split.test) if len(part)]
    for earlier, later in pairwise(times):
        assert earlier.max() < later.min()  # type: ignore[operator]
