"""Statistics are the shares that one would count by hand; they do not know the order of the rows, and read back."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpipe.arrays import Arrays
from mlpipe.features.statistics import (
    LONGEST_NAME,
    MOST_BINS,
    MOST_IDS,
    CategoryShares,
    NumberShares,
    Statistics,
    TableStatistics,
)
from mlpipe.schema import CategoricalFeature, InputSpec, NumericFeature

SPEC = InputSpec((NumericFeature("x", "x"),), (CategoricalFeature("c", "c", 60),), 1)

floats = st.one_of(
    st.floats(width=32, allow_nan=False, allow_infinity=False), st.sampled_from([0.0, -0.0, 1.0]), st.none()
)
rows = st.lists(st.tuples(floats, st.integers(1, 59)), min_size=1, max_size=200)


def arrays_of(values: list[float | None], ids: list[int] | None = None) -> Arrays:
    numeric = np.array([[0.0 if value is None else value] for value in values], dtype=np.float32)
    missing = np.array([[value is None] for value in values])
    categorical = np.array(ids or [1] * len(values), dtype=np.int32)[:, None]
    return Arrays(numeric, missing, categorical)


def number_of(values: list[float | None], **options: Any) -> NumberShares:
    return TableStatistics.of(arrays_of(values), SPEC, **options).numeric[0]


@given(rows)
def test_shares_are_what_one_counts_by_hand(drawn: list[tuple[float | None, int]]) -> None:
    values, ids = [value for value, _ in drawn], [id_ for _, id_ in drawn]
    found = TableStatistics.of(arrays_of(values, ids), SPEC)
    number, category = found.numeric[0], found.categorical[0]
    assert found.rows == len(drawn)

    bins = Counter(
        None if value is None else sum(bool(np.float32(value) > edge) for edge in number.edges) for value in values
    )
    assert list(number.shares) == [bins[index] / len(drawn) for index in range(len(number.edges) + 1)]
    assert number.missing == bins[None] / len(drawn)

    counted = Counter(ids)
    top = sorted((id_ for id_ in counted if id_ > 2), key=lambda id_: (-counted[id_], id_))[:MOST_IDS]
    assert list(category.ids) == top
    assert list(category.shares) == [counted[id_] / len(drawn) for id_ in top]
    assert (category.null, category.unseen) == (counted[1] / len(drawn), counted[2] / len(drawn))
    assert sum(category.shares) + category.rest + category.null + category.unseen == pytest.approx(1)


@given(rows, st.randoms(use_true_random=False))
def test_the_order_of_the_rows_does_not_matter(drawn: list[tuple[float | None, int]], random: Any) -> None:
    shuffled = random.sample(drawn, len(drawn))
    first, second = (
        json.dumps(asdict(TableStatistics.of(arrays_of([v for v, _ in some], [i for _, i in some]), SPEC)))
        for some in (drawn, shuffled)
    )
    assert first == second


@given(rows)
def test_they_read_back_bit_for_bit(drawn: list[tuple[float | None, int]]) -> None:
    table = TableStatistics.of(arrays_of([v for v, _ in drawn], [i for _, i in drawn]), SPEC)
    for predictions in (None, table):
        statistics = Statistics(table, {"x": (0.1, 5e-324)}, predictions)
        text = json.dumps(statistics.to_dict(), allow_nan=False)
        assert Statistics.from_dict(json.loads(text)) == statistics


@given(st.lists(st.floats(-1e6, 1e6, width=32), min_size=10, max_size=500, unique=True))
def test_values_that_all_differ_fall_into_ten_bins_of_one_size(values: list[float]) -> None:
    number = number_of(list(values))
    assert len(number.shares) == MOST_BINS
    # A decile may lie between two values.
    assert max(number.shares) - min(number.shares) <= 2 / len(values) + 1e-12


@pytest.mark.parametrize(
    ("values", "edges", "shares"),
    [
        ([-3.0, -2.0, *[0.0] * 92, 1.0, 2.0, 3.0, 4.0, 5.0, 6.0], (-2.0, 0.0), (0.02, 0.92, 0.06)),
        ([*[1.0] * 10, *[2.0] * 90], (1.0,), (0.1, 0.9)),
        ([*[1.0] * 90, *[2.0] * 10], (1.0,), (0.9, 0.1)),
        ([*[0.0] * 50, *[1.0] * 50], (0.0,), (0.5, 0.5)),
    ],
)
def test_a_value_of_many_rows_has_a_bin_of_its_own(
    values: list[float | None], edges: tuple[float, ...], shares: tuple[float, ...]
) -> None:
    number = number_of(values)
    assert (number.edges, number.shares) == (edges, shares)


@pytest.mark.parametrize(
    ("values", "shares", "missing"), [([None, None], (0.0,), 1.0), ([2.0, 2.0], (1.0,), 0.0), ([7.0], (1.0,), 0.0)]
)
def test_a_column_of_one_value_or_none_has_one_bin(
    values: list[float | None], shares: tuple[float, ...], missing: float
) -> None:
    number = number_of(values)
    assert (number.edges, number.shares, number.missing) == ((), shares, missing)


def test_edges_have_raw_units_beside_them() -> None:
    raw = np.array([np.nan, *range(100)], dtype=np.float64)
    values: list[float | None] = [None, *(float(np.tanh(value / 50)) for value in range(100))]
    number = number_of(values, raw={"x": raw})
    assert number.raw_edges == (9.0, 19.0, 29.0, 39.0, 49.0, 59.0, 69.0, 79.0, 89.0)
    assert number.edges == pytest.approx(np.tanh(np.array(number.raw_edges) / 50))
    assert number.raw_kind == "whole"
    assert number_of(values, raw={"x": raw + 0.5}).raw_kind == "real"
    assert number_of(values, raw={"x": raw}, times=["x"]).raw_kind == "time"
    broken = np.where(raw == 50, np.nan, raw)
    assert number_of(values, raw={"x": broken}).raw_edges is None


def test_names_are_cut_off_and_ids_without_one_have_a_number() -> None:
    arrays = arrays_of([0.0] * 3, [3, 3, 4])
    named = TableStatistics.of(arrays, SPEC, names={"c": ["x" * 1000, "b"]}).categorical[0]
    assert named.names == ("x" * LONGEST_NAME, "b")
    assert TableStatistics.of(arrays, SPEC).categorical[0].names == ("#0", "#1")


def test_the_size_does_not_grow_with_the_rows() -> None:
    random = np.random.default_rng(0)

    def size(rows: int) -> int:
        arrays = arrays_of(random.normal(size=rows).tolist(), random.integers(1, 60, rows).tolist())
        return len(json.dumps(asdict(TableStatistics.of(arrays, SPEC))))

    assert size(100_000) < 1.2 * size(1_000) < 3_000


def test_they_know_of_which_features_they_are() -> None:
    statistics = Statistics(TableStatistics.of(arrays_of([1.0]), SPEC), {})
    assert statistics.fits(SPEC)
    # Behind the table's own numbers may be those made of several columns.
    assert statistics.fits(replace(SPEC, numeric=(*SPEC.numeric, NumericFeature("neighbors", "neighbors"))))
    assert not statistics.fits(replace(SPEC, numeric=(NumericFeature("y", "y"),)))
    assert not statistics.fits(replace(SPEC, numeric=()))
    assert not statistics.fits(replace(SPEC, categorical=()))


@pytest.mark.parametrize(
    ("record", "changes", "said"),
    [
        ("numeric", {"shares": [0.5]}, "'x' has 1 edges and 1 shares"),
        ("numeric", {"edges": [float(e) for e in range(10)], "shares": [0.0] * 11}, "'x' has 10 edges"),
        ("numeric", {"edges": [2.0, 1.0], "shares": [0.0] * 3}, "do not ascend"),
        ("numeric", {"raw_kind": "odd"}, "of the kind 'odd'"),
        ("categorical", {"ids": [3, 4]}, "'c' has 2 ids and 1 shares"),
        ("categorical", {"ids": [2]}, "none of a category's"),
        ("categorical", {"ids": ["3"]}, "none of a category's"),
    ],
)
def test_what_does_not_fit_together_is_refused(record: str, changes: dict[str, Any], said: str) -> None:
    values = Statistics(TableStatistics.of(arrays_of([1.0, 2.0], [3, 3]), SPEC), {}).to_dict()
    values = json.loads(json.dumps(values))
    values["features"][record][0] |= changes
    with pytest.raises(ValueError, match=said):
        Statistics.from_dict(values)


def test_a_key_that_is_not_known_is_refused() -> None:
    values = asdict(CategoryShares("c", "c", (3,), ("a",), (1.0,), 0.0, 0.0, 0.0))
    with pytest.raises(TypeError, match="extra"):
        CategoryShares.from_dict({**values, "extra": 1})
