# ruff: noqa: DTZ001  # naive times are what is tested
from __future__ import annotations

from datetime import datetime, time
from typing import Any

import polars as pl
import pytest

from mlpipe.errors import DataError
from mlpipe.features.times import ISO_FORMATS, iso_format
from mlpipe.features.typed import (
    boolean,
    category,
    effective_kind,
    is_wide,
    number,
    seconds,
    text,
    timestamp,
    typed,
)
from mlpipe.schema import Column, Kind


def apply(function: Any, values: Any, *more: Any, **options: Any) -> list[Any]:
    series = pl.Series("v", values)
    return series.to_frame().select(function(pl.col("v"), series.dtype, *more, **options)).to_series().to_list()


def test_numbers_in_text() -> None:
    words = ["1", " 2.5 ", "1e3", "-.5", "", "abc", "nan", "inf", "1_0", None]
    assert apply(number, words) == [1, 2.5, 1000, -0.5, None, None, None, None, None, None]
    assert apply(number, ["9007199254740993", "0.6", "1e50", "x"], wide=True) == [2**53 + 1, 1, int(1e37), None]


@pytest.mark.parametrize(
    ("values", "wide"),
    [
        ([2**53], False),
        ([2**53 + 1, None], True),
        ([-(2**63)], True),
        ([str(2**60), "junk"], True),
        (["1", "1e30"], True),
        (["1", "junk"], False),
        ([1e300], False),
        (pl.Series([None], dtype=pl.Int64), False),
        (pl.Series([2**64 - 1], dtype=pl.UInt64), True),
    ],
)
def test_what_is_wide(values: Any, wide: bool) -> None:
    assert is_wide(pl.Series("v", values)) == wide


def test_canonical_text_is_its_own_canonical_text() -> None:
    values = ["3", "3.0", " 3 ", "003", "-0", "1e5", "2.50", "1e400", "a b ", "", "9" * 50, "Ä"]
    once = apply(category, values)
    assert once == ["3", "3", "3", "3", "0", "100000", "2.5", "1e400", "a b", None, "1e+50", "Ä"]
    assert apply(category, once) == once


def test_a_category_stored_in_32_bits_is_the_number_that_was_written() -> None:
    values = [0.1, 3.0, -2.5e-7, 16777216.0, float("nan"), float("inf"), None]
    narrow = apply(category, pl.Series(values, dtype=pl.Float32))
    assert narrow == apply(category, values) == ["0.1", "3", "-2.5e-7", "16777216", None, None, None]


def test_words_for_true_and_false() -> None:
    words = ["TRUE", "t", "Yes", "y", "on", "1", "1.0", "false", "F", "NO", "n", "off", "0", "maybe", "2", ""]
    assert apply(boolean, words) == ["true"] * 7 + ["false"] * 6 + ["maybe", "2", None]
    assert apply(boolean, [True, False, None]) == ["true", "false", None]
    assert apply(boolean, [1, 0]) == apply(boolean, [1.0, 0.0]) == ["true", "false"]


def test_seconds() -> None:
    clocks = ["1:30:00.5", "2:10", "90", "-1:00", "x", ""]
    assert apply(seconds, clocks, "v") == [5400.5, 130, 90, -60, None, None]
    assert apply(seconds, [time(1, 30, 0, 500_000)], "v") == [5400.5]
    assert apply(seconds, [90, None], "v") == [90.0, None]
    with pytest.raises(DataError, match="Column 'v' is a duration in the schema, but Datetime"):
        apply(seconds, [datetime(2024, 1, 1)], "v")


def test_text_is_stripped_and_numbers_are_written_out() -> None:
    assert apply(text, [" a b ", "", " ", None, "3.0"]) == ["a b", None, None, None, "3.0"]
    assert apply(text, [3.0, None]) == ["3", None]


def test_times_in_text_are_each_read_by_the_first_format_that_fits() -> None:
    column = Column("v", Kind.DATETIME, format="%d/%m/%Y %H:%M")
    values = ["31/01/2024 10:00", "2024-01-31", "2024-01-31T10:00", "2024-01-31T12:00:00.5+02:00", "soon", "", None]
    ten = datetime(2024, 1, 31, 10)
    expected = [ten, datetime(2024, 1, 31), ten, ten.replace(microsecond=500_000), None, None, None]
    assert apply(timestamp, values, column) == expected
    assert [apply(timestamp, [value], column)[0] for value in values[:5]] == expected[:5]


@pytest.mark.parametrize("format_", ISO_FORMATS)
def test_each_iso_text_is_read_by_one_format(format_: str) -> None:
    written = "2024-01-31T10:11:12.5+02:00"
    text = {"%Y-%m-%d": "2024-01-31"}.get(format_)
    if text is None:
        seconds_, offset = "%S" in format_, "%#z" in format_
        text = f"2024-01-31{format_[8]}10:11{':12.5' * seconds_}{'+02:00' * offset}"
    assert len(text) <= len(written)
    series = pl.Series("v", [text])
    readers = [
        other
        for other in ISO_FORMATS
        if not series.str.strptime(pl.Date if other == "%Y-%m-%d" else pl.Datetime, other, strict=False).null_count()
    ]
    assert readers == [format_] == [iso_format(text)]


@pytest.mark.parametrize("zone", [None, "Europe/Berlin"])
def test_utc_and_offsets_are_the_same_moments_whichever_comes_first(zone: str | None) -> None:
    column = Column("v", Kind.DATETIME, time_zone=zone)
    values = ["2024-01-31T10:00:00Z", "2024-01-31T12:00:00+02:00", "2024-01-31T10:00:00.000Z"]
    made = apply(timestamp, values, column)
    assert made == apply(timestamp, values[::-1], column)
    assert len(set(made)) == 1
    assert made[0].replace(tzinfo=None) == datetime(2024, 1, 31, 10 if zone is None else 11)


@pytest.mark.parametrize("first", ["2024-01-31%10:00", ":", "  2024-01-31 10:00", "2024-01-31x10:00:00", "2024-01-31T"])
def test_whatever_comes_first_does_not_matter(first: str) -> None:
    values = [first, "2024-01-31T10:00:00"]
    assert apply(timestamp, values, Column("v", Kind.DATETIME))[1] == datetime(2024, 1, 31, 10)


def test_local_times_that_the_clock_skipped_are_null_and_of_two_the_earlier_counts() -> None:
    column = Column("v", Kind.DATETIME, time_zone="Europe/Berlin")
    made = apply(timestamp, [datetime(2024, 3, 31, 2, 30), datetime(2024, 10, 27, 2, 30)], column)
    assert made[0] is None
    assert made[1].utcoffset().total_seconds() == 7200


@pytest.mark.parametrize(
    ("dtype", "kind"), [("Int64", "numeric"), ("UInt8", "numeric"), ("Float32", "numeric"), ("String", "categorical")]
)
def test_a_constant_or_identifier_that_was_made_a_feature_is_read_by_its_type(dtype: str, kind: str) -> None:
    for odd in (Kind.CONSTANT, Kind.IDENTIFIER):
        assert effective_kind(Column("v", odd, dtype=dtype)).value == kind


@pytest.mark.parametrize(
    ("kind", "dtype"), [(Kind.NUMERIC, pl.Date()), (Kind.DATETIME, pl.Int64()), (Kind.DATE, pl.Duration())]
)
def test_types_that_cannot_be_read_as_a_kind_are_refused(kind: Kind, dtype: pl.DataType) -> None:
    with pytest.raises(DataError, match=f"Column 'v' is a .* in the schema, but {dtype.base_type()}"):
        typed(Column("v", kind), dtype)
