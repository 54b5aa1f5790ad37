from __future__ import annotations

from collections.abc import Callable

import hypothesis.strategies as st
import numpy as np
import pytest
import sklearn.metrics as skm
from hypothesis import assume, given, settings

from mlpipe.features.calibration import is_yes
from mlpipe.training.threshold import fit_threshold

Measure = Callable[..., float]
MEASURES: dict[str, Measure] = {
    "accuracy": skm.accuracy_score,
    "balanced_accuracy": skm.balanced_accuracy_score,
    "f1": lambda *args, **kwargs: skm.f1_score(*args, zero_division=0, **kwargs),
}
rows = st.lists(
    st.tuples(st.sampled_from([i / 16 for i in range(17)]), st.booleans(), st.integers(0, 3)), min_size=2, max_size=25
)


@settings(deadline=None, max_examples=40)  # scikit-learn is slow
@given(rows, st.sampled_from(list(MEASURES)))
def test_no_other_threshold_is_better(drawn: list[tuple[float, bool, int]], metric: str) -> None:
    p, truth, weight = (np.array(column) for column in zip(*drawn, strict=True))
    assume(weight[truth].sum() and weight[~truth].sum())

    def value(threshold: float) -> float:
        return MEASURES[metric](truth, is_yes(p, threshold), sample_weight=weight)

    found = fit_threshold(metric, p[:, None], truth.astype(int), weight)
    others = [0.5, *((np.arange(1, 33) - 0.5) / 32)]  # between all that were drawn, as far as a threshold may go
    assert 0 < found < 1
    assert value(found) == pytest.approx(max(value(t) for t in others), abs=1e-9)
    # One half stays where nothing is gained by leaving it.
    if value(0.5) >= max(value(t) for t in others) - 1e-9:
        assert found == 0.5


@pytest.mark.parametrize("metric", ["log_loss", "auroc", "brier"])
def test_a_metric_of_probabilities_has_no_use_for_one(metric: str) -> None:
    assert fit_threshold(metric, np.array([[0.1], [0.2]]), np.array([0, 1])) == 0.5


@pytest.mark.parametrize("truth", [[0, 0], [1, 1]])
def test_rows_of_one_class_say_nothing(truth: list[int]) -> None:
    assert fit_threshold("f1", np.array([[0.1], [0.2]]), np.array(truth)) == 0.5
