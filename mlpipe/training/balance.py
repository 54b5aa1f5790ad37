"""Class weights: how much the rows of each class count in the training loss, beside their sample weights.

They change what is learnt, not how it is measured: metrics count rows by their sample weights alone, so that what
`balanced` does to the probabilities (they lean to the rare class) shows in them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from mlpipe.arrays import Arrays
from mlpipe.errors import ConfigError, did_you_mean
from mlpipe.features.target import label_text
from mlpipe.schema import Label, Task, TaskKind

BALANCED = "balanced"
#: What YAML reads bare words of these kinds as.
_YAML_WORDS = {True: ("yes", "true", "on"), False: ("no", "false", "off")}


def class_weights(
    wanted: str | Mapping[Any, float] | None, task: Task, arrays: Arrays
) -> npt.NDArray[np.float32] | None:
    """The weight of each class, in the order of the task's, scaled so that a row's is 1 in the mean.

    A row's weight is that of its class times its sample weight; its mean is over all training rows, as `member_loss`
    wants it.

    Args:
        wanted: `training.class_weights`. `balanced`: all classes weigh the same in sum, as scikit-learn has it. A
            mapping: those that it does not name weigh 1, before the scaling.
        task: Names the classes. Multilabel: a weight is that of the rows that have the label, against 1 for those that
            have not, and `balanced` makes both sides of each label weigh the same; nothing is scaled.
        arrays: The training rows.

    Returns:
        (C,), or None if every row weighs the same.

    Raises:
        ConfigError: A label is unknown, or named twice.
    """
    if wanted is None:
        return None
    assert arrays.target is not None  # these rows are labelled
    assert wanted == BALANCED or isinstance(wanted, Mapping)  # TrainingConfig knows no other word
    row_weight = np.ones(len(arrays)) if arrays.weight is None else arrays.weight.astype(np.float64)
    if isinstance(wanted, Mapping):
        weights = named_weights(wanted, task).astype(np.float64)
    else:
        weights = _balanced(task, arrays.target, row_weight)
    if task.kind is not TaskKind.MULTILABEL:
        weights = weights / np.mean(row_weight * weights[arrays.target.astype(np.int64)])
    return weights.astype(np.float32)


def named_weights(wanted: Mapping[Any, float], task: Task) -> npt.NDArray[np.float32]:
    """The weights that a mapping gives to the classes, for which no row is needed; see `class_weights`.

    Raises:
        ConfigError: A label is unknown, or named twice.
    """
    weights = np.ones(len(task.classes), np.float32)
    named: set[int] = set()
    for label, weight in wanted.items():
        index = _index(label, task.classes)
        if index in named:
            raise ConfigError(f"`training.class_weights` names the class {task.classes[index]!r} twice.")
        named.add(index)
        weights[index] = weight
    return weights


def _balanced(task: Task, target: npt.NDArray[Any], row_weight: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    if task.kind is TaskKind.MULTILABEL:
        mass, against = (row_weight @ side.astype(np.float64) for side in (target, 1 - target))
    else:
        mass = np.bincount(target.astype(np.int64), row_weight, len(task.classes)).astype(np.float64)
        against = np.full_like(mass, mass.sum() / np.count_nonzero(mass))
    # A class without training rows has nothing that a weight could count. A label that all of them have has nothing to
    # balance: by a weight of 0 it would not be learnt.
    weights: npt.NDArray[np.float64] = np.divide(
        against, mass, out=np.ones_like(mass), where=(mass > 0) & (against > 0)
    )
    return weights


def _index(label: Any, classes: tuple[Label, ...]) -> int:
    """Which class a key of the mapping names.

    Raises:
        ConfigError: None.
    """
    texts = [label_text(known) for known in classes]
    text = label_text(label)
    if text in texts:
        return texts.index(text)
    if isinstance(label, bool):  # YAML has read a bare `Yes`
        meant = [index for index, known in enumerate(texts) if known.lower() in _YAML_WORDS[label]]
        if len(meant) == 1:
            return meant[0]
    hint = did_you_mean(text, texts)
    raise ConfigError(f"`training.class_weights` names the class {text!r}, which the target does not have.{hint}")
