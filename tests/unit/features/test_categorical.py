from __future__ import annotations

import pandas as pd
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpipe.features import categorical
from mlpipe.features.categorical import CategoryEncoder, HashEncoder, text_hashes


def ids(encoder: CategoryEncoder, values: object) -> list[int]:
    made: list[int] = encoder.transform(pl.DataFrame({"x": values}))["x"].to_list()
    return made


def fitted(values: object, **arguments: object) -> CategoryEncoder:
    return CategoryEncoder(**arguments).fit(pl.DataFrame({"x": values}))  # type: ignore[arg-type]


def test_the_vocabulary_is_sorted_by_text_whatever_the_order_of_rows() -> None:
    assert fitted(["b", "c", "a"]).columns_ == fitted(["a", "b", "c", "c"]).columns_
    assert ids(fitted(["b", "c", "a"]), ["a", "b", "c"]) == [3, 4, 5]


def test_null_and_unseen_have_ids_of_their_own() -> None:
    assert ids(fitted(["a", None]), ["a", None, "b", "", "  "]) == [3, 1, 2, 1, 1]


def test_rare_categories_share_the_unseen_id() -> None:
    encoder = fitted(["a", "a", "b", "c", "c"], min_frequency=2)
    assert ids(encoder, ["a", "b", "c", "d"]) == [3, 2, 4, 2]
    assert encoder.cardinalities("x") == [5]


def test_only_the_most_frequent_get_an_id_and_ties_go_by_text() -> None:
    encoder = fitted(["z", "z", "b", "a", "c"], max_categories=2)
    assert encoder.columns_["x"]["vocabulary"] == ["a", "z"]
    assert encoder.columns_["x"]["distinct"] == 4


def test_pandas_columns_of_several_types() -> None:
    assert ids(fitted(["38", "M"]), ["38", "M", None]) == [3, 4, 1]
    made = fitted(["38", "M"]).transform(pd.DataFrame({"x": pd.Series([38, "M", None], dtype=object)}))
    assert made.ravel().tolist() == [3, 4, 1]


def test_an_enum_keeps_its_order() -> None:
    sizes = pl.Series(["small", "large", "medium"], dtype=pl.Enum(["small", "medium", "large"]))
    assert ids(fitted(sizes), ["small", "medium", "large"]) == [3, 4, 5]


def test_declared_levels_keep_their_order_and_others_follow() -> None:
    encoder = fitted(["low", "high", "else"], levels={"x": ["low", "mid", "high"]})
    assert encoder.columns_["x"]["vocabulary"] == ["low", "high", "else"]


@pytest.mark.parametrize(
    "values",
    [
        [3, None, 10],
        [3.0, None, 10.0],
        ["3", None, "10"],
        ["3.0", None, " 10 "],
        pl.Series([3, None, 10]).cast(pl.Decimal(8, 2)),
        pl.Series(["3", None, "10"], dtype=pl.Categorical),
    ],
    ids=["int", "float", "text", "text of floats", "decimal", "categorical"],
)
def test_a_number_is_one_category_in_every_type(values: object) -> None:
    for encoder in (fitted([3, 10]), fitted(values)):
        # By text, 10 comes before 3.
        assert ids(encoder, values) == [4, 1, 3]


def test_numbers_that_are_not_whole_are_written_as_short_as_they_read_back() -> None:
    encoder = fitted([0.1, 1e-7, 2.50])
    assert encoder.columns_["x"]["vocabulary"] == ["0.1", "1e-7", "2.5"]
    assert ids(encoder, ["2.50", "0.10", "0.0000001"]) == [5, 3, 4]


def test_nan_and_infinite_are_null_as_floats_but_words_as_text() -> None:
    encoder = fitted(["nan", "a"])
    assert ids(encoder, ["nan"]) == [4]
    assert ids(encoder, [float("nan"), float("inf")]) == [1, 1]


@pytest.mark.parametrize("values", [[True, False, None], ["true", "false", None]])
def test_booleans_are_categories_of_three_values(values: object) -> None:
    assert ids(fitted([True, False, None]), values) == [4, 3, 1]


def test_an_all_null_column_has_an_empty_vocabulary() -> None:
    encoder = fitted(pl.Series([None, None], dtype=pl.String))
    assert encoder.cardinalities("x") == [3]
    assert ids(encoder, ["a", None]) == [2, 1]


def test_many_rows_are_looked_up_as_a_few_are(monkeypatch: pytest.MonkeyPatch) -> None:
    values = ["a", " b", "3.0", None, "zebra", ""] * 50
    encoder = fitted(["a", "b", "3"])
    few = ids(encoder, values)
    monkeypatch.setattr(categorical, "FEW_ROWS", 0)
    levels = ["zebra", "", "3.0", " b", "a", "never"]
    for dtype in (pl.String(), pl.Categorical(), pl.Enum(levels)):
        assert ids(encoder, pl.Series(values, dtype=dtype)) == few
    assert few[:6] == [4, 5, 3, 1, 2, 1]


def test_blocks_of_rows_share_what_was_looked_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(categorical, "FEW_ROWS", 0)
    dtype = pl.Categorical(pl.Categories.random("test"))
    values = pl.Series(["b", None, "a", "b", "zebra", "a", "c", None, "zebra"], dtype=dtype)
    lookup = categorical.vocabulary_ids(["a", "b", "c"], dtype)
    blocks = [lookup(values[start : start + 3]).to_list() for start in (0, 3, 6, 0)]
    assert blocks == [[4, 1, 3], [4, 2, 3], [5, 1, 2], [4, 1, 3]]


@given(blocks=st.lists(st.lists(st.sampled_from(["a", "b", "c", "zebra", None]), min_size=1), max_size=5))
def test_codes_that_were_given_out_anew_are_looked_up_anew(blocks: list[list[str | None]]) -> None:
    # No column of these categories outlives its block, so that the next one's codes start from 0 again.
    dtype = pl.Categorical(pl.Categories("codes given out anew"))
    lookup = categorical.vocabulary_ids(["a", "b", "c"], dtype)
    expected = {"a": 3, "b": 4, "c": 5, "zebra": 2, None: 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(categorical, "FEW_ROWS", 0)
        for block in blocks:
            assert lookup(pl.Series(block, dtype=dtype)).to_list() == [expected[word] for word in block]


def test_blocks_of_whole_numbers_in_other_ranges_share_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(categorical, "FEW_ROWS", 0)
    monkeypatch.setattr(categorical, "MOST_CODES", 8)
    lookup = categorical.vocabulary_ids(["1", "9", "17"], pl.Int64())
    blocks: list[list[int | None]] = [[1, None, 2], [7, 9, 9], [17, 9, 9], [None, None, None], [1, 17, 9], [2, 1, 7]]
    made = [lookup(pl.Series(block, dtype=pl.Int64)).to_list() for block in blocks]
    assert made == [[3, 1, 2], [2, 4, 4], [5, 4, 4], [1, 1, 1], [3, 5, 4], [2, 3, 2]]


@pytest.mark.parametrize("values", [[5, None, -3, 70_000, 5], [5, None, -3, 7, 5], [None, None]])
def test_whole_numbers_in_a_small_range_are_looked_up_as_others_are(
    values: list[int | None], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(categorical, "FEW_ROWS", 0)
    integers = pl.Series(values, dtype=pl.Int64)
    encoder = fitted([5, -3])
    assert ids(encoder, integers) == ids(encoder, integers.cast(pl.String))


@pytest.mark.parametrize(
    ("dtype", "end"),
    [
        (pl.Int8(), -128),
        (pl.UInt8(), 255),
        (pl.Int64(), -(2**63)),
        (pl.UInt64(), 2**64 - 1),
        (pl.Int128(), 2**100),
    ],
)
def test_whole_numbers_of_every_width_are_looked_up_alike(
    dtype: pl.DataType, end: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(categorical, "FEW_ROWS", 0)
    values = [0, 1, 127, end]
    column = pl.Series([None, *values], dtype=dtype)
    encoder = fitted(column)
    assert ids(encoder, column) == ids(encoder, pl.Series([None, *map(str, values)]))
    assert categorical.count_categories(column) == dict.fromkeys(sorted(map(str, values)), 1)


@pytest.mark.parametrize("dtype", [pl.Categorical(), pl.Enum(["b", "a", "never"]), pl.String()])
def test_categories_are_counted_alike_in_every_type(dtype: pl.DataType) -> None:
    values = pl.Series(["a", "b", None, "a"] * 3, dtype=dtype)
    assert categorical.count_categories(values) == {"a": 6, "b": 3}
    assert categorical.count_categories(values.clear()) == {}


def test_hashed_ids_are_the_same_everywhere() -> None:
    # Written down once: a bundle made on another machine or with another version has to agree.
    assert text_hashes(pl.Series(["", "a", "é"])).tolist() == [
        16294208416658607535,
        3187963305867457774,
        1136047645494374104,
    ]


def test_hashed_ids_stay_within_the_buckets() -> None:
    frame = pl.DataFrame({"x": [*range(1000), None]})
    encoder = HashEncoder(buckets=16).fit(frame)
    made = encoder.transform(frame)["x"]
    assert made[-1] == 1
    assert sorted(made.unique().to_list()) == [1, *range(3, 19)]
    assert encoder.cardinalities("x") == [19]
    assert encoder.transform(frame.cast(pl.String))["x"].equals(made)
