"""One test for each case in which the libraries around differ; what this one does with it."""

from __future__ import annotations

import logging
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any
from zoneinfo import ZoneInfo

import numpy as np
import polars as pl
import pytest

from mlpipe.arrays import Arrays
from mlpipe.errors import DataError
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.schema import NULL_ID, UNSEEN_ID, Column, Kind, Role, Schema, Task, TaskKind


def fit(kind: Kind, values: Any, config: FeaturesConfig | None = None, **column: Any) -> Preprocessor:
    series = pl.Series("x", values, strict=False)
    schema = Schema(
        (Column("x", kind, dtype=str(series.dtype), **column), Column("y", Kind.NUMERIC, Role.TARGET)),
        Task(TaskKind.REGRESSION, ("y",)),
    )
    frame = pl.DataFrame({"x": series, "y": np.arange(len(series), dtype=np.float64)})
    return Preprocessor(schema, config).fit(frame)


def transform(preprocessor: Preprocessor, values: Any) -> Arrays:
    return preprocessor.transform(pl.DataFrame({"x": values}))


STANDARD = FeaturesConfig(numeric="standard")


def test_unseen_category() -> None:
    assert transform(fit(Kind.CATEGORICAL, ["a", "b"]), ["a", "c"]).categorical[:, 0].tolist() == [3, UNSEEN_ID]


def test_null_category() -> None:
    preprocessor = fit(Kind.CATEGORICAL, ["a", None])
    assert transform(preprocessor, ["a", None]).categorical[:, 0].tolist() == [3, NULL_ID]
    assert preprocessor.input_spec_.categorical[0].cardinality == 4


def test_enum_keeps_its_order() -> None:
    sizes = pl.Enum(["small", "medium", "large"])
    preprocessor = fit(Kind.CATEGORICAL, pl.Series(["large", "medium", "small"], dtype=sizes))
    assert transform(preprocessor, ["small", "medium", "large"]).categorical[:, 0].tolist() == [3, 4, 5]
    declared = fit(Kind.CATEGORICAL, ["large", "medium", "small"], categories=("small", "medium", "large"))
    assert transform(declared, ["small", "medium", "large"]).categorical[:, 0].tolist() == [3, 4, 5]


@pytest.mark.parametrize("numeric", ["quantile", "robust", "standard"])
@pytest.mark.parametrize(("value", "sentence"), [(3.5, "is constant"), (None, "has no value")])
def test_constant_and_all_null(
    numeric: Any, value: float | None, sentence: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        preprocessor = fit(Kind.NUMERIC, pl.Series([value] * 5, dtype=pl.Float64), FeaturesConfig(numeric=numeric))
    assert f"Column 'x' {sentence} in the training rows" in caplog.text
    arrays = transform(preprocessor, pl.Series([value, None], dtype=pl.Float64))
    assert arrays.numeric[:, 0].tolist() == [0.0, 0.0]
    assert arrays.missing[:, 0].tolist() == [value is None, True]
    assert preprocessor.input_spec_.numeric[0].bins == ()


def test_huge_integers() -> None:
    values = [2**62 + step for step in range(50)]
    arrays = transform(fit(Kind.NUMERIC, values), values)
    assert len(np.unique(arrays.numeric)) == 50
    assert (np.diff(arrays.numeric[:, 0]) > 0).all()


def test_decimal() -> None:
    decimals = [Decimal("0.1"), Decimal("0.3"), None]
    made, expected = transform(fit(Kind.NUMERIC, decimals, STANDARD), decimals), [-1.0, 1.0, 0.0]
    assert made.numeric[:, 0].tolist() == pytest.approx(expected)


def test_duration_is_seconds() -> None:
    preprocessor = fit(Kind.DURATION, [timedelta(seconds=10), timedelta(seconds=20), None], STANDARD)
    arrays = transform(preprocessor, [timedelta(seconds=10), timedelta(seconds=20), None])
    assert arrays.numeric[:, 0].tolist() == pytest.approx([-1, 1, 0])
    assert transform(preprocessor, [10, 20, None]).numeric.tolist() == arrays.numeric.tolist()
    assert transform(preprocessor, ["10", "0:20", None]).numeric.tolist() == arrays.numeric.tolist()


def test_boolean_with_null() -> None:
    preprocessor = fit(Kind.BOOLEAN, [True, False, None])
    assert transform(preprocessor, [None, False, True]).categorical[:, 0].tolist() == [NULL_ID, 3, 4]
    assert preprocessor.input_spec_.categorical[0].cardinality == 5


def test_date() -> None:
    days = [date(2024, 1, 1), date(2024, 1, 3)]
    preprocessor = fit(Kind.DATE, days)
    assert [feature.name for feature in preprocessor.input_spec_.numeric] == ["x.elapsed", "x.day_of_year"]
    assert transform(preprocessor, days).numeric.tolist() == [[-1, -1], [1, 1]]
    assert transform(preprocessor, ["2024-01-01", "2024-01-03"]).numeric.tolist() == [[-1, -1], [1, 1]]


def test_datetime_with_a_zone() -> None:
    berlin = ZoneInfo("Europe/Berlin")
    # 01:59 and 03:00, summer time, are one minute apart.
    times = [datetime(2024, 3, 31, 1, 59, tzinfo=berlin), datetime(2024, 3, 31, 3, 0, tzinfo=berlin)]
    preprocessor = fit(Kind.DATETIME, times, FeaturesConfig(datetime_parts=["hour"]), time_zone="Europe/Berlin")
    (transformer,) = preprocessor.transformers_["x"]
    state = transformer.columns_["x"]
    assert state["categories"]["hour"] == [1, 3]
    assert state["numbers"]["elapsed"] == [30e6, 30e6]
    in_utc = [time.astimezone(ZoneInfo("UTC")) for time in times]
    for same in (in_utc, ["2024-03-31T00:59:00Z", "2024-03-31 03:00:00"]):
        assert transform(preprocessor, same).numeric.tolist() == [[-1], [1]]
        assert transform(preprocessor, same).categorical.tolist() == [[3], [4]]


def test_text() -> None:
    preprocessor = fit(Kind.TEXT, ["some words", "others", None], FeaturesConfig(text_features=4))
    arrays = transform(preprocessor, ["some words", None])
    assert {feature.group for feature in preprocessor.input_spec_.numeric} == {"x"}
    assert np.linalg.norm(arrays.numeric[0]) == pytest.approx(1)
    assert arrays.missing.tolist() == [[False] * 4, [True] * 4]


@pytest.mark.parametrize("values", [[[1, 2], [3]], [{"a": 1}, {"a": 2}]])
def test_lists_and_structs_are_refused(values: Any) -> None:
    with pytest.raises(DataError, match=r"Column 'x' holds .* which cannot be a feature; unnest or ignore it"):
        fit(Kind.NUMERIC, values)


def test_infinite_and_nan_are_missing_and_out_of_the_fit() -> None:
    preprocessor = fit(Kind.NUMERIC, [1.0, 3.0, np.nan, np.inf, -np.inf], STANDARD)
    arrays = transform(preprocessor, [1.0, 3.0, np.nan, np.inf, -np.inf, None])
    assert arrays.numeric[:, 0].tolist() == [-1, 1, 0, 0, 0, 0]
    assert arrays.missing[:, 0].tolist() == [False, False, True, True, True, True]
