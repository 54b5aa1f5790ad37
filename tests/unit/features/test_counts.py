"""Counting all columns at once is counting them one by one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpipe.arrays import Arrays
from mlpipe.features import counts
from mlpipe.features.counts import TableCounter
from mlpipe.features.statistics import TableStatistics
from mlpipe.schema import CategoricalFeature, InputSpec, NumericFeature


def draw(rows: int, numbers: int, categories: int, seed: int) -> Arrays:
    random = np.random.default_rng(seed)
    missing = random.random((rows, numbers)) < 0.2
    numeric = random.choice([0.0, 1.0, 2.5, *random.normal(size=20)], (rows, numbers)).astype(np.float32)
    ids = random.integers(1, random.integers(2, 60), (rows, categories)).astype(np.int32)
    return Arrays(np.where(missing, np.float32(0), numeric), missing, ids)


def describe(arrays: Arrays) -> TableStatistics:
    spec = InputSpec(
        tuple(NumericFeature(f"n{index}", f"n{index}") for index in range(arrays.numeric.shape[1])),
        tuple(CategoricalFeature(f"c{index}", f"c{index}", 60) for index in range(arrays.categorical.shape[1])),
        1,
    )
    return TableStatistics.of(arrays, spec)


@given(
    rows=st.integers(0, 70),
    numbers=st.integers(0, 4),
    categories=st.integers(0, 4),
    seed=st.integers(0, 2**32 - 1),
    part=st.sampled_from([1, 300, 10**6]),
)
def test_it_counts_as_one_would_one_by_one(rows: int, numbers: int, categories: int, seed: int, part: int) -> None:
    statistics = describe(draw(50, numbers, categories, seed))
    arrays = draw(rows, numbers, categories, seed + 1)
    with pytest.MonkeyPatch.context() as patch:  # so few comparisons at once that rows come in parts
        patch.setattr(counts, "MOST_COMPARISONS", part)
        counter = TableCounter(statistics)
    found = counter.count(arrays)
    assert found.sum() == rows * (numbers + categories)
    for index, number in enumerate(statistics.numeric):
        bins, missing = [0] * len(number.shares), 0
        for value, is_missing in zip(arrays.numeric[:, index], arrays.missing[:, index], strict=True):
            if is_missing:
                missing += 1
            else:
                bins[sum(value > np.float32(edge) for edge in number.edges)] += 1
        got, got_missing = counter.of_number(found, index)
        assert (got.tolist(), got_missing) == (bins, missing)
    for index, category in enumerate(statistics.categorical):
        ids = arrays.categorical[:, index].tolist()
        rest = sum(id_ > 2 and id_ not in category.ids for id_ in ids)
        own, *others = counter.of_category(found, index)
        assert own.tolist() == [ids.count(id_) for id_ in category.ids]
        assert others == [rest, ids.count(1), ids.count(2)]


def test_training_counts_as_its_own_statistics_say() -> None:
    arrays = draw(1_000, 3, 3, 0)
    statistics = describe(arrays)
    counter = TableCounter(statistics)
    found = counter.count(arrays)
    for index, number in enumerate(statistics.numeric):
        assert (counter.of_number(found, index)[0] / 1_000).tolist() == list(number.shares)
    for index, category in enumerate(statistics.categorical):
        assert (counter.of_category(found, index)[0] / 1_000).tolist() == list(category.shares)


def test_numbers_that_are_of_no_column_are_left_out() -> None:
    arrays = draw(100, 2, 1, 0)
    more = replace(
        arrays,
        numeric=np.concatenate((arrays.numeric, np.ones((100, 3), dtype=np.float32)), axis=1),
        missing=np.concatenate((arrays.missing, np.zeros((100, 3), dtype=np.bool_)), axis=1),
    )
    counter = TableCounter(describe(arrays))
    assert counter.count(more).tolist() == counter.count(arrays).tolist()
