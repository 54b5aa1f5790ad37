"""A small table with everything that is hard: nulls, categories that training lacks, weights, every kind of target."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import polars as pl
import pytest

from mlpipe.research.baselines import BaselineResult, run_baselines
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

TASKS = {
    TaskKind.BINARY: Task(TaskKind.BINARY, ("high",), (False, True)),
    # Training has no row of class 3: see `frames`.
    TaskKind.MULTICLASS: Task(TaskKind.MULTICLASS, ("level",), (0, 1, 2, 3)),
    TaskKind.MULTILABEL: Task(TaskKind.MULTILABEL, ("high", "red"), ("high", "red")),
    TaskKind.REGRESSION: Task(TaskKind.REGRESSION, ("price",)),
}

#: Runs one baseline: its name, the kind of task, whether there are weights, and which features.
RunOne = Callable[..., BaselineResult]


@pytest.fixture
def frames() -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(0)
    rows = 360
    size, color = rng.normal(size=rows), rng.choice(["red", "blue", "green"], rows)
    price = 1000 + 80 * size + 60 * (color == "red") + 5 * rng.normal(size=rows)
    level = np.digitize(price, [960, 1060])
    color = color.astype(object)
    color[::17], color[350:] = None, "violet"
    level[340:345] = 3
    table = pl.DataFrame(
        {
            "size": pl.Series(size).scatter(np.arange(0, rows, 9), None),
            "noise": rng.normal(size=rows),
            "color": color.tolist(),
            "weight": rng.exponential(size=rows),
            "price": price,
            "high": price > 1030,
            "red": [value == "red" for value in color],
            "level": level,
        }
    )
    return {"train": table[:240], "validation": table[240:300], "test": table[300:]}


@pytest.fixture
def run_one(frames: dict[str, pl.DataFrame]) -> RunOne:
    def run(
        name: str, kind: TaskKind, *, weighted: bool = False, features: tuple[str, ...] = ("size", "noise", "color")
    ) -> BaselineResult:
        kinds = {"color": Kind.CATEGORICAL}
        columns = [Column(feature, kinds.get(feature, Kind.NUMERIC)) for feature in features]
        columns += [Column(target, Kind.CATEGORICAL, Role.TARGET) for target in TASKS[kind].target]
        columns += [Column("weight", Kind.NUMERIC, Role.WEIGHT)] if weighted else []
        (result,) = run_baselines(Schema(tuple(columns), TASKS[kind]), frames, [name])
        return result

    return run
