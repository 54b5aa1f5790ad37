"""Tables on a terminal: whatever the names hold, they stand there as they are."""

from __future__ import annotations

import logging

import pytest

from mlpipe.commands.tables import print_metrics, print_parts, print_table
from mlpipe.logs import configure_logging

#: What rich would take for styles, for the end of one that was never begun, for a link, and for a picture.
ODD = ("speed [km/h]", "dose [/kg]", "[yes]", "[/no]", "[link=x]y", ":smile:", "\\[a]")


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "200")


@pytest.mark.parametrize("name", ODD)
def test_names_are_no_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_table([name, f"{name} 2"], [[name, f"{name} 3"], ["", name]])
    assert capsys.readouterr().out.count(name) == 5


@pytest.mark.parametrize("name", ODD)
def test_classes_and_metrics_are_no_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    print_parts([{"part": "train", "rows": 10, "classes": {name: 0.25, "other": 0.75}}])
    print_metrics({name: {name: 0.5}})
    assert capsys.readouterr().out.count(name) == 3


@pytest.mark.parametrize("name", ODD)
def test_log_lines_are_no_markup(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    configure_logging("rich")
    logging.getLogger("mlpipe").warning("the column %r", name, extra={"column": name})
    told = " ".join(capsys.readouterr().err.split())
    assert f"the column {name!r} column={name}" in told


def test_the_first_column_is_left_and_the_others_are_right(capsys: pytest.CaptureFixture[str]) -> None:
    print_table(["part", "rows"], [["a", "1,000"], ["test", "1"]])
    lines = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [line.strip() for line in lines if "a " in line or "test" in line] == ["a      1,000", "test       1"]
