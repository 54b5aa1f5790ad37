from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from mlpipe.errors import DataError
from mlpipe.schema import (
    CategoricalFeature,
    Column,
    InputSpec,
    Kind,
    NumericFeature,
    Role,
    Schema,
    Task,
    TaskKind,
    reject_unknown_keys,
)


def make_schema() -> Schema:
    return Schema(
        columns=(
            Column("id", Kind.IDENTIFIER, Role.IDENTIFIER, reason="all values differ"),
            Column("when", Kind.DATETIME, Role.TIME),
            Column("carat", Kind.NUMERIC),
            Column("cut", Kind.CATEGORICAL, categories=("Fair", "Good")),
            Column("blank", Kind.CONSTANT, Role.IGNORED),
            Column("price", Kind.NUMERIC, Role.TARGET),
        ),
        task=Task(TaskKind.REGRESSION, ("price",)),
    )


def test_views_by_role_keep_file_order() -> None:
    schema = make_schema()
    assert schema.names == ("id", "when", "carat", "cut", "blank", "price")
    assert [column.name for column in schema.features] == ["carat", "cut"]
    assert [column.name for column in schema.identifiers] == ["id"]
    assert [column.name for column in schema] == list(schema.names)
    time = schema.with_role(Role.TIME)
    assert time is not None
    assert time.name == "when"
    assert schema.with_role(Role.WEIGHT) is None


def test_a_column_is_found_by_name() -> None:
    schema = make_schema()
    assert schema["cut"].categories == ("Fair", "Good")
    assert "cut" in schema
    assert "clarity" not in schema


def test_a_wide_table_is_not_searched_for_each_of_its_columns() -> None:
    class Counted(tuple[Column, ...]):
        __slots__ = ()
        searches = 0

        def __iter__(self) -> Iterator[Column]:
            Counted.searches += 1
            return super().__iter__()

    schema = Schema(Counted(Column(f"c{i}", Kind.NUMERIC) for i in range(50)), Task(TaskKind.REGRESSION, ("y",)))
    assert [schema[f"c{i}"].name for i in range(50) if f"c{i}" in schema] == [f"c{i}" for i in range(50)]
    assert Counted.searches == 1


def test_a_column_that_is_not_there_is_named_with_the_closest() -> None:
    with pytest.raises(DataError, match=r"^There is no column 'prise'\. Did you mean 'price'\?$"):
        make_schema()["prise"]


def test_replacing_changes_one_column_of_a_copy() -> None:
    schema = make_schema()
    changed = schema.replacing("carat", role=Role.IGNORED)
    assert changed["carat"].role is Role.IGNORED
    assert schema["carat"].role is Role.FEATURE
    assert [c for c in changed if c.name != "carat"] == [c for c in schema if c.name != "carat"]
    with pytest.raises(DataError, match="no column 'karat'"):
        schema.replacing("karat", role=Role.IGNORED)


@pytest.mark.parametrize(
    ("task", "num_outputs", "is_classification"),
    [
        (Task(TaskKind.BINARY, ("y",), ("no", "yes")), 1, True),
        (Task(TaskKind.MULTICLASS, ("y",), (1, 2, 3)), 3, True),
        (Task(TaskKind.MULTILABEL, ("a", "b"), ("a", "b")), 2, True),
        (Task(TaskKind.REGRESSION, ("y",)), 1, False),
    ],
)
def test_width_of_the_output(task: Task, num_outputs: int, is_classification: bool) -> None:
    assert task.num_outputs == num_outputs
    assert task.is_classification is is_classification


def test_what_is_none_is_left_out_of_the_json_of_a_column() -> None:
    assert set(Column("a", Kind.NUMERIC).to_dict()) == {"name", "kind", "role", "dtype", "reason", "nullable"}


def test_input_spec_survives_json_bit_for_bit() -> None:
    spec = InputSpec(
        numeric=(NumericFeature("a", "a", bins=(-0.1, 0.1 + 0.2, 1e-300)), NumericFeature("t.0", "t", group="t")),
        categorical=(CategoricalFeature("c", "c", 12),),
        num_outputs=3,
    )
    assert InputSpec.from_dict(json.loads(json.dumps(spec.to_dict()))) == spec


def test_unknown_keys_are_refused_by_name() -> None:
    reject_unknown_keys({"name": "a"}, Column, "schema.json")
    with pytest.raises(DataError, match=r"^schema\.json: unknown key 'nam'\. Did you mean 'name'\?$"):
        reject_unknown_keys({"nam": "a"}, Column, "schema.json")
