"""The meter's report against a slow reference on raw values, its window, and what it makes of few rows."""

from __future__ import annotations

import json
import math
from collections import Counter
from typing import Any

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.arrays import Arrays
from mlpipe.features.comparison import LEAST_ROWS, DriftRecord
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.describe import describe_answers
from mlpipe.features.drift import BLOCKS, DriftMeter
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.psi import EMPTY
from mlpipe.features.statistics import Statistics
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

TASK = Task(TaskKind.BINARY, ("y",), ("no", "yes"))
SCHEMA = Schema(
    (
        Column("x", Kind.NUMERIC),
        Column("c", Kind.CATEGORICAL),
        Column("t", Kind.TEXT),
        Column("y", Kind.CATEGORICAL, Role.TARGET),
    ),
    TASK,
)


def table(rows: int, seed: int = 0, shift: float = 0.0, words: str = "abcde", unknown: float = 0.05) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    x = random.normal(shift, size=rows)
    return pl.DataFrame(
        {
            "x": [None if gone else value for gone, value in zip(random.random(rows) < unknown, x, strict=True)],
            "c": random.choice([*words], rows),
            "t": [f"{random.choice([*words])} is {random.choice([*words])}" for _ in range(rows)],
            "y": np.where(random.random(rows) < 0.3, "yes", "no"),
        }
    )


@pytest.fixture(scope="module")
def fitted() -> tuple[Preprocessor, Statistics]:
    preprocessor = Preprocessor(SCHEMA, FeaturesConfig(text_features=8)).fit(table(2_000))
    answers = describe_answers(np.random.default_rng(0).random((1_000, 1)), TASK)
    return preprocessor, preprocessor.statistics_.with_predictions(answers)


def meter_of(fitted: tuple[Preprocessor, Statistics], **options: Any) -> DriftMeter:
    return DriftMeter(fitted[1], TaskKind.BINARY, **options)


def by_name(meter: DriftMeter) -> dict[str, DriftRecord]:
    return {record.feature: record for record in meter.report()}


def slow_psi(before: list[Any], now: list[Any]) -> float:
    """Of two lists of things, float64, thing by thing."""
    counted, counted_now = Counter(before), Counter(now)
    total = 0.0
    for thing in {*counted, *counted_now}:
        expected, observed = counted[thing] / len(before), counted_now[thing] / len(now)
        expected, observed = max(expected, EMPTY), max(observed, EMPTY)
        total += (observed - expected) * math.log(observed / expected)
    return total


@settings(max_examples=12, deadline=None)
@given(
    rows=st.integers(LEAST_ROWS, 900),
    seed=st.integers(0, 2**16),
    shift=st.floats(-2, 2),
    words=st.sampled_from(["abcde", "aab", "abcdefgh", "xyz"]),
    unknown=st.floats(0, 1),
    batch=st.integers(1, 300),
)
def test_the_psi_is_that_of_the_raw_values(
    fitted: tuple[Preprocessor, Statistics],
    rows: int,
    seed: int,
    shift: float,
    words: str,
    unknown: float,
    batch: int,
) -> None:
    training, new = table(2_000), table(rows, seed, shift, words, unknown)
    meter = meter_of(fitted, window=None)
    for part in new.iter_slices(batch):
        meter.observe(fitted[0].transform(part))
    found = by_name(meter)

    edges = fitted[1].features.numeric[0].raw_edges
    assert edges is not None

    def bins(frame: pl.DataFrame) -> list[int | None]:
        return [None if x is None else sum(x > edge for edge in edges) for x in frame["x"]]

    # Scaling rounds to float32: a value may fall onto the other side of an edge that it all but touches.
    assert found["x"].psi == pytest.approx(slow_psi(bins(training), bins(new)), rel=1e-6, abs=2e-3)
    assert found["x"].missing == new["x"].null_count() / rows
    known = [word if word in "abcde" else "new" for word in new["c"]]
    assert found["c"].psi == pytest.approx(slow_psi(training["c"].to_list(), known), rel=1e-9)
    assert found["c"].unseen == known.count("new") / rows
    assert found["c"].rows == rows
    assert sum(found["c"].expected) == pytest.approx(1)
    assert sum(found["c"].observed) == pytest.approx(1)


def test_rows_like_those_of_training_are_stable_and_others_are_not(fitted: tuple[Preprocessor, Statistics]) -> None:
    random = np.random.default_rng(1)
    meter = meter_of(fitted)
    meter.observe(fitted[0].transform(table(3_000, seed=1)))
    meter.observe_predictions(random.random((3_000, 1)))
    assert {name: record.verdict for name, record in by_name(meter).items()} == dict.fromkeys(
        ("x", "t", "c", "prediction"), "stable"
    )
    moved = meter_of(fitted)
    moved.observe(fitted[0].transform(table(3_000, seed=1, shift=1.0, words="xyz")))
    moved.observe_predictions(random.random((3_000, 1)) * 0.5)
    assert {name: record.verdict for name, record in by_name(moved).items()} == dict.fromkeys(
        ("x", "t", "c", "prediction"), "large shift"
    )


def test_a_text_has_one_record_and_no_bins(fitted: tuple[Preprocessor, Statistics]) -> None:
    meter = meter_of(fitted)
    meter.observe(fitted[0].transform(table(500, seed=1)))
    records = meter.report()
    assert [record.feature for record in records] == ["x", "t", "c", "prediction"]
    text = records[1]
    assert (text.bins, text.expected, text.observed) == ((), (), ())
    assert text.psi is not None
    assert text.psi < 0.1


def test_bins_have_words(fitted: tuple[Preprocessor, Statistics]) -> None:
    meter = meter_of(fitted)
    meter.observe(fitted[0].transform(table(500, words="abx")))
    found = by_name(meter)
    assert len(found["x"].bins) == 11
    assert found["x"].bins[0].startswith("≤ -1.")
    assert " to " in found["x"].bins[1]
    assert found["x"].bins[-2].startswith("> 1.")
    assert found["x"].bins[-1] == "missing"
    assert set(found["c"].bins) == {*"abcde", "new values"}
    assert found["prediction"].bins == ("yes", "no") or found["prediction"].bins == ("no", "yes")


@pytest.mark.parametrize(
    ("values", "words"),
    [
        ([1, 2, 2, 3, 5, 9] * 10, ["≤ 1", "2", "3", "4 to 5", "> 5"]),
        ([0.5, 0.25, 0.125] * 10, ["≤ 0.125", "0.125 to 0.25", "> 0.25"]),
        ([10_001.5, 10_001.25, 10_001.0] * 10, ["≤ 10001", "10001 to 10001.2", "> 10001.2"]),
    ],
)
def test_numbers_are_written_with_as_many_digits_as_they_need(values: list[float], words: list[str]) -> None:
    schema = Schema((SCHEMA["x"], SCHEMA["y"]), TASK)
    frame = pl.DataFrame({"x": values, "y": ["no", "yes"] * (len(values) // 2)})
    preprocessor = Preprocessor(schema).fit(frame)
    meter = DriftMeter(preprocessor.statistics_, TaskKind.BINARY)
    meter.observe(preprocessor.transform(frame))
    assert list(meter.report()[0].bins) == words


@pytest.mark.parametrize(
    ("step", "words"),
    [
        ("1d", ("≤ 2024-01-02", "2024-01-02 to 2024-01-04")),
        ("9h", ("≤ 2024-01-01 09:00", "2024-01-01 09:00 to 2024-01-02 03:00")),
    ],
)
def test_times_are_written_as_times(step: str, words: tuple[str, ...]) -> None:
    schema = Schema((Column("d", Kind.DATETIME), SCHEMA["y"]), TASK)
    start = pl.datetime(2024, 1, 1)
    times = pl.datetime_range(start, start.dt.offset_by("30d"), step, eager=True).head(20)
    frame = pl.DataFrame({"d": times, "y": ["no", "yes"] * 10})
    preprocessor = Preprocessor(schema).fit(frame)
    meter = DriftMeter(preprocessor.statistics_, TaskKind.BINARY)
    meter.observe(preprocessor.transform(frame))
    assert meter.report()[0].bins[:2] == words


def test_few_rows_have_rates_but_no_index(fitted: tuple[Preprocessor, Statistics]) -> None:
    meter = meter_of(fitted)
    assert {(record.psi, record.chance, record.rows, record.verdict) for record in meter.report()} == {
        (None, None, 0, "too few rows")
    }
    meter.observe(fitted[0].transform(table(LEAST_ROWS - 1, words="axy")))
    few = by_name(meter)["c"]
    assert (few.psi, few.verdict) == (None, "too few rows")
    assert few.unseen is not None
    assert few.unseen > 0.5
    meter.observe(fitted[0].transform(table(1)))
    assert by_name(meter)["c"].psi is not None
    assert by_name(meter)["prediction"].psi is None


def test_what_chance_may_give_is_no_shift() -> None:
    record = DriftRecord("x", "feature", 200, 0.15, 0.2, 0.0, 0.0, None, None, (), (), ())
    assert record.verdict == "maybe chance"


def test_the_oldest_rows_are_forgotten(fitted: tuple[Preprocessor, Statistics]) -> None:
    meter = meter_of(fitted, window=1_000)
    old, new = (fitted[0].transform(table(50, words=words)) for words in ("abcde", "xyz"))
    for _ in range(40):
        meter.observe(old)
        meter.observe_predictions(np.full((50, 1), 0.2))
    most = 1_000 + 1_000 // BLOCKS
    assert {1_000 <= record.rows <= most for record in meter.report()} == {True}
    assert by_name(meter)["c"].unseen == 0
    for _ in range(most // 50):
        meter.observe(new)
        meter.observe_predictions(np.full((50, 1), 0.9))
    found = by_name(meter)
    assert found["c"].unseen == 1
    assert dict(zip(found["prediction"].bins, found["prediction"].observed, strict=True))["yes"] == 1


def test_without_a_window_nothing_is_forgotten(fitted: tuple[Preprocessor, Statistics]) -> None:
    meter = meter_of(fitted, window=None)
    arrays = fitted[0].transform(table(1_000))
    for _ in range(50):
        meter.observe(arrays)
    assert by_name(meter)["x"].rows == 50_000


def test_counts_of_several_meters_add_up(fitted: tuple[Preprocessor, Statistics]) -> None:
    first, second, both = (meter_of(fitted) for _ in range(3))
    for meter, seed in ((first, 1), (second, 2)):
        arrays, values = fitted[0].transform(table(700, seed)), np.random.default_rng(seed).random((700, 1))
        for one in (meter, both):
            one.observe(arrays)
            one.observe_predictions(values)
    assert first.report(first.counts() + second.counts()) == both.report()


def test_the_threshold_decides_what_was_answered(fitted: tuple[Preprocessor, Statistics]) -> None:
    meter = meter_of(fitted, threshold=0.2)
    meter.observe_predictions(np.full((500, 1), 0.3))
    found = by_name(meter)["prediction"]
    assert dict(zip(found.bins, found.observed, strict=True)) == {"yes": 1.0, "no": 0.0}


def test_statistics_without_predictions_have_none_in_the_report(fitted: tuple[Preprocessor, Statistics]) -> None:
    meter = DriftMeter(fitted[0].statistics_, TaskKind.BINARY)
    meter.observe_predictions(np.full((500, 1), 0.3))
    assert [record.kind for record in meter.report()] == ["feature"] * 3


def test_a_number_given_as_a_category_too_has_one_record() -> None:
    schema = Schema((SCHEMA["x"], SCHEMA["y"]), TASK)
    frame = pl.DataFrame({"x": [1, 2, 3, 4] * 100, "y": ["no", "yes"] * 200})
    preprocessor = Preprocessor(schema, FeaturesConfig(integer_categories=10)).fit(frame)
    assert [feature.name for feature in preprocessor.input_spec_.categorical] == ["x"]
    meter = DriftMeter(preprocessor.statistics_, TaskKind.BINARY)
    meter.observe(preprocessor.transform(frame))
    (record,) = meter.report()
    assert (record.feature, record.psi, record.unseen) == ("x", 0.0, None)


def test_new_values_of_a_column_with_many_are_among_the_rare_ones() -> None:
    schema = Schema((SCHEMA["c"], SCHEMA["y"]), TASK)
    random = np.random.default_rng(0)

    def draw(rows: int) -> pl.DataFrame:
        return pl.DataFrame({"c": [f"w{k}" for k in random.integers(0, 5_000, rows)], "y": ["no", "yes"] * (rows // 2)})

    preprocessor = Preprocessor(schema).fit(draw(2_000))
    meter = DriftMeter(preprocessor.statistics_, TaskKind.BINARY)
    meter.observe(preprocessor.transform(draw(2_000)))
    (record,) = meter.report()
    assert record.unseen is not None
    assert record.unseen > 0.5
    assert record.verdict == "stable"
    assert "other values" in record.bins


def test_records_are_json(fitted: tuple[Preprocessor, Statistics]) -> None:
    meter = meter_of(fitted)
    meter.observe(fitted[0].transform(table(500)))
    for record in meter.report():
        assert json.loads(json.dumps(record.to_dict(), allow_nan=False)) == record.to_dict()


def test_a_batch_of_no_rows_counts_nothing(fitted: tuple[Preprocessor, Statistics]) -> None:
    meter = meter_of(fitted)
    arrays = fitted[0].transform(table(10))
    meter.observe(arrays.take(slice(0, 0)))
    meter.observe_predictions(np.empty((0, 1)))
    assert meter.counts().sum() == 0
    assert isinstance(arrays, Arrays)
