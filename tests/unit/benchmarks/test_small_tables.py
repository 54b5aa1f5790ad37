"""The table of small tables: losses beside the default's on the cuts that both have."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from small_tables import SMALL, SmallTable, as_markdown, changes, cut, loss_of

RESULTS = {
    "default": {"german": {"0": 0.5, "1": 0.3}, "boston": {"0": 4.0}, "splice": {"0": 0.2}},
    "dropout 0.4": {"german": {"1": 0.33}, "boston": {"0": 3.0}, "splice": {"0": 0.1}},
    "catboost": {"german": {"0": 0.5, "1": 0.3}},
}


def test_losses_are_in_percent_of_the_defaults_and_the_lowest_is_first() -> None:
    lines = as_markdown(RESULTS).splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines[2:5]]
    assert rows[0] == ["dropout 0.4", "-7.5 (2)", "-50.0 (1)", "-21.7", "2, 1"]
    assert rows[1] == ["catboost", "+0.0 (1)", "", "+0.0", "0, 0"]
    assert rows[2] == ["default", "+0.0 (2)", "+0.0 (1)", "+0.0", "0, 0"]


def test_changes_are_of_the_cuts_that_both_have() -> None:
    found = changes(RESULTS["dropout 0.4"], RESULTS["default"])
    assert found == {"german": pytest.approx(10), "boston": pytest.approx(-25), "splice": pytest.approx(-50)}


@pytest.mark.parametrize("regression", [True, False])
def test_a_cut_has_every_row_once_and_is_the_same_again(regression: bool) -> None:
    table = pl.DataFrame({"row": np.arange(200), "y": np.arange(200) % 4})
    small = SmallTable(lambda _: table, "y", regression)
    parts = cut(table, small, 1)
    assert {name: len(part) for name, part in parts.items()} == {"train": 120, "validation": 30, "test": 50}
    assert sorted(pl.concat(parts.values())["row"]) == list(range(200))
    assert parts["test"].equals(cut(table, small, 1)["test"])
    assert not parts["test"].equals(cut(table, small, 0)["test"])


def test_a_peer_is_measured_on_the_held_out_rows() -> None:
    random = np.random.default_rng(0)
    x = random.normal(size=300)
    table = pl.DataFrame({"x": x, "y": 2 * x + random.normal(size=300) / 10})
    small = SmallTable(lambda _: table, "y", regression=True)
    parts = cut(table, small, 0)
    assert loss_of("linear", small, parts, 0) == pytest.approx(0.1, rel=0.2)


def test_the_table_of_the_docs_is_that_of_the_records() -> None:
    results = Path(__file__).parents[3] / "benchmarks" / "results"
    known = json.loads((results / "small_tables.json").read_text(encoding="utf-8"))
    assert set(SMALL) >= {table for by_table in known.values() for table in by_table}
    assert (results / "small_tables.md").read_text(encoding="utf-8") == as_markdown(known)
