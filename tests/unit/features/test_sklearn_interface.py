"""The transformers as scikit-learn sees them."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from polars.testing import assert_frame_equal
from sklearn.base import clone
from sklearn.compose import make_column_transformer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.utils.estimator_checks import parametrize_with_checks

from mlpipe.errors import DataError
from mlpipe.features.base import ColumnTransformer
from mlpipe.features.categorical import CategoryEncoder, HashEncoder
from mlpipe.features.choice import read_transformer, write_transformer
from mlpipe.features.datetimes import DatetimeParts
from mlpipe.features.numeric import Identity, MissingIndicator, QuantileNormal, RobustClip, Standardise
from mlpipe.features.target_mean import TargetMean
from mlpipe.features.text import HashedNgrams

#: All that read numbers; `DatetimeParts` reads none.
TRANSFORMERS: list[ColumnTransformer] = [
    Standardise(),
    RobustClip(),
    QuantileNormal(),
    Identity(),
    MissingIndicator(),
    CategoryEncoder(),
    HashEncoder(buckets=16),
    HashedNgrams(width=4),
    TargetMean(),
]
FRAME = pl.DataFrame({"a": [1.0, 2.0, None, 4.0], "b": [3, 1, 2, 3]})
TARGET = np.array([0.0, 1.0, 1.0, 0.0])


def expected_failures(transformer: ColumnTransformer) -> dict[str, str]:
    if not isinstance(transformer, TargetMean):
        return {}
    reason = "fit_transform gives the out-of-fold values, as scikit-learn's own TargetEncoder does"
    return {"check_transformer_general": reason, "check_transformer_data_not_an_array": reason}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.SkipTestWarning")
@parametrize_with_checks(TRANSFORMERS, expected_failed_checks=expected_failures, xfail_strict=False)
def test_check_estimator(estimator: Any, check: Any) -> None:
    check(estimator)


# The noise is seeded by the column's name, which an ndarray does not have.
@pytest.mark.parametrize(
    "transformer", [QuantileNormal(noise=0.0), *TRANSFORMERS[3:], *TRANSFORMERS[:2]], ids=lambda t: type(t).__name__
)
class TestContainers:
    def test_lazy_in_lazy_out(self, transformer: ColumnTransformer) -> None:
        eager = clone(transformer).fit(FRAME, TARGET)
        lazy = clone(transformer).fit(FRAME.lazy(), TARGET)
        assert lazy.columns_ == eager.columns_
        made = lazy.transform(FRAME.lazy())
        assert isinstance(made, pl.LazyFrame)
        assert_frame_equal(made.collect(engine="streaming"), eager.transform(FRAME), check_exact=True)

    def test_names_and_widths(self, transformer: ColumnTransformer) -> None:
        fitted = clone(transformer).fit(FRAME, TARGET)
        assert fitted.feature_names_in_.tolist() == ["a", "b"]
        assert fitted.n_features_in_ == 2
        made = fitted.transform(FRAME)
        assert made.columns == fitted.get_feature_names_out().tolist()
        assert [len(fitted.cardinalities(name)) for name in ("a", "b")] == [made.width // 2] * 2

    def test_arrays_and_pandas_give_arrays(self, transformer: ColumnTransformer) -> None:
        expected = clone(transformer).fit(FRAME, TARGET).transform(FRAME)
        expected = expected.cast(pl.Float64).fill_null(float("nan")).to_numpy()
        from_array = clone(transformer).fit(FRAME.to_numpy(), TARGET).transform(FRAME.to_numpy())
        np.testing.assert_array_equal(from_array, expected)
        from_pandas = clone(transformer).fit(FRAME.to_pandas(), TARGET).transform(FRAME.to_pandas())
        np.testing.assert_array_equal(from_pandas, expected)

    @pytest.mark.parametrize("source", [FRAME, FRAME.lazy(), FRAME.to_pandas(), FRAME.to_numpy()], ids=type)
    def test_set_output(self, transformer: ColumnTransformer, source: Any) -> None:
        fitted = clone(transformer).set_output(transform="pandas").fit(source, TARGET)
        made = fitted.transform(source)
        assert isinstance(made, pd.DataFrame)
        assert made.columns.tolist() == fitted.get_feature_names_out().tolist()
        assert isinstance(fitted.set_output(transform="polars").transform(source), pl.DataFrame)

    def test_columns_in_another_order_are_refused(self, transformer: ColumnTransformer) -> None:
        fitted = clone(transformer).fit(FRAME, TARGET)
        for frame in (FRAME.select("b", "a"), FRAME.lazy().select("b", "a"), FRAME.select("a")):
            with pytest.raises(ValueError, match="feature"):
                fitted.transform(frame)

    def test_the_state_is_json_that_reads_back_bit_for_bit(self, transformer: ColumnTransformer) -> None:
        fitted = clone(transformer).fit(FRAME, TARGET)
        text = json.dumps(write_transformer(fitted))
        again = read_transformer(json.loads(text))
        assert json.dumps(write_transformer(again)) == text
        assert_frame_equal(again.transform(FRAME), fitted.transform(FRAME), check_exact=True)
        assert again.get_feature_names_out().tolist() == fitted.get_feature_names_out().tolist()

    def test_lists_are_refused(self, transformer: ColumnTransformer) -> None:
        with pytest.raises(DataError, match=r"Column 'a' holds List\(Int64\) values.*ignore it"):
            clone(transformer).fit(pl.DataFrame({"a": [[1], [2]]}), [0.0, 1.0])


def test_in_a_pipeline() -> None:
    rng = np.random.default_rng(0)
    frame = pd.DataFrame({"x": rng.normal(size=300), "c": rng.choice(np.array(["u", "v", None]), 300)})
    target = (frame["x"] > 0) & (frame["c"] != "u")
    columns = make_column_transformer(
        (make_pipeline(QuantileNormal(), Standardise()), ["x"]),
        (TargetMean(), ["c"]),
        (MissingIndicator(), ["x"]),
    )
    model = make_pipeline(columns, LogisticRegression()).fit(frame, target)
    assert model.score(frame, target) > 0.8
    assert columns.get_feature_names_out().tolist() == ["pipeline__x", "targetmean__c", "missingindicator__x"]


def test_dates_in_a_pipeline() -> None:
    days = pd.DataFrame({"day": pd.date_range("2024-01-01", periods=60)})
    weekend = days["day"].dt.day_of_week >= 5
    numbers = DatetimeParts(["weekday"]).fit_transform(days)
    assert numbers.shape == (60, 2)
    assert len(np.unique(numbers[weekend, 1])) == 2


def test_target_mean_needs_a_target() -> None:
    with pytest.raises(ValueError, match="requires y"):
        TargetMean().fit(FRAME)
