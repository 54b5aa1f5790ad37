from __future__ import annotations

import pytest

from mlpipe import errors
from mlpipe.errors import InputError, MlpipeError, did_you_mean, how_many


@pytest.mark.parametrize(
    ("error", "builtin"),
    [
        (errors.ConfigError, ValueError),
        (errors.DataError, ValueError),
        (errors.InputError, ValueError),
        (errors.BundleError, ValueError),
        (errors.TrainingError, RuntimeError),
    ],
)
def test_one_base_class_catches_all_and_so_does_the_builtin(error: type[Exception], builtin: type[Exception]) -> None:
    assert issubclass(error, MlpipeError)
    assert issubclass(error, builtin)


def test_input_error_names_the_field_and_the_row() -> None:
    error = InputError("missing.", field="age", row=3)
    assert (str(error), error.field, error.row) == ("row 3, field 'age': missing.", "age", 3)
    assert str(error.at(0)) == "row 0, field 'age': missing."


@pytest.mark.parametrize(
    ("name", "options", "expected"),
    [
        ("prise", ["price", "carat"], " Did you mean 'price'?"),
        ("PRICE", ["price", "carat"], " Did you mean 'price'?"),
        ("price", ["Price", "carat"], " Did you mean 'Price'?"),
        ("zzz", ["b", "a"], " There are: a, b."),
        ("1", [10, 2], " Did you mean '10'?"),
        ("x", [], ""),
    ],
)
def test_did_you_mean(name: str, options: list[object], expected: str) -> None:
    assert did_you_mean(name, options) == expected


def test_did_you_mean_lists_at_most_twenty() -> None:
    sentence = did_you_mean("zzzzzz", [f"column_{i:03}" for i in range(30)])
    assert sentence.count("column_") == 20
    assert sentence.endswith(", … (30 in all).")


@pytest.mark.parametrize(
    ("count", "words", "expected"),
    [
        (0, ["row"], "0 rows"),
        (1, ["row"], "1 row"),
        (12_345, ["row"], "12,345 rows"),
        (1, ["row has", "rows have"], "1 row has"),
        (2, ["row has", "rows have"], "2 rows have"),
    ],
)
def test_how_many(count: int, words: list[str], expected: str) -> None:
    assert how_many(count, *words) == expected
