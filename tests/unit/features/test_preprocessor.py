# ruff: noqa: DTZ001  # naive times are what is tested
from __future__ import annotations

import copy
import json
from datetime import datetime
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from sklearn.base import clone

from mlpipe.arrays import Arrays
from mlpipe.errors import DataError
from mlpipe.features import preprocessor as module
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.sample import folds
from mlpipe.schema import CategoricalFeature, Column, Kind, Role, Schema, Task, TaskKind

ROWS = 400


def mixed_table() -> tuple[Schema, pl.DataFrame]:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {
            "key": np.arange(ROWS),
            "size": rng.normal(size=ROWS),
            "rooms": rng.integers(1, 6, ROWS),
            "town": rng.choice(["Ulm", "Bonn", "Kiel"], ROWS),
            "sold": [datetime(2024, 1 + i % 12, 1 + i % 28, i % 24) for i in range(ROWS)],
            "note": rng.choice(["quiet street", "near the lake", "needs work"], ROWS),
            "weight": rng.uniform(1, 2, ROWS),
            "price": rng.choice(["low", "high"], ROWS),
        }
    ).with_columns(
        pl.when(pl.col("key") % 7 > 0).then(pl.col("size")), pl.when(pl.col("key") % 5 > 0).then(pl.col("town"))
    )
    columns = (
        Column("key", Kind.IDENTIFIER, Role.IDENTIFIER, "Int64"),
        Column("size", Kind.NUMERIC, dtype="Float64"),
        Column("town", Kind.CATEGORICAL, dtype="String"),
        Column("sold", Kind.DATETIME, dtype="Datetime"),
        Column("note", Kind.TEXT, dtype="String"),
        Column("rooms", Kind.NUMERIC, dtype="Int64"),
        Column("weight", Kind.NUMERIC, Role.WEIGHT, "Float64"),
        Column("price", Kind.CATEGORICAL, Role.TARGET, "String"),
    )
    return Schema(columns, Task(TaskKind.BINARY, ("price",), ("low", "high"))), frame


SCHEMA, FRAME = mixed_table()
CONFIG = FeaturesConfig(text_features=3, num_bins=8, integer_categories=10)


@pytest.fixture(scope="module")
def fitted() -> Preprocessor:
    return Preprocessor(SCHEMA, CONFIG).fit(FRAME)


def assert_same(left: Arrays, right: Arrays) -> None:
    for name in ("numeric", "missing", "categorical", "target", "weight"):
        one, other = getattr(left, name), getattr(right, name)
        if one is None:
            assert other is None
        else:
            assert (one.dtype, one.shape, one.tobytes()) == (other.dtype, other.shape, other.tobytes())


def test_the_input_spec_names_every_feature_in_the_order_of_the_schema(fitted: Preprocessor) -> None:
    spec = fitted.input_spec_
    assert [feature.name for feature in spec.numeric] == [
        "size", "sold.elapsed", "sold.day_of_year", "note.0", "note.1", "note.2", "rooms",
    ]  # fmt: skip
    assert spec.categorical == (
        CategoricalFeature("town", "town", 6),
        CategoricalFeature("sold.weekday", "sold", 10),
        CategoricalFeature("sold.hour", "sold", 27),
        CategoricalFeature("rooms", "rooms", 8),
    )
    assert spec.num_outputs == 1
    assert [feature.group for feature in spec.numeric] == [None, None, None, "note", "note", "note", None]
    assert fitted.get_feature_names_out().tolist()[-4:] == ["town", "sold.weekday", "sold.hour", "rooms"]


def test_bins_are_edges_of_the_transformed_values(fitted: Preprocessor) -> None:
    arrays = fitted.transform(FRAME)
    for index, feature in enumerate(fitted.input_spec_.numeric):
        if feature.group is not None:
            assert feature.bins == ()
            continue
        present = arrays.numeric[~arrays.missing[:, index], index]
        assert 2 <= len(feature.bins) <= 9
        assert feature.bins[0] == present.min()
        assert feature.bins[-1] == present.max()


@pytest.mark.parametrize("bins", ["none", "tree"])
def test_other_bins(bins: str) -> None:
    frame = FRAME.with_columns(price=pl.when(pl.col("rooms") > 3).then(pl.lit("high")).otherwise(pl.lit("low")))
    spec = Preprocessor(SCHEMA, FeaturesConfig(bins=bins, numeric="none")).fit(frame).input_spec_  # type: ignore[arg-type]
    rooms = next(feature for feature in spec.numeric if feature.name == "rooms")
    assert rooms.bins == {"none": (), "tree": (1.0, 3.5, 5.0)}[bins]


def test_arrays_have_their_types_target_and_weight(fitted: Preprocessor) -> None:
    arrays = fitted.transform(FRAME, with_target=True)
    assert arrays.numeric.dtype == np.float32
    assert arrays.missing.dtype == np.bool_
    assert arrays.categorical.dtype == np.int32
    assert arrays.numeric.flags.c_contiguous
    np.testing.assert_array_equal(arrays.missing[:, 0], FRAME["size"].is_null())
    np.testing.assert_array_equal(arrays.target, FRAME["price"] == "high")
    np.testing.assert_array_equal(arrays.weight, FRAME["weight"].cast(pl.Float32))
    without = fitted.transform(FRAME.drop("price", "weight"))
    assert without.target is None
    assert without.weight is None
    assert_same(without, Arrays(arrays.numeric, arrays.missing, arrays.categorical))


def test_only_the_training_rows_count() -> None:
    train, other = FRAME[:200], FRAME[200:].with_columns(pl.col("size") * 1000, town=pl.lit("Rome"))
    alone = Preprocessor(SCHEMA, CONFIG).fit(train)
    before = json.dumps(alone.to_dict())
    alone.transform(other)
    assert json.dumps(alone.to_dict()) == before
    assert (alone.transform(other).categorical[:, 0] == 2).all()


def test_lazy_frames_and_blocks_give_the_same_bits(
    fitted: Preprocessor, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    expected = fitted.transform(FRAME, with_target=True)
    FRAME.write_parquet(tmp_path / "rows.parquet", row_group_size=50)
    lazy = pl.scan_parquet(tmp_path / "rows.parquet")
    assert_same(fitted.transform(lazy, with_target=True), expected)
    monkeypatch.setattr(module, "BLOCK_ROWS", 33)
    assert_same(fitted.transform(FRAME, with_target=True), expected)
    assert_same(fitted.transform(lazy, with_target=True), expected)
    assert Preprocessor(SCHEMA, CONFIG).fit(lazy).to_dict() == fitted.to_dict()


def test_fit_arrays_are_those_of_fit_and_transform(fitted: Preprocessor) -> None:
    again = Preprocessor(SCHEMA, CONFIG)
    assert_same(again.fit_arrays(FRAME), fitted.transform(FRAME, with_target=True))
    assert again.to_dict() == fitted.to_dict()


@pytest.mark.parametrize("kind", list(TaskKind))
def test_target_encodings_of_the_training_rows_are_out_of_fold(kind: TaskKind) -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"x": rng.normal(size=90), "c": [str(i) for i in range(90)], "y": [0, 1, 2] * 30, "z": [0, 1] * 45}
    )
    task = {
        TaskKind.BINARY: Task(kind, ("z",), (0, 1)),
        TaskKind.MULTICLASS: Task(kind, ("y",), (0, 1, 2)),
        TaskKind.MULTILABEL: Task(kind, ("z", "w"), ("z", "w")),
        TaskKind.REGRESSION: Task(kind, ("y",)),
    }[kind]
    schema = Schema((Column("x", Kind.NUMERIC), Column("c", Kind.CATEGORICAL)), task)
    config = FeaturesConfig(high_cardinality="target", high_cardinality_threshold=50, target_smoothing=0.0, bins="none")
    preprocessor = Preprocessor(schema, config)
    train = preprocessor.fit_arrays(frame.with_columns(w=pl.lit(1)))
    width = {TaskKind.MULTICLASS: 3, TaskKind.MULTILABEL: 2}.get(kind, 1)
    assert train.numeric.shape == (90, 1 + width)
    assert train.categorical.shape == (90, 0)
    # Each category has one row: seen from the other folds it is unseen, so that a fold has one value.
    fold = folds(90, 5, 0)
    for index in range(5):
        assert len(np.unique(train.numeric[fold == index, 1])) == 1
    assert len(np.unique(preprocessor.transform(frame).numeric[:, 1])) == 2 + (kind is TaskKind.REGRESSION)


def test_target_encodings_of_the_training_rows_leave_out_their_group() -> None:
    """A category that one group alone has is unseen to it."""
    group = np.arange(200) // 10
    frame = pl.DataFrame({"g": group, "c": [f"c{i}" for i in group], "y": np.random.default_rng(0).normal(size=200)})
    columns = (Column("g", Kind.NUMERIC, Role.GROUP), Column("c", Kind.CATEGORICAL))
    schema = Schema(columns, Task(TaskKind.REGRESSION, ("y",)))
    config = FeaturesConfig(high_cardinality="target", high_cardinality_threshold=10, target_smoothing=0.0, bins="none")
    made = Preprocessor(schema, config).fit_arrays(frame).numeric[:, 0]
    assert len(np.unique(made)) == 5  # the mean of the other folds


@pytest.mark.parametrize(("choice", "cardinality"), [("embed", 93), ("hash", 19)])
def test_columns_of_many_categories(choice: str, cardinality: int) -> None:
    frame = pl.DataFrame({"c": [str(i) for i in range(90)], "y": np.arange(90.0)})
    schema = Schema((Column("c", Kind.CATEGORICAL),), Task(TaskKind.REGRESSION, ("y",)))
    config = FeaturesConfig(high_cardinality=choice, high_cardinality_threshold=50, hash_buckets=16)  # type: ignore[arg-type]
    preprocessor = Preprocessor(schema, config).fit(frame)
    assert preprocessor.input_spec_.categorical[0].cardinality == cardinality
    assert preprocessor.transform(frame).categorical.max() < cardinality


def test_the_state_is_json_that_reads_back_bit_for_bit(fitted: Preprocessor) -> None:
    text = json.dumps(fitted.to_dict())
    again = Preprocessor.from_dict(json.loads(text))
    assert json.dumps(again.to_dict()) == text
    assert again.input_spec_ == fitted.input_spec_
    assert_same(again.transform(FRAME, with_target=True), fitted.transform(FRAME, with_target=True))


def test_a_state_of_another_version_is_refused(fitted: Preprocessor) -> None:
    with pytest.raises(DataError, match=f"state has version 99, this mlpipe reads {module.STATE_VERSION}"):
        Preprocessor.from_dict({**fitted.to_dict(), "version": 99})


def test_clones_and_copies(fitted: Preprocessor) -> None:
    assert clone(fitted).fit(FRAME).to_dict() == fitted.to_dict()
    assert not hasattr(clone(fitted), "transformers_")
    fitted.transform(FRAME)
    assert_same(copy.deepcopy(fitted).transform(FRAME), fitted.transform(FRAME))


def test_fitting_again_forgets_the_first_fit(fitted: Preprocessor) -> None:
    preprocessor = Preprocessor(SCHEMA, CONFIG).fit(FRAME[:100])
    preprocessor.transform(FRAME)
    assert_same(preprocessor.fit(FRAME).transform(FRAME), fitted.transform(FRAME))


def test_rows_may_come_in_many_types(fitted: Preprocessor) -> None:
    for dtype in (pl.Int8, pl.Int16, pl.Int32, pl.UInt8, pl.UInt16, pl.UInt32, pl.Float32, pl.Float64, pl.String) * 2:
        made = fitted.transform(FRAME.with_columns(pl.col("rooms").cast(dtype)))
        assert_same(made, fitted.transform(FRAME))


@pytest.mark.parametrize(
    ("frame", "message"),
    [
        (FRAME.rename({"town": "twon"}), "There is no column 'town' in the table. Did you mean 'twon'?"),
        (FRAME.drop("price"), "There is no column 'price' in the table."),
        (FRAME.clear(), "There are no training rows."),
        (FRAME.with_columns(sold=pl.lit(1)), "Column 'sold' is a datetime in the schema, but Int32 in this table."),
        (
            FRAME.with_columns(size=pl.lit(datetime(2024, 1, 1))),
            "Column 'size' is a number in the schema, but Datetime",
        ),
        (FRAME.with_columns(town=pl.concat_list("town")), "Column 'town' holds List(String) values"),
        (FRAME.with_columns(weight=-pl.col("weight")), "The weight column 'weight' is not 0 or more in 400 rows."),
        (FRAME.with_columns(price=pl.lit("mid")), "the training rows: label 'mid' in the target column 'price'"),
    ],
)
def test_mistakes_are_named(frame: pl.DataFrame, message: str) -> None:
    with pytest.raises(DataError) as caught:
        Preprocessor(SCHEMA).fit_arrays(frame)
    assert str(caught.value).startswith(message)


def test_a_table_without_features_is_refused() -> None:
    schema = Schema((Column("y", Kind.NUMERIC, Role.TARGET),), Task(TaskKind.REGRESSION, ("y",)))
    with pytest.raises(DataError, match="no feature column"):
        Preprocessor(schema).fit(pl.DataFrame({"y": [1.0]}))


def test_numbers_only_and_categories_only() -> None:
    task = Task(TaskKind.REGRESSION, ("y",))
    frame = pl.DataFrame({"x": [1.0, 2.0], "c": ["a", "b"], "y": [0.0, 1.0]})
    numbers = Preprocessor(Schema((Column("x", Kind.NUMERIC),), task)).fit_arrays(frame)
    assert (numbers.numeric.shape, numbers.categorical.shape) == ((2, 1), (2, 0))
    words = Preprocessor(Schema((Column("c", Kind.CATEGORICAL),), task)).fit_arrays(frame)
    assert (words.numeric.shape, words.categorical.shape) == ((2, 0), (2, 1))
