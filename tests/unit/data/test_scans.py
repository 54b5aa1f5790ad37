"""Parquet, Arrow and NDJSON: several files as one table, names that look like patterns, and what is said of damage."""

from __future__ import annotations

import gzip
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlpipe.data import read as reading
from mlpipe.data import sources
from mlpipe.data.options import ReadOptions
from mlpipe.data.read import scan
from mlpipe.errors import DataError

FIRST = {"x": [0.5, 1.5], "c": ["a", "b"]}
WRITERS: dict[str, Callable[[pl.DataFrame, Path], Any]] = {
    "parquet": pl.DataFrame.write_parquet,
    "arrow": pl.DataFrame.write_ipc,
    "ndjson": pl.DataFrame.write_ndjson,
}


def write_two(folder: Path, ending: str, second: dict[str, Any]) -> str:
    for name, values in (("1", FIRST), ("2", second)):
        WRITERS[ending](pl.DataFrame(values), folder / f"t{name}.{ending}")
    return str(folder / f"t?.{ending}")


def read(path: str | Path) -> pl.DataFrame:
    """By both ways, which have to agree."""
    frame = scan(path).collect()
    assert_frame_equal(reading.read(path)[0], frame)
    return frame


@pytest.mark.parametrize("ending", WRITERS)
@pytest.mark.parametrize(
    "second",
    [
        {"x": [2.5], "c": ["a"]},
        {"c": ["a"], "x": [2.5]},
        {"x": pl.Series([2.5], dtype=pl.Float32), "c": ["a"]},
        {"c": pl.Series(["a"], dtype=pl.Categorical), "x": [2.5]},
    ],
)
def test_files_may_differ_in_the_order_and_width_of_their_columns(
    tmp_path: Path, ending: str, second: dict[str, Any]
) -> None:
    frame = read(write_two(tmp_path, ending, second))
    assert_frame_equal(frame, pl.DataFrame({"x": [0.5, 1.5, 2.5], "c": ["a", "b", "a"]}))


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
def test_whole_numbers_and_nulls_go_with_others(tmp_path: Path, ending: str) -> None:
    frame = read(write_two(tmp_path, ending, {"x": [3], "c": [None]}))
    assert frame.rows() == [(0.5, "a"), (1.5, "b"), (3.0, None)]


@pytest.mark.parametrize("ending", ["parquet", "arrow"])
@pytest.mark.parametrize(
    ("second", "sentence"),
    [
        ({"x": [1.0]}, r"t2\.\w+ has no column 'c', which .*t1\.\w+ has\."),
        ({"x": [1.0], "C": ["a"]}, r"t2\.\w+ has no column 'c', .* Did you mean 'C'\?"),
        ({"x": [1.0], "c": ["a"], "d": [1]}, r"t2\.\w+ has a column 'd', which .*t1\.\w+ has not"),
        ({"x": ["1.0"], "c": ["a"]}, r"Column 'x' is String in .*t2\.\w+, but Float64 in .*t1\.\w+; write both as one"),
        ({"x": [1.0], "c": [True]}, r"Column 'c' is Boolean in .*t2\.\w+, but String"),
    ],
)
def test_files_of_different_tables_are_refused(
    tmp_path: Path, ending: str, second: dict[str, Any], sentence: str
) -> None:
    path = write_two(tmp_path, ending, second)
    for way in (scan, reading.read):
        with pytest.raises(DataError, match=sentence):
            way(path)


def test_a_key_that_only_a_later_ndjson_file_has_is_not_lost(tmp_path: Path) -> None:
    frame = read(write_two(tmp_path, "ndjson", {"x": [2.5], "d": [7]}))
    assert frame.rows() == [(0.5, "a", None), (1.5, "b", None), (2.5, None, 7)]
    with pytest.raises(DataError, match=r"from .*t1.ndjson and .*t2.ndjson are not of one table"):
        read(write_two(tmp_path, "ndjson", {"x": [[1]], "c": [{"a": 1}]}))


@pytest.mark.parametrize("name", ["t[1].ndjson", "t*.ndjson", "t[1].parquet", "t*.arrow"])
def test_a_file_whose_name_looks_like_a_pattern_is_itself(tmp_path: Path, name: str) -> None:
    ending = name.rpartition(".")[2]
    WRITERS[ending](pl.DataFrame(FIRST), tmp_path / name)
    WRITERS[ending](pl.DataFrame(FIRST), tmp_path / f"t1.{ending}")
    assert read(tmp_path / name).height == 2


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ('{"x": ', r"t.ndjson: line 2 is no JSON \(Expecting value at its character \d\)"),
        ("[1, 2]", "t.ndjson: line 2 is no JSON object"),
        ('{"x": NaN}', "t.ndjson: line 2 holds NaN, which JSON does not know; write null"),
    ],
)
def test_the_bad_line_of_an_ndjson_file_is_named(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "t.ndjson").write_text(f'{{"x": 1.5}}\n{line}\n{{"x": 2.5}}\n')
    with pytest.raises(DataError, match=sentence):
        read(tmp_path / "t.ndjson")


def test_a_damaged_file_among_several_is_named(tmp_path: Path) -> None:
    path = write_two(tmp_path, "parquet", FIRST)
    damaged = tmp_path / "t2.parquet"
    damaged.write_bytes(damaged.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"t2.parquet is damaged or cut short"):
        read(path)


@pytest.mark.parametrize("fault", ["cut", "checksum", "content"])
@pytest.mark.parametrize("encoding", ["utf8", "latin-1"])
def test_a_compressed_file_that_is_damaged_behind_the_sample(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: str, encoding: str
) -> None:
    monkeypatch.setattr(sources, "SAMPLE_BYTES", 1_000)
    content = bytearray(gzip.compress("".join(["a,b\n", *(f"{i},{i * i}\n" for i in range(50_000))]).encode()))
    if fault == "cut":
        del content[-2_000:]
    else:
        place = len(content) - (6 if fault == "checksum" else 2_000)
        content[place : place + 4] = b"\xff\xff\xff\xff"
    (tmp_path / "t.csv.gz").write_bytes(content)
    for way in (scan, reading.read):
        with pytest.raises(DataError, match=r"t.csv.gz cannot be decompressed, so it is damaged or cut short"):
            way(tmp_path / "t.csv.gz", ReadOptions(encoding=encoding))


def test_archives_with_damaged_content(tmp_path: Path) -> None:
    text = "".join(["a,b\n", *(f"{i},{i * i}\n" for i in range(2_000))]).encode()
    with zipfile.ZipFile(tmp_path / "t.zip", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("t.csv", text)
    (tmp_path / "t.csv.gz").write_bytes(gzip.compress(text))
    for name, words in (("t.zip", "cannot be unpacked"), ("t.csv.gz", "cannot be decompressed")):
        content = bytearray((tmp_path / name).read_bytes())
        content[60:400] = bytes(340)
        (tmp_path / name).write_bytes(content)
        with pytest.raises(DataError, match=f"{name} {words}"):
            read(tmp_path / name)
