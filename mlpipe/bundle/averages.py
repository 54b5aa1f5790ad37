"""What an ensemble makes of its members' values and thresholds."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.floating[Any]]


def mean_values(members: Sequence[Floats]) -> Floats:
    """The mean of the members' values, each (T, O), in their type.

    Examples:
        >>> mean_values([np.array([[1.0]]), np.array([[2.0]])])
        array([[1.5]])
    """
    if len(members) == 1:
        return members[0]
    total_TO = members[0].astype(np.float64)
    for values_TO in members[1:]:
        total_TO += values_TO
    return (total_TO / len(members)).astype(members[0].dtype)


def mean_threshold(thresholds: Iterable[float]) -> float:
    """The threshold of an ensemble, for which probabilities are averaged too.

    Examples:
        >>> mean_threshold([0.25, 0.375])
        0.3125
    """
    return fmean(thresholds)
