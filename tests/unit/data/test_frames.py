"""Tables of a program: what their columns and their target are called."""

from __future__ import annotations

from typing import Any

import numpy as np
import pandas as pd
import polars as pl
import pytest
from scipy.sparse import csr_matrix

from mlpipe.data.frames import as_polars, distinct_labels, seed_of, with_targets
from mlpipe.errors import ConfigError, DataError

FRAME = pl.DataFrame({"size": [1.0, 2.0, 3.0], "target": ["a", "b", "c"]})
VALUES = [10, 20, 30]


def test_an_array_has_numbered_columns() -> None:
    assert as_polars([[1, 2], [3, 4]]).columns == ["x0", "x1"]


def test_pandas_columns_of_several_types_are_text() -> None:
    frame = as_polars(pd.DataFrame({0: [38, "M", None], "n": [1, 2, 3]}))
    assert frame.to_dict(as_series=False) == {"0": ["38", "M", None], "n": [1, 2, 3]}
    with pytest.raises(DataError, match="Column 'n' holds values for which there is no one type"):
        as_polars(pd.DataFrame({"n": [2**200, 1]}))


@pytest.mark.parametrize(
    ("y", "name"),
    [
        (pd.Series(VALUES, name="price"), "price"),
        (pl.Series("price", VALUES), "price"),
        (pd.Series(VALUES, name=0), "0"),
        (pd.Series(VALUES, name="first"), "first"),
        (pd.Series(VALUES, name="size"), "size_2"),
        (pd.Series(VALUES), "target_2"),
        (pl.Series(VALUES), "target_2"),
        (VALUES, "target_2"),
    ],
)
def test_the_target_is_called_as_its_series_is_unless_a_column_is(y: Any, name: str) -> None:
    frame, target, weight = with_targets(FRAME, y)
    assert (target, weight) == (name, None)
    assert frame.columns == ["size", "target", name]
    assert frame[name].to_list() == VALUES


def test_weights_have_a_name_of_their_own() -> None:
    assert with_targets(FRAME, VALUES, VALUES)[1:] == ("target_2", "weight")
    named = pd.Series(VALUES, name="price")
    assert with_targets(FRAME, named, named)[1:] == ("price", "price_2")


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (([1, 2],), r"X has 3 rows, but y has the shape \(2,\)"),
        (([[1], [2], [3]],), r"X has 3 rows, but y has the shape \(3, 1\)"),
        ((VALUES, [1.0]), r"X has 3 rows, but sample_weight has the shape \(1,\)"),
        ((None,), r"X has 3 rows, but y has the shape \(\)"),
        (([1.0, float("nan"), None],), "y has no value in 2 of its 3 rows; leave these out of X and y"),
    ],
)
def test_what_does_not_fit_together_is_refused(arguments: tuple[Any, ...], sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        with_targets(FRAME, *arguments)


@pytest.mark.parametrize(
    ("X", "sentence"),
    [
        (pd.DataFrame([[1, 2]], columns=["a", "a"]), "X has two columns called 'a'"),
        (pd.DataFrame([[1, 2]], columns=[1, "1"]), "X has two columns called '1'"),
        (csr_matrix(np.eye(2)), r"X is a sparse matrix; .*`X\.toarray\(\)`"),
    ],
)
def test_what_is_no_table_of_ours_is_refused(X: Any, sentence: str) -> None:
    with pytest.raises(DataError, match=sentence):
        as_polars(X)


def test_labels_in_order() -> None:
    assert distinct_labels(pd.Series(["b", "a", "b"])).tolist() == ["a", "b"]
    with pytest.raises(DataError, match=r"labels of several types \(int, str\)"):
        distinct_labels(np.array([1, "a"], dtype=object))


def test_a_random_state_is_what_scikit_learn_takes() -> None:
    assert seed_of(7) == seed_of(np.int64(7)) == 7
    assert seed_of(np.random.RandomState(0)) == seed_of(np.random.RandomState(0))
    state = np.random.RandomState(0)
    assert seed_of(state) != seed_of(state)
    assert 0 <= seed_of(None) < 2**31
    for wrong in ("one", -1, 2**32):
        with pytest.raises(ConfigError, match=f"`random_state` is {wrong!r}"):
            seed_of(wrong)
