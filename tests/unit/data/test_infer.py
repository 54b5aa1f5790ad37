"""Kinds, roles and tasks, and the sentences for what cannot be."""

from __future__ import annotations

import datetime as dt
from decimal import Decimal
from typing import Any

import numpy as np
import polars as pl
import pytest
from numpy.testing import assert_array_equal

from mlpipe.data.infer import CHOICES, drop_null_targets, infer_schema
from mlpipe.data.profile import profile_table
from mlpipe.errors import ConfigError, DataError
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.schema import Kind, Role, Schema, TaskKind

N = 200
INDEX = list(range(N))
TARGET = [i % 2 for i in INDEX]


def infer(values: Any, name: str = "x", **options: Any) -> Schema:
    frame = pl.DataFrame({name: values, "other": [float(i % 7) for i in range(len(values))]})
    frame = frame.with_columns(y=pl.Series([i % 2 for i in range(len(values))]))
    return infer_schema(frame.lazy(), "y", **options)


def kind_of(values: Any, name: str = "x", **options: Any) -> tuple[Kind, Role]:
    column = infer(values, name, **options)[name]
    assert column.reason
    return column.kind, column.role


FEATURE, IGNORED = Role.FEATURE, Role.IGNORED


@pytest.mark.parametrize(
    ("values", "kind", "role"),
    [
        ([i % 30 for i in INDEX], Kind.NUMERIC, FEATURE),
        ([i % 4 for i in INDEX], Kind.NUMERIC, FEATURE),  # few whole numbers are numbers all the same
        ([i * 1.5 for i in INDEX], Kind.NUMERIC, FEATURE),  # unique floats are no identifiers
        ([float(i) for i in INDEX], Kind.NUMERIC, FEATURE),
        ([(i * 7919) % 100_003 for i in INDEX], Kind.NUMERIC, FEATURE),  # nor are unique whole numbers with gaps
        ([2 * i for i in INDEX], Kind.NUMERIC, FEATURE),
        (INDEX, Kind.IDENTIFIER, Role.IDENTIFIER),
        ([(i * 37 + 5) % N for i in INDEX], Kind.IDENTIFIER, Role.IDENTIFIER),  # row numbers, shuffled
        ([str(i + 1) for i in INDEX], Kind.IDENTIFIER, Role.IDENTIFIER),
        ([f"{10**24 + 7 * i}" for i in INDEX], Kind.IDENTIFIER, Role.IDENTIFIER),
        (["\u0967\u0968"] * 100 + ["\u0967"] * 100, Kind.CATEGORICAL, FEATURE),  # digits, but not of ours
        ([None, *INDEX[1:]], Kind.NUMERIC, FEATURE),
        (pl.Series(INDEX, dtype=pl.UInt64), Kind.IDENTIFIER, Role.IDENTIFIER),
        (pl.Series([10**25 + i % 9 for i in INDEX], dtype=pl.Int128), Kind.NUMERIC, FEATURE),
        ([Decimal(i % 9) / 4 for i in INDEX], Kind.NUMERIC, FEATURE),
        ([float("nan"), *[1.5] * 98, *[2.5] * 101], Kind.NUMERIC, FEATURE),
        ([["red", "green"][i % 2] for i in INDEX], Kind.CATEGORICAL, FEATURE),
        ([f"{'abcdefghij'[i % 10]}{i % 60}" for i in INDEX], Kind.CATEGORICAL, FEATURE),
        ([f"k{i}" for i in INDEX], Kind.IDENTIFIER, Role.IDENTIFIER),
        ([f"k{max(i, 3)}" for i in INDEX], Kind.IDENTIFIER, Role.IDENTIFIER),
        ([f"the {i} quick foxes run" for i in INDEX], Kind.TEXT, FEATURE),
        ([f"{i % 3} of a few long labels" for i in INDEX], Kind.CATEGORICAL, FEATURE),
        ([str(i % 17 * 100) for i in INDEX], Kind.NUMERIC, FEATURE),
        ([" " if i == 3 else f" {i / 7}" for i in INDEX], Kind.NUMERIC, FEATURE),
        ([f"{98000 + i % 70}" for i in INDEX], Kind.CATEGORICAL, FEATURE),  # codes
        ([f"{i % 30:03d}" for i in INDEX], Kind.CATEGORICAL, FEATURE),
        ([f"{1900 + i % 100}" for i in INDEX], Kind.NUMERIC, FEATURE),  # years
        ([f"{10_000_000 + i * i}" for i in INDEX], Kind.IDENTIFIER, Role.IDENTIFIER),
        ([["TRUE", "false"][i % 2] for i in INDEX], Kind.BOOLEAN, FEATURE),
        ([["yes", "no"][i % 2] for i in INDEX], Kind.CATEGORICAL, FEATURE),
        ([i % 2 == 0 for i in INDEX], Kind.BOOLEAN, FEATURE),
        ([None, *[True] * (N - 1)], Kind.BOOLEAN, FEATURE),  # missing or not is information
        ([True] * N, Kind.CONSTANT, IGNORED),
        ([5] * N, Kind.CONSTANT, IGNORED),
        ([None] * N, Kind.CONSTANT, IGNORED),
        (["  "] * 100 + [" "] * 100, Kind.CONSTANT, IGNORED),
        ([float("nan")] * N, Kind.CONSTANT, IGNORED),
        ([dt.date(2020, 1, 1 + i % 28) for i in INDEX], Kind.DATE, FEATURE),
        ([dt.timedelta(hours=i) for i in INDEX], Kind.DURATION, FEATURE),
        ([dt.time(i % 24) for i in INDEX], Kind.DURATION, FEATURE),
        ([f"{i % 24}:30" for i in INDEX], Kind.DURATION, FEATURE),
        ([f"{i // 60}:{i % 60:02d}" for i in INDEX], Kind.DURATION, FEATURE),  # unique times are no identifiers
        ([f"{1900 + i}-05-17" for i in INDEX], Kind.DATE, FEATURE),
        ([[i] for i in INDEX], Kind.TEXT, IGNORED),
        ([{"a": i} for i in INDEX], Kind.TEXT, IGNORED),
        (pl.Series(["a", "b"] * 100, dtype=pl.Categorical()), Kind.CATEGORICAL, FEATURE),
    ],
)
def test_kind(values: Any, kind: Kind, role: Role) -> None:
    assert kind_of(values) == (kind, role)


@pytest.mark.parametrize(
    ("name", "values", "kind"),
    [
        ("CustomerId", [15_000_000 + 7 * i for i in INDEX], Kind.IDENTIFIER),
        ("id", [15_000_000 + 7 * (i // 2 * 2 if i < 60 else i) for i in INDEX], Kind.IDENTIFIER),  # some repeat
        ("user_id", [i % 40 for i in INDEX], Kind.CATEGORICAL),
        ("zipcode", [98_000 + i % 70 for i in INDEX], Kind.CATEGORICAL),
        ("store_id", [f"S{i % 12}" for i in INDEX], Kind.CATEGORICAL),
        ("customerID", [f"{i % 150}-XY" for i in INDEX], Kind.IDENTIFIER),
        ("paid", [7 * i for i in INDEX], Kind.NUMERIC),
        ("valid_price", [7 * i for i in INDEX], Kind.NUMERIC),
    ],
)
def test_names_are_hints(name: str, values: Any, kind: Kind) -> None:
    assert infer(values, name)[name].kind is kind


def test_unique_values_prove_nothing_in_a_small_table() -> None:
    schema = infer([1, 2, 3, 4])
    assert schema["x"].kind is Kind.NUMERIC
    assert infer(["a", "b", "c", "d"])["x"].kind is Kind.CATEGORICAL


@pytest.mark.parametrize(
    ("value", "format_", "kind", "zone"),
    [
        ("2014-10-{:02d}", "%Y-%m-%d", Kind.DATE, None),
        ("201410{:02d}T000000", "%Y%m%dT%H%M%S", Kind.DATETIME, None),
        ("10/{:02d}/2014", "%m/%d/%Y", Kind.DATE, None),
        ("{:02d}/10/2014 08:15", "%d/%m/%Y %H:%M", Kind.DATETIME, None),
        ("2014-10-{:02d}T08:15:00Z", "%Y-%m-%dT%H:%M:%S%.f%#z", Kind.DATETIME, "UTC"),
        ("{} Oct 2014", "%d %B %Y", Kind.DATE, None),
        ("Oct {}, 2014", "%B %d, %Y", Kind.DATE, None),
        ("{:02d}.10.14", "%d.%m.%y", Kind.DATE, None),
    ],
)
def test_dates_in_text(value: str, format_: str, kind: Kind, zone: str | None) -> None:
    column = infer([value.format(1 + i % 28) for i in INDEX])["x"]
    assert (column.format, column.kind, column.time_zone) == (format_, kind, zone)


def test_ambiguous_dates_say_so() -> None:
    column = infer([f"{1 + i % 12}/{1 + i // 12 % 12}/2014" for i in INDEX])["x"]
    assert column.format == "%m/%d/%Y"
    assert "%d/%m/%Y would fit as well" in column.reason


def test_a_zone_and_the_order_of_an_enum_are_kept() -> None:
    days = pl.Series([dt.date(2020, 1, 1 + i % 28) for i in INDEX])
    moments = days.cast(pl.Datetime("us")).dt.replace_time_zone("America/New_York")
    assert infer(moments)["x"].time_zone == "America/New_York"
    levels = pl.Series([["low", "high"][i % 2] for i in INDEX], dtype=pl.Enum(["low", "mid", "high"]))
    assert infer(levels)["x"].categories == ("low", "mid", "high")


def test_missing_values_are_counted() -> None:
    column = infer([None, *range(1, N)])["x"]
    assert column.nullable
    assert "1 of 200 rows has none" in column.reason
    assert "2 of 200 rows have none" in infer([None, None, *range(2, N)])["x"].reason
    assert not infer([i % 3 for i in INDEX])["x"].nullable


def test_junk_in_numbers_is_counted() -> None:
    values = [f"{i}.5" for i in range(1_000)]
    values[7] = "see note"
    assert infer(values)["x"].reason == "text that holds numbers; 1 that is none counts as missing"
    values[8:30] = ["see note"] * 22
    assert infer(values)["x"].kind is not Kind.NUMERIC


def test_long_tables_are_counted_like_short_ones() -> None:
    short = pl.DataFrame({"i": INDEX, "f": [i / 3 for i in INDEX], "s": [f"s{i % 9}" for i in INDEX], "y": TARGET})
    long = pl.concat([short] * 600).with_columns(i=pl.int_range(N * 600, dtype=pl.Int64))
    few, many = (profile_table(frame.lazy()) for frame in (short, long))
    assert many["i"].distinct == N * 600
    assert many["s"] == type(many["s"])(**{**vars(few["s"]), "rows": N * 600, "present": N * 600})
    assert infer_schema(long, "y")["i"].kind is Kind.IDENTIFIER


class TestOverrides:
    def test_kind_identifier_and_ignore(self) -> None:
        frame = pl.DataFrame({"a": INDEX, "b": ["x", "z"] * 100, "c": [1.5, 2.5] * 100, "d": INDEX, "y": TARGET})
        schema = infer_schema(frame, "y", columns={"a": "numeric", "b": "text", "c": "ignore", "d": "identifier"})
        assert [(c.kind.value, c.role.value) for c in schema][:4] == [
            ("numeric", "feature"),
            ("text", "feature"),
            ("numeric", "ignored"),
            ("identifier", "identifier"),
        ]
        assert schema["a"].reason == "as `data.columns` says"

    def test_a_date_keeps_its_format(self) -> None:
        column = infer([f"2014-10-{1 + i % 28}" for i in INDEX], columns={"x": "datetime"})["x"]
        assert (column.kind, column.format) == (Kind.DATETIME, "%Y-%m-%d")

    @pytest.mark.parametrize(
        ("columns", "sentence"),
        [
            ({"xx": "numeric"}, r"names 'xx', which is no column. Did you mean 'x'\?"),
            ({"x": "number"}, r"'x' is 'number'. Did you mean 'numeric'\?"),
            ({"y": "numeric"}, "names the target 'y'"),
            ({"x": "numeric"}, "'x' cannot be numeric; .* String values none of which can be read so"),
            ({"x": "date"}, "'x' cannot be date"),
        ],
    )
    def test_refusals(self, columns: dict[str, str], sentence: str) -> None:
        with pytest.raises(ConfigError, match=sentence):
            infer([["red", "green"][i % 2] for i in INDEX], columns=columns)


TYPES: dict[str, pl.Series] = {
    "real": pl.Series([i * 0.7 for i in INDEX]),
    "whole": pl.Series([i % 9 for i in INDEX]),
    "decimal": pl.Series([Decimal(i % 50) / 8 for i in INDEX]),
    "logical": pl.Series([None if i % 3 == 0 else i % 2 == 0 for i in INDEX]),
    "words": pl.Series([["red", "green"][i % 2] for i in INDEX]),
    "numbers": pl.Series([str(i % 7) for i in INDEX]),
    "days": pl.Series([f"2014-10-{1 + i % 28}" for i in INDEX]),
    "clocks": pl.Series([f"{i % 24}:30" for i in INDEX]),
    "blanks": pl.Series([" "] * N),
    "nulls": pl.Series([None] * N, dtype=pl.String),
    "null": pl.Series([None] * N),
    "nan": pl.Series([float("nan")] * N),
    "date": pl.Series([dt.date(2020, 1, 1) + dt.timedelta(i) for i in INDEX]),
    "datetime": pl.Series([3_600 * 10**9 * i for i in INDEX]).cast(pl.Datetime("ns")),
    "zone": pl.Series([3_600 * 10**6 * i for i in INDEX]).cast(pl.Datetime("us", "Europe/Berlin")),
    "duration": pl.Series([dt.timedelta(hours=i) for i in INDEX]),
    "time": pl.Series([dt.time(i % 24) for i in INDEX]),
    "category": pl.Series([["red", "green"][i % 2] for i in INDEX], dtype=pl.Categorical),
    "level": pl.Series([["red", "green"][i % 2] for i in INDEX], dtype=pl.Enum(["red", "green"])),
    "list": pl.Series([[i] for i in INDEX]),
    "struct": pl.Series([{"a": i} for i in INDEX]),
    "binary": pl.Series([b"x"] * N),
}


@pytest.mark.parametrize("kind", [kind for kind in CHOICES if kind not in ("identifier", "ignore")])
def test_a_kind_is_refused_or_can_be_fitted(kind: str) -> None:
    """Every type by every kind: what is not refused here must not fail later."""
    frame = pl.DataFrame({"other": INDEX, **TYPES, "y": TARGET})
    columns = {"other": "numeric", **dict.fromkeys(TYPES, "ignore")}
    for name in TYPES:
        try:
            found = infer_schema(frame, "y", columns={name: kind})[name].kind.value
        except ConfigError as error:
            found, sentence = "refused", str(error)
        if found == "refused":
            assert f"{name!r} cannot be {kind}; in the table it holds" in sentence
        else:
            assert found == kind
            columns[name] = kind
    schema = infer_schema(frame, "y", columns=columns)
    preprocessor = Preprocessor(schema, FeaturesConfig(neighbors="never")).fit(frame)
    arrays = preprocessor.transform(frame)
    assert np.isfinite(arrays.numeric).all()
    alone = preprocessor.transform(frame[7])
    assert_array_equal(alone.numeric[0], arrays.numeric[7])
    assert_array_equal(alone.categorical[0], arrays.categorical[7])


class TestRoles:
    def frame(self) -> pl.DataFrame:
        days = [dt.date(2020, 1, 1) + dt.timedelta(days=i) for i in INDEX]
        return pl.DataFrame(
            {
                "day": days,
                "who": [i % 9 for i in INDEX],
                "w": [0.5] * N,
                "part": ["a"] * N,
                "zero": [0] * N,
                "spans": [dt.timedelta(1)] * N,
                "lists": [[1]] * N,
                "y": TARGET,
            }
        )

    def test_columns_with_a_use_are_no_features(self) -> None:
        frame = self.frame().drop("zero", "spans", "lists").with_columns(x=pl.Series(INDEX) % 5)
        schema = infer_schema(frame, "y", time="day", group="who", weight="w", split="part")
        roles = [column.role for column in schema]
        assert roles == [Role.TIME, Role.GROUP, Role.WEIGHT, Role.SPLIT, Role.TARGET, Role.FEATURE]

    @pytest.mark.parametrize(
        ("roles", "error", "sentence"),
        [
            ({"time": "days"}, DataError, r"no column 'days', as `data.time` says. Did you mean 'day'"),
            ({"group": "y"}, ConfigError, "`data.group` and `data.target` both name 'y'"),
            ({"time": "who", "group": "who"}, ConfigError, "`data.group` and `data.time` both name 'who'"),
            ({"weight": "part"}, DataError, "`data.weight` names 'part', but in the table it does not hold numbers"),
            ({"weight": "zero"}, DataError, "`data.weight` names 'zero', but in the table all weights are 0"),
            ({"group": "spans"}, DataError, "`data.group` names 'spans', but in the table it holds Duration.* values"),
            ({"split": "lists"}, DataError, "`data.split.column` names 'lists', .* List.* values, by which no rows"),
            ({"time": "part"}, DataError, "`data.time` names 'part', but in the table it is constant"),
        ],
    )
    def test_refusals(self, roles: dict[str, str], error: type[Exception], sentence: str) -> None:
        with pytest.raises(error, match=sentence):
            infer_schema(self.frame(), "y", **roles)  # type: ignore[arg-type]

    def test_no_feature_is_left(self) -> None:
        frame = self.frame().drop("zero", "spans", "lists")
        with pytest.raises(DataError, match="no column left as a feature"):
            infer_schema(frame, "y", weight="w", time="day", group="who", split="part")


class TestTask:
    def task(self, values: Any, **options: Any) -> tuple[TaskKind, tuple[Any, ...]]:
        frame = pl.DataFrame({"x": [i % 5 for i in range(len(values))], "y": values})
        task = infer_schema(frame, "last", **options).task
        assert task.target == ("y",)
        return task.kind, task.classes

    @pytest.mark.parametrize(
        ("values", "kind", "classes"),
        [
            ([i % 2 for i in INDEX], TaskKind.BINARY, (0, 1)),
            ([float(i % 2) for i in INDEX], TaskKind.BINARY, (0, 1)),
            ([i % 2 == 0 for i in INDEX], TaskKind.BINARY, (False, True)),
            ([["Yes", "No"][i % 2] for i in INDEX], TaskKind.BINARY, ("No", "Yes")),
            ([["pos", "neg"][i % 2] for i in INDEX], TaskKind.BINARY, ("neg", "pos")),
            ([["absent", "present"][i % 2] for i in INDEX], TaskKind.BINARY, ("absent", "present")),
            ([["off", "on"][i % 2] for i in INDEX], TaskKind.BINARY, ("off", "on")),
            ([["<=50K", ">50K", None][i % 3] for i in INDEX], TaskKind.BINARY, ("<=50K", ">50K")),
            ([["c", "a", "b"][i % 3] for i in INDEX], TaskKind.MULTICLASS, ("a", "b", "c")),
            ([3 + i % 6 for i in INDEX], TaskKind.MULTICLASS, (3, 4, 5, 6, 7, 8)),
            ([float(i % 3) for i in INDEX], TaskKind.MULTICLASS, (0, 1, 2)),
            ([str(i % 3) for i in INDEX], TaskKind.MULTICLASS, ("0", "1", "2")),
            ([str(i % 3 / 4) for i in INDEX], TaskKind.REGRESSION, ()),
            ([i % 60 for i in INDEX], TaskKind.REGRESSION, ()),
            ([10 ** (i % 6) for i in INDEX], TaskKind.REGRESSION, ()),  # few, but far apart
            ([i % 3 / 2 for i in INDEX], TaskKind.REGRESSION, ()),
            ([1, 2, 3, 4, 5], TaskKind.REGRESSION, ()),
            ([0.5 * i if i else float("inf") for i in INDEX], TaskKind.REGRESSION, ()),
            ([[0.0, 1.0, float("-inf")][i % 3] for i in INDEX], TaskKind.BINARY, (0, 1)),
            ([["a", "", "b"][i % 3] for i in INDEX], TaskKind.BINARY, ("a", "b")),
            ([["a", " a", "b", "b "][i % 4] for i in INDEX], TaskKind.BINARY, ("a", "b")),
            ([["x", "01", "1", "1.0"][i % 4] for i in INDEX], TaskKind.BINARY, ("1", "x")),
            (pl.Series([["a", " ", "b"][i % 3] for i in INDEX], dtype=pl.Categorical), TaskKind.BINARY, ("a", "b")),
            (pl.Series([[0.1, 0.2][i % 2] for i in INDEX], dtype=pl.Float32), TaskKind.BINARY, (0.1, 0.2)),
        ],
    )
    def test_inferred(self, values: Any, kind: TaskKind, classes: tuple[Any, ...]) -> None:
        assert self.task(values) == (kind, classes)

    def test_texts_of_one_number_are_told_to_be_one_class(self, caplog: pytest.LogCaptureFixture) -> None:
        self.task([["x", "01", "1", "1.0", " 1", "x "][i % 6] for i in INDEX])
        (record,) = caplog.records
        assert record.getMessage() == (
            "The target 'y' in the table: '01', '1' and '1.0' are the same number, and so one class; if they are not, "
            "`data.target_map` can give one of them another name."
        )

    def test_an_enum_keeps_its_order(self) -> None:
        values = pl.Series([["low", "high", "mid"][i % 3] for i in INDEX], dtype=pl.Enum(["low", "mid", "high"]))
        assert self.task(values) == (TaskKind.MULTICLASS, ("low", "mid", "high"))

    def test_overruled(self) -> None:
        assert self.task([i % 6 for i in INDEX], task="regression")[0] is TaskKind.REGRESSION
        assert self.task([i % 40 for i in INDEX], task="multiclass")[1] == tuple(range(40))
        assert self.task([i % 2 for i in INDEX], task="multiclass") == (TaskKind.MULTICLASS, (0, 1))

    def test_multilabel(self) -> None:
        frame = pl.DataFrame({"x": [i % 5 for i in INDEX], "a": TARGET, "b": [i % 3 == 0 for i in INDEX]})
        task = infer_schema(frame, ["a", "b"]).task
        assert (task.kind, task.classes) == (TaskKind.MULTILABEL, ("a", "b"))
        with pytest.raises(DataError, match="target 'x' in the table has to hold 0 and 1, or true and false"):
            infer_schema(frame, ["a", "x"])

    def test_first_is_a_position_unless_it_is_a_name(self) -> None:
        frame = pl.DataFrame({"a": TARGET, "first": [i % 5 for i in INDEX]})
        assert infer_schema(frame.rename({"first": "b"}), "first").task.target == ("a",)
        assert infer_schema(frame, "first").task.target == ("first",)

    @pytest.mark.parametrize(
        ("values", "options", "error", "sentence"),
        [
            ([1] * N, {}, DataError, "target 'y' in t.csv has the same value in every row"),
            ([None] * N, {}, DataError, "target 'y' in t.csv has no value in any of its 200 rows"),
            ([" "] * N, {}, DataError, "has no value in any"),
            (["a", " "] * 100, {}, DataError, "target 'y' in t.csv has the same value in every row"),
            (["a", " a"] * 100, {"task": "multiclass"}, DataError, "has the same value in every row"),
            ([f"w{i}" for i in INDEX], {}, DataError, "has 200 different words in 200 rows; these are no classes"),
            ([[1], [2]] * 100, {}, DataError, r"List\(Int64\) values; a target has one value a row"),
            ([dt.date(2020, 1, 1), dt.date(2021, 1, 1)] * 100, {}, DataError, "Date values; predict a number"),
            ([dt.timedelta(i) for i in INDEX], {}, DataError, "Duration.* values; predict a number"),
            (["a", "b"] * 100, {"task": "regression"}, ConfigError, "holds String values that are no numbers"),
            (["a", "b", "c", "d"] * 50, {"task": "binary"}, ConfigError, r"has 4 classes \('a', 'b', 'c', 'd'\)"),
            (["a", "b"] * 100, {"task": "classification"}, ConfigError, "`data.task` is 'classification'"),
        ],
    )
    def test_refusals(self, values: Any, options: dict[str, str], error: type[Exception], sentence: str) -> None:
        with pytest.raises(error, match=sentence):
            self.task(values, source="t.csv", **options)

    def test_unknown_target(self) -> None:
        with pytest.raises(DataError, match=r"the table has no target column 'prise'. Did you mean 'price'"):
            infer_schema(pl.DataFrame({"price": [1, 2], "x": [1, 2]}), "prise")
        with pytest.raises(ConfigError, match="has to name one column, or several different ones"):
            infer_schema(pl.DataFrame({"price": [1, 2], "x": [1, 2]}), [])

    @pytest.mark.parametrize("name", ["*", "^x.*$"])
    def test_names_that_stand_for_several_columns(self, name: str) -> None:
        with pytest.raises(DataError, match=r"the table: the column name .* is a pattern"):
            infer_schema(pl.DataFrame({name: [1, 2], "y": [1, 2]}), "y")

    def test_empty_table(self) -> None:
        with pytest.raises(DataError, match="the table has no rows"):
            infer_schema(pl.DataFrame({"x": [], "y": []}), "y")


def test_rows_without_a_target_are_dropped_and_counted() -> None:
    frame = pl.DataFrame({"x": [1, 2, 3, 4], "y": [1.0, None, float("nan"), 2.0]})
    kept, dropped = drop_null_targets(frame, infer_schema(frame, "y"))
    assert (kept["x"].to_list(), dropped) == ([1, 4], 2)
    frame = pl.DataFrame({"x": [1, 2, 3, 4], "y": [1.5, float("inf"), -1e300, 2.0]})
    kept, dropped = drop_null_targets(frame, infer_schema(frame, "y", task="regression"))
    assert (kept["x"].to_list(), dropped) == ([1, 4], 2)
    words = pl.DataFrame({"x": [1, 2, 3, 4], "y": ["a", " ", None, "b"]})
    kept, dropped = drop_null_targets(words, infer_schema(words, "y", task="multiclass"))
    assert dropped == 2
