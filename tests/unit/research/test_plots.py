from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import polars as pl
import pytest
from matplotlib.figure import Figure
from matplotlib.image import imread

from mlpipe.features.target import TargetCodec
from mlpipe.research import figures, plots
from mlpipe.research.plots import save_run_plots
from mlpipe.schema import Task, TaskKind
from mlpipe.training.metrics import compute_metrics
from mlpipe.training.rundir import RunDirectory

ROWS = 60
CLASSIFIED = {"roc", "precision_recall", "reliability"}


def data_of(target: np.ndarray, codec: TargetCodec | None = None, weight: np.ndarray | None = None) -> Any:
    arrays = {"test": SimpleNamespace(target=target, weight=weight)}
    return SimpleNamespace(arrays=arrays, preprocessor=SimpleNamespace(target_=codec))


@pytest.fixture
def run(tmp_path: Path) -> RunDirectory:
    return RunDirectory(tmp_path / "run")


def names(files: list[Path], run: RunDirectory) -> set[str]:
    for file in files:
        assert file.parent == run.plots
        height, width = imread(file).shape[:2]
        assert min(height, width) > 300
    return {file.stem for file in files}


def test_binary_and_multiclass(run: RunDirectory) -> None:
    rng = np.random.default_rng(0)
    p = rng.random((ROWS, 1))
    task = Task(TaskKind.BINARY, ("t",), ("$no", "$yes"))
    files = save_run_plots(run, task, p, data_of(rng.integers(0, 2, ROWS)), "test", uncalibrated=p**2)
    assert names(files, run) == {"confusion_matrix", *CLASSIFIED}

    # A name that the font has no letters for is no reason for a warning.
    task = Task(TaskKind.MULTICLASS, ("t",), ("一", "b", "c"))
    p = rng.dirichlet(np.ones(3), ROWS)
    files = save_run_plots(run, task, p, data_of(rng.integers(0, 3, ROWS)), "test")
    assert names(files, run) == {"confusion_matrix", *CLASSIFIED}


def test_multilabel(run: RunDirectory) -> None:
    rng = np.random.default_rng(0)
    task = Task(TaskKind.MULTILABEL, ("a", "b"), ("a", "b"))
    target = rng.integers(0, 2, (ROWS, 2)).astype(np.float32)
    assert names(save_run_plots(run, task, rng.random((ROWS, 2)), data_of(target), "test"), run) == CLASSIFIED


def test_regression_in_units_of_the_target(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(TaskKind.REGRESSION, ("price",))
    prices = np.linspace(100, 200, ROWS)
    codec = TargetCodec(task).fit(pl.DataFrame({"price": prices}))
    target = codec.encode(pl.DataFrame({"price": prices})).astype(np.float32)
    shown: dict[str, np.ndarray] = {}

    def spy(truth: np.ndarray, value: np.ndarray, name: str) -> Figure:
        shown.update(truth=truth, value=value)
        return Figure()

    monkeypatch.setattr(figures, "prediction_plot", spy)
    files = save_run_plots(run, task, target[:, None], data_of(target, codec), "test")
    assert names(files, run) == {"predictions", "residuals"}
    assert shown["truth"] == pytest.approx(prices)
    assert shown["value"] == pytest.approx(prices)


def test_the_loss_comes_from_the_log(run: RunDirectory) -> None:
    run.path.mkdir()
    run.metrics_csv.write_text("epoch,step,train/loss,val/log_loss\n0,9,0.5,\n0,9,,0.6\n")
    task = Task(TaskKind.BINARY, ("t",), (0, 1))
    files = save_run_plots(run, task, np.array([[0.2], [0.7]]), data_of(np.array([0, 1])), "test")
    assert "loss" in names(files, run)


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.MULTILABEL])
def test_rows_are_drawn_as_the_metrics_count_them(
    kind: TaskKind, run: RunDirectory, monkeypatch: pytest.MonkeyPatch
) -> None:
    rng = np.random.default_rng(0)
    task = Task(kind, ("t",), ("a", "b") if kind is TaskKind.BINARY else ("a", "b", "c"))
    p = rng.random((ROWS, 1)) if kind is TaskKind.BINARY else rng.dirichlet(np.ones(3), ROWS)
    target = rng.integers(0, len(task.classes), ROWS)
    if kind is TaskKind.MULTILABEL:
        target = rng.integers(0, 2, (ROWS, 3)).astype(np.float32)
    weight = (rng.integers(0, 3, ROWS) * rng.random(ROWS)).astype(np.float32)
    drawn: dict[str, Figure] = {}

    def keep(figure: Figure, path: Path) -> Path:
        drawn[path.stem] = figure
        return path

    monkeypatch.setattr(plots, "save", keep)
    save_run_plots(run, task, p, data_of(target, weight=weight), "test", uncalibrated=p**2)
    metrics = compute_metrics(kind, p, target, weight)
    for name, metric, axes in (("roc", "auroc", 0), ("precision_recall", "average_precision", 0)):
        legend = drawn[name].axes[axes].get_legend()
        assert legend is not None
        said = [float(text.get_text().split()[-1].rstrip(")")) for text in legend.get_texts()[:-1]]
        assert np.mean(said) == pytest.approx(metrics[metric], abs=1e-3)
    if kind is not TaskKind.MULTILABEL:  # the mean over the labels is no error of all labels together
        legend = drawn["reliability"].axes[0].get_legend()
        assert legend is not None
        assert f"calibrated (error {metrics['calibration_error']:.3f})" in [t.get_text() for t in legend.get_texts()]
        counts = [float(text.get_text().replace(",", "")) for text in drawn["confusion_matrix"].axes[0].texts]
        right = np.trace(np.reshape(counts, (len(task.classes), -1)))
        assert right / np.sum(counts) == pytest.approx(metrics["accuracy"], abs=1e-3)


def test_rows_without_weight_are_no_points(run: RunDirectory, monkeypatch: pytest.MonkeyPatch) -> None:
    task = Task(TaskKind.REGRESSION, ("price",))
    prices = np.linspace(100, 200, ROWS)
    codec = TargetCodec(task).fit(pl.DataFrame({"price": prices}))
    target = codec.encode(pl.DataFrame({"price": prices})).astype(np.float32)
    shown: list[np.ndarray] = []

    def spy(truth: np.ndarray, value: np.ndarray, name: str) -> Figure:
        shown.append(truth)
        return Figure()

    monkeypatch.setattr(figures, "prediction_plot", spy)
    weight = (np.arange(ROWS) < 20).astype(np.float32)
    save_run_plots(run, task, target[:, None], data_of(target, codec, weight), "test")
    assert shown[0] == pytest.approx(prices[:20])
