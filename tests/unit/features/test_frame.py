# ruff: noqa: DTZ001  # naive times are what is tested
from __future__ import annotations

import json
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from polars.testing import assert_frame_equal

from mlpipe.errors import InputError
from mlpipe.features.frame import as_frame, count_unreadable, from_pandas
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

SCHEMA = Schema(
    (
        Column("id", Kind.IDENTIFIER, Role.IDENTIFIER, "Int64"),
        Column("age", Kind.NUMERIC, dtype="Int64"),
        Column("job", Kind.CATEGORICAL, dtype="String"),
        Column("member", Kind.BOOLEAN, dtype="Boolean"),
        Column("since", Kind.DATETIME, dtype="String"),
        Column("stay", Kind.DURATION, dtype="Duration"),
        Column("note", Kind.TEXT, dtype="String"),
        Column("pay", Kind.NUMERIC, Role.TARGET, "Float64"),
    ),
    Task(TaskKind.REGRESSION, ("pay",)),
)
ROW: dict[str, Any] = {
    "id": 7, "age": 31, "job": "clerk", "member": True, "since": "2024-01-31T10:00:00", "stay": 90.5, "note": "late",
    "pay": 10.0,
}  # fmt: skip
TRAIN = pl.DataFrame(
    [
        ROW,
        {**ROW, "age": 20, "job": "3", "member": False, "since": "2024-02-01T11:00:00", "stay": 5.0, "pay": 20.0},
        {**ROW, "age": None, "job": None, "member": None, "since": None, "stay": None, "note": None},
    ]
)


@pytest.fixture(scope="module")
def preprocessor() -> Preprocessor:
    return Preprocessor(SCHEMA).fit(TRAIN)


def arrays(preprocessor: Preprocessor, rows: Any) -> tuple[Any, ...]:
    made = preprocessor.transform(as_frame(rows, SCHEMA))
    return made.numeric.tolist(), made.missing.tolist(), made.categorical.tolist()


@pytest.mark.parametrize(
    "changes",
    [
        {"age": 31.0},
        {"age": " 31 "},
        {"age": "31.0"},
        {"age": Decimal(31)},
        {"age": np.int32(31)},
        {"job": " clerk "},
        {"member": "TRUE"},
        {"member": 1},
        {"member": "yes"},
        {"since": "2024-01-31 10:00"},
        {"since": datetime(2024, 1, 31, 10)},
        {"since": "2024-01-31T12:00:00+02:00"},
        {"stay": "1:30.5"},
        {"stay": "90.5"},
        {"stay": timedelta(seconds=90.5)},
        {"note": " late"},
        {"id": None, "pay": None, "extra": [1]},
    ],
    ids=str,
)
def test_a_row_is_the_same_however_it_is_written(preprocessor: Preprocessor, changes: dict[str, Any]) -> None:
    assert arrays(preprocessor, {**ROW, **changes}) == arrays(preprocessor, ROW)


@pytest.mark.parametrize("value", [3, 3.0, "3", "3.0", Decimal("3.0"), np.float32(3)])
def test_a_category_that_is_a_number_is_one_in_every_type(preprocessor: Preprocessor, value: object) -> None:
    made = as_frame({**ROW, "job": value}, SCHEMA)
    assert preprocessor.transform(made).categorical[0, 0] == 3


@pytest.mark.parametrize("name", ["age", "job", "member", "since", "stay", "note"])
@pytest.mark.parametrize("blank", ["", "  "])
def test_blank_text_is_null(preprocessor: Preprocessor, name: str, blank: str) -> None:
    assert arrays(preprocessor, {**ROW, name: blank}) == arrays(preprocessor, {**ROW, name: None})


def test_csv_parquet_pandas_and_json_give_the_same_arrays(
    preprocessor: Preprocessor, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rows")
    TRAIN.write_csv(folder / "rows.csv")
    TRAIN.write_parquet(folder / "rows.parquet")
    expected = arrays(preprocessor, TRAIN)
    assert arrays(preprocessor, pl.scan_csv(folder / "rows.csv")) == expected
    assert arrays(preprocessor, pl.read_parquet(folder / "rows.parquet")) == expected
    assert arrays(preprocessor, pd.read_csv(folder / "rows.csv")) == expected
    assert arrays(preprocessor, TRAIN.to_pandas()) == expected
    assert arrays(preprocessor, json.loads(json.dumps(TRAIN.to_dicts()))) == expected


@pytest.mark.parametrize(
    ("name", "value", "expected"),
    [
        ("age", "abc", "a number, got 'abc'"),
        ("age", "1_000", "a number, got '1_000'"),
        ("age", True, "a number, got True"),
        ("age", [1], "a number, got [1]"),
        ("job", {"a": 1}, "a category (text, a number, true or false), got {'a': 1}"),
        ("member", "maybe", "true or false, got 'maybe'"),
        ("member", 2, "true or false, got 2"),
        ("since", "31.1.2024", "a date and time such as '2024-01-31T12:00:00', got '31.1.2024'"),
        ("since", 1706695200, "a date and time such as '2024-01-31T12:00:00', got 1706695200"),
        ("stay", "long", "a number of seconds or a duration such as '1:30:00', got 'long'"),
        ("note", ["a"], "text, got ['a']"),
    ],
)
def test_a_wrong_value_is_named_with_its_field_and_row(name: str, value: object, expected: str) -> None:
    with pytest.raises(InputError) as caught:
        as_frame([ROW, ROW, {**ROW, name: value}], SCHEMA)
    assert str(caught.value) == f"row 2, field {name!r}: expected {expected}"
    assert (caught.value.field, caught.value.row) == (name, 2)


def test_a_missing_field_is_named_with_what_is_like_it() -> None:
    row = {("jbo" if name == "job" else name): value for name, value in ROW.items()}
    with pytest.raises(InputError, match=r"^row 1, field 'job': missing\. Did you mean 'jbo'\?$") as caught:
        as_frame([ROW, row], SCHEMA)
    assert (caught.value.field, caught.value.row) == ("job", 1)


@pytest.mark.parametrize("frame", [TRAIN.rename({"job": "jbo"}), TRAIN.rename({"job": "jbo"}).to_pandas()], ids=type)
def test_a_missing_column_is_named_with_what_is_like_it(frame: Any) -> None:
    with pytest.raises(InputError, match=r"^There is no column 'job' in the table\. Did you mean 'jbo'\?$"):
        as_frame(frame, SCHEMA)


@pytest.mark.parametrize("rows", [[1], "abc", 5, [[ROW]], [ROW, None]])
def test_rows_that_are_no_objects_are_refused(rows: Any) -> None:
    with pytest.raises(InputError, match=r"[Ee]xpected"):
        as_frame(rows, SCHEMA)


def test_which_columns_come_out() -> None:
    features = ["age", "job", "member", "since", "stay", "note"]
    assert as_frame(ROW, SCHEMA).columns == [*features, "id"]
    assert as_frame(TRAIN, SCHEMA).columns == [*features, "id"]
    assert as_frame(ROW, SCHEMA, target=True).columns == [*features, "pay", "id"]
    assert as_frame([{k: v for k, v in ROW.items() if k != "id"}], SCHEMA).columns == features
    with pytest.raises(InputError, match="'pay': missing"):
        as_frame({k: v for k, v in ROW.items() if k != "pay"}, SCHEMA, target=True)


def test_identifiers_of_several_types_become_text() -> None:
    assert as_frame([ROW, {**ROW, "id": "x"}, {**ROW, "id": None}], SCHEMA)["id"].to_list() == ["7", "x", None]


def test_no_rows() -> None:
    assert as_frame([], SCHEMA).height == 0


def test_huge_integers_are_exact_beside_fractions() -> None:
    schema = Schema((Column("n", Kind.NUMERIC, dtype="Int64"),), Task(TaskKind.REGRESSION, ("y",)))
    train = pl.DataFrame({"n": [2**60, 2**60 + 2], "y": [0.0, 1.0]})
    preprocessor = Preprocessor(Schema((*schema.columns, Column("y", Kind.NUMERIC, Role.TARGET)), schema.task)).fit(
        train
    )
    values: list[Any] = [2**60 + 1, 0.5, 2**200, -(10**400), None]
    together = preprocessor.transform(as_frame([{"n": value} for value in values], schema))
    alone = [preprocessor.transform(as_frame({"n": value}, schema)) for value in values]
    assert together.numeric[:, 0].tolist() == [made.numeric[0, 0] for made in alone]
    assert together.numeric[:, 0].tolist() == pytest.approx([0, -5.2, 5.2, 0, 0], abs=0.01)
    assert together.missing[:, 0].tolist() == [False, False, False, True, True]


@pytest.mark.parametrize("name", ["age", "stay"])
def test_text_of_more_digits_than_python_reads_is_beyond_every_range(preprocessor: Preprocessor, name: str) -> None:
    assert arrays(preprocessor, {**ROW, name: "1" * 5_000}) == arrays(preprocessor, {**ROW, name: 10**400})
    assert arrays(preprocessor, {**ROW, name: "0" * 5_000 + "31"}) == arrays(preprocessor, {**ROW, name: 31})


@pytest.mark.parametrize("value", ["inf", float("nan"), float("-inf")])
def test_what_is_not_finite_is_null_beside_huge_integers(value: object) -> None:
    schema = Schema((Column("n", Kind.NUMERIC, dtype="Int64"),), Task(TaskKind.REGRESSION, ("pay",)))
    frame = as_frame([{"n": value}, {"n": 2**53 + 1}], schema)
    assert frame["n"].to_list() == [None, "9007199254740993"]


def test_dates_are_dates_or_text() -> None:
    schema = Schema((Column("day", Kind.DATE, format="%d.%m.%Y"),), Task(TaskKind.REGRESSION, ("y",)))
    assert as_frame({"day": date(2024, 1, 31)}, schema)["day"].to_list() == ["2024-01-31"]
    assert as_frame({"day": "31.1.2024"}, schema)["day"].to_list() == ["31.1.2024"]


def test_unreadable_values_of_a_file_are_counted() -> None:
    frame = TRAIN.with_columns(
        age=pl.Series(["1", "many", "few"]),
        since=pl.Series(["2024-01-01", "soon", None]),
        stay=pl.Series(["1:00", "x", ""]),
    )
    assert count_unreadable(frame, SCHEMA) == {"age": 2, "since": 1, "stay": 1}
    assert count_unreadable(TRAIN, SCHEMA) == {}


def test_pandas_columns_that_are_numbers_are_called_as_their_text_is() -> None:
    columns = (Column("0", Kind.NUMERIC), Column("1", Kind.CATEGORICAL))
    schema = Schema(columns, Task(TaskKind.REGRESSION, ("pay",)))
    table = pd.DataFrame({1: ["a", "b"], 0: [1.5, 2.5], "2": [0, 0]})
    assert as_frame(table, schema).to_dict(as_series=False) == {"0": [1.5, 2.5], "1": ["a", "b"]}
    assert list(table.columns) == [1, 0, "2"]
    twice = pd.DataFrame([[1.5, "a", 2.5]], columns=[0, 1, "0"])
    with pytest.raises(InputError, match="There are 2 columns '0' in the table"):
        as_frame(twice, schema)


def test_a_column_that_is_there_twice_is_refused() -> None:
    frame = TRAIN.to_pandas()
    with pytest.raises(InputError, match="There are 2 columns 'job' in the table") as caught:
        as_frame(pd.concat([frame, frame[["job"]]], axis=1), SCHEMA)
    assert caught.value.field == "job"
    as_frame(pd.concat([frame, frame[["pay"]]], axis=1), SCHEMA)  # no feature


mixed = st.none() | st.integers(-(2**70), 2**70) | st.floats(-1e9, 1e9) | st.text("abc", min_size=1) | st.booleans()


@given(values=st.lists(mixed, max_size=8))
def test_pandas_columns_of_several_types_hold_what_the_lists_do(values: list[Any]) -> None:
    table = pd.DataFrame({"v": pd.Series(values, dtype=object), "n": range(len(values))})
    made = from_pandas(table)
    assert made["v"].is_null().to_list() == [value is None for value in values]
    assert made["n"].to_list() == list(range(len(values)))
    if any(isinstance(value, str) for value in values):
        texts = ["true" if value is True else "false" if value is False else value for value in values]
        assert [
            text if isinstance(value, str | bool | None) else type(value)(text)
            for text, value in zip(made["v"], values, strict=True)
        ] == texts


@pytest.mark.parametrize("column", [pd.Categorical([1, "a", None]), pd.arrays.SparseArray([0, 1, 0])], ids=type)
def test_what_pyarrow_has_no_type_for_is_read_value_by_value(column: Any) -> None:
    values = pd.Series(column).astype(object)
    expected = pl.Series("v", values.where(values.notna(), None).tolist(), strict=False)
    assert_frame_equal(from_pandas(pd.DataFrame({"v": column})), expected.to_frame())


@pytest.mark.parametrize(
    ("values", "types"),
    [([2**200, 1, None], "int"), ([datetime(2024, 1, 1), date(2024, 1, 1), "x"], "date, datetime, str")],
)
def test_a_pandas_column_of_no_type_is_named(values: list[object], types: str) -> None:
    frame = TRAIN.to_pandas().assign(job=pd.Series(values, dtype=object))
    with pytest.raises(
        InputError, match=rf"^Column 'job' holds values for which there is no one type \({types}\)"
    ) as caught:
        as_frame(frame, SCHEMA)
    assert caught.value.field == "job"


def test_sizes_as_numbers_and_words_are_predicted_as_their_text_is(preprocessor: Preprocessor) -> None:
    frame = TRAIN.to_pandas()
    assert arrays(preprocessor, frame.assign(job=pd.Series(["clerk", 3, None], dtype=object))) == arrays(
        preprocessor, TRAIN
    )
