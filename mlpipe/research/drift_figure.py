"""The figure of drift: the shares of training beside those of new rows, for the prediction and the worst features."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from mlpipe.features.comparison import REST, DriftRecord
from mlpipe.research.figures import BLUE, ORANGE, short, tidy

#: Panels for features and for predictions, panels beside each other, and bars in one.
MOST_FEATURES, MOST_PREDICTIONS, COLUMNS, MOST_BARS = 8, 3, 3, 12

Bar = tuple[str, float, float]


def drift_figure(records: Sequence[DriftRecord]) -> Figure:
    """A panel for the prediction, then one for each of the features with the largest PSI.

    A text, whose bins have no words, is left out; rare categories share a bar.

    Args:
        records: What a `DriftMeter` reports.
    """
    drawn = [record for record in records if record.bins]
    drawn.sort(key=lambda record: -(record.psi or 0.0))
    answers = [record for record in drawn if record.kind == "prediction"][:MOST_PREDICTIONS]
    panels = [*answers, *(record for record in drawn if record.kind == "feature")][: len(answers) + MOST_FEATURES]
    wide = min(COLUMNS, max(1, len(panels)))
    high = max(1, math.ceil(len(panels) / wide))
    figure = Figure(figsize=(4.4 * wide, 3.4 * high + 0.5), layout="constrained")
    grid = figure.subplots(high, wide, squeeze=False).ravel()
    for axes, record in zip(grid, panels, strict=False):
        _draw(axes, record)
    for axes in grid[len(panels) :]:
        axes.set_axis_off()
    if panels:
        handles, words = grid[0].get_legend_handles_labels()
        figure.legend(handles, words, loc="outside upper center", ncols=2, frameon=False)
    return figure


def _draw(axes: Axes, record: DriftRecord) -> None:
    bars = _bars(record)
    place = np.arange(len(bars))
    names, expected, observed = zip(*bars, strict=True)
    axes.barh(place - 0.2, expected, height=0.4, color=BLUE, label="training")
    axes.barh(place + 0.2, observed, height=0.4, color=ORANGE, label="new rows")
    axes.set_yticks(place, [short(name) for name in names], fontsize=8)
    axes.invert_yaxis()
    axes.set_xlim(0, None)
    axes.xaxis.set_major_locator(MaxNLocator(5))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.tick_params(axis="x", labelsize=8)
    index = "too few rows" if record.psi is None else f"PSI {record.psi:.2f}, {record.verdict}"
    axes.set_title(f"{short(record.feature)}\n{index}", fontsize=10)
    tidy(axes)


def _bars(record: DriftRecord) -> list[Bar]:
    """Name, expected and observed share of each bar; of a category's the largest, the others together."""
    bars = list(zip(record.bins, record.expected, record.observed, strict=True))
    if len(bars) <= MOST_BARS:
        return bars
    ranked = sorted(bars, key=lambda bar: -max(bar[1:]))
    kept = {name for name, _, _ in ranked[: MOST_BARS - 1]} - {REST}
    others = [bar for bar in bars if bar[0] not in kept]
    together = (REST, sum(bar[1] for bar in others), sum(bar[2] for bar in others))
    return [*(bar for bar in bars if bar[0] in kept), together]
