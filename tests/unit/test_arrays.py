from __future__ import annotations

import numpy as np
import pytest

from mlpipe.arrays import Arrays


def make_arrays(rows: int = 4, *, target: bool = True) -> Arrays:
    return Arrays(
        numeric=np.arange(2 * rows, dtype=np.float32).reshape(rows, 2),
        missing=np.zeros((rows, 2), dtype=np.bool_),
        categorical=np.arange(rows, dtype=np.int32).reshape(rows, 1),
        target=np.arange(rows, dtype=np.int64) if target else None,
        weight=np.linspace(1, 2, rows, dtype=np.float32) if target else None,
    )


def test_length_is_the_number_of_rows() -> None:
    assert len(make_arrays(7)) == 7


def test_take_gives_rows_in_the_order_asked_for() -> None:
    taken = make_arrays(4).take(np.array([3, 0, 3]))
    assert taken.numeric.tolist() == [[6, 7], [0, 1], [6, 7]]
    assert taken.categorical.ravel().tolist() == [3, 0, 3]
    assert taken.target is not None
    assert taken.target.tolist() == [3, 0, 3]
    assert taken.weight is not None
    assert taken.weight.tolist() == [2, 1, 2]


def test_take_of_a_slice_keeps_what_is_absent_absent() -> None:
    taken = make_arrays(4, target=False).take(slice(1, 3))
    assert len(taken) == 2
    assert taken.target is None
    assert taken.weight is None


@pytest.mark.parametrize("name", ["missing", "categorical", "target", "weight"])
def test_unequal_lengths_are_refused_by_name(name: str) -> None:
    whole, short = make_arrays(4), make_arrays(3)
    parts = {key: getattr(whole, key) for key in ("numeric", "missing", "categorical", "target", "weight")}
    with pytest.raises(ValueError, match=rf"^Arrays\.{name} has 3 rows, Arrays\.numeric has 4\.$"):
        Arrays(**{**parts, name: getattr(short, name)})
