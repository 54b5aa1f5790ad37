"""The example table: known facts of it, and nothing in it that is known only later."""

from __future__ import annotations

import datetime as dt
import importlib.util
from pathlib import Path

import polars as pl
import pytest

from mlpipe.data.flights import flights_table, write_flights
from mlpipe.data.read import scan
from mlpipe.errors import ConfigError, DataError


@pytest.fixture(scope="module")
def table() -> pl.DataFrame:
    return flights_table()


def test_size_and_target(table: pl.DataFrame) -> None:
    assert table.shape == (327_346, 31)
    assert table["late"].dtype == pl.Boolean
    assert table["late"].null_count() == 0
    assert table["late"].sum() == 77_630


def test_nothing_is_known_only_later(table: pl.DataFrame) -> None:
    assert not {"dep_time", "dep_delay", "arr_time", "arr_delay", "air_time"} & set(table.columns)


def test_first_flight(table: pl.DataFrame) -> None:
    first = table.row(0, named=True)
    assert first["scheduled_departure"] == dt.datetime(2013, 1, 1, 5, 15)  # noqa: DTZ001 (local time, as in the file)
    assert (first["flight"], first["origin"], first["dest"]) == ("UA1545", "EWR", "IAH")
    assert (first["sched_dep_time"], first["sched_arr_time"]) == (5 * 60 + 15, 8 * 60 + 19)
    assert first["scheduled_block"] == 4 * 60 + 4  # an hour more than the clocks show: Houston is an hour behind
    assert first["weekday"] == 2
    assert first["temp"] == 39.02
    assert first["plane_year"] == 1999


def test_order_and_joins(table: pl.DataFrame) -> None:
    assert table["scheduled_departure"].is_sorted()
    assert table["temp"].null_count() < 2_000
    assert table["plane_type"].null_count() < 50_000
    hours = table.group_by("origin", pl.col("scheduled_departure").dt.truncate("1h")).agg(
        pl.len().alias("left"), pl.col("departures_in_hour").unique()
    )
    # The timetable holds those that were cancelled later, too.
    assert hours.select((pl.col("departures_in_hour").list.first() >= pl.col("left")).all()).item()


def test_planned_times_from_gate_to_gate(table: pl.DataFrame) -> None:
    speed = table["distance"] / (table["scheduled_block"] / 60)  # miles an hour, taxiing included
    assert speed.min() >= 60  # type: ignore[operator]
    assert speed.max() < 560  # type: ignore[operator]
    by_place = table.group_by("dest").agg(pl.col("scheduled_block").std().alias("spread"))
    assert by_place["spread"].drop_nulls().max() < 40  # type: ignore[operator]


def test_written_and_read_again(table: pl.DataFrame, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("mlpipe.data.flights.flights_table", lambda: table.head(500))
    for ending in (".parquet", ".csv", ".arrow", ".ndjson"):
        assert write_flights(tmp_path / f"flights{ending}") == 500
        assert scan(tmp_path / f"flights{ending}").collect()["late"].to_list() == table["late"].head(500).to_list()


def test_refusals(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(ConfigError, match=r"flights.csc: the ending names the format. Did you mean '.csv'"):
        write_flights(tmp_path / "flights.csc")
    with pytest.raises(ConfigError, match="there is no folder"):
        write_flights(tmp_path / "no" / "flights.csv")
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(DataError, match=r"pip install 'mlpipe\[examples\]'"):
        flights_table()
