"""Guards: each finds what it is for, and is silent about what is sound."""

from __future__ import annotations

from datetime import datetime, timedelta
from itertools import product
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.data.guards import duplicate_warnings, find_warnings, identifier_warnings, leak_warnings
from mlpipe.data.infer import infer_schema
from mlpipe.features.sample import folds

N = 1_500
RANDOM = np.random.default_rng(0)
NOISE = {f"n{i}": RANDOM.normal(size=N) for i in range(4)}
BINARY = RANDOM.integers(0, 2, N)


def leaks(target: Any, columns: dict[str, Any], overrides: dict[str, str] | None = None) -> list[str]:
    frame = pl.DataFrame(NOISE | columns | {"y": target})
    return leak_warnings(infer_schema(frame, "y", columns=overrides), frame)


def test_a_copy_of_the_target_gives_it_away() -> None:
    found = leaks(BINARY, {"alive": ["yes" if b else "no" for b in BINARY]})
    assert len(found) == 1
    assert "Feature 'alive' alone gives the target 'y' away (AUROC 1.000 on held-out rows)" in found[0]
    assert "`data.columns: {alive: ignore}`" in found[0]


def test_two_copies_do_not_hide_each_other() -> None:
    assert len(leaks(BINARY, {"a": BINARY * 3 + 1, "b": BINARY == 1})) == 2


def test_a_number_that_gives_away_a_quantity_or_a_class() -> None:
    quantity = RANDOM.normal(size=N)
    assert "'twice' alone gives the target 'y' away (R²" in leaks(quantity, {"twice": 2e60 * quantity**3})[0]
    classes = RANDOM.integers(0, 4, N)
    found = leaks([f"c{c}" for c in classes], {"score": classes * 1.5 + RANDOM.random(N) / 10})
    assert "'score' alone gives the target 'y' away (accuracy above the largest class" in found[0]


@pytest.mark.parametrize(
    "column",
    [
        [f"k{i}" for i in range(N)],  # unique, so that it fits its own rows perfectly
        [f"k{i // 3}" for i in range(N)],
        RANDOM.normal(size=N),
        [None] * (N - 100) + [1.0] * 100,
        np.where(BINARY == 1, RANDOM.normal(1.0, 1.0, N), RANDOM.normal(0.0, 1.0, N)),  # good, not too good
        ["const"] * (N - 1) + ["other"],
    ],
)
def test_sound_columns(column: Any) -> None:
    assert leaks(BINARY, {"x": column}, {"x": "categorical"} if isinstance(column[0], str) else None) == []


def test_an_easy_task_is_no_leak() -> None:
    easy = {f"e{i}": BINARY + RANDOM.normal(0, 0.01, N) for i in range(12)}
    assert leaks(BINARY, easy) == []


def test_a_rare_class_does_not_make_every_column_perfect() -> None:
    rare = ["usual"] * (N - 6) + ["a"] * 3 + ["b"] * 3
    assert leaks(rare, {}) == []


def test_columns_that_add_up_to_the_target() -> None:
    casual, registered = RANDOM.integers(0, 100, N), RANDOM.integers(0, 300, N)
    found = leaks(casual + registered, {"casual": casual, "registered": registered})
    assert len(found) == 1
    assert found[0] == (
        "The columns 'casual', 'registered' add up to the target 'y'; if they are not known before it, say "
        "`data.columns: {casual: ignore, registered: ignore}`."
    )
    assert leaks(casual + registered + RANDOM.normal(0, 10, N), {"casual": casual, "registered": registered}) == []


def test_a_target_that_is_nearly_always_the_same_adds_up_to_nothing() -> None:
    # The rows that differ are among those that the sum is fitted on: on the others the target has no variance.
    target = np.zeros(256)
    target[np.flatnonzero(folds(256, 2) == 0)[:2]] = 120.5, 80.0
    frame = pl.DataFrame({name: column[:256] for name, column in NOISE.items()} | {"y": target})
    assert leak_warnings(infer_schema(frame, "y", task="regression"), frame) == []


def test_multilabel_targets_are_looked_at_one_by_one() -> None:
    frame = pl.DataFrame(NOISE | {"copy": BINARY * 2.0, "a": BINARY, "b": RANDOM.integers(0, 2, N)})
    found = leak_warnings(infer_schema(frame, ["a", "b"]), frame)
    assert len(found) == 1
    assert "the target 'a'" in found[0]


def test_the_sample_is_the_same_every_time() -> None:
    frame = pl.DataFrame({"x": np.arange(50_000) % 997 + RANDOM.random(50_000), "z": RANDOM.normal(size=50_000)})
    frame = frame.with_columns(y=pl.col("x") + pl.col("z") / 50)
    schema = infer_schema(frame, "y")
    assert leak_warnings(schema, frame) == leak_warnings(schema, frame) != []


def test_identifiers_that_were_made_features() -> None:
    frame = pl.DataFrame({"row": range(N), "code": RANDOM.permutation(N) * 1_000 + 7, "y": BINARY} | NOISE)
    frames = {"train": frame[::2], "validation": frame[1::2], "test": frame[:0]}
    assert identifier_warnings(infer_schema(frame, "y", columns={"code": "ignore"}), frames) == []
    found = identifier_warnings(infer_schema(frame, "y", columns={"row": "numeric"}), frames)
    assert len(found) == 2
    assert "Feature 'row' looks like an identifier (whole numbers without a gap" in found[0]
    assert "Feature 'code' looks like an identifier (1,500 rows, each with a whole number of its own)" in found[1]
    assert "`data.columns: {code: identifier}`" in found[1]


def test_duplicates_across_the_split() -> None:
    frame = pl.DataFrame({"a": [i % 300 for i in range(N)], "b": NOISE["n0"], "y": BINARY})
    train, test = frame[:1_000], frame[1_000:]
    schema = infer_schema(frame, "y")
    assert duplicate_warnings(schema, {"train": train, "test": test}) == []
    # The same rows in another file, where the numbers were read as text.
    again = pl.concat([test, train[:50]]).with_columns(pl.col("a").cast(pl.String))
    found = duplicate_warnings(schema, {"train": train, "validation": test, "test": again})
    assert len(found) == 1
    assert found[0] == (
        "50 of 550 test rows (9.1%) have the same features as a training row; if they come from one source, "
        "split by `data.group`."
    )


NUMBERS = pl.Series("x", [3 * i + 1 for i in range(N)])
WORDS = pl.Series("x", [f"w{i % 5}" for i in range(N)])
TIMES = pl.Series("x", [datetime(2024, 1, 1) + timedelta(minutes=37 * i) for i in range(N)])  # noqa: DTZ001
FORMS = {
    "numeric": [
        NUMBERS,
        NUMBERS.cast(pl.String),
        NUMBERS.cast(pl.Float64),
        NUMBERS.cast(pl.Decimal(20, 3)),
        NUMBERS.cast(pl.String).cast(pl.Categorical),
        NUMBERS.cast(pl.String).cast(pl.Enum(NUMBERS.cast(pl.String))),
    ],
    "categorical": [WORDS, WORDS.cast(pl.Categorical), WORDS.cast(pl.Enum([f"w{i}" for i in range(9)]))],
    "datetime": [TIMES, TIMES.dt.to_string("iso"), TIMES.dt.cast_time_unit("ms"), TIMES.dt.replace_time_zone("UTC")],
    "boolean": [NUMBERS % 2 == 1, (NUMBERS % 2).cast(pl.Int8), (NUMBERS % 2 == 1).cast(pl.String)],
}


@pytest.mark.parametrize(
    ("kind", "first", "second"),
    [(kind, *pair) for kind, forms in FORMS.items() for pair in product(forms, forms)],
    ids=lambda value: value if isinstance(value, str) else str(value.dtype)[:12],
)
def test_files_that_give_a_column_other_types_are_compared_by_what_is_read(
    kind: str, first: pl.Series, second: pl.Series
) -> None:
    rest = {"n": NOISE["n0"], "y": BINARY}
    train, test = pl.DataFrame({"x": first, **rest}), pl.DataFrame({"x": second, **rest})
    schema = infer_schema(train, "y", columns={"x": kind})
    found = find_warnings(schema, {"train": train, "validation": train[:0], "test": test})
    assert f"{N:,} of {N:,} test rows (100.0%) have the same features" in found[-1]


def test_all_of_them() -> None:
    frame = pl.DataFrame(NOISE | {"copy": BINARY * 2.0, "row": range(N), "y": BINARY})
    schema = infer_schema(frame, "y", columns={"row": "numeric"})
    found = find_warnings(schema, {"train": frame[:1_000], "validation": frame[1_000:1_200], "test": frame[1_200:]})
    assert [warning.split("'")[1] for warning in found] == ["row", "copy"]
