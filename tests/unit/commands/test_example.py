from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from mlpipe.cli import main
from mlpipe.data import flights


@pytest.fixture
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Three rows instead of 327,346; `tests/unit/data` looks at the real ones."""

    def write(out: Path) -> int:
        out.write_text("late\ntrue\nfalse\ntrue\n", encoding="utf-8")
        return 3

    monkeypatch.setattr(flights, "write_flights", write)


def test_it_writes_the_table_and_says_what_to_do_next(
    small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / "flights.csv"
    assert main(["example", "flights", "--out", str(out)]) == 0
    assert out.is_file()
    assert capsys.readouterr().out.endswith(f"  mlpipe init {out} --target late\n")


def test_it_overwrites_only_if_asked(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "flights.csv"
    out.write_text("mine", encoding="utf-8")
    assert main(["example", "flights", "--out", str(out)]) == 2
    assert (
        capsys.readouterr().err
        == f"error: {out} exists; give another name with `--out`, or `--force` to overwrite it.\n"
    )
    assert out.read_text(encoding="utf-8") == "mine"
    assert main(["example", "flights", "--out", str(out), "--force"]) == 0
    assert out.read_text(encoding="utf-8") != "mine"


def test_an_ending_that_names_no_format_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["example", "flights", "--out", str(tmp_path / "flights.xlsx")]) == 2
    assert "the ending names the format" in capsys.readouterr().err


def test_a_folder_is_refused(small: None, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "flights.csv"
    out.mkdir()
    for words in ([], ["--force"]):
        assert main(["example", "flights", "--out", str(out), *words]) == 2
        assert capsys.readouterr().err == (
            f"error: {str(out)!r} is a folder, which no file replaces; name a file, for example one in it.\n"
        )


def test_a_full_disk_is_one_sentence_and_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def fail(table: pl.DataFrame, path: Path) -> None:
        path.write_bytes(b"half")
        raise OSError("No space left on device (os error 28)")  # as Polars raises it

    monkeypatch.setattr(flights, "flights_table", pl.DataFrame)
    monkeypatch.setitem(flights._WRITERS, ".csv", fail)
    out = tmp_path / "flights.csv"
    out.write_text("old", encoding="utf-8")
    assert main(["example", "flights", "--out", str(out), "--force"]) == 2
    assert capsys.readouterr().err == (
        f"error: {out}: No space left on device; make room there, or choose another disk.\n"
    )
    assert out.read_text(encoding="utf-8") == "old"
