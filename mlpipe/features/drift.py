"""`DriftMeter`: how far the rows that are predicted have moved from those of training.

    meter = DriftMeter(predictor.statistics, predictor.schema.task.kind, threshold=predictor.threshold)
    answered = online.answer(rows)  # an OnlinePredictor; or observe what is made on any other way
    meter.observe(answered.arrays)
    meter.observe_predictions(answered.values)
    [record.feature for record in meter.report() if record.verdict == "large shift"]

Rows are counted from the `Arrays` that a prediction makes anyway, in tens of microseconds a batch. What is kept are
counts alone: of blocks of rows, the oldest of which is dropped when a new one begins. So the report is about the last
rows, each of which counts the same; a decay would have rows of all ages in it, and no number of rows that says how much
of a PSI is chance.

Legend of the shapes: T rows, O outputs, S slots.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Collection
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.arrays import Arrays
from mlpipe.features.calibration import EVEN
from mlpipe.features.comparison import DriftRecord, compare
from mlpipe.features.counts import Counts, TableCounter
from mlpipe.features.describe import answers_as_arrays
from mlpipe.features.statistics import Statistics
from mlpipe.schema import TaskKind

#: Rows that a report is about, and the blocks in which they are counted and forgotten.
WINDOW_ROWS, BLOCKS = 20_000, 10


class DriftMeter:
    """Counts rows and predictions, and compares the last of them with those of training.

    One thread at a time may use it. Several processes have a meter each, whose `counts` add up.

    Args:
        statistics: Of the bundle that predicts.
        kind: Of its task.
        threshold: Binary: the answer is the second class where its probability is above this.
        window: A report is about so many of the last rows, and up to a tenth more; None: all there ever were.

    Examples:
        >>> from mlpipe.features.statistics import NumberShares, TableStatistics
        >>> number = NumberShares("x", "x", None, edges=(1.0,), shares=(0.5, 0.5), missing=0.0)
        >>> meter = DriftMeter(Statistics(TableStatistics(1000, (number,), ()), {}), TaskKind.REGRESSION)
        >>> x = np.arange(-500, 500, dtype=np.float32)[:, None]
        >>> meter.observe(Arrays(x, np.zeros(x.shape, dtype=np.bool_), np.empty((1000, 0), dtype=np.int32)))
        >>> [(record.feature, round(record.psi, 2), record.verdict) for record in meter.report()]
        [('x', 0.0, 'stable')]
    """

    def __init__(
        self, statistics: Statistics, kind: TaskKind, *, threshold: float = EVEN, window: int | None = WINDOW_ROWS
    ) -> None:
        self.statistics = statistics
        self._kind = kind
        self._threshold = threshold
        self._features = _Window(TableCounter(statistics.features), window)
        answers = statistics.predictions
        self._answers = None if answers is None else _Window(TableCounter(answers), window)

    def observe(self, arrays: Arrays) -> None:
        """Count rows that are predicted, as the preprocessor made them."""
        self._features.add(arrays)

    def observe_predictions(self, values_TO: npt.NDArray[np.floating[Any]]) -> None:
        """Count predictions.

        Args:
            values_TO: (T, O) as `mlpipe.bundle.predictor.Predictor.values` gives them.
        """
        if self._answers is not None:
            self._answers.add(answers_as_arrays(values_TO, self._kind, self._threshold))

    def counts(self) -> Counts:
        """All that the report is made of, (S,); those of several meters of one bundle may be added."""
        features = self._features.total()
        return features if self._answers is None else np.concatenate((features, self._answers.total()))

    def report(self, counts: Counts | None = None, *, without: Collection[str] = ()) -> list[DriftRecord]:
        """Every feature in the table's order, then the prediction.

        Args:
            counts: (S,) the sum of several meters' counts; None: this one's own.
            without: Raw columns that nothing is known of, and so neither of the predictions.
        """
        counts = self.counts() if counts is None else counts
        features, answers = np.split(counts, [1 + self._features.counter.size])
        records = list(compare("feature", self._features.counter, features[1:], int(features[0]), without))
        if self._answers is not None and not without:
            records += compare("prediction", self._answers.counter, answers[1:], int(answers[0]))
        return records


class _Window:
    """Counts of the last rows, in blocks; in front of each block's counts is how many rows it has.

    Args:
        counter: Says what is counted.
        rows: As `DriftMeter`'s `window`.
    """

    def __init__(self, counter: TableCounter, rows: int | None) -> None:
        self.counter = counter
        self._rows = rows
        self._kept = 0
        self._blocks: deque[Counts] = deque([self._empty()])

    def add(self, arrays: Arrays) -> None:
        """Count some rows, and forget the oldest block if those behind it are enough."""
        if self._rows is not None and self._blocks[-1][0] >= self._rows / BLOCKS:
            self._blocks.append(self._empty())
        newest = self._blocks[-1]
        newest[0] += len(arrays)
        newest[1:] += self.counter.count(arrays)
        self._kept += len(arrays)
        while self._rows is not None and self._kept - self._blocks[0][0] >= self._rows:
            self._kept -= int(self._blocks.popleft()[0])

    def total(self) -> Counts:
        """The sum of the blocks."""
        total = self._empty()
        for block in self._blocks:
            total += block
        return total

    def _empty(self) -> Counts:
        return np.zeros(1 + self.counter.size, dtype=np.int64)
