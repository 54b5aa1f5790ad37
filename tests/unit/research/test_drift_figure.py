"""The figure of drift shows the prediction and the worst features, and all of each one's rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from matplotlib.axes import Axes

from mlpipe.features.comparison import DriftRecord, Kind
from mlpipe.research.drift_figure import MOST_BARS, MOST_FEATURES, MOST_PREDICTIONS, drift_figure
from mlpipe.research.plots import save


def record(name: str, psi: float | None, bins: int = 3, kind: Kind = "feature") -> DriftRecord:
    words = tuple(f"bin {index}" for index in range(bins))
    shares = tuple(1 / bins for _ in words)
    return DriftRecord(name, kind, 1_000, psi, 0.01, 0.0, 0.0, None, None, words, shares, shares[::-1])


def titles(records: list[DriftRecord]) -> list[str]:
    return [axes.get_title().split("\n")[0] for axes in drift_figure(records).axes if axes.get_title()]


def bars(axes: Axes) -> dict[str, list[float]]:
    return {container.get_label(): [bar.get_width() for bar in container] for container in axes.containers}  # type: ignore[misc]  # of bars


def test_the_prediction_comes_first_then_the_worst_features() -> None:
    records = [record(f"f{index}", index / 10) for index in range(20)] + [record("prediction", 0.0, kind="prediction")]
    assert titles(records) == ["prediction", *(f"f{index}" for index in range(19, 19 - MOST_FEATURES, -1))]


def test_of_many_labels_the_worst_are_drawn() -> None:
    records = [record(f"prediction.{index}", index / 10, kind="prediction") for index in range(9)]
    assert titles(records) == [f"prediction.{index}" for index in range(8, 8 - MOST_PREDICTIONS, -1)]


def test_what_has_no_bins_is_left_out_and_what_has_no_index_is_not() -> None:
    assert titles([record("text", 0.5, bins=0), record("few", None), record("x", 0.2)]) == ["x", "few"]
    assert titles([]) == []
    assert titles([record("cost in $", 0.1)]) == [r"cost in \$"]


def test_bars_are_the_shares_and_the_smallest_are_one() -> None:
    (axes,) = [axes for axes in drift_figure([record("x", 0.1, bins=2)]).axes if axes.get_title()]
    assert bars(axes) == {"training": [0.5, 0.5], "new rows": [0.5, 0.5]}
    (axes,) = [axes for axes in drift_figure([record("x", 0.1, bins=23)]).axes if axes.get_title()]
    found: Any = bars(axes)
    assert len(found["training"]) == MOST_BARS
    assert sum(found["training"]) == pytest.approx(1)
    assert axes.get_yticklabels()[-1].get_text() == "other values"


def test_it_can_be_saved(tmp_path: Path) -> None:
    path = save(drift_figure([record("x", 0.1), record("prediction", 0.3, kind="prediction")]), tmp_path / "drift.png")
    assert path.read_bytes().startswith(b"\x89PNG")
