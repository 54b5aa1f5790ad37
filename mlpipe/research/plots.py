"""The pictures of a run, as PNGs in its `plots` folder."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from mlpipe.features.calibration import EVEN, is_yes
from mlpipe.research import figures
from mlpipe.schema import Task, TaskKind
from mlpipe.training.csvlog import read_metrics
from mlpipe.training.rundir import RunDirectory

if TYPE_CHECKING:
    from mlpipe.data.datamodule import TabularDataModule
    from mlpipe.data.load import Part

Floats = npt.NDArray[np.floating[Any]]
Values = npt.NDArray[Any]


def save_run_plots(
    run: RunDirectory,
    task: Task,
    outputs: Floats,
    data: TabularDataModule,
    part: Part,
    uncalibrated: Floats | None = None,
    threshold: float = EVEN,
) -> list[Path]:
    """Draw everything that suits the task into `run.plots`, as the metrics count it: rows of weight 0 are left out.

    Args:
        run: Its `metrics.csv` gives the loss curves.
        task: The task.
        outputs: (T, O) what the model says of a part: probabilities, or standardised values for regression, or
            quantiles, of which the middle one is drawn.
        data: Has the part's targets and sample weights.
        part: Which one.
        uncalibrated: (T, O) the probabilities before temperature scaling, for the reliability diagram.
        threshold: Binary: the answer is the second class where its probability is above this.

    Returns:
        The files.
    """
    truth: Values = np.asarray(data.arrays[part].target)
    weight: Floats | None = data.arrays[part].weight
    if weight is not None:
        counted = weight > 0
        truth, outputs, weight = truth[counted], outputs[counted], weight[counted].astype(np.float64)
        uncalibrated = None if uncalibrated is None else uncalibrated[counted]
    if task.kind is TaskKind.REGRESSION:
        codec = data.preprocessor.target_
        truth, outputs = codec.in_units(truth), codec.in_units(outputs[:, outputs.shape[1] // 2])
    drawn = dict(task_figures(task, outputs, truth, uncalibrated, threshold, weight))
    if run.metrics_csv.is_file():
        drawn["loss"] = figures.loss_curves(read_metrics(run.metrics_csv), task.kind)
    run.plots.mkdir(parents=True, exist_ok=True)
    return [save(figure, run.plots / f"{name}.png") for name, figure in drawn.items()]


def task_figures(
    task: Task,
    outputs: Floats,
    target: Values,
    uncalibrated: Floats | None = None,
    threshold: float = EVEN,
    weight: Floats | None = None,
) -> Iterator[tuple[str, Figure]]:
    """The figures that suit a task, by name.

    Args:
        task: The task.
        outputs: (T, O) probabilities, or values in units of the target.
        target: As in `Arrays.target`, but in its own units for regression.
        uncalibrated: (T, O) the probabilities before temperature scaling.
        threshold: Binary: the answer is the second class where its probability is above this.
        weight: (T,) sample weights, above 0. Those of a regression do not show: each row is a point.
    """
    if task.kind is TaskKind.REGRESSION:
        truth, value = target.reshape(-1), outputs.reshape(-1)
        yield "predictions", figures.prediction_plot(truth, value, task.target[0])
        yield "residuals", figures.residual_plot(truth, value, task.target[0])
        return
    if task.kind is not TaskKind.MULTILABEL:
        is_binary = outputs.shape[1] == 1
        answer = is_yes(outputs[:, 0], threshold).astype(np.int64) if is_binary else outputs.argmax(axis=1)
        yield "confusion_matrix", figures.confusion_matrix(target, answer, task.classes, weight)
    roc, precision_recall = figures.ranking_curves(target, outputs, task, weight)
    yield "roc", roc
    yield "precision_recall", precision_recall
    yield "reliability", figures.reliability_diagram(target, outputs, task.kind, uncalibrated, weight)


def save(figure: Figure, path: Path) -> Path:
    """Write a PNG."""
    with warnings.catch_warnings():
        # A class name in a script that the font lacks shows as boxes; the other plots are as good as ever.
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")
        figure.savefig(path, dpi=120)
    return path
