"""`mlpipe drift` as a user calls it: a run trained by `mlpipe fit`, files of rows, exit codes, what is written.

One call has a process of its own; the others, which would load torch each time, are made by `main`.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from mlpipe.cli import main

PATIENCE = 300.0  # seconds; machines that run tests are slow

Drift = Callable[[str], tuple[int, str, str]]


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


def in_a_process(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlpipe", *words]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE, check=False)


@pytest.fixture
def drift(folder: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Drift:
    """Exit code, output and errors of `mlpipe drift --bundle run/bundle` and more words."""
    monkeypatch.chdir(folder)

    def call(words: str) -> tuple[int, str, str]:
        code = main(["drift", "--bundle", "run/bundle", *words.split()])
        return code, *capsys.readouterr()

    return call


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
    result = in_a_process(folder, "fit", *words.split(), "--tracking.enabled", "false", "--features.neighbors", "never")
    assert result.returncode == 0, result.stderr
    return folder


def report_of(drift: Drift, data: str) -> dict[str, Any]:
    code, output, errors = drift(f"--data {data} --log json")
    assert (code, errors) == (0, "")
    report: dict[str, Any] = json.loads(output)
    return report


def test_the_run_and_its_bundle_hold_the_statistics(folder: Path) -> None:
    statistics = json.loads((folder / "run" / "statistics.json").read_text())
    assert statistics == json.loads((folder / "run" / "bundle" / "statistics.json").read_text())
    training = pl.read_csv(folder / "train.csv")
    low, high = statistics["ranges"]["size"]
    assert training["size"].min() <= low < high <= training["size"].max()
    assert statistics["features"]["rows"] == 1_400
    assert statistics["predictions"]["rows"] == 300
    assert sorted(statistics["predictions"]["categorical"][0]["names"]) == ["no", "yes"]


def test_rows_like_those_of_training_are_stable(drift: Drift) -> None:
    report = report_of(drift, "same.csv")
    assert (report["rows"], report["above"]) == (1_500, [])
    assert {record["feature"]: record["verdict"] for record in report["records"]} == dict.fromkeys(
        ("size", "color", "rooms", "prediction"), "stable"
    )


def test_moved_rows_are_found_and_the_log_of_a_server_says_the_same(drift: Drift) -> None:
    report = report_of(drift, "moved.csv")
    records = {record["feature"]: record for record in report["records"]}
    assert sorted(report["above"]) == ["color", "prediction", "size"]
    assert (records["color"]["unseen"], records["color"]["unseen_in_training"]) == (1.0, 0.0)
    assert records["size"]["missing"] == pytest.approx(0.05)
    assert records["rooms"]["verdict"] == "stable"
    indexes = [record["psi"] for record in report["records"]]
    assert indexes == sorted(indexes, reverse=True)
    logged = report_of(drift, "log.parquet")
    assert {**logged, "data": "moved.csv"} == report


def test_the_table_the_report_and_the_plot(folder: Path, drift: Drift) -> None:
    words = "--data moved.csv --out drift.json --plot drift.png"
    result = in_a_process(folder, "drift", "--bundle", "run/bundle", *words.split(), "--fail")
    assert (result.returncode, result.stderr) == (3, "")
    lines = result.stdout.splitlines()
    (row,) = [line.split() for line in lines if line.lstrip().startswith("color")]
    assert row[-5:] == ["0.0%", "→", "100.0%", "large", "shift"]
    assert lines[-4].startswith("1,500 rows of moved.csv beside 1,400 training rows.")
    assert lines[-3].startswith("PSI above 0.25: ")
    assert lines[-2:] == ["Written: drift.json", "Written: drift.png"]
    assert json.loads((folder / "drift.json").read_text())["rows"] == 1_500
    assert (folder / "drift.png").read_bytes().startswith(b"\x89PNG")

    before = (folder / "drift.json").read_bytes()
    assert drift(words) == (2, "", "error: 'drift.json' exists already; --force replaces it.\n")
    assert (folder / "drift.json").read_bytes() == before
    assert drift(f"{words} --force")[0] == 0


def test_the_threshold_decides_on_the_exit_code(drift: Drift) -> None:
    assert drift("--data moved.csv --fail --threshold 100")[0] == 0
    code, output, _ = drift("--data same.csv --fail --threshold 0.000001")
    assert code == 3
    assert "PSI above 1e-06: " in output


def test_few_rows_are_told(folder: Path, drift: Drift) -> None:
    pl.read_csv(folder / "same.csv").head(50).write_csv(folder / "few.csv")
    code, output, _ = drift("--data few.csv --fail")
    assert code == 0
    assert "So few rows have no PSI" in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("--data none.csv", "There is no file none.csv"),
        ("--data empty.parquet", "empty.parquet has no rows."),
        ("--data narrow.csv", "narrow.csv has no column 'color', which the model needs. Did you mean 'colour'?"),
        ("--data same.csv --threshold no", "argument --threshold: 'no' has to be a number above 0"),
        ("--data same.csv --threshold -1", "has to be a number above 0"),
        ("--data same.csv --out report.txt", "--out 'report.txt': the file's name has to end in .json."),
        ("--data same.csv --plot drift", "--plot 'drift': the file's name has to end in .png or .pdf or .svg."),
        ("--data same.csv --out no/drift.json", "there is no folder 'no' to write to"),
        ("--data same.json --out same.json --force", "'same.json' is the file to be read; choose another path"),
    ],
)
def test_mistakes_are_one_sentence(folder: Path, drift: Drift, words: str, said: str) -> None:
    same = pl.read_csv(folder / "same.csv")
    same.clear().write_parquet(folder / "empty.parquet")
    same.rename({"color": "colour"}).write_csv(folder / "narrow.csv")
    same.write_ndjson(folder / "same.json")
    code, output, errors = drift(words)
    assert (code, output) == (2, "")
    assert errors.startswith("error: ")
    assert said in errors
    assert errors.count("\n") == 1
