# ruff: noqa: DTZ001  # naive times are what is tested
from __future__ import annotations

from datetime import date, datetime

import numpy as np
import polars as pl
import pytest

from mlpipe.features import datetimes
from mlpipe.features.config import DATETIME_PARTS
from mlpipe.features.datetimes import DatetimeParts

HOURS = pl.Series("t", [datetime(2024, 1, 1, hour) for hour in range(24)])


def test_elapsed_time_is_standardised() -> None:
    made = DatetimeParts().fit_transform(HOURS.to_frame())
    hours = np.arange(24)
    np.testing.assert_allclose(made["t.elapsed"], (hours - hours.mean()) / hours.std(), rtol=1e-12)


def test_only_parts_that_vary_are_kept() -> None:
    parts = DatetimeParts(DATETIME_PARTS)
    assert parts.fit(HOURS.to_frame()).output_names("t") == ["t.elapsed", "t.hour"]
    days = pl.DataFrame({"t": [date(2023, 12, 31), date(2024, 2, 29)]})
    names = [f"t.{part}" for part in ("elapsed", "year", "day", "day_of_year", "month", "weekday")]
    assert parts.fit(days).output_names("t") == names


def test_only_parts_that_are_asked_for_are_made() -> None:
    assert DatetimeParts(["weekday"]).fit(HOURS.to_frame()).output_names("t") == ["t.elapsed"]


def test_categorical_parts_have_null_and_unseen_ids() -> None:
    train = pl.DataFrame({"t": [datetime(2024, 1, 1, 5), datetime(2024, 1, 1, 9)]})
    parts = DatetimeParts(["hour"]).fit(train)
    made = parts.transform(pl.DataFrame({"t": [datetime(2024, 1, 1, 9), datetime(2024, 1, 1, 10), None]}))
    assert made["t.hour"].to_list() == [4, 2, 1]
    assert made["t.elapsed"].to_list()[2] is None
    assert parts.cardinalities("t") == [None, 5]


def test_calendar_parts_are_read_in_the_declared_zone_and_elapsed_time_in_utc() -> None:
    # On 2024-03-31 Berlin skips the hour from 2 to 3: an hour passes between 01:30 and 03:30.
    times = ["2024-03-31T00:30:00Z", "2024-03-31T01:30:00Z", "2024-03-31T02:30:00Z"]
    made = DatetimeParts(["hour"], "Europe/Berlin").fit(pl.DataFrame({"t": times}))
    assert made.columns_["t"]["categories"]["hour"] == [1, 3, 4]
    elapsed = made.transform(pl.DataFrame({"t": times}))["t.elapsed"]
    assert elapsed[2] - elapsed[1] == pytest.approx(elapsed[1] - elapsed[0])


@pytest.mark.parametrize(
    "values",
    [
        ["2024-01-31 13:00:00", "2024-02-29 01:00:00"],
        ["2024-01-31T13:00:00.000", "2024-02-29T01:00"],
        ["2024-01-31T13:00:00Z", "2024-02-29T02:00:00+01:00"],
        [datetime(2024, 1, 31, 13), datetime(2024, 2, 29, 1)],
        pl.Series([datetime(2024, 1, 31, 13), datetime(2024, 2, 29, 1)], dtype=pl.Datetime("ns")),
        pl.Series([datetime(2024, 1, 31, 13), datetime(2024, 2, 29, 1)], dtype=pl.Datetime("ms", "UTC")),
    ],
    ids=["text", "ISO", "offsets", "us", "ns", "UTC"],
)
def test_a_time_is_the_same_in_every_type(values: object) -> None:
    train = pl.DataFrame({"t": [datetime(2024, 1, 31, 13), datetime(2024, 2, 29, 1)]})
    parts = DatetimeParts(DATETIME_PARTS).fit(train)
    assert parts.transform(pl.DataFrame({"t": values})).equals(parts.transform(train))


def test_a_column_without_any_time_keeps_its_place() -> None:
    parts = DatetimeParts().fit(pl.DataFrame({"t": pl.Series([None, None], dtype=pl.Datetime)}))
    assert parts.output_names("t") == ["t.elapsed"]
    assert parts.transform(HOURS.to_frame())["t.elapsed"].is_finite().all()


@pytest.mark.parametrize("zone", [None, "America/New_York"])
def test_one_row_at_a_time_gives_the_same_bits(zone: str | None) -> None:
    stamps = np.random.default_rng(0).integers(0, 2**50, size=300)
    frame = pl.DataFrame({"t": pl.Series(stamps).cast(pl.Datetime("us"))})
    parts = DatetimeParts(DATETIME_PARTS, zone).fit(frame)
    alone = pl.concat([parts.transform(frame[index]) for index in range(frame.height)])
    assert parts.transform(frame).equals(alone)


@pytest.mark.parametrize("span", [2**50, 2**44, 10**9], ids=["decades", "months", "minutes"])
@pytest.mark.parametrize("nulls", [0, 7])
def test_many_rows_that_share_days_and_hours_give_the_same_bits(
    span: int, nulls: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    stamps = np.random.default_rng(0).integers(-span, span, size=300).tolist()
    frame = pl.DataFrame({"t": pl.Series([*stamps, *[None] * nulls]).cast(pl.Datetime("us"))}).sample(
        fraction=1.0, shuffle=True, seed=1
    )
    parts = DatetimeParts(DATETIME_PARTS).fit(frame)
    few = parts.transform(frame)
    monkeypatch.setattr(datetimes, "MANY_ROWS", 1)
    assert parts.transform(frame).equals(few)
    assert DatetimeParts(DATETIME_PARTS).fit(frame).to_dict() == parts.to_dict()
    assert parts.transform(frame.clear()).is_empty()
    assert parts.transform(frame.filter(pl.col("t").is_null())).equals(few.filter(frame["t"].is_null()))
