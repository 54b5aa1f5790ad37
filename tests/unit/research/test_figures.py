import matplotlib as mpl
import numpy as np
import pytest
import sklearn.metrics as skm
from matplotlib.collections import PathCollection, PolyCollection
from matplotlib.figure import Figure

from mlpipe.research import figures
from mlpipe.schema import Task, TaskKind

BINARY = Task(TaskKind.BINARY, ("income",), ("<=$50K", ">$50K"))


def binary(rows: int = 500) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    y = rng.integers(0, 2, rows)
    return y, 1 / (1 + np.exp(-rng.normal(2 * y - 1, 1.5)))[:, None]


def labels(figure: Figure, axes: int = 0) -> list[str]:
    return [text.get_text() for text in figure.axes[axes].get_legend().get_texts()]  # type: ignore[union-attr]


def texts(figure: Figure) -> list[str]:
    return [text.get_text() for text in figure.axes[0].texts]


def test_loss_curves_share_an_axis_for_log_losses_and_mark_the_lowest() -> None:
    rows = [{"epoch": str(e), "train/loss": str(1 / (e + 1)), "val/log_loss": ""} for e in range(5)]
    rows += [{"epoch": str(e), "train/loss": "", "val/log_loss": str(abs(e - 3) + 0.5)} for e in range(5)]
    rows.append({"epoch": "", "train/loss": "", "val/log_loss": ""})
    figure = figures.loss_curves(rows, TaskKind.BINARY)
    (axes,) = figure.axes
    assert labels(figure) == ["training", "validation", "lowest: 0.5, epoch 4"]
    assert axes.lines[0].get_xydata().tolist() == [[e + 1, 1 / (e + 1)] for e in range(5)]  # type: ignore[union-attr]
    assert axes.get_xlabel() == "epoch"


def test_loss_curves_of_a_regression_have_an_axis_each() -> None:
    rows = [{"epoch": "0", "train/loss": "0.5", "val/rmse": "1200"}]
    figure = figures.loss_curves(rows, TaskKind.REGRESSION)
    assert len(figure.axes) == 2
    assert labels(figure, 0) == ["training"]
    assert labels(figure, 1) == ["validation", "lowest: 1200, epoch 1"]


def test_loss_curves_of_a_run_that_never_got_to_validation() -> None:
    figure = figures.loss_curves([{"epoch": "0", "train/loss": "0.5"}], TaskKind.BINARY)
    assert labels(figure) == ["training", "validation"]


def test_a_resumed_epoch_counts_once() -> None:
    rows = [{"epoch": "0", "train/loss": "2"}, {"epoch": "0", "train/loss": "1"}]
    assert figures.loss_curves(rows, TaskKind.BINARY).axes[0].lines[0].get_ydata() == [1.0]


def test_confusion_matrix_counts() -> None:
    figure = figures.confusion_matrix(np.array([0, 0, 1, 1, 1]), np.array([0, 1, 1, 1, 0]), BINARY.classes)
    assert texts(figure) == ["1", "1", "1", "2"]
    axes = figure.axes[0]
    assert (axes.get_xlabel(), axes.get_ylabel()) == ("prediction", "truth")
    # A plain dollar sign would start a formula.
    assert [tick.get_text() for tick in axes.get_yticklabels()] == [r"<=\$50K", r">\$50K"]


def test_many_classes_share_a_row() -> None:
    rng = np.random.default_rng(0)
    y, answer = rng.integers(0, 50, (2, 1000))
    figure = figures.confusion_matrix(y, answer, tuple(range(50)))
    shares = np.asarray(figure.axes[0].images[0].get_array())
    assert shares.shape == (figures.MOST_ROWS, figures.MOST_ROWS)
    assert shares.sum(axis=1) == pytest.approx(1)
    assert figure.axes[0].get_yticklabels()[-1].get_text() == f"{50 - figures.MOST_ROWS + 1} others"
    assert not texts(figure)


def test_ranking_curves_say_their_areas() -> None:
    y, p = binary()
    roc, pr = figures.ranking_curves(y, p, BINARY)
    assert labels(roc) == [rf">\$50K (area {skm.roc_auc_score(y, p):.3f})", "chance"]
    assert labels(pr)[0] == rf">\$50K (average {skm.average_precision_score(y, p):.3f})"
    curve = np.asarray(roc.axes[0].lines[0].get_xydata())
    assert np.trapezoid(curve[:, 1], curve[:, 0]) == pytest.approx(skm.roc_auc_score(y, p))


def test_curves_of_many_classes_are_those_of_the_most_frequent() -> None:
    rng = np.random.default_rng(0)
    y = rng.choice(10, 2000, p=np.arange(10) / 45)
    task = Task(TaskKind.MULTICLASS, ("t",), tuple(f"c{i}" for i in range(10)))
    roc, _ = figures.ranking_curves(y, rng.random((2000, 10)), task)
    assert roc.axes[0].get_title() == "ROC curve, the 6 most frequent of 9"
    assert [label.split()[0] for label in labels(roc)] == ["c9", "c8", "c7", "c6", "c5", "c4", "chance"]


def test_a_class_that_no_row_has_has_no_curve() -> None:
    _, p = binary()
    roc, pr = figures.ranking_curves(np.zeros(500, np.int64), p, BINARY)
    assert labels(roc) == ["chance"]
    assert labels(pr) == ["chance (share of the class)"]


@pytest.mark.parametrize("kind", [TaskKind.BINARY, TaskKind.MULTICLASS, TaskKind.MULTILABEL])
def test_reliability_of_two_bins(kind: TaskKind) -> None:
    # Half of the rows are said to be 90 % sure and are right 3 times in 4; the others 60 % and 1 in 2.
    p = np.array([0.9] * 4 + [0.6] * 4)
    is_so = np.array([1, 1, 1, 0, 1, 1, 0, 0])
    outputs = np.stack([1 - p, p], axis=1) if kind is TaskKind.MULTICLASS else p[:, None]
    target = is_so[:, None].astype(np.float32) if kind is TaskKind.MULTILABEL else is_so
    figure = figures.reliability_diagram(target, outputs, kind)
    _, curve = figure.axes[0].lines
    assert np.asarray(curve.get_xydata()) == pytest.approx(np.array([[0.6, 0.5], [0.9, 0.75]]))
    assert labels(figure) == ["perfect", "model (error 0.125)"]


def test_reliability_before_and_after() -> None:
    y, p = binary()
    figure = figures.reliability_diagram(y, p, TaskKind.BINARY, uncalibrated=p**3)
    assert [label.split(" (")[0] for label in labels(figure)] == ["perfect", "before calibration", "calibrated"]


@pytest.mark.parametrize(("rows", "drawn"), [(100, PathCollection), (5000, PolyCollection)])
def test_many_points_become_a_density(rows: int, drawn: type) -> None:
    rng = np.random.default_rng(0)
    y, value = rng.normal(size=(2, rows))
    for figure in (figures.prediction_plot(y, value, "price_$"), figures.residual_plot(y, value, "price_$")):
        assert any(isinstance(collection, drawn) for collection in figure.axes[0].collections)
        assert r"price_\$" in figure.axes[0].get_xlabel()


def test_residuals_are_truth_minus_prediction() -> None:
    figure = figures.residual_plot(np.array([3.0, 5.0]), np.array([1.0, 6.0]), "price")
    assert np.asarray(figure.axes[0].collections[0].get_offsets()).tolist() == [[1.0, 2.0], [6.0, -1.0]]


def test_no_figure_is_left_behind() -> None:
    y, p = binary()
    before = {name: value for name, value in mpl.rcParams.items() if name != "backend"}
    figures.ranking_curves(y, p, BINARY)
    figures.confusion_matrix(y, (p[:, 0] > 0.5).astype(int), BINARY.classes)
    assert before.items() <= dict(mpl.rcParams).items()
    import matplotlib.pyplot as plt

    assert plt.get_fignums() == []
