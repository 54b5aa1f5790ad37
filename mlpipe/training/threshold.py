"""The decision threshold of a binary task, fitted on the validation rows for the metric that the user cares for.

Probabilities that are right still leave open what to answer: accuracy asks for one half, F1 for half of the best F1
(Lipton, Elkan and Naryanaswamy 2014, arXiv 1402.1892), balanced accuracy for the share of the positive class.

Legend of the shapes: T rows, C candidates.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from mlpipe.features.calibration import EVEN
from mlpipe.training.metrics import ArrayLike, as_numpy

Floats = npt.NDArray[np.float64]
#: The metrics that a threshold changes.
DECISION_METRICS = ("accuracy", "balanced_accuracy", "f1")
#: Gains below this are rounding.
_LEAST_GAIN = 1e-9


def fit_threshold(metric: str, outputs: ArrayLike, target: ArrayLike, weight: ArrayLike | None = None) -> float:
    """The threshold that gives a metric its best value.

    Candidates lie midway between neighbouring probabilities, and before the first and behind the last, where all rows
    are answered alike; of those that are equally good it is the one nearest to one half, which stays where none is
    better.

    Args:
        metric: One of `DECISION_METRICS`; any other has no use for a threshold and gets one half.
        outputs: (T, 1) probabilities of the second class.
        target: (T,) class ids.
        weight: (T,) sample weights.

    Examples:
        >>> p, truth = np.array([[0.1], [0.2], [0.4], [0.9]]), np.array([0, 0, 1, 1])
        >>> round(fit_threshold("f1", p, truth), 6), fit_threshold("log_loss", p, truth)
        (0.3, 0.5)
    """
    p_T = as_numpy(outputs).reshape(-1).astype(np.float64)
    yes_T = as_numpy(target).reshape(-1) == 1
    weight_T = np.ones(len(p_T)) if weight is None else as_numpy(weight).astype(np.float64)
    if metric not in DECISION_METRICS or not (weight_T[yes_T].sum() and weight_T[~yes_T].sum()):
        return EVEN
    known = np.unique(p_T[weight_T > 0])
    ends = np.concatenate(([0.0], known, [1.0]))
    threshold_C = np.append((ends[:-1] + ends[1:]) / 2, EVEN)
    threshold_C = threshold_C[(threshold_C > 0) & (threshold_C < 1)]
    threshold_C = threshold_C[np.argsort(np.abs(threshold_C - EVEN), kind="stable")]
    value_C = _values(metric, threshold_C, p_T, yes_T, weight_T)
    best = int(np.argmax(value_C >= value_C.max() - _LEAST_GAIN))  # the first, which is the nearest to one half
    return float(threshold_C[best])


def _values(metric: str, threshold_C: Floats, p_T: Floats, yes_T: npt.NDArray[np.bool_], weight_T: Floats) -> Floats:
    """The metric (C,) at each threshold."""
    order = np.argsort(p_T, kind="stable")
    below_C = np.searchsorted(p_T[order], threshold_C, side="right")  # at the threshold itself the answer is no

    def above(counted_T: Floats) -> Floats:
        sums = np.append(0.0, np.cumsum(counted_T[order]))
        found: Floats = sums[-1] - sums[below_C]
        return found

    positives, negatives = float(weight_T[yes_T].sum()), float(weight_T[~yes_T].sum())
    right_C, wrong_C = above(weight_T * yes_T), above(weight_T * ~yes_T)
    if metric == "f1":
        return 2 * right_C / (positives + right_C + wrong_C)
    if metric == "balanced_accuracy":
        return (right_C / positives + 1 - wrong_C / negatives) / 2
    return (right_C + negatives - wrong_C) / (positives + negatives)
