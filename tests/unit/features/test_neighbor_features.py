"""When a table gets the targets of similar rows as features, and that they reach the arrays by every way alike."""

from __future__ import annotations

import json
import logging
import re
from dataclasses import replace
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.errors import ConfigError
from mlpipe.features import neighbor_features, neighbors
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.neighbor_features import FEWEST_ROWS, FOLDS, MOST_ROWS, _out_of_fold, wanted
from mlpipe.features.neighbor_tables import CategoryMeans
from mlpipe.features.neighbors import NeighborTargets
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.sample import folds
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


def customers(rows: int = 1500, seed: int = 0) -> tuple[Schema, pl.DataFrame]:
    """Noise by customer, of whom few come twice: a customer's mean target is all but the row's own."""
    random = np.random.default_rng(seed)
    customer = [f"c{number}" for number in random.integers(0, 5 * rows, rows)]
    x, y = random.normal(size=rows), random.normal(size=rows)
    frame = pl.DataFrame({"customer": customer, "x": x, "price": 0.7 * x + y})
    columns = (Column("customer", Kind.CATEGORICAL), Column("x", Kind.NUMERIC))
    target = Column("price", Kind.NUMERIC, Role.TARGET)
    return Schema((*columns, target), Task(TaskKind.REGRESSION, ("price",))), frame


def test_rare_categories_do_not_give_the_target_away() -> None:
    """What the features say of training rows is what they say of new ones."""
    schema, frame = customers()
    preprocessor = Preprocessor(schema, FeaturesConfig(neighbors="always"))
    known = preprocessor.fit_arrays(frame)
    new = preprocessor.transform(customers(seed=1)[1], with_target=True)
    seen, unseen = (np.corrcoef(a.numeric[:, -1], np.asarray(a.target))[0, 1] for a in (known, new))
    assert abs(seen - unseen) < 0.15
    assert Preprocessor(schema).fit(frame).neighbors_ is None  # nor do they pass for a gain


def test_the_targets_of_a_fold_have_no_part_in_its_features() -> None:
    """With a metric given, they change what the other folds get, and nothing that it gets itself."""
    schema, frame = streets(300)
    frame = frame.with_columns(color=pl.Series([f"c{row % 40}" for row in range(300)]))
    preprocessor = Preprocessor(schema, FeaturesConfig(neighbors="never"))
    arrays = preprocessor.fit_arrays(frame)
    cardinalities = [feature.cardinality for feature in preprocessor.input_spec_.categorical]
    columns = np.random.default_rng(0).normal(size=(300, 2)).astype(np.float32)
    fold = folds(300, FOLDS)
    inside = fold == 3
    changed = np.where(inside[:, None], np.roll(columns, 1, axis=0), columns)
    made = []
    for values in (columns, changed):
        means = CategoryMeans(arrays, cardinalities, values, 1.0, fold)
        means._scales = [np.ones(2)]  # by which all are multiplied alike
        features = means.out_of_fold(np.arange(300))
        width = features.shape[1]
        targets = NeighborTargets(np.arange(width), np.ones(width, np.float32), features.T, values.T)
        made.append(_out_of_fold(targets, means, features, np.arange(300)))
    np.testing.assert_array_equal(made[0][inside], made[1][inside])
    assert (made[0][~inside] != made[1][~inside]).any()


def test_numbers_alone_get_what_the_kernel_regression_of_the_other_folds_says() -> None:
    schema, frame = streets(400)
    frame = frame.drop("color")
    schema = replace(schema, columns=tuple(column for column in schema.columns if column.name != "color"))
    preprocessor = Preprocessor(schema, FeaturesConfig(neighbors="always"))
    arrays = preprocessor.fit_arrays(frame)
    plain, target = arrays.numeric[:, :-1].clip(-4, 4), np.asarray(arrays.target)[:, None]
    target = target - target.mean(axis=0)
    fitted, fold = NeighborTargets.fit(plain, target, np.arange(400)), folds(400, FOLDS)
    made = np.empty_like(target)
    for number in range(FOLDS):
        outside = fold != number
        others = replace(fitted, rows_FM=fitted.rows_FM[:, outside], targets_OM=fitted.targets_OM[:, outside])
        made[~outside] = others.predict(plain[~outside])
    assert (made / made.std(axis=0)).tobytes() == arrays.numeric[:, -1:].tobytes()


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
    assert [
        wanted(FeaturesConfig(), rows, schema) for rows in (FEWEST_ROWS - 1, FEWEST_ROWS, MOST_ROWS, MOST_ROWS + 1)
    ] == [
        False,
        True,
        True,
        False,
    ]


def patients(role: Role, rows: int = 1200, seed: int = 0) -> tuple[Schema, pl.DataFrame]:
    """Ten rows of each patient, whose age gives them away and whose level has nothing to do with it."""
    random = np.random.default_rng(seed)
    number = np.arange(rows) // 10
    age, level = random.normal(size=rows)[number], random.normal(size=rows)[number]
    patient = [f"p{i}" for i in number] if role is Role.GROUP else number
    frame = pl.DataFrame({"patient": patient, "age": age, "price": level + 0.1 * random.normal(size=rows)})
    columns = (Column("patient", Kind.CATEGORICAL, role), Column("age", Kind.NUMERIC))
    target = Column("price", Kind.NUMERIC, Role.TARGET)
    return Schema((*columns, target), Task(TaskKind.REGRESSION, ("price",))), frame


@pytest.mark.parametrize("role", [Role.GROUP, Role.TIME])
def test_a_table_with_a_group_or_a_time_goes_without(role: Role, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "mlpipe")
    schema, frame = patients(role)
    assert Preprocessor(schema).fit(frame).neighbors_ is None
    assert f"none, since `data.{role}` names 'patient'" in caplog.text
    assert wanted(FeaturesConfig(neighbors="always"), len(frame), schema)


@pytest.mark.parametrize("lazy", [False, True])
def test_no_row_of_its_own_group_votes_for_a_training_row(lazy: bool) -> None:
    schema, frame = patients(Role.GROUP)
    preprocessor = Preprocessor(schema, FeaturesConfig(neighbors="always"))
    arrays = preprocessor.fit_arrays(frame.lazy() if lazy else frame)
    assert abs(np.corrcoef(arrays.numeric[:, -1], np.asarray(arrays.target))[0, 1]) < 0.3
    # New rows need no group.
    assert preprocessor.transform(frame.drop("patient")).numeric.shape == arrays.numeric.shape


@pytest.mark.parametrize(("key", "value"), [("neighbors", "yes"), ("neighbor_rows", 1)])
def test_wrong_options_are_named(key: str, value: Any) -> None:
    with pytest.raises(ConfigError, match=f"features.{key}"):
        FeaturesConfig(**{key: value})


def test_constant_columns_alone_give_none() -> None:
    schema, frame = streets(1200)
    flat = frame.with_columns(x=pl.lit(1.0), y=pl.lit(None, dtype=pl.Float64), color=pl.lit("red"))
    assert Preprocessor(schema, FeaturesConfig(neighbors="always")).fit(flat).neighbors_ is None
