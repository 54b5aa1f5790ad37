from __future__ import annotations

import math

import numpy as np
import polars as pl
import pytest
from sklearn.preprocessing import QuantileTransformer, StandardScaler

from mlpipe.features.base import ColumnTransformer
from mlpipe.features.numeric import Identity, MissingIndicator, QuantileNormal, RobustClip, Standardise

SCALERS = [Standardise(), RobustClip(), QuantileNormal(), QuantileNormal(noise=0.0), Identity()]
UNREADABLE = [None, math.nan, math.inf, -math.inf, 1e300]


@pytest.fixture
def rng() -> np.random.Generator:
    return np.random.default_rng(0)


def column(values: object) -> pl.DataFrame:
    return pl.DataFrame({"x": values})


def test_standardise_equals_scikit_learn(rng: np.random.Generator) -> None:
    values = rng.normal(3, 20, size=(500, 2))
    np.testing.assert_allclose(
        Standardise().fit_transform(values), StandardScaler().fit_transform(values), rtol=1e-12, atol=1e-12
    )


def test_standardise_keeps_what_differs_between_large_numbers() -> None:
    values = np.array([1e15 + 1, 1e15 + 2, 1e15 + 3])
    scaled = Standardise().fit_transform(values[:, None])[:, 0]
    np.testing.assert_allclose(scaled, [-math.sqrt(1.5), 0, math.sqrt(1.5)], rtol=1e-12)


def test_robust_clip_follows_its_formula(rng: np.random.Generator) -> None:
    values = rng.standard_t(2, size=1000)
    low, median, high = np.quantile(values, [0.25, 0.5, 0.75])
    score = (values - median) / (high - low)
    expected = score / np.sqrt(1 + (score / 3) ** 2)
    np.testing.assert_allclose(RobustClip().fit_transform(values[:, None])[:, 0], expected, rtol=1e-12)


def test_robust_clip_takes_half_the_range_where_the_quartiles_are_equal() -> None:
    scaled = RobustClip().fit(column([0.0] * 9 + [8.0])).transform(column([4.0]))["x"]
    assert scaled[0] == pytest.approx(1 / math.sqrt(1 + 1 / 9))


@pytest.mark.parametrize("name", ["normal", "exponential", "mixture"])
def test_quantile_normal_equals_scikit_learn(name: str, rng: np.random.Generator) -> None:
    values = {
        "normal": rng.normal(size=30_000),
        "exponential": rng.exponential(size=30_000),
        "mixture": np.concatenate([rng.normal(-5, 0.1, 15_000), rng.normal(5, 1, 15_000)]),
    }[name][:, None]
    reference = QuantileTransformer(n_quantiles=1000, output_distribution="normal", subsample=None)
    expected = reference.fit_transform(values)
    made = QuantileNormal(noise=0.0).fit_transform(values)
    # Between knots one is linear in the rank, the other in its normal quantile.
    np.testing.assert_allclose(made, expected, atol=5e-3)
    np.testing.assert_allclose(made.mean(), expected.mean(), atol=1e-4)


def test_quantile_normal_equals_scikit_learn_on_ties_inside(rng: np.random.Generator) -> None:
    values = rng.integers(0, 9, size=(9_000, 1)).astype(float)
    reference = QuantileTransformer(n_quantiles=300, output_distribution="normal", subsample=None)
    expected = reference.fit_transform(values)
    inside = (values > 0) & (values < 8)
    made = QuantileNormal(noise=0.0).fit_transform(values)
    np.testing.assert_allclose(made[inside], expected[inside], atol=1e-6)


def test_a_value_that_fills_many_quantiles_lands_in_their_middle() -> None:
    values = [0.0] * 9_000 + list(np.linspace(1, 2, 1_000))
    for noise in (0.0, 1e-5):
        scaled = QuantileNormal(noise=noise).fit(column(values)).transform(column([0.0, 0.5, 1.5]))["x"].to_list()
        # The zeros are ranks 0 to 0.9, so that 0.45 is their middle; what lies just above has rank 0.9.
        assert scaled[0] == pytest.approx(-0.1257, abs=0.05)
        assert scaled[1] == pytest.approx(1.28, abs=0.02)
        assert scaled[2] == pytest.approx(1.645, abs=0.02)


def test_quantile_normal_sends_values_out_of_range_to_the_ends() -> None:
    scaler = QuantileNormal().fit(column(np.linspace(0, 1, 100)))
    scaled = scaler.transform(column([-1e99, -5.0, 5.0, 1e99]))["x"].to_list()
    assert scaled == pytest.approx([-5.199, -5.199, 5.199, 5.199], abs=1e-3)


def test_quantile_normal_is_monotonic(rng: np.random.Generator) -> None:
    train = np.concatenate([np.zeros(500), rng.exponential(size=300), rng.integers(0, 4, 200)])
    for noise in (0.0, 1e-5):
        grid = np.sort(np.concatenate([train, np.linspace(-1, 9, 2_000)]))
        scaled = QuantileNormal(noise=noise).fit(column(train)).transform(column(grid))["x"].to_numpy()
        assert (np.diff(scaled) >= 0).all()


def test_quantile_normal_samples_large_columns_the_same_way_each_time(rng: np.random.Generator) -> None:
    values = rng.normal(size=20_000)
    small, again, whole = (QuantileNormal(sample=size).fit(column(values)) for size in (5_000, 5_000, 20_000))
    assert small.columns_ == again.columns_ != whole.columns_
    grid = column(np.linspace(-2, 2, 50))
    np.testing.assert_allclose(small.transform(grid)["x"], whole.transform(grid)["x"], atol=0.1)


def test_noise_does_not_depend_on_the_other_columns() -> None:
    alone = QuantileNormal(noise=0.1).fit(pl.DataFrame({"x": range(100)}))
    beside = QuantileNormal(noise=0.1).fit(pl.DataFrame({"w": range(100), "x": range(100)}))
    assert alone.columns_["x"] == beside.columns_["x"] != beside.columns_["w"]


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_what_is_no_number_is_left_out_of_the_fit_and_null_after(scaler: ColumnTransformer) -> None:
    clean = [1.0, 2.0, 4.0, 8.0]
    dirty = scaler.fit(column([*clean, *UNREADABLE])).columns_
    assert dirty == scaler.fit(column(clean)).columns_
    made = scaler.transform(column([1.0, *UNREADABLE]))["x"].to_list()
    assert made[0] is not None
    assert made[1:] == [None] * 5


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_constant_and_all_null_columns_keep_their_place(scaler: ColumnTransformer) -> None:
    train = pl.DataFrame({"constant": [7.0] * 3, "null": pl.Series([None] * 3, dtype=pl.Float64), "x": [1.0, 2.0, 3.0]})
    made = scaler.fit(train).transform(train)
    assert made.columns == ["constant", "null", "x"]
    assert made["null"].to_list() == [None] * 3
    if not isinstance(scaler, Identity):
        assert made["constant"].to_list() == [0.0] * 3
    later = scaler.transform(pl.DataFrame({"constant": [7.5], "null": [1.0], "x": [1.0]}))
    assert later["null"].to_list() == [0.0]
    assert abs(later["constant"][0]) <= 7.5


@pytest.mark.parametrize("scaler", SCALERS[:4], ids=str)
@pytest.mark.parametrize("dtype", [pl.Int64, pl.UInt64, pl.String])
def test_huge_integers_do_not_collapse(scaler: ColumnTransformer, dtype: pl.DataType) -> None:
    values = pl.Series("x", [2**60 + step for step in range(100)]).cast(dtype).to_frame()
    made = scaler.fit(values).transform(values)["x"]
    assert made.n_unique() == 100
    np.testing.assert_allclose(made, scaler.fit(column(range(100))).transform(column(range(100)))["x"], atol=1e-3)


def test_huge_integers_may_come_as_text_or_float_later() -> None:
    scaler = Standardise().fit(column([2**60, 2**60 + 2]))
    assert scaler.transform(column([str(2**60 + 1)]))["x"].to_list() == [0.0]
    assert scaler.transform(column([float(2**60), math.nan]))["x"].to_list() == [-1.0, None]


@pytest.mark.parametrize("dtype", [pl.Int8, pl.UInt16, pl.Int64, pl.Float32, pl.Decimal(10, 2), pl.String, pl.Boolean])
def test_a_number_is_the_same_in_every_type(dtype: pl.DataType) -> None:
    scaler = Standardise().fit(column([0.0, 1.0, 1.0]))
    assert scaler.transform(column(pl.Series([0, 1]).cast(dtype))).equals(scaler.transform(column([0.0, 1.0])))


def test_numbers_at_the_end_of_float64_stay_finite() -> None:
    values = column([-1e100, 0.0, 5e-324, 1.0, 1e100])
    for scaler in SCALERS:
        made = scaler.fit(values).transform(values)["x"]
        assert made.cast(pl.Float32).is_finite().all()


def test_missing_indicator_flags_what_is_no_number() -> None:
    frame = pl.DataFrame({"x": ["1", "abc", None, " 2 ", "nan"]})
    assert MissingIndicator().fit_transform(frame)["x"].to_list() == [0, 1, 1, 0, 1]


@pytest.mark.parametrize("scaler", SCALERS, ids=str)
def test_one_row_at_a_time_gives_the_same_bits(scaler: ColumnTransformer, rng: np.random.Generator) -> None:
    frame = column(rng.normal(1, 7, size=1_500))
    together = scaler.fit(frame).transform(frame)["x"]
    alone = pl.concat([scaler.transform(frame[index])["x"] for index in range(frame.height)])
    assert together.to_numpy().tobytes() == alone.to_numpy().tobytes()
