"""Temperature scaling: one number, fitted on the validation rows, that makes probabilities honest.

After Guo et al. 2017, "On Calibration of Modern Neural Networks" (arXiv 1706.04599), with two differences:

- The probabilities of an ensemble's members are averaged behind the temperature, as they are when the model is served.
- The targets are smoothed as by two rows more that might be of any class, as Platt 1999 does for his sigmoid. The best
  epoch is the best on the same rows, where the network is surer than it should be; and where it makes no error on them,
  the least loss would be at a temperature of 0, and the first wrong answer to a new row as sure as can be.

Legend of the shapes: T rows, K members, O outputs.
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from mlpipe.models.heads import member_average
from mlpipe.schema import TaskKind
from mlpipe.training.metrics import EPSILON, mean_log_loss

#: Rows that the validation rows are smoothed by.
_UNKNOWN_ROWS = 2
#: The search stays in here.
MIN_TEMPERATURE, MAX_TEMPERATURE = 0.25, 16.0
#: Points of the coarse search, evenly spaced in log T: with members averaged, the loss need not have one valley only.
_COARSE_POINTS = 9
#: The fine search ends when log T is known to this.
_TOLERANCE = 1e-3
_GOLDEN = (math.sqrt(5) - 1) / 2


def fit_temperature(logits_TKO: Tensor, target: Tensor, kind: TaskKind, weight: Tensor | None = None) -> float:
    """The temperature that gives the averaged probabilities the least log-loss on smoothed targets.

    A coarse grid over log T, then a golden-section search around its best point.

    Args:
        logits_TKO: Of the validation rows, as `Transformer` gives them.
        target: As in `Arrays.target`.
        kind: The task.
        weight: (T,) sample weights.

    Returns:
        What to divide logits by, within `MIN_TEMPERATURE` and `MAX_TEMPERATURE`; 1 for regression, where there are
        no rows, and where no temperature does better than none.
    """
    if kind is TaskKind.REGRESSION or len(logits_TKO) == 0:
        return 1.0

    rows = len(logits_TKO) if weight is None else int((weight > 0).sum())
    smoothing = _UNKNOWN_ROWS / (rows + _UNKNOWN_ROWS)

    def loss(log_temperature: float) -> float:
        outputs = member_average(logits_TKO, kind, math.exp(log_temperature))
        known = mean_log_loss(kind, outputs, target, weight)
        return (1 - smoothing) * known + smoothing * _any_class_loss(outputs, kind, weight)

    low, high = math.log(MIN_TEMPERATURE), math.log(MAX_TEMPERATURE)
    step = (high - low) / (_COARSE_POINTS - 1)
    losses = {low + i * step: loss(low + i * step) for i in range(_COARSE_POINTS)}
    coarse = min(losses, key=losses.__getitem__)
    fine = _golden_section(loss, max(low, coarse - step), min(high, coarse + step))
    losses |= {fine: loss(fine), 0.0: loss(0.0)}
    best = min(losses, key=losses.__getitem__)
    return math.exp(best) if losses[best] < losses[0.0] else 1.0


def _any_class_loss(outputs_TO: Tensor, kind: TaskKind, weight_T: Tensor | None) -> float:
    """Mean log-loss of rows whose class might be any."""
    p_TO = outputs_TO.double()
    if kind is not TaskKind.MULTICLASS:
        p_TO = torch.cat((p_TO, 1 - p_TO), dim=1)
    losses_T = -p_TO.clamp(min=EPSILON).log().mean(1)
    return float(losses_T.mean() if weight_T is None else (losses_T * weight_T).sum() / weight_T.sum())


def _golden_section(loss: Callable[[float], float], low: float, high: float) -> float:
    """Where a function with one valley between `low` and `high` is least, to `_TOLERANCE`."""
    left, right = high - _GOLDEN * (high - low), low + _GOLDEN * (high - low)
    loss_left, loss_right = loss(left), loss(right)
    while high - low > _TOLERANCE:
        if loss_left < loss_right:
            high, right, loss_right = right, left, loss_left
            left = high - _GOLDEN * (high - low)
            loss_left = loss(left)
        else:
            low, left, loss_left = left, right, loss_right
            right = low + _GOLDEN * (high - low)
            loss_right = loss(right)
    return (low + high) / 2
