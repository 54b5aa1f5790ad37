"""What a program holds already, tables of whichever library, labels, numbers, in our forms; the estimators' way in."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import polars as pl
from sklearn.utils import check_random_state

from mlpipe.checks import check_type
from mlpipe.data.split import check_seed
from mlpipe.data.target import spelling_of
from mlpipe.errors import ConfigError, DataError, how_many
from mlpipe.features.frame import from_pandas
from mlpipe.features.target import label_text
from mlpipe.features.typed import category
from mlpipe.schema import Label


def as_polars(X: Any) -> pl.DataFrame:
    """A table of any of the supported types as a Polars frame; an array's columns are x0, x1, ….

    Raises:
        DataError: It is none of those types, not two-dimensional, or has two columns of one name.
    """
    if isinstance(X, pl.LazyFrame):
        return X.collect()
    if isinstance(X, pl.DataFrame):
        return X
    if type(X).__module__.partition(".")[0] == "pandas" and has_names(X):
        named = X.rename(columns=str)
        if not named.columns.is_unique:
            twice = named.columns[named.columns.duplicated()][0]
            raise DataError(f"X has two columns called {twice!r}; each needs a name of its own.")
        return from_pandas(named)
    if hasattr(X, "toarray"):  # of SciPy
        raise DataError("X is a sparse matrix; its columns are read as a dense one: give `X.toarray()`.")
    values = np.asarray(X)
    if values.ndim != 2:
        raise DataError(f"X has the shape {values.shape}; it has to be a table: rows by columns.")
    return pl.DataFrame({f"x{i}": values[:, i].tolist() for i in range(values.shape[1])}, strict=False)


def has_names(X: Any) -> bool:
    """Whether a table's columns have names."""
    return hasattr(type(X), "columns")  # asked of the type: a LazyFrame would have to resolve its plan for it


def with_targets(frame: pl.DataFrame, y: Any, sample_weight: Any = None) -> tuple[pl.DataFrame, str, str | None]:
    """A table with its targets, and weights if there are any, as further columns.

    Args:
        frame: (T, columns).
        y: (T,) array, list or Series.
        sample_weight: (T,) likewise.

    Returns:
        The wider frame and the names of the two columns. A column is called as its Series is, else `target` or
        `weight`, with a number behind it if the frame has such a column.

    Raises:
        DataError: The lengths differ, or a target is missing.

    Examples:
        >>> frame, target, _ = with_targets(pl.DataFrame({"area": [50.0, 70.0]}), pl.Series("price", [100, 140]))
        >>> frame.columns, target
        (['area', 'price'], 'price')
    """
    names: list[str] = []
    for argument, given, default in (("y", y, "target"), ("sample_weight", sample_weight, "weight")):
        if given is None and argument == "sample_weight":
            continue
        values = np.asarray(given)
        if values.ndim != 1 or len(values) != len(frame):
            raise DataError(f"X has {how_many(len(frame), 'row')}, but {argument} has the shape {values.shape}.")
        names.append(_new_name(given, default, frame.columns))
        frame = frame.with_columns(pl.Series(names[-1], values.tolist(), strict=False))
    target = frame[names[0]]
    if nulls := (target.fill_nan(None) if target.dtype.is_float() else target).null_count():
        raise DataError(
            f"y has no value in {nulls:,} of its {how_many(len(frame), 'row')}; leave these out of X and y."
        )
    return frame, names[0], names[1] if len(names) > 1 else None


def distinct_labels(y: Any) -> npt.NDArray[Any]:
    """One label of each class, in ascending order and in the labels' own type.

    Labels that are the same category, such as `a` and ` a`, are one class to the model, and so here.

    Args:
        y: (T,) array, list or Series.

    Raises:
        DataError: They have no order, being of several types.

    Examples:
        >>> distinct_labels(["yes ", "no", "yes"]).tolist()
        ['no', 'yes']
    """
    labels = np.asarray(y)
    try:
        distinct = np.unique(labels)
    except TypeError as error:
        types = sorted({type(label).__name__ for label in labels.ravel().tolist()})
        raise DataError(
            f"y holds labels of several types ({', '.join(types)}); make them all strings, numbers or booleans."
        ) from error
    values = pl.Series("v", distinct.tolist(), strict=False)
    texts = values.to_frame().select(category(pl.col("v"), values.dtype)).to_series().to_list()
    same: dict[str, list[Any]] = {}
    for text, label in zip(texts, distinct.tolist(), strict=True):
        same.setdefault(text, []).append(label)
    chosen = {spelling_of(text, spellings) for text, spellings in same.items()}
    return distinct[[label in chosen for label in distinct.tolist()]]


def class_positions(labels: npt.NDArray[Any], classes: Sequence[Label]) -> npt.NDArray[np.int64]:
    """Where each of a classifier's labels stands among the model's classes, which have an order of their own.

    Examples:
        >>> class_positions(np.array(["absent", "present "]), ("present", "absent"))
        array([1, 0])
    """
    of_text = {label_text(label): index for index, label in enumerate(classes)}
    return np.array([of_text[label_text(label)] for label in labels.tolist()], dtype=np.int64)


def group_of(name: str, values: Any) -> dict[str, Any]:
    """A group of an estimator's arguments; NumPy's numbers, which a search may bring, become Python's.

    Raises:
        ConfigError: It is no mapping.
    """
    check_type(name, values, Mapping[str, Any] | None)
    return {key: _of_python(value) for key, value in (values or {}).items()}


def number_of(name: str, value: Any, annotation: Any) -> Any:
    """An estimator's argument as a number of Python's.

    Raises:
        ConfigError: It is not what the annotation says.
    """
    number = _of_python(value)
    check_type(name, number, annotation)
    return number


def seed_of(random_state: Any) -> int:
    """The seed that scikit-learn's `random_state` stands for: a number itself, a generator's next, or null any.

    Raises:
        ConfigError: It is none of these.
    """
    if isinstance(random_state, int | np.integer) and not isinstance(random_state, bool):
        check_seed("random_state", int(random_state))
        return int(random_state)
    if random_state is not None and not isinstance(random_state, np.random.RandomState):
        raise ConfigError(f"`random_state` is {random_state!r}; it has to be a whole number, a RandomState or None.")
    return int(check_random_state(random_state).randint(2**31 - 1))


def _of_python(value: Any) -> Any:
    return value.item() if isinstance(value, np.generic) else value


def _new_name(values: Any, default: str, taken: Sequence[str]) -> str:
    name = getattr(values, "name", None)
    stem = default if name is None or not str(name) else str(name)
    others = (f"{stem}_{number}" for number in itertools.count(2))
    return next(candidate for candidate in itertools.chain([stem], others) if candidate not in taken)
