"""Any table gets a schema that covers every column, says why, and survives JSON."""

from __future__ import annotations

import json
import warnings

import polars as pl
from hypothesis import HealthCheck, given, settings
from polars.testing.parametric import column, dataframes

from mlpipe.data.guards import find_warnings
from mlpipe.data.infer import infer_schema
from mlpipe.data.profile import NESTED
from mlpipe.data.split import SplitConfig, split_rows
from mlpipe.schema import Role, Schema, TaskKind

ROWS = 24


@settings(max_examples=120, deadline=None, suppress_health_check=list(HealthCheck))
@given(frame=dataframes(min_cols=1, max_cols=4, min_size=ROWS, max_size=ROWS, lazy=False))
def test_any_types(frame: pl.DataFrame) -> None:
    frame = frame.rename({name: f"c{i}" for i, name in enumerate(frame.columns)}).with_columns(
        size=pl.int_range(ROWS) % 7 / 2, y=pl.int_range(ROWS) % 2
    )
    schema = infer_schema(frame.lazy(), "y")
    assert schema.names == tuple(frame.columns)
    assert schema.task.kind is TaskKind.BINARY
    assert all(found.reason and found.dtype == str(frame.schema[found.name]) for found in schema)
    assert Schema.from_dict(json.loads(json.dumps(schema.to_dict()))) == schema
    assert schema == infer_schema(frame, "y")
    nested = [name for name, dtype in frame.schema.items() if isinstance(dtype, NESTED)]
    assert all(schema[name].role is Role.IGNORED for name in nested)


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    frame=dataframes(
        [column("s", pl.String), column("f", pl.Float64), column("i", pl.Int64)], min_size=60, max_size=90, lazy=False
    )
)
def test_guards_never_fail(frame: pl.DataFrame) -> None:
    frame = frame.with_columns(size=pl.int_range(pl.len()) % 7 / 2, y=pl.int_range(pl.len()) % 3)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for task in ("multiclass", "regression"):
            schema = infer_schema(frame, "y", task=task)
            split = split_rows(frame, schema, SplitConfig("random"))
            parts = {"train": split.train, "validation": split.validation, "test": split.test}
            assert all(
                warning.endswith(".") for warning in find_warnings(schema, {k: frame[v] for k, v in parts.items()})
            )
