"""When a table gets the targets of similar rows as features, and that they reach the arrays by every way alike."""

from __future__ import annotations

import json
import logging
import re
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.errors import ConfigError
from mlpipe.features import neighbor_features, neighbors
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.neighbor_features import FEWEST_ROWS, MOST_ROWS, wanted
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

KINDS = list(TaskKind)


@pytest.fixture(autouse=True)
def few_voters(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tenth of the work."""
    monkeypatch.setattr(neighbors, "VOTERS", 600)


def streets(rows: int = 1500, kind: TaskKind = TaskKind.REGRESSION, seed: int = 0) -> tuple[Schema, pl.DataFrame]:
    """Houses on a map whose price comes and goes in slanting stripes, which trees need many cuts for."""
    random = np.random.default_rng(seed)
    x, y = random.random(rows), random.random(rows)
    tone = 0.5 + np.sin(20 * (x + y)) / 2 + 0.1 * random.normal(size=rows)
    targets: dict[str, Any] = {"price": tone}
    task = Task(kind, ("price",))
    if kind is TaskKind.BINARY:
        targets, task = {"price": (tone > 0.5).astype(int)}, Task(kind, ("price",), (0, 1))
    elif kind is TaskKind.MULTICLASS:
        labels = np.array(["low", "mid", "top"])[np.digitize(tone, (0.0, 1.0))]
        targets, task = {"price": labels}, Task(kind, ("price",), ("low", "mid", "top"))
    elif kind is TaskKind.MULTILABEL:
        targets = {"dear": tone > 0.5, "odd": tone > 1}
        task = Task(kind, ("dear", "odd"), ("dear", "odd"))
    color = np.array(["red", "blue", None], dtype=object)[random.integers(0, 3, rows)]
    frame = pl.DataFrame({"x": x, "y": y, "color": color.tolist(), **targets})
    columns = (Column("x", Kind.NUMERIC), Column("y", Kind.NUMERIC), Column("color", Kind.CATEGORICAL))
    return Schema((*columns, *(Column(t, Kind.NUMERIC, Role.TARGET) for t in targets)), task), frame


@pytest.mark.parametrize("kind", [TaskKind.REGRESSION, TaskKind.BINARY])
def test_a_table_that_gains_gets_them(kind: TaskKind) -> None:
    schema, frame = streets(kind=kind)
    assert Preprocessor(schema).fit(frame).neighbors_ is not None


@pytest.mark.parametrize("kind", KINDS)
def test_there_is_one_for_each_column_of_the_target(kind: TaskKind) -> None:
    schema, frame = streets(300, kind)
    preprocessor = Preprocessor(schema, FeaturesConfig(neighbors="always"))
    arrays = preprocessor.fit_arrays(frame)
    added = [feature for feature in preprocessor.input_spec_.numeric if feature.column == "neighbors"]
    assert len(added) == {TaskKind.MULTICLASS: 3, TaskKind.MULTILABEL: 2}.get(kind, 1)
    assert arrays.numeric.shape[1] == len(preprocessor.input_spec_.numeric)
    assert np.isfinite(arrays.numeric).all()
    assert len(added) > 1 or len(added[0].bins) > 2
    assert not arrays.missing[:, -len(added) :].any()


@pytest.mark.parametrize("kind", KINDS)
def test_one_row_gives_the_bits_of_all_rows(kind: TaskKind) -> None:
    schema, frame = streets(300, kind)
    preprocessor = Preprocessor(schema, FeaturesConfig(neighbors="always")).fit(frame)
    new = streets(60, kind, seed=1)[1].with_columns(color=pl.lit("never seen"), x=pl.col("x") * 3)
    together = preprocessor.transform(new).numeric
    assert together.tobytes() == b"".join(preprocessor.transform(new[row]).numeric.tobytes() for row in range(60))
    assert together.tobytes() == preprocessor.transform(new.lazy()).numeric.tobytes()
    again = Preprocessor.from_dict(json.loads(json.dumps(preprocessor.to_dict())))
    assert together.tobytes() == again.transform(new).numeric.tobytes()


def test_no_training_row_sees_its_own_target() -> None:
    schema, frame = streets()
    preprocessor = Preprocessor(schema)
    made = preprocessor.fit_arrays(frame).numeric[:, -1]
    price = (frame["price"] - frame["price"].mean()).to_numpy() / frame["price"].to_numpy().std()
    own = preprocessor.transform(frame).numeric[:, -1]
    assert np.square(own - price).mean() < 0.5 * np.square(made - price).mean()
    fresh = streets(seed=1)[1]
    unseen = preprocessor.transform(fresh).numeric[:, -1]
    truth = (fresh["price"] - frame["price"].mean()).to_numpy() / frame["price"].to_numpy().std()
    assert 0.7 < np.square(made - price).mean() / np.square(unseen - truth).mean() < 1.4


def test_noise_is_not_given_away() -> None:
    """Without its own vote alone, a row would be what is missing from the mean of all."""
    schema, frame = streets(400)
    noise = frame.with_columns(price=pl.Series(np.random.default_rng(0).normal(size=len(frame))))
    made = Preprocessor(schema, FeaturesConfig(neighbors="always")).fit_arrays(noise).numeric[:, -1]
    assert abs(np.corrcoef(made, noise["price"].to_numpy())[0, 1]) < 0.15


def test_a_table_that_does_not_gain_goes_without(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mlpipe")
    random = np.random.default_rng(0)
    schema, frame = streets()
    line = frame.with_columns(price=3 * pl.col("x") + pl.col("y") + pl.Series(random.normal(size=len(frame))))
    preprocessor = Preprocessor(schema).fit(line)
    assert preprocessor.neighbors_ is None
    assert preprocessor.to_dict()["neighbors"] is None
    assert re.search(r"the loss of a quick model (rises|falls) by \d+\.\d %", caplog.text)


@pytest.mark.parametrize(("gain", "said"), [(-0.164, "rises by 16.4 %"), (0.021, "falls by 2.1 %")])
def test_a_loss_that_rises_is_said_to_rise(
    gain: float, said: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    caplog.set_level(logging.INFO, "mlpipe")
    monkeypatch.setattr(neighbor_features, "_gain", lambda *args: gain)
    schema, frame = streets(FEWEST_ROWS)
    assert Preprocessor(schema).fit(frame).neighbors_ is None
    assert f"the loss of a quick model {said}" in caplog.text


def test_off_on_and_the_number_of_rows() -> None:
    schema, frame = streets(300)
    assert Preprocessor(schema).fit(frame).neighbors_ is None  # too few to tell
    assert Preprocessor(schema, FeaturesConfig(neighbors="always")).fit(frame).neighbors_ is not None
    assert Preprocessor(schema, FeaturesConfig(neighbors="never")).fit(streets()[1]).neighbors_ is None
    few = Preprocessor(schema, FeaturesConfig(neighbors="always", neighbor_rows=50)).fit(frame).neighbors_
    assert few is not None
    assert few.targets.rows_FM.shape[1] == 50
    assert [wanted(FeaturesConfig(), rows) for rows in (FEWEST_ROWS - 1, FEWEST_ROWS, MOST_ROWS, MOST_ROWS + 1)] == [
        False,
        True,
        True,
        False,
    ]


@pytest.mark.parametrize(("key", "value"), [("neighbors", "yes"), ("neighbor_rows", 1)])
def test_wrong_options_are_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"features.{key}"):
        FeaturesConfig(**{key: value})


def test_constant_columns_alone_give_none() -> None:
    schema, frame = streets(1200)
    flat = frame.with_columns(x=pl.lit(1.0), y=pl.lit(None, dtype=pl.Float64), color=pl.lit("red"))
    assert Preprocessor(schema, FeaturesConfig(neighbors="always")).fit(flat).neighbors_ is None
