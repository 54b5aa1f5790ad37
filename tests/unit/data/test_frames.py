"""Tables of a program: what their columns and their target are called."""

from __future__ import annotations

from typing import Any

import pandas as pd
import polars as pl
import pytest

from mlpipe.data.frames import as_polars, with_targets
from mlpipe.errors import DataError

FRAME = pl.DataFrame({"size": [1.0, 2.0, 3.0], "target": ["a", "b", "c"]})
VALUES = [10, 20, 30]


def test_an_array_has_numbered_columns() -> None:
    assert as_polars([[1, 2], [3, 4]]).columns == ["x0", "x1"]


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
