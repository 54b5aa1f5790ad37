from __future__ import annotations

import numpy as np
import polars as pl
import pytest

from mlpipe.features.sample import folds
from mlpipe.features.target_mean import TargetMean

WORDS = pl.DataFrame({"x": ["a", "b", "a", None, "c", "b", "a", "a", "b", "c"]})
TARGET = np.array([1.0, 0.0, 1.0, 1.0, 0.0, 1.0, 0.0, 1.0, 0.0, 1.0])


def test_means_are_smoothed_towards_the_overall_mean() -> None:
    encoder = TargetMean(smoothing=2.0).fit(WORDS, TARGET)
    made = encoder.transform(pl.DataFrame({"x": ["a", None, "zebra"]}))["x"].to_list()
    assert made == pytest.approx([(3 + 2 * 0.6) / (4 + 2), (1 + 2 * 0.6) / (1 + 2), 0.6])


def test_training_rows_get_the_means_of_the_other_folds() -> None:
    made = TargetMean(smoothing=1.0, folds=3, seed=5).fit_transform(WORDS, TARGET)["x"].to_list()
    fold = folds(10, 3, 5)
    words = WORDS["x"].to_list()
    for row in range(10):
        others = [i for i in range(10) if fold[i] != fold[row]]
        prior = TARGET[others].mean()
        same = [TARGET[i] for i in others if words[i] == words[row]]
        assert made[row] == pytest.approx((sum(same) + prior) / (len(same) + 1))


def test_a_category_of_one_row_does_not_tell_its_target() -> None:
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"x": [str(i) for i in range(2_000)]})
    target = rng.integers(0, 2, 2_000).astype(float)
    out_of_fold = TargetMean(smoothing=1.0).fit_transform(frame, target)["x"].to_numpy()
    in_fold = TargetMean(smoothing=1.0).fit(frame, target).transform(frame)["x"].to_numpy()
    assert abs(np.corrcoef(out_of_fold, target)[0, 1]) < 0.2
    assert np.corrcoef(in_fold, target)[0, 1] > 0.99


def test_rows_of_one_group_are_in_one_fold() -> None:
    groups = np.array([0, 0, 1, 1, 2, 2, 3, 3, 4, 4])
    encoder = TargetMean(smoothing=1.0, folds=2).fit(WORDS, TARGET)
    made = encoder.out_of_fold(WORDS["x"], TARGET, groups)
    for group in range(5):
        inside = groups == group
        changed = encoder.out_of_fold(WORDS["x"], np.where(inside, 1 - TARGET, TARGET), groups)
        np.testing.assert_array_equal(changed[inside], made[inside])


@pytest.mark.parametrize("number", [2, 3, 7, 100])
def test_groups_are_dealt_out(number: int) -> None:
    groups = np.random.default_rng(0).integers(0, number, 1_000)
    fold = folds(1_000, 5, 3, groups)
    assert len(np.unique(fold)) == min(number, 5)
    assert all(len(np.unique(fold[groups == group])) == 1 for group in range(number))


def test_a_single_group_is_divided_by_position() -> None:
    np.testing.assert_array_equal(folds(50, 5, 3, np.zeros(50, dtype=np.int64)), folds(50, 5, 3))


def test_no_smoothing_leaves_unseen_ids_at_the_overall_mean() -> None:
    encoder = TargetMean(smoothing=0.0).fit(pl.DataFrame({"x": ["a", "b"]}), [0.0, 1.0])
    assert encoder.transform(pl.DataFrame({"x": ["a", None, "c"]}))["x"].to_list() == [0.0, 0.5, 0.5]


def test_several_targets_make_several_features() -> None:
    encoder = TargetMean(smoothing=0.0).fit(WORDS, np.stack([TARGET, 1 - TARGET], axis=1))
    assert encoder.output_names("x") == ["x.0", "x.1"]
    made = encoder.transform(WORDS)
    np.testing.assert_allclose(made["x.0"] + made["x.1"], 1.0)


def test_labels_are_counted_by_class() -> None:
    labels = np.where(TARGET == 1, "yes", "no")
    by_label = TargetMean().fit(WORDS, labels).transform(WORDS)
    assert by_label.equals(TargetMean().fit(WORDS, TARGET).transform(WORDS))


def test_lazy_and_arrays_get_the_same_values_out_of_fold() -> None:
    expected = TargetMean().fit_transform(WORDS, TARGET)
    assert TargetMean().fit_transform(WORDS.lazy(), TARGET).collect().equals(expected)
    array = TargetMean().fit_transform(WORDS.to_numpy(), TARGET)
    np.testing.assert_array_equal(array[:, 0], expected["x"])
