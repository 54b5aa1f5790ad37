"""Splits: who goes where, and what is refused."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.data.infer import infer_schema
from mlpipe.data.split import Split, SplitConfig, describe_split, split_rows
from mlpipe.errors import ConfigError, DataError
from mlpipe.schema import Schema

N = 200


def table(**columns: Any) -> pl.DataFrame:
    base = {"x": [(i * 37) % 50 / 2 for i in range(N)], "y": ["yes" if i % 4 == 0 else "no" for i in range(N)]}
    return pl.DataFrame(base | columns)


def split(frame: pl.DataFrame, schema: dict[str, Any] | None = None, **config: Any) -> Split:
    return split_rows(frame, infer_schema(frame, "y", **(schema or {})), SplitConfig(**config))


def sizes(parts: Split) -> tuple[int, int, int]:
    return len(parts.train), len(parts.validation), len(parts.test)


def test_stratified_keeps_the_share_of_each_class() -> None:
    frame = table()
    parts = split(frame, validation=0.2, test=0.1)
    assert sizes(parts) == (140, 40, 20)
    for positions in (parts.train, parts.validation, parts.test):
        assert (frame[positions]["y"] == "yes").mean() == 0.25
        assert (np.diff(positions) > 0).all()


def test_the_draw_is_fixed_for_all_time() -> None:
    parts = split(table(), method="random", seed=1)
    assert parts.test[:8].tolist() == [7, 14, 16, 19, 20, 25, 33, 38]
    assert split(table(), method="random", seed=2).test.tolist() != parts.test.tolist()


def test_classes_of_one_or_two_rows_stay_in_training() -> None:
    labels = ["a"] * 100 + ["b"] * 60 + ["c"] * 2 + ["d"] + ["e"] * 37
    frame = table(y=labels)
    parts = split(frame, {"task": "multiclass"})
    assert sizes(parts) == (140, 30, 30)
    assert set(frame[parts.train]["y"]) == {"a", "b", "c", "d", "e"}
    assert set(frame[parts.validation]["y"]) | set(frame[parts.test]["y"]) == {"a", "b", "e"}


def test_many_classes_of_few_rows() -> None:
    frame = table(y=[f"c{i % 66}" for i in range(N)])
    parts = split(frame, {"task": "multiclass"}, validation=0.1, test=0.1)
    assert sizes(parts) == (160, 20, 20)
    assert frame[parts.train]["y"].n_unique() == 66


def test_parts_may_be_left_out_when_asked_for() -> None:
    assert sizes(split(table(), method="random", validation=0.25, test=0)) == (150, 50, 0)
    assert sizes(split(table(), validation=0, test=0)) == (200, 0, 0)


def test_a_group_is_on_one_side_only() -> None:
    frame = table(who=[f"w{(i * i) % 23}" for i in range(N)])
    parts = split(frame, {"group": "who"}, validation=0.2, test=0.2)
    people = [set(frame[p]["who"]) for p in (parts.train, parts.validation, parts.test)]
    assert not people[0] & people[1] | people[0] & people[2] | people[1] & people[2]
    assert all(30 <= size <= 50 for size in sizes(parts)[1:])


def test_one_giant_group_does_not_swallow_a_part() -> None:
    frame = table(who=["giant"] * 150 + [f"w{i}" for i in range(50)])
    for seed in range(10):
        parts = split(frame, {"group": "who"}, validation=0.1, test=0.1, seed=seed)
        assert sizes(parts) == (160, 20, 20)


def test_time_is_cut_in_order_and_not_through_ties() -> None:
    days = [dt.date(2020, 1, 1) + dt.timedelta(days=(i * 7) % 20) for i in range(N)]
    frame = table(day=days)
    parts = split(frame, {"time": "day"}, validation=0.12, test=0.17)
    train, validation, test = (frame[p]["day"] for p in (parts.train, parts.validation, parts.test))
    assert train.max() < validation.min()  # type: ignore[operator]
    assert validation.max() < test.min()  # type: ignore[operator]
    assert sizes(parts) == (140, 30, 30)


@pytest.mark.parametrize(
    "times",
    [
        [f"{1 + i % 28}/12/2020 10:{i % 60:02d}" for i in range(N)],
        [float(i % 31) for i in range(N)],
        [dt.timedelta(minutes=i % 31) for i in range(N)],
        [1_600_000_000_000_000_000 + i for i in range(N)],
        [str(i + 100) for i in range(N)],
    ],
)
def test_time_may_be_written_in_many_ways(times: list[Any]) -> None:
    frame = table(t=times).with_row_index("row")
    parts = split(frame.drop("row"), {"time": "t"})
    assert min(sizes(parts)) >= 20
    if "/" in str(times[0]):
        assert frame[parts.test]["t"].str.to_datetime("%d/%m/%Y %H:%M").min() > dt.datetime(2020, 12, 20)  # type: ignore[operator]  # noqa: DTZ001
    else:
        assert frame[parts.test]["t"].min() > frame[parts.train]["t"].max()  # type: ignore[operator]


def test_groups_are_ordered_by_their_last_time_where_there_is_one() -> None:
    frame = table(who=[i // 10 for i in range(N)], t=[float(1000 - 10 * (i // 10) + i % 10) for i in range(N)])
    parts = split(frame, {"group": "who", "time": "t"}, validation=0.1, test=0.1)
    assert set(frame[parts.test]["who"]) == {0, 1}
    assert set(frame[parts.validation]["who"]) == {2, 3}


class TestColumn:
    def test_words(self) -> None:
        frame = table(part=["train", "valid", "Test", "train"] * 50)
        parts = split(frame, {"split": "part"}, column="part")
        assert sizes(parts) == (100, 50, 50)
        assert parts.validation.tolist() == list(range(1, N, 4))

    @pytest.mark.parametrize("months", [[i % 12 + 1 for i in range(N)], [str(i % 12 + 1) for i in range(N)]])
    def test_values(self, months: list[Any]) -> None:
        frame = table(month=months)
        values = {"train": [*range(1, 9)], "validation": [9, "10"], "test": [11, 12]}
        parts = split(frame, {"split": "month"}, column="month", values=values)
        assert set(frame[parts.test]["month"].cast(pl.Int64)) == {11, 12}
        assert set(frame[parts.validation]["month"].cast(pl.Int64)) == {9, 10}

    def test_a_part_without_values_is_drawn_from_training(self) -> None:
        frame = table(yr=[i % 2 for i in range(N)])
        parts = split(frame, {"split": "yr"}, column="yr", values={"train": [0], "test": [1]}, validation=0.2)
        assert sizes(parts) == (80, 20, 100)
        assert (frame[parts.validation]["yr"] == 0).all()

    def test_booleans_and_dates(self) -> None:
        frame = table(held=[i % 4 == 0 for i in range(N)], day=[dt.date(2020, 1, 1 + i % 2) for i in range(N)])
        parts = split(frame, {"split": "held"}, column="held", values={"train": [False], "test": [True]}, validation=0)
        assert sizes(parts) == (150, 0, 50)
        days = {"train": ["2020-01-01"], "test": [dt.date(2020, 1, 2)]}
        assert sizes(split(frame, column="day", values=days, validation=0)) == (100, 0, 100)

    @pytest.mark.parametrize(
        ("config", "error", "sentence"),
        [
            ({"column": "mont"}, DataError, r"'mont', which is no column. Did you mean 'month'"),
            ({"column": "month"}, DataError, "holds '1', which stands for no part; list it in `data.split.values`"),
            (
                {"column": "month", "values": {"train": [1, 2], "test": [3]}},
                DataError,
                "'month', which splits the rows, holds '4', which stands for no part",
            ),
            (
                {"column": "month", "values": {"train": [1, 2, 3, 4], "test": [5]}},
                DataError,
                "`data.split.values` names '5', which column 'month' never holds",
            ),
            (
                {"column": "month", "values": {"train": [1, 2, 3], "test": [3, 4]}},
                ConfigError,
                "`data.split.values` lists '3' for both train and test",
            ),
        ],
    )
    def test_refusals(self, config: dict[str, Any], error: type[Exception], sentence: str) -> None:
        with pytest.raises(error, match=sentence):
            split(table(month=[i % 4 + 1 for i in range(N)]), **config)


@pytest.mark.parametrize(
    ("config", "sentence"),
    [
        ({"validation": 1.0}, "`data.split.validation` is 1.0; it has to be a share from 0 to below 1"),
        ({"test": -0.1}, "`data.split.test` is -0.1"),
        ({"validation": 0.5, "test": 0.5}, "leave no rows to train on"),
        ({"method": "randm"}, r"`data.split.method` is 'randm'. Did you mean 'random'"),
        ({"method": "column"}, "`data.split.column` names none"),
        ({"values": {"train": [1]}}, "goes with `data.split.column`"),
        ({"column": "m", "values": {"valid": [1]}}, r"'valid' is no part. Did you mean 'validation'"),
    ],
)
def test_config_is_checked(config: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        SplitConfig(**config)


def test_methods_need_their_columns() -> None:
    with pytest.raises(ConfigError, match=r"`data.split.method` is 'group', but `data.group` names no column"):
        split(table(), method="group")
    with pytest.raises(ConfigError, match="'stratified', which a regression task cannot be"):
        split(table(y=[float(i) for i in range(N)]), method="stratified")
    with pytest.raises(DataError, match=r"'who', by which `data.group` splits, has 2 different values; 3 parts need"):
        split(table(who=["a", "b"] * 100), {"group": "who"})
    with pytest.raises(DataError, match=r"`data.time` splits, has 2 different values"):
        split(table(t=[1.0, 2.0] * 100), {"time": "t"})
    with pytest.raises(DataError, match=r"'t', by which `data.time` orders the rows, has no time in 1 row\.$"):
        split(table(t=[None, *map(float, range(N - 1))]), {"time": "t"})


def test_an_empty_part_is_refused() -> None:
    frame = pl.DataFrame({"x": [1.0, 2.0, 3.0], "y": ["a", "b", "b"]})
    with pytest.raises(
        DataError, match=r"stratified split of 3 rows leaves none for validation; .*validation: 0` to do"
    ):
        split_rows(frame, infer_schema(frame, "y"), SplitConfig())


class TestDescription:
    def frames(self, frame: pl.DataFrame) -> dict[str, pl.DataFrame]:
        return {"train": frame[:150], "validation": frame[150:], "test": frame[:0]}

    def test_classes(self) -> None:
        frame = table(y=[i % 4 == 0 for i in range(N)])
        records = describe_split(self.frames(frame), infer_schema(frame, "y"))
        assert records[1] == {
            "part": "validation",
            "rows": 50,
            "share": 0.25,
            "classes": {"False": 0.76, "True": 0.24},
        }
        assert records[2] == {"part": "test", "rows": 0, "share": 0.0}

    def test_class_names_as_they_stand(self) -> None:
        frame = table(y=[float(i % 3) for i in range(N)])
        records = describe_split({"train": frame}, infer_schema(frame, "y"))
        assert records[0]["classes"] == {"0": 67 / 200, "1": 67 / 200, "2": 66 / 200}

    def test_numbers_and_labels(self) -> None:
        frame = table(y=[float(i) for i in range(N)], a=[i % 2 for i in range(N)], b=[i % 4 == 0 for i in range(N)])
        record = describe_split({"train": frame}, infer_schema(frame, "y"))[0]
        assert record["mean"] == 99.5
        assert record["std"] == pytest.approx(np.std(np.arange(N), ddof=1))
        schema: Schema = infer_schema(frame, ["a", "b"])
        assert describe_split({"train": frame}, schema)[0]["classes"] == {"a": 0.5, "b": 0.25}
