"""Whatever a schema holds, its JSON gives it back."""

from __future__ import annotations

import json

from hypothesis import given
from hypothesis import strategies as st

from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

labels = st.one_of(
    st.text(max_size=8), st.integers(-(2**53), 2**53), st.booleans(), st.floats(allow_nan=False, allow_infinity=False)
)
columns = st.builds(
    Column,
    name=st.text(max_size=12),
    kind=st.sampled_from(Kind),
    role=st.sampled_from(Role),
    dtype=st.text(max_size=12),
    reason=st.text(max_size=20),
    nullable=st.booleans(),
    format=st.none() | st.text(max_size=8),
    categories=st.none() | st.lists(st.text(max_size=5), max_size=3).map(tuple),
    time_zone=st.none() | st.just("Europe/Paris"),
)
tasks = st.builds(
    Task,
    kind=st.sampled_from(TaskKind),
    target=st.lists(st.text(max_size=8), min_size=1, max_size=3).map(tuple),
    classes=st.lists(labels, max_size=4).map(tuple),
)
schemas = st.builds(Schema, columns=st.lists(columns, max_size=5).map(tuple), task=tasks)


@given(schemas)
def test_schema_survives_json(schema: Schema) -> None:
    again = Schema.from_dict(json.loads(json.dumps(schema.to_dict())))
    assert again == schema
    # == takes 1 for True and 1.0; a label must keep its type, or it isn't found in the data.
    assert [type(label) for label in again.task.classes] == [type(label) for label in schema.task.classes]
