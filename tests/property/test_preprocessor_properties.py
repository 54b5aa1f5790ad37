# ruff: noqa: DTZ001  # naive times are what is tested
"""Whatever a table holds, its arrays are finite, in order, and the same for one row as for all rows at once."""

from __future__ import annotations

import json
from datetime import datetime

import numpy as np
import polars as pl
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpipe.arrays import Arrays
from mlpipe.errors import InputError
from mlpipe.features.config import FeaturesConfig
from mlpipe.features.frame import as_frame
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.features.rowwise import RowEncoder
from mlpipe.schema import Column, Kind, Role, Schema, Task, TaskKind

WORDS = ["a", "b", "B", " b ", "3", "3.0", "-0", "1e400", "nan", "", "  ", "é", "日本", "a b c", "x" * 50]
FLOATS = st.one_of(
    st.floats(), st.sampled_from([0.0, -0.0, 1.0, 5e-324, -1.7e308, 1.7e308, float("nan"), float("inf")])
)
TIMES = st.datetimes(datetime(1900, 1, 1), datetime(2100, 1, 1))

#: Kind, Polars type and values of each sort of column.
SORTS = {
    "float": (Kind.NUMERIC, pl.Float64(), FLOATS),
    "single": (Kind.NUMERIC, pl.Float32(), st.floats(width=32)),
    "integer": (Kind.NUMERIC, pl.Int64(), st.integers(-5, 5)),
    "huge": (Kind.NUMERIC, pl.Int64(), st.integers(-(2**63), 2**63 - 1)),
    "unsigned": (Kind.NUMERIC, pl.UInt64(), st.integers(2**64 - 9, 2**64 - 1)),
    "written": (
        Kind.NUMERIC,
        pl.String(),
        st.sampled_from(["1", " 2 ", "2.5e3", "junk", "", "9007199254740993", "inf"]),
    ),
    "decimal": (Kind.NUMERIC, pl.Decimal(20, 4), st.decimals(-1000, 1000, places=4)),
    "level": (Kind.CATEGORICAL, pl.Enum(["c", "a", "3.0"]), st.sampled_from(["c", "a", "3.0"])),
    "duration": (Kind.DURATION, pl.Duration("ms"), st.timedeltas()),
    "word": (Kind.CATEGORICAL, pl.String(), st.one_of(st.sampled_from(WORDS), st.text(max_size=3))),
    "number": (Kind.CATEGORICAL, pl.Float64(), st.one_of(st.sampled_from([1.0, 2.5, -0.0, 1e300]), FLOATS)),
    "flag": (Kind.BOOLEAN, pl.Boolean(), st.booleans()),
    "answer": (Kind.BOOLEAN, pl.String(), st.sampled_from(["TRUE", "no", "1", "maybe", ""])),
    "moment": (Kind.DATETIME, pl.Datetime("us"), TIMES),
    "local": (Kind.DATETIME, pl.Datetime("ms"), TIMES),
    "day": (Kind.DATE, pl.Date(), TIMES.map(lambda time: time.date())),
    "stamp": (
        Kind.DATETIME,
        pl.String(),
        st.sampled_from(["2024-03-31 02:30", "2024-02-30", "2024-01-01T00:00:00Z", "?"]),
    ),
    "text": (Kind.TEXT, pl.String(), st.one_of(st.text(max_size=12), st.sampled_from(WORDS))),
}


#: Sorts whose values may be no numbers or times, which a JSON row is refused for.
JUNK = {"written", "answer", "stamp"}


@st.composite
def tables(draw: st.DrawFn, sorts_of: frozenset[str] = frozenset(SORTS)) -> tuple[Schema, pl.DataFrame, pl.DataFrame]:
    """A schema, training rows and other rows; each column may be all null or constant in training."""
    sorts = draw(st.lists(st.sampled_from(sorted(sorts_of)), min_size=1, max_size=6, unique=True))
    rows = draw(st.integers(1, 12))
    frames: list[dict[str, pl.Series]] = [{}, {}]
    columns = []
    for sort in sorts:
        kind, dtype, values = SORTS[sort]
        zone = "America/New_York" if sort in ("local", "stamp") else None
        columns.append(Column(sort, kind, dtype=str(dtype), time_zone=zone))
        shape = draw(st.sampled_from(["mixed", "mixed", "constant", "null"]))
        for part, frame in enumerate(frames):
            drawn = draw(st.lists(st.one_of(st.none(), values), min_size=rows, max_size=rows))
            if part == 0 and shape != "mixed":
                drawn = [None if shape == "null" else drawn[0]] * rows
            frame[sort] = pl.Series(sort, drawn, dtype=dtype, strict=False)
            if sort == "local":
                frame[sort] = frame[sort].dt.replace_time_zone("UTC").dt.convert_time_zone("Europe/Berlin")
    target = draw(st.lists(st.sampled_from([0.0, 1.0, 7.5]), min_size=rows, max_size=rows))
    schema = Schema((*columns, Column("y", Kind.NUMERIC, Role.TARGET)), Task(TaskKind.REGRESSION, ("y",)))
    return schema, pl.DataFrame({**frames[0], "y": target}), pl.DataFrame(frames[1])


configs = st.builds(
    FeaturesConfig,
    numeric=st.sampled_from(["quantile", "robust", "standard", "none"]),
    quantile_noise=st.sampled_from([0.0, 1e-5]),
    bins=st.sampled_from(["quantile", "tree", "none"]),
    min_frequency=st.integers(1, 3),
    max_categories=st.sampled_from([1, 10_000]),
    high_cardinality=st.sampled_from(["embed", "hash", "target"]),
    high_cardinality_threshold=st.sampled_from([1, 1_000]),
    integer_categories=st.sampled_from([0, 10]),
    text_features=st.sampled_from([2, 5]),
    datetime_parts=st.just(["year", "month", "day", "day_of_year", "weekday", "hour", "minute"]),
)


def same(left: Arrays, right: Arrays) -> bool:
    return all(
        getattr(left, name).tobytes() == getattr(right, name).tobytes()
        for name in ("numeric", "missing", "categorical")
    )


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables(), configs)
def test_any_frame(table: tuple[Schema, pl.DataFrame, pl.DataFrame], config: FeaturesConfig) -> None:
    schema, train, other = table
    preprocessor = Preprocessor(schema, config)
    fitted = preprocessor.fit_arrays(train)
    spec = preprocessor.input_spec_

    for arrays in (fitted, preprocessor.transform(other)):
        assert np.isfinite(arrays.numeric).all()
        assert arrays.numeric.shape == arrays.missing.shape == (len(train), len(spec.numeric))
        assert (arrays.numeric[arrays.missing] == 0).all()
        assert (arrays.categorical >= 1).all()
        assert (arrays.categorical < [feature.cardinality for feature in spec.categorical]).all()
    for feature in spec.numeric:
        assert len(feature.bins) != 1
        assert np.isfinite(feature.bins).all()
        assert (np.diff(np.asarray(feature.bins, dtype=np.float32)) > 0).all()

    together = preprocessor.transform(other)
    one_by_one = [preprocessor.transform(other[index]) for index in range(other.height)]
    assert same(together, Arrays(*(np.concatenate([getattr(a, n) for a in one_by_one]) for n in FIELDS)))
    assert same(together.take(slice(None, None, -1)), preprocessor.transform(other.reverse()))
    assert same(together, preprocessor.transform(other.lazy()))

    state = json.dumps(preprocessor.to_dict())
    again = Preprocessor.from_dict(json.loads(state))
    assert json.dumps(again.to_dict()) == state
    assert same(together, again.transform(other))
    assert json.dumps(Preprocessor(schema, config).fit(train).to_dict()) == state


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables(frozenset(SORTS) - JUNK), configs)
def test_json_rows_give_the_bits_of_the_table(
    table: tuple[Schema, pl.DataFrame, pl.DataFrame], config: FeaturesConfig
) -> None:
    schema, train, other = table
    preprocessor = Preprocessor(schema, config).fit(train)
    assert same(preprocessor.transform(as_frame(other.to_dicts(), schema)), preprocessor.transform(other))


ODD = [None, True, 1, 1.0, -0.0, 2**60, 2**90, 10**400, float("nan"), float("inf"), "1", "1e3", " x ", "", "?", [1]]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
@given(tables(), configs, st.data())
def test_the_encoder_of_few_rows_gives_the_bits_of_the_frame(
    table: tuple[Schema, pl.DataFrame, pl.DataFrame], config: FeaturesConfig, data: st.DataObject
) -> None:
    schema, train, other = table
    preprocessor = Preprocessor(schema, config).fit(train)
    encoder = RowEncoder(preprocessor)
    names = [column.name for column in schema.features]
    rows = [list(row) for row in (*other.select(names).iter_rows(), *train.select(names).iter_rows())]
    for _ in range(data.draw(st.integers(0, 4))):
        row, field = data.draw(st.integers(0, len(rows) - 1)), data.draw(st.integers(0, len(names) - 1))
        rows[row][field] = data.draw(st.sampled_from(ODD))

    for _ in range(3):  # values new, known, and both
        asked = data.draw(st.lists(st.sampled_from(rows), max_size=9))
        arrays, faults = encoder(asked)
        assert len(arrays) == len(asked)
        for index, row in enumerate(asked):
            told = faults.pop(index, None)
            refused = None
            try:
                alone = preprocessor.transform(as_frame(dict(zip(names, row, strict=True)), schema))
            except InputError as error:
                refused = error
            assert str(told) == str(refused and refused.at(index))
            assert refused or same(arrays.take(slice(index, index + 1)), alone)
        assert not faults


FIELDS = ("numeric", "missing", "categorical")
