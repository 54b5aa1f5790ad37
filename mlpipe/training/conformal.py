"""Conformal prediction: how wide an interval has to be to hold its share of new rows, from the validation rows alone.

The score of a row says by how much its target lies outside of what the network says (negative: inside), and the margin
is a quantile of the scores, a little above the level since the new row counts too. Two scores:

- with one value, the absolute residual: split conformal prediction (Vovk, Gammerman and Shafer 2005; Lei et al. 2018,
  arXiv 1604.04173); all intervals are of one width in the standardised target's units;
- with quantiles, how far the target is beyond the nearer one: conformalised quantile regression (Romano, Patterson and
  Candès 2019, arXiv 1905.03222); the width follows the row.

For rows that are exchangeable with the validation rows, an interval of level 0.9 holds the target of at least 90 % of
them. The validation rows have also chosen the best epoch, a choice among a few dozen, which costs no coverage that one
could measure; a level's share of *them* is no test of it, since they set the width.

Legend of the shapes: T rows, O outputs.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.errors import ConfigError, how_many

Floats = npt.NDArray[np.floating[Any]]

#: What rounding may add to a product such as 0.9 * 30, per row.
_ROUNDING = 1e-12


def conformal_scores(outputs_TO: Floats, target_T: Floats) -> npt.NDArray[np.float64]:
    """How far each target lies outside of what was said, (T,).

    Args:
        outputs_TO: (T, 1) values, or (T, 3) ascending quantiles.
        target_T: (T,) the truth, in the same units.

    Examples:
        >>> conformal_scores(np.array([[1.0], [2.0]]), np.array([1.5, 0.0]))
        array([0.5, 2. ])
        >>> conformal_scores(np.array([[0.0, 1.0, 2.0]]), np.array([1.75]))
        array([-0.25])
    """
    outputs, target = outputs_TO.astype(np.float64), target_T.reshape(-1).astype(np.float64)
    scores: npt.NDArray[np.float64] = np.maximum(outputs[:, 0] - target, target - outputs[:, -1])
    return scores


def conformal_margin(scores_T: Floats, level: float, weight_T: Floats | None = None) -> float:
    """The score that a new row stays below with a probability of at least `level`.

    Of n scores that is the one at rank ceil((n + 1) * level). With sample weights, scores count by theirs and the new
    row by the mean weight; rows of weight 0 do not count.

    Args:
        scores_T: (T,) scores of rows like the new one.
        level: Above 0, below 1.
        weight_T: (T,) sample weights.

    Raises:
        ConfigError: There are too few rows: no finite margin is enough.

    Examples:
        >>> conformal_margin(np.arange(1.0, 10.0), 0.9), conformal_margin(np.arange(1.0, 10.0), 0.5)
        (9.0, 5.0)
    """
    weight = np.ones(len(scores_T)) if weight_T is None else weight_T.astype(np.float64)
    scores, weight = scores_T[weight > 0], weight[weight > 0]
    check_enough_rows(len(scores), level)
    order = np.argsort(scores, kind="stable")
    reached = np.cumsum(weight[order]) / weight.mean()
    rank = int(np.searchsorted(reached, level * (len(scores) + 1) * (1 - _ROUNDING)))
    return float(scores[order][min(rank, len(scores) - 1)])


def check_enough_rows(rows: int, level: float) -> None:
    """Whether a finite interval of a level can be had from so many rows; to be asked before anything slow is done.

    Raises:
        ConfigError: It cannot; the sentence says how many rows it takes, and which level these rows allow.
    """
    needed = math.ceil(level / (1 - level) - _ROUNDING / (1 - level))
    if rows < needed:
        allowed = f"; these allow {math.floor(1000 * rows / (rows + 1)) / 1000:g} at most" if rows else ""
        raise ConfigError(
            f"`training.interval` is {level:g}, for which it takes {how_many(needed, 'validation row')}; "
            f"there {'is' if rows == 1 else 'are'} {rows:,}{allowed}."
        )
