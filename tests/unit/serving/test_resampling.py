"""Against scikit-learn's metrics, SciPy's bootstrap, and by simulation."""

from __future__ import annotations

import math
from collections.abc import Callable
from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score

from mlpipe.serving.resampling import Auroc, Floats, Mean, Statistic, bca, paired_difference, unpaired_difference

SEEDS = st.integers(0, 2**32 - 1)


def binary(rng: np.random.Generator, size: int) -> Auroc:
    truth = rng.integers(0, 2, size)
    truth[:2] = 0, 1
    score = np.round(rng.normal(truth), 1)  # with ties
    return Auroc(score[:, None], truth)


def slow_leave_one_out(statistic: Statistic) -> Floats:
    counts = np.ones(statistic.size, dtype=np.int64)
    return np.array([statistic.value(np.where(np.arange(statistic.size) == i, 0, counts)) for i in counts.cumsum() - 1])


@given(SEEDS, st.integers(4, 40))
@settings(deadline=None)
def test_auroc_of_counted_rows_is_that_of_repeated_rows(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    truth, score = rng.integers(0, 2, size), np.round(rng.random(size), 1)
    counts = rng.integers(0, 4, size)
    repeated = np.repeat(truth, counts)
    value = Auroc(score[:, None], truth).value(counts)
    if len(set(repeated.tolist())) < 2:
        assert math.isnan(value)
    else:
        assert value == pytest.approx(roc_auc_score(repeated, np.repeat(score, counts)), abs=1e-12)


def test_auroc_of_several_classes_is_the_mean_of_one_against_the_rest() -> None:
    rng = np.random.default_rng(0)
    truth = rng.integers(0, 3, 200)
    p = rng.dirichlet(np.ones(3), 200) + 0.3 * np.eye(3)[truth]
    p /= p.sum(axis=1, keepdims=True)
    expected = roc_auc_score(truth, p, multi_class="ovr")
    assert Auroc(p, truth).estimate() == pytest.approx(expected, abs=1e-12)
    # A class that these rows do not have does not count.
    four = np.column_stack([p, np.zeros(200)])
    assert Auroc(four, truth).estimate() == pytest.approx(expected, abs=1e-12)


@given(SEEDS, st.integers(6, 30))
@settings(deadline=None)
def test_leaving_one_out_is_as_counting_it_zero_times(seed: int, size: int) -> None:
    rng = np.random.default_rng(seed)
    loss = rng.exponential(size=size)
    for statistic in (Mean(loss), Mean(loss, root=True), binary(rng, size)):
        expected = slow_leave_one_out(statistic)
        found = statistic.leave_one_out()
        defined = ~np.isnan(expected)
        np.testing.assert_allclose(found[defined], expected[defined], rtol=0, atol=1e-12)
        np.testing.assert_allclose(found[~defined], statistic.estimate(), rtol=0, atol=1e-12)


def test_a_mean_and_its_root() -> None:
    loss = np.array([1.0, 4.0, 9.0])
    assert Mean(loss).value(np.array([2, 0, 1])) == pytest.approx(11 / 3)
    assert Mean(loss, root=True).value(np.array([2, 0, 1])) == pytest.approx(math.sqrt(11 / 3))


@pytest.mark.parametrize("level", [0.8, 0.95, 0.99])
def test_the_interval_of_one_sample_is_scipys(level: float) -> None:
    rng = np.random.default_rng(1)
    loss = rng.exponential(size=40) ** 2  # skewed, so that bias and acceleration matter
    result = stats.bootstrap(
        (loss,), np.mean, n_resamples=999, confidence_level=level, method="BCa", rng=np.random.default_rng(2)
    )
    mean = Mean(loss)
    found = bca(mean.estimate(), result.bootstrap_distribution, [mean.leave_one_out()], level=level)
    assert found == pytest.approx(tuple(result.confidence_interval), abs=1e-12)
    plain = np.quantile(result.bootstrap_distribution, [(1 - level) / 2, (1 + level) / 2])
    assert abs(found[1] - plain[1]) > 0.01  # or this would hold for percentiles too


def test_the_interval_of_two_samples_is_scipys() -> None:
    rng = np.random.default_rng(3)
    first, second = rng.exponential(size=50) ** 2, rng.exponential(size=35) * 2

    def difference(one: Floats, two: Floats, axis: int = -1) -> Floats:
        value: Floats = np.sqrt(np.mean(two, axis=axis)) - np.sqrt(np.mean(one, axis=axis))
        return value

    result = stats.bootstrap(
        (first, second), difference, n_resamples=999, method="BCa", rng=np.random.default_rng(4), vectorized=True
    )
    one, two = Mean(first, root=True), Mean(second, root=True)
    jackknife = [two.estimate() - one.leave_one_out(), two.leave_one_out() - one.estimate()]
    estimate = two.estimate() - one.estimate()
    found = bca(estimate, result.bootstrap_distribution, jackknife, level=0.95)
    assert found == pytest.approx(tuple(result.confidence_interval), abs=1e-12)


def test_resamples_of_a_pair_are_drawn_together() -> None:
    rng = np.random.default_rng(5)
    hard = rng.exponential(size=500) * 10  # what both have in common
    first, second = Mean(hard + rng.normal(size=500)), Mean(hard + rng.normal(size=500) + 0.5)
    paired = paired_difference(first, second, np.random.default_rng(6))
    unpaired = unpaired_difference(first, second, np.random.default_rng(6))
    assert 0 < paired[0] < 0.5 < paired[1] < 1
    assert unpaired[1] - unpaired[0] > 4 * (paired[1] - paired[0])


def test_versions_that_answer_alike_have_an_interval_of_nothing() -> None:
    loss = np.random.default_rng(7).random(50)
    assert paired_difference(Mean(loss), Mean(loss), np.random.default_rng(0)) == (0.0, 0.0)


def test_resamples_without_a_value_do_not_count() -> None:
    rare = np.zeros(40, dtype=np.int64)
    rare[0] = 1  # a third of the resamples don't have it
    first, second = Auroc(np.linspace(0, 1, 40)[:, None], rare), Auroc(np.linspace(1, 0, 40)[:, None], rare)
    lower, upper = paired_difference(first, second, np.random.default_rng(0), resamples=200)
    assert -1 <= lower <= upper <= 1


Draw = Callable[[np.random.Generator], tuple[Statistic, Statistic, bool]]


def skewed_pair(rng: np.random.Generator) -> tuple[Statistic, Statistic, bool]:
    common = rng.exponential(size=120) ** 1.5
    return Mean(common), Mean(common * 0.5 + rng.exponential(size=120)), True


def two_samples(rng: np.random.Generator) -> tuple[Statistic, Statistic, bool]:
    return Mean(rng.exponential(size=150)), Mean(rng.exponential(size=80) * 2), False


def ranks(rng: np.random.Generator) -> tuple[Statistic, Statistic, bool]:
    truth = rng.permutation(np.arange(150) % 2)
    weak, strong = rng.normal(truth * 0.5), rng.normal(truth * 1.0)
    return Auroc(weak[:, None], truth), Auroc(strong[:, None], truth), True


def normal_auroc(shift: float) -> float:
    return NormalDist().cdf(shift / math.sqrt(2))


MOMENT = math.gamma(2.5)  # the mean of an exponential variable to the power 1.5


@pytest.mark.slow
@pytest.mark.parametrize(
    ("draw", "difference"),
    [
        (skewed_pair, 1 - MOMENT / 2),
        (two_samples, 1.0),
        (ranks, normal_auroc(1.0) - normal_auroc(0.5)),
    ],
)
def test_nineteen_intervals_of_twenty_hold_the_truth(draw: Draw, difference: float) -> None:
    rng = np.random.default_rng(8)
    rounds, held = 600, 0
    for _ in range(rounds):
        first, second, paired = draw(rng)
        interval = paired_difference if paired else unpaired_difference
        lower, upper = interval(first, second, rng, resamples=600)
        held += lower <= difference <= upper
    assert abs(held / rounds - 0.95) < 0.036  # four standard errors; measured: 0.952, 0.945, 0.942
