"""Samples of public tables, whose files have no header, numbers as names, blanks before fields, nameless columns…"""

from __future__ import annotations

import zipfile
from pathlib import Path

import polars as pl
import pytest

from mlpipe.data.infer import infer_schema
from mlpipe.data.read import detect_options, scan
from mlpipe.schema import Kind, Role, Schema, TaskKind

TABLES = Path(__file__).parents[2] / "data" / "tables"


def read(name: str, target: str) -> tuple[pl.DataFrame, Schema]:
    frame = scan(TABLES / name).collect()
    return frame, infer_schema(frame, target, source=name)


@pytest.mark.parametrize(
    ("name", "shape", "header"),
    [
        ("adult.data", (80, 15), False),
        ("adult.test", (40, 15), False),
        ("letter-recognition.data", (100, 17), True),
        ("kddcup.data.gz", (100, 42), False),
        ("kc_house_data.csv", (140, 21), True),
        ("Telco-Customer-Churn.csv", (62, 21), True),
        ("occupancy.txt", (39, 8), True),
    ],
)
def test_shape_and_header(name: str, shape: tuple[int, int], header: bool) -> None:
    options = detect_options(TABLES / name)
    assert (options.header, options.separator) == (header, ",")
    assert scan(TABLES / name, options).collect().shape == shape


def test_adult() -> None:
    frame, schema = read("adult.data", "last")
    assert frame.row(0)[:4] == (39, "State-gov", 77516, "Bachelors")
    assert frame["column_7"].null_count() > 0
    assert (schema.task.kind, schema.task.classes) == (TaskKind.BINARY, ("<=50K", ">50K"))
    assert schema["column_3"].kind is Kind.NUMERIC  # a weight that hardly repeats is no identifier
    later = scan(TABLES / "adult.test", detect_options(TABLES / "adult.data")).collect()
    assert later.schema == frame.schema
    assert set(later["column_15"]) == {"<=50K.", ">50K."}


def test_letter() -> None:
    frame, schema = read("letter-recognition.data", "first")
    assert frame.columns == ["Letter", *map(str, range(1, 17))]
    assert schema.task.kind is TaskKind.MULTICLASS
    assert all(column.kind is Kind.NUMERIC for column in schema.features)


def test_kddcup() -> None:
    frame, schema = read("kddcup.data.gz", "last")
    assert frame.row(0)[:4] == (0, "tcp", "http", "SF")
    assert schema.task.kind is TaskKind.MULTICLASS
    assert "normal." in schema.task.classes


def test_king_county() -> None:
    frame, schema = read("kc_house_data.csv", "price")
    assert frame["zipcode"].dtype == pl.String  # in quotes, where other numbers are not
    kinds = {name: schema[name].kind for name in ("id", "date", "floors", "zipcode", "sqft_lot")}
    assert kinds == {
        "id": Kind.IDENTIFIER,
        "date": Kind.DATETIME,
        "floors": Kind.NUMERIC,
        "zipcode": Kind.CATEGORICAL,
        "sqft_lot": Kind.NUMERIC,
    }
    assert schema["date"].format == "%Y%m%dT%H%M%S"
    assert schema.task.kind is TaskKind.REGRESSION


def test_telco() -> None:
    frame, schema = read("Telco-Customer-Churn.csv", "Churn")
    assert frame["TotalCharges"].dtype == pl.Float64
    assert frame["TotalCharges"].null_count() == 3
    assert schema["customerID"].role is Role.IDENTIFIER
    assert schema.task.classes == ("No", "Yes")


def test_occupancy() -> None:
    frame, schema = read("occupancy.txt", "Temperature")
    assert frame.columns[:2] == ["column_1", "date"]  # the header has one name fewer than the rows have fields
    assert schema["date"].kind is Kind.DATETIME
    assert schema["column_1"].role is Role.IDENTIFIER


def test_a_member_of_an_archive(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "all.zip", "w") as archive:
        for path in sorted(TABLES.glob("adult.*")):
            archive.write(path, path.name)
    member = f"{tmp_path / 'all.zip'}::adult.data"
    assert scan(member).collect().equals(scan(TABLES / "adult.data").collect())
