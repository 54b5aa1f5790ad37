"""Two processes on the CPU train one run: one folder, one tracked run, and the weights that one process would have."""

from __future__ import annotations

import json
import os
import re
import signal
import sqlite3
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

pytestmark = pytest.mark.slow

CALLBACKS = '''
import json, os, signal
from pathlib import Path
import torch
from lightning.pytorch.callbacks import Callback

class Witness(Callback):
    """Writes down which rows this process has seen at each step, and with which weights it ends."""

    def __init__(self, folder: str):
        self.folder, self.seen = Path(folder), []

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx):
        self.seen.append(batch.numeric[:, 0].tolist())

    def on_train_end(self, trainer, pl_module):
        self.folder.mkdir(exist_ok=True)
        (self.folder / f"{trainer.global_rank}.json").write_text(json.dumps(self.seen))
        torch.save(pl_module.state_dict(), self.folder / f"{trainer.global_rank}.pt")

class SignalAt(Callback):
    """Sends the second process a signal after a given number of steps."""

    def __init__(self, step: int, number: int):
        self.step, self.number = step, number

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step and trainer.global_rank == 1:
            os.kill(os.getpid(), self.number)

class PoisonAt(Callback):
    """Makes a weight of the second process NaN after a given number of steps."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step and trainer.global_rank == 1:
            pl_module.net.blocks[0].mlp.up.weight.data[0, 0] = float("nan")
'''
STEPS_PER_EPOCH = 10
ALONE = [sys.executable, "-m", "mlpipe"]
TORCHRUN = [
    sys.executable,
    "-m",
    "torch.distributed.run",
    "--standalone",
    "--nproc_per_node",
    "2",
    "-m",
    "--",
    "mlpipe",
]
TWO = ("--trainer.devices", "2", "--trainer.strategy", "ddp")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 500 rows, a config without dropout, and the callbacks."""
    folder = tmp_path_factory.mktemp("devices")
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=500), rng.normal(size=500)
    pl.DataFrame({"x": x, "z": z, "y": x + z + 0.1 * rng.normal(size=500)}).write_csv(folder / "table.csv")
    (folder / "told.py").write_text(CALLBACKS)
    (folder / "config.yaml").write_text(
        "data: {path: table.csv, target: y, batch_size: 32}\n"
        "model: {width: 16, num_heads: 2, num_layers: 1, readout_tokens: 2, dropout: 0}\n"
        "trainer: {max_epochs: 3, accelerator: cpu}\n"
        "tracking: {enabled: false}\n"
    )
    return folder


def fit(folder: Path, *words: str, by: list[str] = ALONE) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    environment.pop("MLFLOW_TRACKING_URI", None)
    return subprocess.run(
        [*by, "fit", "--config", "config.yaml", *words],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )


def witness(name: str) -> str:
    return f"--trainer.callbacks={{class_path: told.Witness, init_args: {{folder: {name}}}}}"


def weights(folder: Path, run: str) -> dict[str, torch.Tensor]:
    found: dict[str, torch.Tensor] = torch.load(folder / run / "checkpoints/last.ckpt", weights_only=True)["state_dict"]
    return found


def distance(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> float:
    assert first.keys() == second.keys()
    return max(float((value - second[name]).abs().max()) for name, value in first.items())


@pytest.fixture(scope="module")
def alone(folder: Path) -> None:
    done = fit(folder, "--run", "alone", witness("seen-alone"))
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def together(folder: Path) -> Path:
    """The run directory of two processes, which nobody has named."""
    done = fit(folder, *TWO, "--tracking.enabled", "true", "--tracking.experiment", "two", witness("seen-together"))
    assert done.returncode == 0, done.stderr
    assert "warning" not in done.stderr
    assert done.stderr.count("read the table done") == 1
    (run,) = re.findall(r"^Run: +(.*)$", done.stdout, re.MULTILINE)
    return folder / str(run)


def test_there_is_one_run_directory_one_tracked_run_and_one_bundle(folder: Path, together: Path) -> None:
    assert list((folder / "runs/two").iterdir()) == [together]
    assert [path.parent.parent for path in folder.rglob("bundle/bundle.json") if "runs/two" in str(path)] == [together]
    with sqlite3.connect(folder / "runs/mlflow.db") as database:
        rows = database.execute("select run_uuid, status from runs").fetchall()
    assert rows == [(json.loads((together / "mlflow.json").read_text())["run_id"], "FINISHED")]


def test_the_rows_of_each_step_are_dealt_out(folder: Path, together: Path, alone: None) -> None:
    first, second = (json.loads((folder / f"seen-together/{rank}.json").read_text()) for rank in (0, 1))
    whole = json.loads((folder / "seen-alone/0.json").read_text())
    assert len(first) == len(second) == len(whole) == 3 * STEPS_PER_EPOCH
    for ours, theirs, both in zip(first, second, whole, strict=True):
        assert len(ours) == len(theirs) == 16
        assert sorted(ours + theirs) == sorted(both)


def test_all_processes_end_with_the_same_weights_and_one_alone_with_nearly_these(
    folder: Path, together: Path, alone: None
) -> None:
    first, second = (torch.load(folder / f"seen-together/{rank}.pt", weights_only=True) for rank in (0, 1))
    assert distance(first, second) == 0
    assert distance(weights(folder, "alone"), weights(folder, str(together))) < 1e-4
    one, two = (json.loads((run / "metrics.json").read_text()) for run in (folder / "alone", together))
    assert one["test"] == pytest.approx(two["test"], abs=1e-4)


def test_weights_count_the_same_on_any_number_of_devices(folder: Path) -> None:
    table = pl.read_csv(folder / "table.csv")
    heavy = pl.when(pl.int_range(table.height) % 50 == 0).then(200.0).otherwise(1.0)
    table.with_columns(w=heavy).write_csv(folder / "weighted.csv")
    words = ("--data.path", "weighted.csv", "--data.weight", "w")
    for run, devices in (("weighted-alone", ()), ("weighted-together", TWO)):
        done = fit(folder, "--run", run, *words, *devices)
        assert done.returncode == 0, done.stderr
    assert distance(weights(folder, "weighted-alone"), weights(folder, "weighted-together")) < 1e-3


def test_torchrun_too_makes_one_run_directory(folder: Path, together: Path) -> None:
    done = fit(folder, *TWO, "--tracking.experiment", "three", by=TORCHRUN)
    assert done.returncode == 0, done.stderr
    (run,) = (folder / "runs/three").iterdir()
    assert distance(weights(folder, str(run)), weights(folder, str(together))) == 0


def test_a_signal_to_one_stops_all_at_the_same_step_and_they_resume_exactly(folder: Path, together: Path) -> None:
    at = f"{{class_path: told.SignalAt, init_args: {{step: 15, number: {int(signal.SIGINT)}}}}}"
    stopped = fit(folder, *TWO, "--run", "stopped", f"--trainer.callbacks={at}")
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert torch.load(folder / "stopped/checkpoints/last.ckpt", weights_only=True)["global_step"] == 15
    resumed = fit(folder, "--run", "stopped", "--resume", *TWO, "--trainer.callbacks=null")
    assert resumed.returncode == 0, resumed.stderr
    assert distance(weights(folder, "stopped"), weights(folder, str(together))) == 0


def test_a_loss_that_is_no_number_in_one_is_told_by_all(folder: Path) -> None:
    at = "{class_path: told.PoisonAt, init_args: {step: 12}}"
    stopped = fit(folder, *TWO, "--run", "poisoned", f"--trainer.callbacks={at}")
    assert stopped.returncode == 2, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "epoch 1, step 12" in stopped.stderr
    assert "blocks.0.mlp.up.weight" in stopped.stderr
