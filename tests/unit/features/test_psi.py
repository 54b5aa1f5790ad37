"""The population stability index against its definition, and what chance makes of it against chi-square and draws."""

from __future__ import annotations

import math

import numpy as np
import pytest
import scipy.stats
from hypothesis import given
from hypothesis import strategies as st

from mlpipe.features.psi import EMPTY, chance_psi, psi


def slow_psi(expected: list[float], observed: list[float]) -> float:
    """The definition, bin by bin."""
    terms = []
    for share, now in zip(expected, observed, strict=True):
        before, after = (max(value, EMPTY) for value in (share, now))
        terms.append((after - before) * (math.log(after) - math.log(before)))
    return math.fsum(terms)


counts = st.integers(1, 30).flatmap(
    lambda bins: st.tuples(*(st.lists(st.integers(0, 1000), min_size=bins, max_size=bins).filter(any),) * 2)
)


@given(counts)
def test_it_is_what_the_definition_says(counted: tuple[list[int], list[int]]) -> None:
    expected, observed = ([count / sum(side) for count in side] for side in counted)
    found = psi(expected, observed)
    assert found == pytest.approx(slow_psi(expected, observed), rel=1e-12, abs=1e-15)
    assert found == pytest.approx(psi(observed, expected), rel=1e-12, abs=1e-15)
    assert found >= 0
    assert psi(expected, expected) == 0


def test_an_empty_bin_is_finite() -> None:
    assert psi([1.0, 0.0], [0.0, 1.0]) == pytest.approx(2 * (1 - EMPTY) * math.log(1 / EMPTY))


def test_shares_of_other_bins_are_refused() -> None:
    with pytest.raises(ValueError, match=r"There are \(2,\) expected shares and \(1,\) observed ones\."):
        psi([0.5, 0.5], [1.0])


@pytest.mark.parametrize("bins", [2, 3, 10, 23])
@pytest.mark.parametrize(("expected_rows", "observed_rows"), [(100_000, 200), (500, 500)])
def test_chance_is_the_quantile_of_chi_square(bins: int, expected_rows: int, observed_rows: int) -> None:
    exact = scipy.stats.chi2.ppf(0.99, bins - 1) * (1 / expected_rows + 1 / observed_rows)
    assert chance_psi(bins, expected_rows, observed_rows) == pytest.approx(exact, rel=0.02)


@pytest.mark.parametrize(("bins", "rows"), [(4, 200), (10, 200), (10, 5_000)])
def test_draws_from_one_distribution_stay_below_chance_99_times_out_of_100(bins: int, rows: int) -> None:
    random = np.random.default_rng(0)
    shares = np.full(bins, 1 / bins)
    training = 20_000
    pairs = [(random.multinomial(training, shares), random.multinomial(rows, shares)) for _ in range(4_000)]
    found = np.array([psi(before / training, now / rows) for before, now in pairs])
    assert found.mean() == pytest.approx((bins - 1) * (1 / training + 1 / rows), rel=0.06)
    # A standard error is 0.16 percentage points.
    assert (found > chance_psi(bins, training, rows)).mean() == pytest.approx(0.01, abs=0.006)
