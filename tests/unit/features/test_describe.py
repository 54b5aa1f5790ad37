"""What `Preprocessor.fit` leaves in `statistics_`: raw units, words, and the values that new rows would get."""

from __future__ import annotations

import json
from datetime import UTC, date, datetime, timedelta
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.features.config import FeaturesConfig
from mlpipe.features.describe import answers_as_arrays, describe_answers
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.statistics import Statistics, TableStatistics
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

ROWS = 400
NUMERIC = ("quantile", "robust", "standard", "none")


def table(seed: int = 0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    start = datetime(2024, 1, 1, tzinfo=UTC)
    return pl.DataFrame(
        {
            "age": [None if i % 10 == 0 else i % 71 for i in range(ROWS)],
            "income": random.lognormal(8, 1, ROWS),
            "waited": [timedelta(minutes=i % 60) for i in range(ROWS)],
            "city": [f"city {i % 30}" if i % 8 else None for i in range(ROWS)],
            "member": random.random(ROWS) < 0.5,
            "day": [date(2024, 1, 1) + timedelta(days=i % 100) for i in range(ROWS)],
            "at": [(start + timedelta(hours=7 * i)).replace(tzinfo=None) for i in range(ROWS)],
            "note": [f"note {i % 13} of {i % 7}" for i in range(ROWS)],
            "y": random.normal(size=ROWS),
        }
    )


KINDS = {
    "age": Kind.NUMERIC,
    "income": Kind.NUMERIC,
    "waited": Kind.DURATION,
    "city": Kind.CATEGORICAL,
    "member": Kind.BOOLEAN,
    "day": Kind.DATE,
    "at": Kind.DATETIME,
    "note": Kind.TEXT,
}
SCHEMA = Schema(
    (*(Column(name, kind) for name, kind in KINDS.items()), Column("y", Kind.NUMERIC, Role.TARGET)),
    Task(TaskKind.REGRESSION, ("y",)),
)


def statistics_of(frame: pl.DataFrame, schema: Schema = SCHEMA, **config: Any) -> Statistics:
    return Preprocessor(schema, FeaturesConfig(**config)).fit(frame).statistics_


def test_every_column_is_described_and_numbers_have_a_range() -> None:
    frame = table()
    statistics = statistics_of(frame)
    numeric = {record.column for record in statistics.features.numeric}
    assert numeric | {record.column for record in statistics.features.categorical} == set(KINDS)
    assert statistics.features.rows == ROWS
    assert statistics.range("age") == (0.0, 70.0)
    assert statistics.range("income") == (frame["income"].min(), frame["income"].max())
    assert statistics.range("waited") == (0.0, 59 * 60.0)
    assert [statistics.range(name) for name in ("city", "day", "note", "nothing")] == [None] * 4
    assert statistics.predictions is None


@pytest.mark.parametrize("numeric", NUMERIC)
def test_raw_edges_are_where_the_raw_values_are_cut(numeric: str) -> None:
    """Whatever the scaling, the bins of the transformed values are those of the raw ones."""
    frame = table()
    records = {record.name: record for record in statistics_of(frame, numeric=numeric).features.numeric}
    for name, values in (
        ("age", frame["age"]),
        ("income", frame["income"]),
        ("waited", frame["waited"].dt.total_seconds()),
    ):
        record = records[name]
        assert record.raw_edges is not None
        raw = values.cast(pl.Float64)
        below = [int((raw <= edge).sum()) / ROWS for edge in record.raw_edges]
        np.testing.assert_allclose(np.cumsum(record.shares)[:-1], below, atol=1e-12)
        assert set(record.raw_edges) <= set(raw.drop_nulls())
        assert record.missing == raw.null_count() / ROWS
    assert [records[name].raw_kind for name in ("age", "income")] == ["whole", "real"]


def test_edges_of_times_are_times_and_those_of_their_parts_are_whole() -> None:
    records = {record.name: record for record in statistics_of(table()).features.numeric}
    elapsed = records["day.elapsed"]
    assert elapsed.raw_kind == "time"
    assert elapsed.raw_edges is not None
    days = [edge / 86_400 for edge in elapsed.raw_edges]
    assert [datetime.fromtimestamp(edge, UTC).date() for edge in elapsed.raw_edges] == sorted(
        date(1970, 1, 1) + timedelta(days=day) for day in days
    )
    part = records["day.day_of_year"]
    assert part.raw_kind == "whole"
    new_year = (date(2024, 1, 1) - date(1970, 1, 1)).days
    assert part.raw_edges == tuple(day - new_year + 1 for day in days)
    assert records["at.elapsed"].raw_kind == "time"


def test_categories_have_the_words_of_the_table() -> None:
    records = {record.name: record for record in statistics_of(table()).features.categorical}
    assert set(records["member"].names) == {"false", "true"}
    assert len(records["city"].names) == 20
    assert all(name.startswith("city ") for name in records["city"].names)
    assert records["city"].null == 1 / 8
    assert records["city"].rest > 0
    assert set(records["day.weekday"].names) == set("1234567")
    hashed = statistics_of(table(), high_cardinality="hash", high_cardinality_threshold=5)
    assert {record.name: record for record in hashed.features.categorical}["city"].names[0].startswith("#")


def test_it_is_all_json_and_the_same_for_rows_in_another_order() -> None:
    frame = table()
    first = statistics_of(frame)
    text = json.dumps(first.to_dict(), allow_nan=False)
    assert Statistics.from_dict(json.loads(text)) == first
    shuffled = statistics_of(frame.sample(fraction=1.0, shuffle=True, seed=1), numeric="none")
    assert shuffled.to_dict() == statistics_of(frame, numeric="none").to_dict()


def test_target_encodings_are_described_as_new_rows_get_them() -> None:
    """Out of fold they have other values, which the edges would run between."""
    frame = table()
    preprocessor = Preprocessor(
        SCHEMA, FeaturesConfig(high_cardinality="target", high_cardinality_threshold=5, neighbors="always")
    ).fit(frame)
    spec = preprocessor.input_spec_
    counted = TableStatistics.of(preprocessor.transform(frame), spec)
    described = preprocessor.statistics_.features
    assert [record.name for record in counted.numeric][-1] == "neighbors"
    assert len(counted.numeric) == len(described.numeric) + 1
    for record, expected in zip(described.numeric, counted.numeric, strict=False):
        assert (record.edges, record.shares, record.missing) == (expected.edges, expected.shares, expected.missing)
    assert preprocessor.statistics_.fits(spec)


def test_a_column_without_any_value_is_described_too() -> None:
    frame = table().with_columns(pl.lit(None, pl.Float64).alias("income"), pl.lit(None, pl.Date).alias("day"))
    statistics = statistics_of(frame)
    assert statistics.range("income") is None
    records = {record.name: record for record in statistics.features.numeric}
    assert [(records[name].missing, records[name].edges) for name in ("income", "day.elapsed")] == [(1.0, ())] * 2


def test_numbers_beyond_float64_have_a_range_all_the_same() -> None:
    wide = [2**60 + i for i in range(ROWS)]
    schema = Schema((Column("n", Kind.NUMERIC), SCHEMA["y"]), SCHEMA.task)
    statistics = statistics_of(pl.DataFrame({"n": wide, "y": table()["y"]}), schema)
    assert statistics.range("n") == (float(2**60), float(2**60 + ROWS - 1))
    json.dumps(statistics.to_dict(), allow_nan=False)


@pytest.mark.parametrize("odd", [float("nan"), float("inf"), float("-inf"), 1e300, None])
@pytest.mark.parametrize("dtype", [pl.Float64, pl.Float32, pl.String])
def test_values_that_are_no_numbers_are_outside_of_the_range(odd: float | None, dtype: pl.DataType) -> None:
    income = pl.Series("income", [odd, -3.0, *[0.5] * (ROWS - 3), 7.0]).cast(dtype)
    assert statistics_of(table().with_columns(income)).range("income") == (-3.0, 7.0)


@pytest.mark.parametrize(
    ("task", "values", "names", "shares"),
    [
        (Task(TaskKind.BINARY, ("y",), ("no", "yes")), [[0.2], [0.4], [0.31]], ("yes", "no"), (2 / 3, 1 / 3)),
        (Task(TaskKind.MULTICLASS, ("y",), (1, 2, 3)), [[0.1, 0.9, 0.0], [0.2, 0.5, 0.3]], ("2",), (1.0,)),
    ],
)
def test_answers_are_counted_by_class(
    task: Task, values: list[list[float]], names: tuple[str, ...], shares: tuple[float, ...]
) -> None:
    described = describe_answers(np.array(values), task, threshold=0.3)
    (record,) = described.categorical
    assert (record.name, record.names, record.shares) == ("prediction", names, shares)


def test_answers_of_several_labels_are_counted_each() -> None:
    task = Task(TaskKind.MULTILABEL, ("red", "blue"), ("red", "blue"))
    described = describe_answers(np.array([[0.6, 0.1], [0.7, 0.4]]), task)
    assert [(r.name, r.names, r.shares) for r in described.categorical] == [
        ("prediction.red", ("yes",), (1.0,)),
        ("prediction.blue", ("no",), (1.0,)),
    ]


def test_answers_that_are_numbers_have_bins() -> None:
    task = Task(TaskKind.REGRESSION, ("y",))
    values = np.stack((np.arange(100.0), np.arange(100.0) - 1, np.arange(100.0) + 1), axis=1)
    (record,) = describe_answers(values, task).numeric
    assert record.edges == tuple(float(edge) for edge in range(9, 99, 10))


@pytest.mark.parametrize("value", [np.nan, np.inf])
def test_an_answer_that_is_not_finite_is_missing(value: float) -> None:
    assert answers_as_arrays(np.array([[value], [1.0]]), TaskKind.REGRESSION).missing.tolist() == [[True], [False]]
    assert answers_as_arrays(np.array([[value], [1.0]]), TaskKind.BINARY).categorical.tolist() == [[1], [4]]
    many = np.array([[value, 0.2], [0.9, 0.1]])
    assert answers_as_arrays(many, TaskKind.MULTICLASS).categorical.tolist() == [[1], [3]]
    assert answers_as_arrays(many, TaskKind.MULTILABEL).categorical.tolist() == [[1, 3], [4, 3]]


def test_a_number_beyond_float32_is_the_largest() -> None:
    assert np.isfinite(answers_as_arrays(np.array([[1e300], [-1e300]]), TaskKind.REGRESSION).numeric).all()
