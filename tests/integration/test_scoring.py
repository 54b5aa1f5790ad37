"""Predicting a file in a process of its own: what it loads, what Ctrl-C leaves, how much memory it takes."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from mlpipe.bundle.format import write_bundle
from mlpipe.data.infer import infer_schema
from mlpipe.features.calibration import Calibration
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.models.config import TransformerConfig
from mlpipe.models.transformer import Transformer

PATIENCE = 120.0  # seconds; machines that run tests are slow


def table(rows: int, padding: str = "") -> pl.DataFrame:
    random = np.random.default_rng(0)
    words = np.array(["red", "green", "blue"])[random.integers(0, 3, rows)]
    frame = pl.DataFrame({"size": random.normal(size=rows), "color": words, "price": random.normal(size=rows)})
    return frame.with_columns(id=pl.format("#{}" + padding, pl.int_range(rows)))


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> Path:
    frame = table(500)
    schema = infer_schema(frame, "price", columns={"id": "identifier"})
    preprocessor = Preprocessor(schema).fit(frame)
    config = TransformerConfig(width=8, num_layers=1, num_heads=1, readout_tokens=2)
    return write_bundle(
        tmp_path_factory.mktemp("scoring") / "bundle",
        schema=schema,
        preprocessor=preprocessor,
        model=Transformer(config, preprocessor.input_spec_),
        config=config,
        calibration=Calibration(),
        statistics=preprocessor.statistics_,
        metrics={},
        model_card="# Prices\n",
        sample_row=frame.row(0, named=True),
    )


def test_neither_lightning_nor_mlflow_is_loaded(bundle: Path, tmp_path: Path) -> None:
    table(10).write_csv(tmp_path / "rows.csv")
    code = f"""
import sys
from mlpipe.bundle.predictor import Predictor
import mlpipe.bundle.export
predictor = Predictor.load({str(bundle)!r})
predictor.predict_file({str(tmp_path / "rows.csv")!r}, {str(tmp_path / "out.csv")!r})
print([name for name in ("lightning", "mlflow", "litserve", "jsonargparse") if name in sys.modules])
"""
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert (result.returncode, result.stdout, result.stderr) == (0, "[]\n", "")


@pytest.mark.parametrize("threads", ["1", "4"])
def test_the_command_predicts_a_file(
    bundle: Path, tmp_path: Path, threads: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With one thread Polars has none to spare while it waits for the model."""
    monkeypatch.setenv("POLARS_MAX_THREADS", threads)
    table(6_000).write_csv(tmp_path / "rows.csv")
    words = ["predict", "--bundle", str(bundle), "--data", "rows.csv", "--out", "out.parquet"]
    command = [sys.executable, "-m", "mlpipe", *words]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=PATIENCE, check=False)
    assert (result.returncode, result.stdout) == (0, "6,000 predictions in out.parquet\n"), result.stderr
    out = pl.read_parquet(tmp_path / "out.parquet")
    assert out["id"].to_list() == [f"#{i}" for i in range(6_000)]
    assert out.columns == ["id", "prediction"]


def test_ctrl_c_leaves_nothing_half_written(bundle: Path, tmp_path: Path) -> None:
    table(2_000_000).write_parquet(tmp_path / "rows.parquet", row_group_size=50_000)
    command = [sys.executable, "-m", "mlpipe", "predict", "--bundle", str(bundle)]
    command += ["--data", "rows.parquet", "--out", "out.parquet"]
    with subprocess.Popen(command, cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            deadline = time.monotonic() + PATIENCE
            while not any(path.is_dir() for path in tmp_path.iterdir()):
                assert process.poll() is None
                assert time.monotonic() < deadline
                time.sleep(0.05)
            time.sleep(0.5)  # into the midst of it
            process.send_signal(signal.SIGINT)
            output, errors = process.communicate(timeout=PATIENCE)
        finally:
            process.kill()
    assert (process.returncode, output, errors) == (130, "", "error: interrupted\n")
    assert [path.name for path in tmp_path.iterdir()] == ["rows.parquet"]


@pytest.mark.slow
def test_memory_does_not_grow_with_the_file(bundle: Path, tmp_path: Path) -> None:
    code = """
import resource, sys
from mlpipe.bundle.predictor import Predictor
predictor = Predictor.load(sys.argv[1])
predictor.predict_file(sys.argv[2], sys.argv[3])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""
    peaks = []
    for name, rows in (("small", 1_000), ("large", 100_000)):
        path = tmp_path / f"{name}.csv"
        table(rows, padding="x" * 4_000).write_csv(path)
        command = [sys.executable, "-c", code, str(bundle), str(path), str(tmp_path / f"{name}.out.csv")]
        peaks.append(int(subprocess.run(command, capture_output=True, text=True, check=True).stdout))
    written = (tmp_path / "large.csv").stat().st_size // 2**20
    assert written > 350
    # Polars maps the file into memory, whose pages count as ours; a table held in memory would come on top of them.
    assert peaks[1] - peaks[0] < 1.5 * written, peaks
