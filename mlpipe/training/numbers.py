"""What a regression is measured by: the errors of its values, and the coverage and width of its intervals.

Legend of the shapes: T rows, O outputs.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
import sklearn.metrics as skm

Floats = npt.NDArray[np.floating[Any]]


def regression_metrics(
    values_TO: Floats, target_T: Floats, weight_T: Floats | None = None, level: float | None = None
) -> dict[str, float]:
    """The metrics of values, and of their intervals if they have some; NaN where one is not defined.

    Args:
        values_TO: (T,) or (T, 1) values; (T, 3) with the lower and the upper bound of an interval behind them.
        target_T: (T,) the truth.
        weight_T: (T,) sample weights, above 0.
        level: The interval's: its bounds are then measured as the quantiles that they stand for, the value as median.
    """
    y_T = target_T.reshape(-1).astype(np.float64)
    values_TO = values_TO.reshape(len(y_T), -1).astype(np.float64)
    metrics = _errors(values_TO[:, 0], y_T, weight_T)
    if values_TO.shape[1] == 1:
        return metrics
    lower_T, upper_T = values_TO[:, 1], values_TO[:, 2]
    covered_T = (lower_T <= y_T) & (y_T <= upper_T)
    metrics["coverage"] = float(np.average(covered_T, weights=weight_T))
    metrics["interval_width"] = float(np.average(upper_T - lower_T, weights=weight_T))
    if level is not None:
        quantiles = ((values_TO[:, 0], 0.5), (lower_T, (1 - level) / 2), (upper_T, (1 + level) / 2))
        losses = [skm.mean_pinball_loss(y_T, said_T, sample_weight=weight_T, alpha=q) for said_T, q in quantiles]
        metrics["pinball"] = float(np.mean(losses))
    return metrics


def _errors(value_T: Floats, y_T: Floats, weight_T: Floats | None) -> dict[str, float]:
    # All three are the same for shifted values, and sums of squares of small numbers keep their digits.
    y_T, value_T = y_T - y_T.mean(), value_T - y_T.mean()
    defined = len(y_T) > 1 and bool((y_T != y_T[0]).any())
    return {
        "rmse": float(skm.root_mean_squared_error(y_T, value_T, sample_weight=weight_T)),
        "mae": float(skm.mean_absolute_error(y_T, value_T, sample_weight=weight_T)),
        "r2": float(skm.r2_score(y_T, value_T, sample_weight=weight_T)) if defined else np.nan,
    }
