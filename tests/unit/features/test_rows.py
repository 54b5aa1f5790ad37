# ruff: noqa: DTZ001  # naive times are what is tested
from __future__ import annotations

import json
from datetime import datetime, time
from typing import Any

import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mlpipe.data.infer import infer_schema
from mlpipe.features.frame import as_frame
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.rows import json_row
from mlpipe.features.rowwise import RowEncoder
from mlpipe.schema import Schema

KINDS = {"when": "categorical", "clock": "categorical", "note": "text", "flag": "numeric", "opens": "duration"}
moments = st.datetimes(datetime(1990, 1, 1), datetime(2040, 1, 1)) | st.just(datetime(2024, 1, 31, 10))


def fitted(moments: list[datetime], clocks: list[time], flags: list[bool], dtype: pl.DataType) -> Any:
    """A table of few rows, each of them often, so that every value has an id; its schema and preprocessor."""
    zone = getattr(dtype, "time_zone", None)
    when = pl.Series(moments).dt.replace_time_zone("UTC").dt.convert_time_zone(zone or "UTC")
    rows = pl.DataFrame(
        {
            "when": (when if zone else when.dt.replace_time_zone(None)).cast(dtype),
            "note": pl.Series(moments),
            "clock": clocks,
            "opens": clocks,
            "flag": flags,
        }
    )
    table = pl.concat([rows] * 40).with_columns(y=pl.int_range(pl.len()) * 0.5)
    schema = infer_schema(table, "y", task="regression", columns=KINDS)
    return rows, schema, Preprocessor(schema).fit(table)


def features(preprocessor: Preprocessor, frame: pl.DataFrame) -> Any:
    arrays = preprocessor.transform(frame)
    return arrays.numeric.tolist(), arrays.missing.tolist(), arrays.categorical.tolist()


@pytest.mark.parametrize(
    "dtype",
    [
        pl.Datetime("us"),
        pl.Datetime("ms"),
        pl.Datetime("ns"),
        pl.Datetime("us", "UTC"),
        pl.Datetime("ms", "Europe/Berlin"),
    ],
    ids=str,
)
@settings(max_examples=15, deadline=None)
@given(st.lists(st.tuples(moments, st.times(), st.booleans()), min_size=2, max_size=4, unique_by=lambda row: row[0]))
def test_a_row_as_json_has_the_features_of_the_row(
    dtype: pl.DataType, values: list[tuple[datetime, time, bool]]
) -> None:
    when, clocks, flags = (list(column) for column in zip(*values, strict=True))
    rows, schema, preprocessor = fitted(when, clocks, flags, dtype)
    encoder = RowEncoder(preprocessor)
    for index in range(rows.height):
        row = json.loads(json.dumps(json_row(rows[index], schema)))
        assert features(preprocessor, as_frame(row, schema)) == features(preprocessor, rows[index])
        arrays, faults = encoder([tuple(row.values())])
        assert not faults
        assert arrays.categorical.tolist() == features(preprocessor, rows[index])[2]


@pytest.fixture(scope="module")
def table() -> tuple[pl.DataFrame, Schema, Preprocessor]:
    made: tuple[pl.DataFrame, Schema, Preprocessor] = fitted(
        [datetime(2024, 1, 1, 10), datetime(2024, 1, 2, 11)], [time(9, 30), time(17)], [True, False], pl.Datetime("us")
    )
    return made


@pytest.mark.parametrize(
    "changes",
    [
        {"when": "2024-01-01 10:00"},
        {"when": " 2024-01-01T12:00:00+02:00"},
        {"when": datetime(2024, 1, 1, 10)},
        {"clock": "09:30"},
        {"clock": time(9, 30)},
        {"opens": " 09:30 "},
        {"opens": time(9, 30)},
        {"opens": 34_200},
        {"flag": 1},
        {"flag": "1"},
    ],
    ids=str,
)
def test_times_of_a_row_are_the_same_however_they_are_written(
    table: tuple[pl.DataFrame, Schema, Preprocessor], changes: dict[str, Any]
) -> None:
    rows, schema, preprocessor = table
    row = {**json_row(rows, schema), **changes}
    assert features(preprocessor, as_frame(row, schema)) == features(preprocessor, rows[:1])


def test_a_file_of_text_is_read_as_the_times_it_was_trained_on(
    table: tuple[pl.DataFrame, Schema, Preprocessor],
) -> None:
    rows, _, preprocessor = table
    times = pl.col("when").dt.to_string("iso:strict"), pl.col("opens").dt.to_string("%H:%M")
    assert features(preprocessor, rows.with_columns(times)) == features(preprocessor, rows)


def test_other_words_in_a_column_of_times_are_unseen(table: tuple[pl.DataFrame, Schema, Preprocessor]) -> None:
    rows, schema, preprocessor = table
    row = {**json_row(rows, schema), "when": "soon", "clock": None}
    assert features(preprocessor, as_frame(row, schema))[2][0][:2] == [2, 1]


def test_a_category_of_more_digits_than_python_reads_is_one_like_others() -> None:
    table = pl.DataFrame({"code": ["1" * 5_000, "7", "word"] * 40, "y": [0.5 * i for i in range(120)]})
    schema = infer_schema(table, "y", task="regression", columns={"code": "categorical"})
    preprocessor = Preprocessor(schema).fit(table)
    arrays, faults = RowEncoder(preprocessor)([("1" * 5_000,), (7,)])
    assert not faults
    assert arrays.categorical.tolist() == preprocessor.transform(table[:2]).categorical.tolist()
