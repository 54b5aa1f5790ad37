from __future__ import annotations

import json

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import given

from mlpipe.features.quantiles import FEW_ROWS, PART_ROWS, Knots, _search, fit_knots, num_quantiles


@pytest.mark.parametrize("size", [2, 3, 7, 255, 1_000])
@pytest.mark.parametrize("tail", ["none", "long", "both", "spike"])
def test_the_search_equals_numpys(size: int, tail: str) -> None:
    rng = np.random.default_rng(size)
    draw = {
        "none": rng.normal(size=size).round(2),
        "long": rng.lognormal(sigma=5.0, size=size),
        "both": rng.standard_cauchy(size=size) * 1e9,
        "spike": 1e15 + rng.integers(0, 2 * size, size).astype(float),
    }[tail]
    knots = np.unique(np.append(draw, draw[0] + 1))
    near = np.concatenate([np.nextafter(knots, -np.inf), knots, np.nextafter(knots, np.inf)])
    between = rng.uniform(knots[0], knots[-1], 5_000)
    values = np.concatenate([rng.choice(draw, 5_000), between, near, [-1e100, 1e100, -0.0, 0.0]])
    np.testing.assert_array_equal(_search(knots)(values), np.searchsorted(knots, values, side="right"))


@given(
    st.lists(st.floats(-1e100, 1e100), min_size=2, max_size=50, unique=True),
    st.lists(st.floats(-1e100, 1e100), min_size=1, max_size=50),
)
def test_the_search_equals_numpys_for_any_knots(knots: list[float], values: list[float]) -> None:
    at = np.unique(np.array(knots) + 0.0)  # without -0.0, of which np.unique keeps either
    many = np.resize(np.concatenate([at, values]), 2 * FEW_ROWS)
    np.testing.assert_array_equal(_search(at)(many), np.searchsorted(at, many, side="right"))


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
