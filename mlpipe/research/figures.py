"""Figures: loss curves, confusion matrix, ROC and precision-recall curves, reliability, predictions and residuals.

Each function gives a Figure of its own; pyplot, whose figures live in a global list, is not used. Colours are those of
Okabe and Ito (2008), which people with any colour vision tell apart.

Legend of the shapes: T rows, O outputs.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics as skm
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from mlpipe.schema import Label, Task, TaskKind
from mlpipe.training.metrics import CALIBRATION_BINS, DEFAULT_METRIC

Floats = npt.NDArray[np.floating[Any]]
Values = npt.NDArray[Any]

BLUE, ORANGE, GREEN, PURPLE, SKY, RED, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
)  # fmt: skip
COLOURS = (BLUE, ORANGE, GREEN, PURPLE, SKY, RED)
GREY = "0.55"

#: Most classes with a row of their own in a confusion matrix, with a number in each cell, and with a curve.
MOST_ROWS, MOST_NUMBERS, MOST_CURVES = 30, 12, len(COLOURS)
#: From this many rows on, a scatter plot is a blot and becomes a density.
MANY_POINTS = 2000


def loss_curves(rows: Sequence[Mapping[str, str]], kind: TaskKind) -> Figure:
    """Training loss, and log-loss or RMSE of the validation rows, by epoch; the latter's lowest value is marked.

    Both share an axis if both are log-losses; a regression's loss is in standardised units, its RMSE in the target's.
    With another `training.metric` the epoch that was kept may be another.

    Args:
        rows: Lines of `metrics.csv`.
        kind: The task.
    """
    drawn = f"val/{DEFAULT_METRIC[kind]}"
    figure = Figure(figsize=(6.4, 4.2) if kind is not TaskKind.REGRESSION else (9.6, 4.2), layout="constrained")
    if kind is TaskKind.REGRESSION:
        left, right = figure.subplots(1, 2)
        left.set(title="Training", ylabel="loss (of the standardised target)")
        right.set(title="Validation", ylabel="RMSE (units of the target)")
    else:
        left = right = figure.subplots()
        left.set(title="Loss by epoch", ylabel="log-loss")
    for axes, column, label, colour in (
        (left, "train/loss", "training", BLUE),
        (right, drawn, "validation", ORANGE),
    ):
        epochs, values = _by_epoch(rows, column)
        axes.plot(epochs, values, color=colour, label=label, marker="o" if len(epochs) < 20 else None, markersize=4)
        if column == drawn and len(values):
            lowest = int(np.argmin(values))
            axes.axvline(
                epochs[lowest], color=GREY, linestyle=":", label=f"lowest: {values[lowest]:.4g}, epoch {epochs[lowest]}"
            )
    for axes in {left, right}:
        axes.set_xlabel("epoch")
        axes.legend(frameon=False)
        axes.xaxis.get_major_locator().set_params(integer=True)
        tidy(axes)
    return figure


def confusion_matrix(target: Values, answer: Values, classes: Sequence[Label], weight: Floats | None = None) -> Figure:
    """Counts of (truth, answer), or the sums of their weights; the colour is the share of the truth's row.

    With more than `MOST_ROWS` classes, the rarest share a row and a column.

    Args:
        target: (T,) class ids.
        answer: (T,) class ids.
        classes: Their names.
        weight: (T,) sample weights.
    """
    names = [short(label) for label in classes]
    if len(classes) > MOST_ROWS:
        kept = np.sort(np.argsort(-np.bincount(target, weight, len(classes)), kind="stable")[: MOST_ROWS - 1])
        position = np.full(len(classes), MOST_ROWS - 1)
        position[kept] = np.arange(MOST_ROWS - 1)
        target, answer = position[target], position[answer]
        names = [*(names[c] for c in kept), f"{len(classes) - len(kept)} others"]
    counts = skm.confusion_matrix(target, answer, labels=np.arange(len(names)), sample_weight=weight)
    of_truth = counts.sum(axis=1, keepdims=True)
    shares = np.divide(counts, of_truth, out=np.zeros(counts.shape), where=of_truth > 0)
    size = min(3.2 + 0.45 * len(names), 12)
    figure = Figure(figsize=(size + 1, size), layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    ticks = np.arange(len(names))
    axes.set_xticks(ticks, names, rotation=90 if sum(map(len, names)) > 8 * len(names) ** 0.5 else 0)
    axes.set_yticks(ticks, names)
    axes.set(xlabel="prediction", ylabel="truth", title="Confusion matrix")
    if len(names) <= MOST_NUMBERS:
        for i, j in np.ndindex(counts.shape):
            colour = "white" if shares[i, j] > 0.5 else "black"
            number = f"{counts[i, j]:,}" if weight is None else f"{counts[i, j]:,.4g}"
            axes.text(j, i, number, ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, label="share of the true class", shrink=0.8)
    return figure


def ranking_curves(target: Values, outputs: Floats, task: Task, weight: Floats | None = None) -> tuple[Figure, Figure]:
    """ROC and precision-recall curves: one for binary, else one per class (or label), of the most frequent.

    A class that all or none of the rows have has no curve.

    Args:
        target: As in `Arrays.target`.
        outputs: (T, O) probabilities.
        task: Names the classes.
        weight: (T,) sample weights.
    """
    roc, pr = Figure(figsize=(5.2, 5), layout="constrained"), Figure(figsize=(5.2, 5), layout="constrained")
    roc_axes, pr_axes = roc.subplots(), pr.subplots()
    columns = sorted(_one_against_rest(target, outputs, task), key=lambda c: -np.average(c[1], weights=weight))
    chosen = columns[:MOST_CURVES]
    which = f", the {MOST_CURVES} most frequent of {len(columns)}" if len(columns) > MOST_CURVES else ""
    for colour, (name, is_so_T, p_T) in zip(COLOURS, chosen, strict=False):
        false_rate, true_rate, _ = skm.roc_curve(is_so_T, p_T, sample_weight=weight)
        precision, recall, _ = skm.precision_recall_curve(is_so_T, p_T, sample_weight=weight, drop_intermediate=True)
        area = skm.roc_auc_score(is_so_T, p_T, sample_weight=weight)
        roc_axes.plot(false_rate, true_rate, color=colour, label=f"{name} (area {area:.3f})")
        average = skm.average_precision_score(is_so_T, p_T, sample_weight=weight)
        pr_axes.step(recall, precision, where="pre", color=colour, label=f"{name} (average {average:.3f})")
        pr_axes.axhline(np.average(is_so_T, weights=weight), color=colour, linestyle=":", linewidth=1)
    roc_axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="chance")
    pr_axes.plot([], [], color=GREY, linestyle=":", label="chance (share of the class)")
    roc_axes.set(title=f"ROC curve{which}", xlabel="false positive rate", ylabel="true positive rate")
    pr_axes.set(title=f"Precision-recall curve{which}", xlabel="recall", ylabel="precision")
    roc_axes.legend(frameon=False, loc="lower right", fontsize=9)
    pr_axes.legend(frameon=False, loc="best", fontsize=9)
    for axes in (roc_axes, pr_axes):
        axes.set(xlim=(-0.02, 1.02), ylim=(-0.02, 1.02), aspect="equal")
        tidy(axes)
    return roc, pr


def reliability_diagram(
    target: Values,
    outputs: Floats,
    kind: TaskKind,
    uncalibrated: Floats | None = None,
    weight: Floats | None = None,
) -> Figure:
    """How often what was said with some probability came true, over how often it was said.

    Binary: the positive class; multiclass: the class that the model answers; multilabel: all labels together.

    Args:
        target: As in `Arrays.target`.
        outputs: (T, O) probabilities.
        kind: The task.
        uncalibrated: (T, O) the same before temperature scaling.
        weight: (T,) sample weights.
    """
    figure = Figure(figsize=(5.2, 6), layout="constrained")
    axes, below = figure.subplots(2, 1, sharex=True, height_ratios=(4, 1))
    series = [("calibrated" if uncalibrated is not None else "model", outputs, BLUE, "o")]
    if uncalibrated is not None:
        series.insert(0, ("before calibration", uncalibrated, ORANGE, "s"))
    axes.plot([0, 1], [0, 1], color=GREY, linestyle=":", label="perfect")
    for name, p_TO, colour, marker in series:
        p_T, is_so_T = _said_and_true(target, p_TO, kind)
        # With several labels a row is there once for each.
        weight_T = np.ones(len(p_T)) if weight is None else np.repeat(weight, len(p_T) // len(weight))
        bin_T = np.minimum((p_T * CALIBRATION_BINS).astype(np.int64), CALIBRATION_BINS - 1)
        count = np.bincount(bin_T, weight_T, CALIBRATION_BINS)
        some = count > 0
        said = np.bincount(bin_T, p_T * weight_T, CALIBRATION_BINS)[some] / count[some]
        true = np.bincount(bin_T, is_so_T * weight_T, CALIBRATION_BINS)[some] / count[some]
        error = float(np.abs(said - true) @ count[some] / count.sum())
        axes.plot(said, true, color=colour, marker=marker, markersize=5, label=f"{name} (error {error:.3f})")
        below.stairs(count, np.linspace(0, 1, CALIBRATION_BINS + 1), color=colour, fill=False, linewidth=1.5)
    what = {
        TaskKind.BINARY: "probability of the positive class",
        TaskKind.MULTICLASS: "probability of the answer",
    }.get(kind, "probability of a label")
    axes.set(title="Reliability", ylabel="share that came true", xlim=(-0.02, 1.02), ylim=(-0.02, 1.02))
    axes.legend(frameon=False, loc="upper left", fontsize=9)
    counted = "rows" if kind is not TaskKind.MULTILABEL else "labels"
    below.set(xlabel=what, ylabel=counted if weight is None else f"{counted}, weighted")
    tidy(axes)
    tidy(below)
    return figure


def prediction_plot(target: Floats, value: Floats, name: str) -> Figure:
    """Prediction over truth, both (T,) in units of the target."""
    figure = Figure(figsize=(5.6, 5), layout="constrained")
    axes = figure.subplots()
    _points(figure, axes, target, value)
    ends = [min(target.min(), value.min()), max(target.max(), value.max())]
    axes.plot(ends, ends, color=RED, linestyle=":", label="perfect")
    axes.set(title="Prediction and truth", xlabel=f"{short(name)}: truth", ylabel="prediction")
    axes.legend(frameon=False, loc="upper left")
    tidy(axes)
    return figure


def residual_plot(target: Floats, value: Floats, name: str) -> Figure:
    """Residuals (truth - prediction) over the prediction, and their distribution."""
    residual = target - value
    figure = Figure(figsize=(9.6, 4.2), layout="constrained")
    left, right = figure.subplots(1, 2, width_ratios=(3, 2))
    _points(figure, left, value, residual)
    left.axhline(0, color=RED, linestyle=":")
    left.set(title="Residuals", xlabel=f"{short(name)}: prediction", ylabel="truth - prediction")
    # The tails would press all the rest into one bar.
    low, high = np.quantile(residual, (0.005, 0.995))
    right.hist(residual.clip(low, high), bins=60, color=BLUE)
    right.axvline(0, color=RED, linestyle=":")
    right.set(title="Distribution (ends: the outer 1 %)", xlabel="truth - prediction", ylabel="rows")
    tidy(left)
    tidy(right)
    return figure


def _by_epoch(rows: Sequence[Mapping[str, str]], column: str) -> tuple[list[int], list[float]]:
    """The last value of each epoch, counted from 1; of a resumed run too."""
    values = {int(row["epoch"]) + 1: float(row[column]) for row in rows if row.get("epoch") and row.get(column)}
    return sorted(values), [values[epoch] for epoch in sorted(values)]


def _one_against_rest(
    target: Values, outputs: Floats, task: Task
) -> Iterator[tuple[str, npt.NDArray[np.bool_], Floats]]:
    """Name, truth (T,) and probability (T,) of each class that some but not all rows have."""
    if task.kind is TaskKind.BINARY:
        columns = [(short(task.classes[1]), target == 1, outputs[:, 0])]
    elif task.kind is TaskKind.MULTICLASS:
        columns = [(short(label), target == c, outputs[:, c]) for c, label in enumerate(task.classes)]
    else:
        columns = [(short(label), target[:, c] > 0.5, outputs[:, c]) for c, label in enumerate(task.classes)]
    return (column for column in columns if 0 < column[1].sum() < len(target))


def _said_and_true(target: Values, p_TO: Floats, kind: TaskKind) -> tuple[Floats, Values]:
    if kind is TaskKind.MULTICLASS:
        return p_TO.max(axis=1).astype(np.float64), p_TO.argmax(axis=1) == target
    return p_TO.reshape(-1).astype(np.float64), target.reshape(-1) > 0.5


def _points(figure: Figure, axes: Axes, x_T: Floats, y_T: Floats) -> None:
    if len(x_T) < MANY_POINTS:
        axes.scatter(x_T, y_T, s=10, alpha=0.5, color=BLUE, linewidths=0)
        return
    image = axes.hexbin(x_T, y_T, gridsize=60, bins="log", cmap="viridis", mincnt=1, linewidths=0.1)
    figure.colorbar(image, label="rows", shrink=0.8)


def short(label: Label) -> str:
    """A label that fits an axis; a dollar sign would start a formula."""
    text = str(label)
    return (text if len(text) <= 24 else text[:23] + "…").replace("$", r"\$")


def tidy(axes: Axes) -> None:
    """A grid behind what is drawn, and no frame."""
    axes.grid(color="0.9", linewidth=0.8)
    axes.set_axisbelow(True)
    axes.spines[["top", "right"]].set_visible(False)
