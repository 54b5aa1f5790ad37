"""What parameters are called in MLflow, which refuses names that are long or no path in its shortest form."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from mlflow.utils.validation import _validate_param, _validate_tag

from mlpipe.training.tracking import _key


@given(st.text())
@example("cost/")
@example("a//b")
@example("../../..")
@example("/")
@example("x" * 1000)
@example("größe/" * 100)
def test_every_column_has_a_key_that_mlflow_takes(column: str) -> None:
    key = _key(f"data.columns.{column}")
    assert _validate_param(key, "x").key == key  # type: ignore[no-untyped-call]
    assert _validate_tag(f"changed.{key}", "x").key == f"changed.{key}"  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("name", ["val/log_loss", "data.columns.Größe in cm", "a.b-c:d/e"])
def test_what_mlflow_takes_stays_as_it_is(name: str) -> None:
    assert _key(name) == name


def test_names_that_differ_have_keys_that_differ() -> None:
    names = ["cost", "cost/", "cost//", "/cost", "cost/.", "./cost", *(f"{'x' * 300}{index}" for index in range(3))]
    assert len({_key(name) for name in names}) == len(names)
    assert all(_key(name) == _key(name) for name in names)
