"""Predicting files: every format in and out, rows in order, and nothing half-written or lost."""

from __future__ import annotations

import errno
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest
from polars.testing import assert_frame_equal

from mlpipe.bundle.predictor import ModelPredictor, Predictor
from mlpipe.bundle.scoring import _SINKS, check_out
from mlpipe.data.options import ReadOptions
from mlpipe.errors import ConfigError, DataError
from mlpipe.schema import TaskKind

READERS: dict[str, Callable[[Path], pl.DataFrame]] = {
    ".parquet": pl.read_parquet,
    ".csv": pl.read_csv,
    ".ndjson": pl.read_ndjson,
    ".jsonl": pl.read_ndjson,
    ".arrow": pl.read_ipc,
    ".ipc": pl.read_ipc,
}


@pytest.fixture
def predictor(binary: Any, tmp_path: Path) -> Predictor:
    return Predictor.load(binary.write(tmp_path / "bundle"))


@pytest.fixture
def rows(binary: Any, tmp_path: Path) -> Path:
    path = tmp_path / "rows.csv"
    binary.frame.write_csv(path)
    return path


@pytest.mark.parametrize("ending", READERS)
def test_identifiers_come_first_then_the_predictions(
    binary: Any, predictor: Predictor, rows: Path, tmp_path: Path, ending: str
) -> None:
    out = tmp_path / f"out{ending}"
    assert predictor.predict_file(rows, out) == 300
    expected = pl.concat([binary.frame.select("order id"), predictor.predict(binary.frame)], how="horizontal")
    assert_frame_equal(READERS[ending](out), expected, check_dtypes=False, abs_tol=1e-5)


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".ndjson", ".arrow"])
def test_every_format_that_is_read_gives_the_same(
    binary: Any, predictor: Predictor, rows: Path, tmp_path: Path, ending: str
) -> None:
    predictor.predict_file(rows, tmp_path / "expected.parquet")
    source = tmp_path / f"in{ending}"
    frame = binary.frame
    writers = {".csv": frame.write_csv, ".parquet": frame.write_parquet, ".ndjson": frame.write_ndjson}
    writers.get(ending, frame.write_ipc)(source)
    predictor.predict_file(source, tmp_path / "out.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "out.parquet"), pl.read_parquet(tmp_path / "expected.parquet"))


def test_order_is_kept_over_many_batches(binary: Any, predictor: Predictor, tmp_path: Path) -> None:
    many = pl.concat([binary.frame.select("age", "visits", "city", "member", "day")] * 100).with_row_index("order id")
    many.write_parquet(tmp_path / "many.parquet", row_group_size=1000)
    assert predictor.predict_file(tmp_path / "many.parquet", tmp_path / "out.parquet", batch_size=512) == 30_000
    out = pl.read_parquet(tmp_path / "out.parquet")
    assert out["order id"].to_list() == list(range(30_000))
    once = predictor.predict(binary.frame)
    assert_frame_equal(out.drop("order id"), pl.concat([once] * 100), abs_tol=1e-5)


def test_a_multilabel_prediction_is_a_list_or_in_csv_joined(fitted: Callable[[TaskKind], Any], tmp_path: Path) -> None:
    source = fitted(TaskKind.MULTILABEL)
    predictor = Predictor.load(source.write(tmp_path / "bundle"))
    source.frame.write_parquet(tmp_path / "in.parquet")
    for ending in (".parquet", ".csv"):
        predictor.predict_file(tmp_path / "in.parquet", tmp_path / f"out{ending}")
    lists = pl.read_parquet(tmp_path / "out.parquet")["prediction"]
    assert lists.dtype == pl.List(pl.String)
    assert lists.list.len().n_unique() > 1
    joined = pl.read_csv(tmp_path / "out.csv")["prediction"].fill_null("")
    assert joined.to_list() == lists.list.join("|").to_list()


def test_a_file_without_target_and_identifier_is_enough(binary: Any, predictor: Predictor, tmp_path: Path) -> None:
    features = ["age", "visits", "city", "member", "day"]
    binary.frame.select(*features, pl.lit("x").alias("something else")).write_csv(tmp_path / "in.csv")
    predictor.predict_file(tmp_path / "in.csv", tmp_path / "out.csv")
    assert pl.read_csv(tmp_path / "out.csv").columns == [
        "prediction",
        "probability_no",
        "probability_yes",
        "confidence",
    ]


def test_files_are_read_as_the_training_file_was(binary: Any, rows: Path, tmp_path: Path) -> None:
    odd = tmp_path / "odd.csv"
    binary.frame.drop("bought").write_csv(odd, separator=";", null_value="-")
    options = {
        "format": "csv",
        "separator": ";",
        "null_values": ["-"],
        "dtypes": {"age": "Float64", "bought": "String"},
    }
    predictor = Predictor.load(binary.write(tmp_path / "with options", read=options))
    predictor.predict_file(odd, tmp_path / "out.parquet")
    predictor.predict_file(rows, tmp_path / "expected.parquet", ReadOptions())
    assert_frame_equal(pl.read_parquet(tmp_path / "out.parquet"), pl.read_parquet(tmp_path / "expected.parquet"))
    # The same table in another format is no worse.
    binary.frame.write_parquet(tmp_path / "in.parquet")
    predictor.predict_file(tmp_path / "in.parquet", tmp_path / "again.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "again.parquet"), pl.read_parquet(tmp_path / "expected.parquet"))


def test_a_missing_column_is_named_with_the_closest(binary: Any, predictor: Predictor, tmp_path: Path) -> None:
    binary.frame.rename({"visits": "visit"}).write_csv(tmp_path / "in.csv")
    with pytest.raises(
        DataError, match=r"in\.csv has no column 'visits', which the model needs\. Did you mean 'visit'\?"
    ):
        predictor.predict_file(tmp_path / "in.csv", tmp_path / "out.csv")
    assert not (tmp_path / "out.csv").exists()


@pytest.mark.parametrize("name", ["out.xlsx", "out", "out.csv.gz"])
def test_an_unknown_ending_is_refused(predictor: Predictor, rows: Path, tmp_path: Path, name: str) -> None:
    with pytest.raises(ConfigError, match=r"the ending says which format to write; it can be \.parquet, \.csv"):
        predictor.predict_file(rows, tmp_path / name)


@pytest.mark.parametrize("how", ["itself", "link", "glob"])
def test_the_input_is_never_overwritten(predictor: Predictor, rows: Path, tmp_path: Path, how: str) -> None:
    (tmp_path / "link.csv").symlink_to(rows)
    data = str(tmp_path / "row*.csv") if how == "glob" else rows
    out = tmp_path / "link.csv" if how == "link" else rows
    before = rows.read_bytes()
    with pytest.raises(ConfigError, match="is the file to be read"):
        predictor.predict_file(data, out, overwrite=True)
    assert rows.read_bytes() == before


def test_another_file_is_overwritten_only_when_asked(predictor: Predictor, rows: Path, tmp_path: Path) -> None:
    out = tmp_path / "out.csv"
    out.write_text("precious")
    with pytest.raises(ConfigError, match=r"out\.csv' exists already; --force replaces it"):
        predictor.predict_file(rows, out)
    assert out.read_text() == "precious"
    assert predictor.predict_file(rows, out, overwrite=True) == 300
    assert out.read_text().startswith("order id,prediction,")


def test_a_folder_that_is_not_there_is_named(predictor: Predictor, rows: Path, tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="there is no folder"):
        predictor.predict_file(rows, tmp_path / "nowhere" / "out.csv")


def test_a_failure_on_the_way_leaves_nothing(
    predictor: Predictor, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = sorted(path.name for path in tmp_path.iterdir())
    assert isinstance(predictor, ModelPredictor)
    outputs = predictor.predict_arrays

    def fail_later(arrays: Any) -> Any:
        if len(arrays):
            raise DataError("the third row is bad")
        return outputs(arrays)

    monkeypatch.setattr(predictor, "predict_arrays", fail_later)
    with pytest.raises(DataError, match="the third row is bad"):
        predictor.predict_file(rows, tmp_path / "out.csv")
    assert sorted(path.name for path in tmp_path.iterdir()) == before


def test_a_file_that_is_damaged_in_its_midst_leaves_nothing(binary: Any, predictor: Predictor, tmp_path: Path) -> None:
    source, out = tmp_path / "in.parquet", tmp_path / "out.parquet"
    pl.concat([binary.frame] * 200).write_parquet(source, row_group_size=10_000)
    content = bytearray(source.read_bytes())
    middle = len(content) // 2
    content[middle : middle + 3_000] = bytes(3_000)
    source.write_bytes(content)
    with pytest.raises(DataError, match=r"in.parquet could not be read to its end: .*; nothing is written"):
        predictor.predict_file(source, out)
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out"))] == []


@pytest.mark.parametrize("error", [pl.exceptions.ComputeError("ours"), ValueError("ours")])
def test_a_fault_of_ours_is_no_fault_of_the_file(
    predictor: ModelPredictor, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    outputs = predictor.predict_arrays

    def fail_later(arrays: Any) -> Any:
        if len(arrays):
            raise error
        return outputs(arrays)

    monkeypatch.setattr(predictor, "predict_arrays", fail_later)
    with pytest.raises(type(error), match="ours"):
        predictor.predict_file(rows, tmp_path / "out.csv")


def test_a_tsv_has_tabs_whatever_the_training_file_had(binary: Any, rows: Path, tmp_path: Path) -> None:
    read = {"format": "csv", "separator": ","}
    predictor = Predictor.load(binary.write(tmp_path / "with options", read=read))
    binary.frame.write_csv(tmp_path / "in.tsv", separator="\t")
    predictor.predict_file(tmp_path / "in.tsv", tmp_path / "out.parquet")
    predictor.predict_file(rows, tmp_path / "expected.parquet")
    assert_frame_equal(pl.read_parquet(tmp_path / "out.parquet"), pl.read_parquet(tmp_path / "expected.parquet"))


@pytest.mark.parametrize("stored", [False, True])
def test_values_that_cannot_be_read_are_counted(
    binary: Any, tmp_path: Path, caplog: pytest.LogCaptureFixture, stored: bool
) -> None:
    """Whether the reader knows that the training file had numbers there or not."""
    read = {"dtypes": {"age": "Float64"}} if stored else None
    predictor = Predictor.load(binary.write(tmp_path / "bundle", read=read))
    age = [None if i % 17 == 0 else "n.n." if i % 100 == 1 else "40.5" for i in range(300)]
    binary.frame.with_columns(age=pl.Series(age)).write_csv(tmp_path / "in.csv")
    assert predictor.predict_file(tmp_path / "in.csv", tmp_path / "out.csv") == 300
    ours = [record.message for record in caplog.records if record.name == "mlpipe.bundle.streaming"]
    assert ours == [f"{tmp_path / 'in.csv'}: 3 values of 'age' could not be read and were taken as missing."]


def with_identifier(predictor: Predictor, name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have the predictor know `order id` by another name."""
    columns = (replace(column, name=name) if column.name == "order id" else column for column in predictor.schema)
    monkeypatch.setattr(predictor, "schema", replace(predictor.schema, columns=tuple(columns)))


@pytest.mark.parametrize("name", ["prediction", "confidence", "probability_no"])
def test_an_identifier_called_as_an_answer_gets_a_name_of_its_own(
    binary: Any,
    predictor: Predictor,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    name: str,
) -> None:
    with_identifier(predictor, name, monkeypatch)
    binary.frame.rename({"order id": name}).write_parquet(tmp_path / "in.parquet")
    predictor.predict_file(tmp_path / "in.parquet", tmp_path / "out.parquet")
    out = pl.read_parquet(tmp_path / "out.parquet")
    assert out.columns == [f"{name}_1", "prediction", "probability_no", "probability_yes", "confidence"]
    assert out[f"{name}_1"].to_list() == binary.frame["order id"].to_list()
    assert_frame_equal(out.drop(f"{name}_1"), predictor.predict(binary.frame), abs_tol=1e-5)
    assert f"The identifier {name!r} is written as '{name}_1'" in caplog.text


@pytest.mark.parametrize(
    ("dtype", "ending", "written"),
    [
        (pl.List(pl.String), ".csv", False),
        (pl.List(pl.String), ".ndjson", True),
        (pl.Binary(), ".csv", False),
        (pl.Binary(), ".ndjson", False),
        (pl.Binary(), ".parquet", True),
        (pl.Duration(), ".csv", False),
        (pl.Duration(), ".jsonl", True),
        (pl.Datetime("ns", "Asia/Tokyo"), ".csv", True),
        (pl.Int128(), ".csv", True),
        (pl.Decimal(38, 2), ".csv", True),
    ],
)
def test_identifiers_that_a_format_does_not_know_are_refused_before_anything_runs(
    binary: Any, predictor: Predictor, tmp_path: Path, dtype: pl.DataType, ending: str, written: bool
) -> None:
    identifiers = pl.Series("order id", [None] * binary.frame.height, dtype=dtype)
    binary.frame.with_columns(identifiers).write_parquet(tmp_path / "in.parquet")
    out = tmp_path / f"out{ending}"
    if written:
        assert predictor.predict_file(tmp_path / "in.parquet", out) == 300
        return
    with pytest.raises(ConfigError, match=f"'order id' holds .* values, which {ending} files do not; write a .parquet"):
        predictor.predict_file(tmp_path / "in.parquet", out)


@pytest.mark.parametrize("error", [OSError, pl.exceptions.ComputeError])
@pytest.mark.parametrize("ending", [".csv", ".parquet"])
def test_a_full_disk_is_no_fault_of_the_data(
    predictor: Predictor,
    rows: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    ending: str,
    error: type[Exception],
) -> None:
    """Polars raises the one or the other, by the format, and has the system's number in the text alone."""

    def fail(frame: pl.LazyFrame, path: Path) -> None:
        path.write_bytes(b"half")
        raise error("underlying IO error: No space left on device (os error 28)")

    monkeypatch.setitem(_SINKS, ending, fail)
    out = tmp_path / f"out{ending}"
    with pytest.raises(OSError, match="No space left on device") as caught:
        predictor.predict_file(rows, out)
    assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, str(out))
    assert [path.name for path in tmp_path.iterdir() if path.name.startswith((".", "out"))] == []


def test_a_disk_that_fails_while_reading_is_told_of_the_data(
    predictor: Predictor, rows: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(frame: pl.LazyFrame, path: Path) -> None:
        raise pl.exceptions.ComputeError("underlying IO error: Input/output error (os error 5)")

    monkeypatch.setitem(_SINKS, ".csv", fail)
    with pytest.raises(
        DataError, match=r"rows\.csv could not be read to its end: .*\(os error 5\); nothing is written"
    ):
        predictor.predict_file(rows, tmp_path / "out.csv")


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_is_refused_before_a_row_is_read(
    predictor: Predictor, rows: Path, tmp_path: Path, overwrite: bool
) -> None:
    out = tmp_path / "out.csv"
    out.mkdir()
    with pytest.raises(ConfigError, match=r"out\.csv' is a folder, which no file replaces"):
        check_out(rows, out, overwrite=overwrite)
    with pytest.raises(ConfigError, match=r"out\.csv' is a folder, which no file replaces"):
        predictor.predict_file(tmp_path / "nothing.csv", out, overwrite=overwrite)
