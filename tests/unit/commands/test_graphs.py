"""A graph ships if it answers as the network does, on the run's own rows where they are there still."""

from __future__ import annotations

import importlib.util
import json
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml

from mlpipe.bundle.export import export_run
from mlpipe.bundle.format import read_bundle
from mlpipe.bundle.onnx_export import require_onnx
from mlpipe.bundle.parity import TOLERANCES
from mlpipe.commands import graphs as module
from mlpipe.commands.graphs import make_graphs
from mlpipe.errors import BundleError, ConfigError
from mlpipe.schema import TaskKind


@pytest.fixture
def run_dir(binary: Any, tmp_path: Path) -> Path:
    """What `mlpipe fit` leaves, as far as an export reads it, and the table."""
    run = tmp_path / "first"
    (run / "checkpoints").mkdir(parents=True)
    checkpoint = {
        "state_dict": {f"net.{name}": value for name, value in binary.model.state_dict().items()},
        "mlpipe": {"model": binary.model.config.to_dict(), "spec": binary.preprocessor.input_spec_.to_dict()},
    }
    torch.save(checkpoint, run / "checkpoints" / "best.ckpt")
    binary.frame.write_csv(tmp_path / "orders.csv")
    roles = {"order id": "identifier", **dict.fromkeys(("grade", "red", "blue", "price"), "ignore")}
    data = {"path": str(tmp_path / "orders.csv"), "target": "bought", "columns": roles}
    (run / "config.yaml").write_text(yaml.safe_dump({"data": data}))
    for name, values in {
        "schema": binary.schema.to_dict(),
        "preprocess": binary.preprocessor.to_dict(),
        "statistics": binary.statistics.to_dict(),
        "metrics": {"validation": {"log_loss": 0.75}, "train_seconds": 1.0},
        "calibration": {"temperature": 1.5},
        "sample_row": {**binary.frame.row(3, named=True), "day": "2024-01-04"},
    }.items():
        (run / f"{name}.json").write_text(json.dumps(values))
    return run


@pytest.fixture(autouse=True)
def exported(graphs: Callable[[TaskKind], dict[str, bytes]], monkeypatch: pytest.MonkeyPatch) -> None:
    """Exporting takes seconds, and `tests/unit/bundle/test_backends.py` has seen to it."""
    made = graphs(TaskKind.BINARY)
    monkeypatch.setattr(module, "to_onnx", lambda model: made["onnx"])
    monkeypatch.setattr(module, "to_int8", lambda graph: made["int8"])


def test_the_bundle_has_the_graphs_and_it_is_said_how_near_they_are(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    contents = read_bundle(export_run(run_dir, tmp_path / "bundle", graphs=partial(make_graphs, int8=True)))
    assert contents.graphs.keys() == {"onnx", "int8"}
    assert {"model.onnx", "model.int8.onnx"} <= contents.manifest.files.keys()
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith("model.onnx: answers differ from torch's by at most ")
    assert "(0.0001 is allowed) on 45 validation rows; log_loss 0." in first
    assert second.startswith("model.int8.onnx: ")
    assert "(0.05 is allowed) on 45 validation rows; log_loss 0." in second


def test_without_int8_there_is_one(run_dir: Path, tmp_path: Path) -> None:
    contents = read_bundle(export_run(run_dir, tmp_path / "bundle", graphs=partial(make_graphs, int8=False)))
    assert contents.graphs.keys() == {"onnx"}


def test_made_up_rows_take_the_place_of_a_table_that_is_gone(
    run_dir: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "orders.csv").unlink()
    export_run(run_dir, tmp_path / "bundle", graphs=partial(make_graphs, int8=False))
    (warning,) = [record.getMessage() for record in caplog.records if record.name == module.__name__]
    assert "The run's validation rows cannot be read" in warning
    assert "orders.csv" in warning
    (line,) = capsys.readouterr().out.splitlines()
    assert line.endswith("(0.0001 is allowed) on 1,024 made-up rows.")


@pytest.mark.parametrize("name", ["onnx", "int8"])
def test_a_graph_with_other_answers_is_not_written(
    run_dir: Path, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(TOLERANCES, name, 1e-12)
    with pytest.raises(BundleError, match=rf"differ from torch's by up to .* than the 1e-12 .* without --{name}\."):
        export_run(run_dir, tmp_path / "bundle", graphs=partial(make_graphs, int8=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["first", "orders.csv"]


def test_a_graph_with_a_worse_metric_is_not_written(
    run_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "METRIC_TOLERANCE", -1.0)  # it would have to be twice as good
    with pytest.raises(BundleError, match=r"would make log_loss 0\.\d+ on the validation rows instead of 0\.\d+"):
        export_run(run_dir, tmp_path / "bundle", graphs=partial(make_graphs, int8=True))
    assert not (tmp_path / "bundle").exists()


def test_what_is_not_installed_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    require_onnx()
    there = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "onnxscript" else there(name))
    with pytest.raises(ConfigError, match=r"onnxscript is not installed; `pip install 'mlpipe\[onnx\]'`"):
        require_onnx()
