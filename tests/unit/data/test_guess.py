"""Header and separator, on the shapes that mislead."""

from __future__ import annotations

import pytest

from mlpipe.data.guess import guess_header, guess_separator

MUSHROOMS = [["p", "x", "s"], ["e", "x", "s"], ["p", "b", "y"], ["e", "x", "y"], ["p", "b", "s"]]


@pytest.mark.parametrize(
    ("rows", "header"),
    [
        ([["carat", "cut"], ["0.2", "Ideal"], ["0.3", "Good"]], True),
        ([["0.1", "Ideal"], ["0.2", "Ideal"], ["0.3", "Good"]], False),
        ([["1", "2", "3"], ["4", "5", "6"], ["7", "8", "9"]], True),  # names that count on
        ([["0", "1", "2", "y"], ["9", "5", "6", "a"], ["7", "8", "9", "b"]], True),
        ([["country", "2019", "2020", "2021"], ["Chad", "1.5", "2", "3"]], True),
        ([["1", "1", "2"], ["4", "5", "6"], ["7", "8", "9"]], False),
        ([["0", "tcp", "http", "181"], ["0", "tcp", "smtp", "239"], ["1", "udp", "http", "5"]], False),
        ([["sex", "alive"], ["male", "no"], ["female", "yes"], ["male", "no"], ["male", "yes"]], True),
        (MUSHROOMS, False),
        ([["class", "cap", "gill"], *MUSHROOMS], True),
        ([["name", "city"], ["Ann", "Bonn"], ["Bob", "Rome"]], True),  # nothing repeats: most files have one
        ([["day", "n"], ["2013-01-01", "x"], ["2013-01-02", "y"]], True),
        ([["2013-01-01", "x"], ["2013-01-02", "y"], ["2013-01-03", "x"]], False),
        ([["", "a"], ["0", "5"], ["1", "6"]], True),
        ([["unknown", "5", "6"], ["1", "5", "7"], ["2", "4", "8"]], False),  # a junk word in the first row of numbers
        ([["yes", "no"], ["yes", "yes"], ["no", "no"], ["no", "yes"]], False),
        ([["5", "6"]], False),
        ([["a", "b"]], True),
        ([["id", "flag"], ["1", "?"], ["2", "?"]], True),
    ],
)
def test_header(rows: list[list[str]], header: bool) -> None:
    assert guess_header(rows, ["", "?"]) is header


@pytest.mark.parametrize(
    ("lines", "separator"),
    [
        (["a,b", "1,2"], ","),
        (["a\tb c", "1\tx, y", "2\tz"], "\t"),
        (["a;b;c", "1,5;2,5;3,0", "1,5;2,5;4,0"], ";"),
        (["a|b", "1|2"], "|"),
        (["a,b", '"x;y",2', '"z;y",3'], ","),
        (["a;b", "Smith, John;2", "Doe, Jane;3"], ";"),
        (["a,b", "x|y,2", "z|w,3"], ","),
        (["one", "two"], ","),
        ([], ","),
    ],
)
def test_separator(lines: list[str], separator: str) -> None:
    assert guess_separator(lines, '"') == separator
