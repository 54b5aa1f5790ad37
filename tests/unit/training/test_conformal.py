from __future__ import annotations

import math

import hypothesis.strategies as st
import numpy as np
import pytest
from hypothesis import assume, given

from mlpipe.errors import ConfigError
from mlpipe.training.conformal import check_enough_rows, conformal_margin, conformal_scores

LEVELS = [0.5, 0.8, 0.9, 0.95]
scores = st.lists(st.floats(-1e3, 1e3), min_size=1, max_size=60).map(np.array)


def needed(level: float) -> int:
    """The fewest rows of which some rank reaches ceil((n + 1) * level), found by trying."""
    return next(n for n in range(1, 10_000) if math.ceil(round((n + 1) * level, 9)) <= n)


@given(scores, st.sampled_from(LEVELS))
def test_the_margin_is_the_score_at_its_rank(values: np.ndarray, level: float) -> None:
    assume(len(values) >= needed(level))
    rank = math.ceil(round((len(values) + 1) * level, 9))
    assert conformal_margin(values, level) == sorted(values.tolist())[rank - 1]


@given(scores, st.sampled_from(LEVELS), st.integers(1, 5))
def test_weights_that_are_all_alike_change_nothing(values: np.ndarray, level: float, weight: int) -> None:
    assume(len(values) >= needed(level))
    same = np.full(len(values), float(weight))
    assert conformal_margin(values, level, same) == conformal_margin(values, level)
    absent = np.append(values, 1e9), np.append(same, 0.0)
    assert conformal_margin(absent[0], level, absent[1]) == conformal_margin(values, level)


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("rows", [25, 200])
def test_a_new_row_is_held_as_often_as_promised(level: float, rows: int) -> None:
    # Exchangeable scores: the margin of the first `rows` holds the last with a probability from `level` to
    # `level + 1 / (rows + 1)` (Lei et al. 2018, theorem 2.2). Five standard errors on either side.
    random = np.random.default_rng(0)
    draws = 4_000
    table = np.abs(random.standard_t(3, size=(draws, rows + 1)))
    held = np.mean([row[-1] <= conformal_margin(row[:-1], level) for row in table])
    error = 5 * math.sqrt(level * (1 - level) / draws)
    assert level - error <= held <= level + 1 / (rows + 1) + error


@pytest.mark.parametrize("level", [*LEVELS, 0.99])
def test_too_few_rows_are_refused_with_the_number_it_takes(level: float) -> None:
    check_enough_rows(needed(level), level)
    with pytest.raises(ConfigError, match=rf"`training.interval` is {level:g}, for which it takes {needed(level)} val"):
        check_enough_rows(needed(level) - 1, level)


def test_scores_say_how_far_outside_a_target_lies() -> None:
    quantiles = np.array([[0.0, 1.0, 4.0]] * 3)
    assert conformal_scores(quantiles, np.array([-2.0, 1.0, 5.0])).tolist() == [2.0, -1.0, 1.0]
    assert conformal_scores(np.array([[1.0], [1.0]]), np.array([-2.0, 5.0])).tolist() == [3.0, 4.0]
