"""A run that is killed, interrupted or poisoned, and then resumed, ends with the weights of the uninterrupted run."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch

CALLBACKS = '''
import os, signal
from lightning.pytorch.callbacks import Callback

class SignalAt(Callback):
    """Sends this process a signal after a given number of steps."""

    def __init__(self, step: int, number: int):
        self.step, self.number = step, number

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            os.kill(os.getpid(), self.number)

class PoisonAt(Callback):
    """Makes a weight NaN after a given number of steps."""

    def __init__(self, step: int):
        self.step = step

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx):
        if trainer.global_step == self.step:
            pl_module.net.blocks[0].mlp.up.weight.data[0, 0] = float("nan")
'''

STEPS_PER_EPOCH = 10


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A table of 500 rows, a config and the callbacks that do harm."""
    folder = tmp_path_factory.mktemp("resume")
    rng = np.random.default_rng(0)
    x, z = rng.normal(size=500), rng.normal(size=500)
    color = rng.choice(["red", "green", "blue"], size=500)
    y = x * (color == "red") + z + 0.1 * rng.normal(size=500)
    pl.DataFrame({"x": x, "z": z, "color": color, "y": y}).write_csv(folder / "table.csv")
    (folder / "harm.py").write_text(CALLBACKS)
    (folder / "config.yaml").write_text(
        "data: {path: table.csv, target: y, batch_size: 32}\n"
        "model: {width: 16, num_heads: 2, num_layers: 1, readout_tokens: 2, dropout: 0.2}\n"
        "training: {checkpoint_every_steps: 3}\n"
        "trainer: {max_epochs: 4}\n"
        "tracking: {enabled: false}\n"
        "seed_everything: 7\n"
    )
    return folder


def signal_at(step: int, number: signal.Signals) -> str:
    return f"--trainer.callbacks={{class_path: harm.SignalAt, init_args: {{step: {step}, number: {int(number)}}}}}"


def fit(folder: Path, run: str, *words: str) -> subprocess.CompletedProcess[str]:
    path = os.pathsep.join([str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
    environment = {**os.environ, "PYTHONPATH": path, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "mlpipe", "fit", "--config", "config.yaml", "--run", run, *words]
    return subprocess.run(
        command, cwd=folder, env=environment, capture_output=True, text=True, timeout=300, check=False
    )


def weights(folder: Path, run: str, name: str = "last") -> dict[str, torch.Tensor]:
    checkpoint = torch.load(folder / run / "checkpoints" / f"{name}.ckpt", weights_only=True)
    return {**checkpoint["state_dict"], **{f"current.{k}": v for k, v in checkpoint["current_model_state"].items()}}


def assert_same(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        assert torch.equal(value, second[name]), name


@pytest.fixture(scope="module")
def uninterrupted(folder: Path) -> dict[str, torch.Tensor]:
    done = fit(folder, "whole")
    assert done.returncode == 0, done.stderr
    return weights(folder, "whole")


def test_steps_per_epoch_are_what_the_cases_below_assume(folder: Path, uninterrupted: dict[str, torch.Tensor]) -> None:
    checkpoint = torch.load(folder / "whole" / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] == 4 * STEPS_PER_EPOCH


@pytest.mark.parametrize(
    "step", [17, pytest.param(20, marks=pytest.mark.slow), pytest.param(21, marks=pytest.mark.slow)]
)
def test_killed_in_the_middle_of_an_epoch(folder: Path, uninterrupted: dict[str, torch.Tensor], step: int) -> None:
    run = f"killed-{step}"
    assert fit(folder, run, signal_at(step, signal.SIGKILL)).returncode == -signal.SIGKILL
    checkpoint = torch.load(folder / run / "checkpoints" / "last.ckpt", weights_only=True)
    assert checkpoint["global_step"] <= step < 4 * STEPS_PER_EPOCH
    resumed = fit(folder, run, "--resume", "--trainer.callbacks=null")
    assert resumed.returncode == 0, resumed.stderr
    assert_same(uninterrupted, weights(folder, run))
    assert_same(weights(folder, "whole", "best"), weights(folder, run, "best"))
    assert (folder / run / "metrics.json").read_text().split("train_seconds")[0] == (
        folder / "whole" / "metrics.json"
    ).read_text().split("train_seconds")[0]


def test_interrupted_run_is_usable_and_resumes_exactly(folder: Path, uninterrupted: dict[str, torch.Tensor]) -> None:
    stopped = fit(folder, "interrupted", signal_at(15, signal.SIGINT))
    assert stopped.returncode == 130, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "--resume" in stopped.stdout
    for name in ("metrics.json", "bundle/bundle.json", "checkpoints/best.ckpt"):
        assert (folder / "interrupted" / name).is_file(), name
    resumed = fit(folder, "interrupted", "--resume", "--trainer.callbacks=null")
    assert resumed.returncode == 0, resumed.stderr
    assert_same(uninterrupted, weights(folder, "interrupted"))


@pytest.mark.slow
def test_a_loss_that_is_no_number_stops_the_run_and_says_where(folder: Path) -> None:
    stopped = fit(folder, "poisoned", "--trainer.callbacks={class_path: harm.PoisonAt, init_args: {step: 12}}")
    assert stopped.returncode == 2, stopped.stderr
    assert "Traceback" not in stopped.stderr
    assert "epoch 1, step 12" in stopped.stderr
    assert "blocks.0.mlp.up.weight" in stopped.stderr
    assert (folder / "poisoned" / "checkpoints" / "last.ckpt").is_file()


@pytest.mark.slow
def test_resuming_with_other_data_is_refused(folder: Path, uninterrupted: dict[str, torch.Tensor]) -> None:
    pl.read_csv(folder / "table.csv").head(300).write_csv(folder / "other.csv")
    refused = fit(folder, "whole", "--resume", "--data.path", "other.csv")
    assert refused.returncode == 2
    assert "cannot be resumed" in refused.stderr
    assert_same(uninterrupted, weights(folder, "whole"))


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (("--model.width", "32"), "`model.width` is 32, but the run began with 16"),
        (("--trainer.max_epochs", "3"), "The run has done 4 epochs already"),
    ],
)
@pytest.mark.slow
def test_resuming_with_another_network_or_no_epochs_left_is_refused(
    folder: Path, uninterrupted: dict[str, torch.Tensor], words: tuple[str, ...], sentence: str
) -> None:
    refused = fit(folder, "whole", "--resume", *words)
    assert refused.returncode == 2
    assert sentence in refused.stderr
    assert "Traceback" not in refused.stderr
    assert_same(uninterrupted, weights(folder, "whole"))
