"""`mlpipe drift` as a user calls it: a run trained by `mlpipe fit`, files of rows, exit codes, what is written."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

PATIENCE = 300.0  # seconds; machines that run tests are slow


def table(rows: int, seed: int, shift: float = 0.0) -> pl.DataFrame:
    random = np.random.default_rng(seed)
    size = random.normal(shift, size=rows)
    frame = pl.DataFrame(
        {
            "size": size,
            "color": random.choice(["red", "green", "blue"], rows),
            "rooms": random.integers(1, 9, rows),
            "dear": np.where(size + random.normal(scale=0.3, size=rows) > 0, "yes", "no"),
        }
    )
    return frame.with_columns(size=pl.when(pl.int_range(rows) % 20 == 0).then(None).otherwise("size"))


def mlpipe(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlpipe", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("drift")
    table(2_000, seed=0).write_csv(folder / "train.csv")
    table(1_500, seed=1).write_csv(folder / "same.csv")
    later = table(1_500, seed=2, shift=1.5).with_columns(color=pl.lit("pink"))
    later.write_csv(folder / "moved.csv")
    # As the server logs requests: the raw columns, and what was answered.
    log = later.drop("dear").with_columns(
        prediction=pl.lit("yes"), model_version=pl.lit("x"), request_id=pl.lit("1"), time=pl.lit("2026-01-31T12:00:00Z")
    )
    log.write_parquet(folder / "log.parquet")
    words = "--data.path train.csv --data.target dear --run run --trainer.max_epochs 2 --model.width 16"
    result = mlpipe(folder, "fit", *words.split(), "--tracking.enabled", "false", "--features.neighbors", "never")
    assert result.returncode == 0, result.stderr
    return folder


def report_of(folder: Path, data: str) -> dict[str, Any]:
    result = mlpipe(folder, "drift", "--bundle", "run/bundle", "--data", data, "--log", "json")
    assert (result.returncode, result.stderr) == (0, "")
    report: dict[str, Any] = json.loads(result.stdout)
    return report


def test_the_run_and_its_bundle_hold_the_statistics(folder: Path) -> None:
    statistics = json.loads((folder / "run" / "statistics.json").read_text())
    assert statistics == json.loads((folder / "run" / "bundle" / "statistics.json").read_text())
    training = pl.read_csv(folder / "train.csv")
    low, high = statistics["ranges"]["size"]
    assert training["size"].min() <= low < high <= training["size"].max()  # type: ignore[operator]  # of numbers
    assert statistics["features"]["rows"] == 1_400
    assert statistics["predictions"]["rows"] == 300
    assert sorted(statistics["predictions"]["categorical"][0]["names"]) == ["no", "yes"]


def test_rows_like_those_of_training_are_stable(folder: Path) -> None:
    report = report_of(folder, "same.csv")
    assert (report["rows"], report["above"]) == (1_500, [])
    assert {record["feature"]: record["verdict"] for record in report["records"]} == dict.fromkeys(
        ("size", "color", "rooms", "prediction"), "stable"
    )


def test_moved_rows_are_found_and_the_log_of_a_server_says_the_same(folder: Path) -> None:
    report = report_of(folder, "moved.csv")
    records = {record["feature"]: record for record in report["records"]}
    assert sorted(report["above"]) == ["color", "prediction", "size"]
    assert (records["color"]["unseen"], records["color"]["unseen_in_training"]) == (1.0, 0.0)
    assert records["size"]["missing"] == pytest.approx(0.05)
    assert records["rooms"]["verdict"] == "stable"
    indexes = [record["psi"] for record in report["records"]]
    assert indexes == sorted(indexes, reverse=True)
    logged = report_of(folder, "log.parquet")
    assert {**logged, "data": "moved.csv"} == report


def test_the_table_the_report_and_the_plot(folder: Path) -> None:
    words = ["drift", "--bundle", "run/bundle", "--data", "moved.csv", "--out", "drift.json", "--plot", "drift.png"]
    result = mlpipe(folder, *words, "--fail")
    assert (result.returncode, result.stderr) == (3, "")
    lines = result.stdout.splitlines()
    (row,) = [line.split() for line in lines if line.lstrip().startswith("color")]
    assert row[-6:] == ["0.0%", "→", "100.0%", "large", "shift"][-6:] or row[-5:] == [
        "0.0%",
        "→",
        "100.0%",
        "large",
        "shift",
    ]
    assert lines[-4].startswith("1,500 rows of moved.csv beside 1,400 training rows.")
    assert lines[-3].startswith("PSI above 0.25: ")
    assert lines[-2:] == ["Written: drift.json", "Written: drift.png"]
    assert json.loads((folder / "drift.json").read_text())["rows"] == 1_500
    assert (folder / "drift.png").read_bytes().startswith(b"\x89PNG")

    before = (folder / "drift.json").read_bytes()
    again = mlpipe(folder, *words)
    assert (again.returncode, again.stdout) == (2, "")
    assert again.stderr == "error: 'drift.json' exists already; --force replaces it.\n"
    assert (folder / "drift.json").read_bytes() == before
    assert mlpipe(folder, *words, "--force").returncode == 0


def test_the_threshold_decides_on_the_exit_code(folder: Path) -> None:
    words = ["drift", "--bundle", "run/bundle", "--fail"]
    assert mlpipe(folder, *words, "--data", "moved.csv", "--threshold", "100").returncode == 0
    strict = mlpipe(folder, *words, "--data", "same.csv", "--threshold", "0.000001")
    assert strict.returncode == 3
    assert "PSI above 1e-06: " in strict.stdout


def test_few_rows_are_told(folder: Path) -> None:
    pl.read_csv(folder / "same.csv").head(50).write_csv(folder / "few.csv")
    result = mlpipe(folder, "drift", "--bundle", "run/bundle", "--data", "few.csv", "--fail")
    assert result.returncode == 0
    assert "So few rows have no PSI" in result.stdout


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--data none.csv", "There is no file none.csv"),
        ("--data empty.csv", "empty.csv has no rows, so there is nothing to compare with those of training."),
        ("--data narrow.csv", "narrow.csv has no column 'color', which the model needs. Did you mean 'colour'?"),
        ("--data same.csv --threshold no", "'no' is no threshold; it has to be a number above 0, such as 0.25"),
        ("--data same.csv --threshold -1", "is no threshold"),
        ("--data same.csv --out report.txt", "--out 'report.txt': the file's name has to end in .json."),
        ("--data same.csv --plot drift", "--plot 'drift': the file's name has to end in .png or .pdf or .svg."),
        ("--data same.csv --out no/drift.json", "there is no folder 'no' to write to"),
        ("--data same.json --out same.json --force", "'same.json' is the file to be read; choose another path"),
    ],
)
def test_mistakes_are_one_sentence(folder: Path, words: str, said: str) -> None:
    same = pl.read_csv(folder / "same.csv")
    same.clear().write_csv(folder / "empty.csv")
    same.rename({"color": "colour"}).write_csv(folder / "narrow.csv")
    same.write_ndjson(folder / "same.json")
    result = mlpipe(folder, "drift", "--bundle", "run/bundle", *words.split())
    assert (result.returncode, result.stdout) == (2, "")
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
