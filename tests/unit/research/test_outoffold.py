"""What is told of the spread over folds, and which column names are refused."""

from __future__ import annotations

import pytest

from mlpipe.errors import ConfigError
from mlpipe.research.outoffold import refuse_own_names, spread
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind


def test_the_spread_is_that_of_a_sample() -> None:
    found = spread([{"rmse": 1.0, "r2": 0.5}, {"rmse": 2.0, "r2": 0.5}, {"rmse": 6.0, "r2": 0.5}])
    assert found["mean"] == {"rmse": 3.0, "r2": 0.5}
    assert found["std"] == pytest.approx({"rmse": 7**0.5, "r2": 0.0})
    assert (found["min"]["rmse"], found["max"]["rmse"]) == (1.0, 6.0)


def test_a_metric_that_some_folds_lack_is_over_the_others() -> None:
    found = spread([{"accuracy": 1.0}, {"accuracy": 0.5, "auroc": 0.75}])
    assert found["mean"] == {"accuracy": 0.75, "auroc": 0.75}
    assert list(found["std"]) == ["accuracy"]


def schema_of(name: str, role: Role) -> Schema:
    columns = (Column("x", Kind.NUMERIC), Column(name, Kind.NUMERIC, role), Column("y", Kind.NUMERIC, Role.TARGET))
    return Schema(columns, Task(TaskKind.REGRESSION, ("y",)))


@pytest.mark.parametrize("name", ["fold", "repeat", "row", "prediction", "confidence", "probability_yes"])
def test_names_that_the_file_needs_are_refused_where_they_would_get_into_it(name: str) -> None:
    refuse_own_names(schema_of(name, Role.FEATURE))
    refuse_own_names(schema_of("id", Role.IDENTIFIER))
    with pytest.raises(
        ConfigError, match=rf"identifier column is called '{name}'.* `data.columns: {{{name}: ignore}}`"
    ):
        refuse_own_names(schema_of(name, Role.IDENTIFIER))
    with pytest.raises(ConfigError, match=rf"target column is called '{name}'.*; rename it in the file"):
        refuse_own_names(schema_of(name, Role.TARGET))
