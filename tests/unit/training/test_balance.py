from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from sklearn.utils.class_weight import compute_class_weight

from mlpipe.arrays import Arrays
from mlpipe.errors import ConfigError
from mlpipe.schema import Task, TaskKind
from mlpipe.training.balance import class_weights, named_weights
from mlpipe.training.config import TrainingConfig

BINARY = Task(TaskKind.BINARY, ("y",), ("no", "yes"))
GRADES = Task(TaskKind.MULTICLASS, ("y",), (1, 2, 3))
LABELS = Task(TaskKind.MULTILABEL, ("red", "blue"), ("red", "blue"))


def weights_of(wanted: Any, task: Task, arrays: Arrays) -> np.ndarray:
    found = class_weights(wanted, task, arrays)
    assert found is not None
    return found


def labelled(target: Any, weight: Any = None) -> Arrays:
    target = np.asarray(target)
    nothing = np.zeros((len(target), 0))
    return Arrays(
        nothing.astype(np.float32),
        nothing.astype(bool),
        nothing.astype(np.int32),
        target,
        None if weight is None else np.asarray(weight, np.float32),
    )


def test_balanced_is_scikit_learn_s() -> None:
    target = np.array([0, 0, 0, 0, 1, 2, 2])
    expected = compute_class_weight("balanced", classes=np.arange(3), y=target)
    np.testing.assert_allclose(weights_of("balanced", GRADES, labelled(target)), expected, rtol=1e-6)


def test_balanced_counts_rows_by_their_weight() -> None:
    repeated = weights_of("balanced", BINARY, labelled([0, 0, 0, 1]))
    weighted = weights_of("balanced", BINARY, labelled([0, 1], weight=[1.5, 0.5]))
    np.testing.assert_allclose(weighted, repeated, rtol=1e-6)


def test_balanced_makes_both_sides_of_a_label_weigh_the_same() -> None:
    target = np.array([[1, 0], [0, 0], [0, 1], [0, 0]], dtype=np.float32)
    assert weights_of("balanced", LABELS, labelled(target)).tolist() == [3.0, 3.0]


def test_a_class_without_training_rows_weighs_one() -> None:
    assert weights_of("balanced", GRADES, labelled([0, 0, 0, 2]))[1] == 1


def test_a_label_that_all_rows_or_none_have_weighs_one() -> None:
    target = np.array([[1, 0], [1, 0]], dtype=np.float32)
    assert weights_of("balanced", LABELS, labelled(target, weight=[0.1, 0.7])).tolist() == [1, 1]


@pytest.mark.parametrize("wanted", ["balanced", {1: 5.0, 3: 0.25}])
def test_a_row_weighs_one_in_the_mean(wanted: Any) -> None:
    target, weight = np.array([0, 1, 1, 1, 2, 2]), np.array([0.5, 1.5, 0.0, 2.0, 1.0, 1.0])
    found = weights_of(wanted, GRADES, labelled(target, weight))
    assert np.mean(weight * found[target]) == pytest.approx(1)
    if wanted != "balanced":
        assert found[0] / found[1] == pytest.approx(5)
        assert found[2] / found[1] == pytest.approx(0.25)


@pytest.mark.parametrize(
    ("wanted", "task", "expected"),
    [
        ({"yes": 3}, BINARY, [1, 3]),
        ({True: 3, False: 2}, BINARY, [2, 3]),  # what YAML makes of yes and no
        ({"2": 0.5, 3: 4}, GRADES, [1, 0.5, 4]),
        ({"blue": 2}, LABELS, [1, 2]),
    ],
)
def test_a_mapping_names_labels_as_the_table_does(wanted: Any, task: Task, expected: list[float]) -> None:
    assert named_weights(wanted, task).tolist() == expected


def test_without_any_there_is_nothing_to_multiply() -> None:
    assert class_weights(None, BINARY, labelled([0])) is None


@pytest.mark.parametrize(
    ("wanted", "task", "sentence"),
    [
        ({"yess": 3}, BINARY, r"names the class 'yess', which the target does not have. Did you mean 'yes'"),
        ({"2": 1, 2: 3}, GRADES, r"names the class 2 twice"),
    ],
)
def test_what_cannot_be_is_one_sentence(wanted: Any, task: Task, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        class_weights(wanted, task, labelled([0]))


@pytest.mark.parametrize(
    ("wanted", "sentence"),
    [
        ("balance", r"it has to be `balanced`, or a weight for each label.* mean 'balanced'"),
        ({"yes": 0}, r"gives 'yes' the weight 0; it has to be a number above 0"),
        ({"yes": True}, r"gives 'yes' the weight True"),
        ({}, r"names no class"),
    ],
)
def test_the_config_refuses_other_words_and_weights(wanted: Any, sentence: str) -> None:
    with pytest.raises(ConfigError, match=sentence):
        TrainingConfig(class_weights=wanted)
