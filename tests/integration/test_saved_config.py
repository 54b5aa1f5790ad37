"""A run's own config is taken by every command that reads it, whatever the columns and the empty fields are called."""

from __future__ import annotations

from pathlib import Path

import polars as pl
import pytest

from mlpipe.cli import main

# MLflow's models of its database use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")

CONFIG = """
data:
  path: t.csv
  target: "1e6"
  columns: {"1e5": numeric, ".5": categorical}
  read: {header: true, null_values: ["", "1e20"]}
model: {width: 16, num_heads: 2, num_layers: 1, readout_tokens: 2}
training: {compile: false}
trainer: {max_epochs: 1, accelerator: cpu}
tracking: {enabled: false}
"""


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    rows = range(240)
    numbers = ["1e20" if i % 7 == 0 else str(i * 0.5) for i in rows]
    table = pl.DataFrame({"1e5": numbers, ".5": [f"c{i % 3}" for i in rows], "1e6": [i % 2 for i in rows]})
    table.write_csv("t.csv")
    Path("config.yaml").write_text(CONFIG, encoding="utf-8")
    return tmp_path


def test_of_a_run(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fit", "--config", "config.yaml", "--run", "run", "--quiet"]) == 0
    for line in ("validate --run run", "test --run run", "export --run run --out bundle", "fit --run run --resume"):
        assert main([*line.split(), "--quiet"]) == 0, capsys.readouterr().err


def test_of_a_fold(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["crossval", "--config", "config.yaml", "--folds", "2", "--run", "folds", "--quiet"]) == 0
    for line in ("validate --run folds/fold-0", "crossval --run folds --resume"):
        assert main([*line.split(), "--quiet"]) == 0, capsys.readouterr().err
