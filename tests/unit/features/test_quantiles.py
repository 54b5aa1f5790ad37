from __future__ import annotations

import json

import numpy as np
import pytest

from mlpipe.features.quantiles import PART_ROWS, Knots, _bisection, fit_knots, num_quantiles


@pytest.mark.parametrize("size", [2, 3, 7, 8, 9, 255, 256, 1_000])
def test_the_search_equals_numpys(size: int) -> None:
    rng = np.random.default_rng(size)
    knots = np.unique(rng.normal(size=size).round(2))
    values = np.concatenate([rng.normal(size=5_000).round(2), knots, [-1e300, 1e300, -0.0, 0.0]])
    np.testing.assert_array_equal(_bisection(knots)(values), np.searchsorted(knots, values, side="right"))


def slow(knots: Knots, value: float) -> float:
    """The map by its definition, for one value."""
    if value < knots.at[0]:
        return float(knots.before[0])
    if value > knots.at[-1]:
        return float(knots.after[-1])
    index = int(np.flatnonzero(knots.at <= value)[-1])
    if knots.at[index] == value:
        return float(knots.on[index])
    fraction = (value - knots.at[index]) / (knots.at[index + 1] - knots.at[index])
    return float(knots.after[index] + fraction * (knots.before[index + 1] - knots.after[index]))


@pytest.mark.parametrize("noise", [0.0, 1e-3])
def test_the_map_is_piecewise_linear_with_jumps(noise: float) -> None:
    rng = np.random.default_rng(0)
    train = np.concatenate([np.zeros(300), rng.exponential(size=400), np.full(100, 9.0)])
    knots = fit_knots(train, 50, noise)
    assert np.array_equal(knots.before, knots.after) == bool(noise)
    values = np.concatenate([train, rng.uniform(-1, 10, 500)])
    expected = [slow(knots, value) for value in values.tolist()]
    np.testing.assert_allclose(knots.mapping()(values), expected, rtol=1e-12, atol=1e-12)


def test_many_values_are_mapped_as_few_are() -> None:
    rng = np.random.default_rng(0)
    mapping = fit_knots(rng.normal(size=2_000).round(1), 60).mapping()
    values = rng.normal(size=2 * PART_ROWS + 5).round(1)
    few = np.concatenate([mapping(values[start : start + 500]) for start in range(0, len(values), 500)])
    assert mapping(values).tobytes() == few.tobytes()


@pytest.mark.parametrize("values", [[], [2.0], [2.0] * 50])
def test_a_constant_maps_to_zero(values: list[float]) -> None:
    knots = fit_knots(np.array(values), 10, 1e-3)
    assert knots.mapping()(np.array([-1.0, 2.0, 5.0])).tolist() == [0.0, 0.0, 0.0]


def test_knots_read_back_bit_for_bit() -> None:
    rng = np.random.default_rng(0)
    for values in (rng.normal(size=500), rng.integers(0, 5, 500).astype(float), np.zeros(0)):
        knots = fit_knots(values, 20)
        again = Knots.from_dict(json.loads(json.dumps(knots.to_dict())))
        for part in ("at", "before", "on", "after"):
            assert getattr(again, part).tobytes() == getattr(knots, part).tobytes()


def test_number_of_quantiles() -> None:
    assert [num_quantiles(rows) for rows in (1, 300, 3_000, 10**6)] == [10, 10, 100, 1_000]
