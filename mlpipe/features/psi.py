"""The population stability index: how far two distributions over the same bins lie apart.

PSI = sum over the bins of (observed - expected) * ln(observed / expected), which is the divergence of Kullback and
Leibler taken both ways. Credit scoring calls less than 0.1 no shift worth a thought and more than 0.25 a large one
(Lewis 1994, "An Introduction to Credit Scoring").

Those two numbers know nothing of how many rows there are. Of n rows behind the expected shares, m observed ones and k
bins, chance alone gives a PSI that is about a chi-square variable of k - 1 degrees of freedom times 1/n + 1/m (Yurdakul
2018, "Statistical Properties of Population Stability Index"), so (k - 1) (1/n + 1/m) in the mean: 0.045 for ten bins,
many training rows and 200 observed ones, and above 0.085 one time in twenty.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Shares = Sequence[float] | npt.NDArray[np.floating[Any]]

#: From here on a shift is moderate, from here on it is large.
MODERATE, LARGE = 0.1, 0.25
#: What takes the place of an empty bin's share, whose logarithm would be infinite: that of Evidently and others.
EMPTY = 1e-4
#: The normal distribution's quantile at 0.99.
_RARE = 2.3263478740408408


def psi(expected: Shares, observed: Shares) -> float:
    """The population stability index of two distributions.

    Args:
        expected: (K,) shares of the bins, which sum to 1; what is below `EMPTY` counts as that.
        observed: (K,) of the same bins.

    Raises:
        ValueError: They are not of the same bins.

    Examples:
        >>> psi([0.5, 0.5], [0.5, 0.5]), round(psi([0.5, 0.5], [0.7, 0.3]), 4), round(psi([1.0, 0.0], [0.9, 0.1]), 4)
        (0.0, 0.1695, 0.7006)
    """
    expected_K = np.maximum(np.asarray(expected, dtype=np.float64), EMPTY)
    observed_K = np.maximum(np.asarray(observed, dtype=np.float64), EMPTY)
    if expected_K.shape != observed_K.shape:
        raise ValueError(f"There are {expected_K.shape} expected shares and {observed_K.shape} observed ones.")
    return float(((observed_K - expected_K) * np.log(observed_K / expected_K)).sum())


def chance_psi(bins: int, expected_rows: int, observed_rows: int) -> float:
    """The PSI that chance alone stays below 99 times out of 100.

    Bins in which fewer than about five rows are expected have a wider spread than this says.

    Args:
        bins: That are not empty on both sides.
        expected_rows: Behind the expected shares, at least 1.
        observed_rows: Behind the observed ones, at least 1.

    Examples:
        >>> round(chance_psi(10, 10**9, 200), 3), round(chance_psi(10, 10_000, 10_000), 4), chance_psi(1, 10, 10)
        (0.108, 0.0043, 0.0)
    """
    freedom = bins - 1
    if freedom < 1:
        return 0.0
    # The quantile of chi-square after Wilson and Hilferty (1931).
    spread = 2 / (9 * freedom)
    quantile = freedom * (1 - spread + _RARE * math.sqrt(spread)) ** 3
    return quantile * (1 / expected_rows + 1 / observed_rows)
