"""What is to be predicted, from the values of the target column(s)."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from typing import Any

import polars as pl

from mlpipe.data.profile import NESTED, Profile
from mlpipe.errors import ConfigError, DataError, did_you_mean, how_many
from mlpipe.features.typed import LARGEST_NUMBER, category
from mlpipe.schema import Label, Task, TaskKind

logger = logging.getLogger(__name__)

#: Whole numbers are classes if there are no more different ones than this, else quantities.
MOST_NUMBER_CLASSES = 20
#: More different words than this are no classes.
MOST_WORD_CLASSES = 1_000

_NEGATIVE_FIRST = (
    ("no", "yes"),
    ("n", "y"),
    ("false", "true"),
    ("f", "t"),
    ("off", "on"),
    ("negative", "positive"),
    ("neg", "pos"),
    ("absent", "present"),
    ("failure", "success"),
    ("fail", "pass"),
)


def check_task(wanted: str | None) -> None:
    """Refuse a word for the task that is none.

    Raises:
        ConfigError: Names the closest one.
    """
    if wanted is not None and wanted not in set(TaskKind):
        raise ConfigError(f"`data.task` is {wanted!r}.{did_you_mean(wanted, TaskKind)}")


def find_targets(target: str | Sequence[str], names: Sequence[str], source: str) -> tuple[str, ...]:
    """The names of the target columns; `first` and `last` stand for a position if no column is called so.

    Raises:
        ConfigError: No target is named, or one twice.
        DataError: There is no such column.
    """
    wanted = (target,) if isinstance(target, str) else tuple(target)
    if not wanted or len(set(wanted)) != len(wanted):
        raise ConfigError("`data.target` has to name one column, or several different ones.")
    ends = {"first": names[0], "last": names[-1]}
    there = set(names)
    found = tuple(name if name in there else ends.get(name, name) for name in wanted)
    for name in found:
        if name not in there:
            raise DataError(f"{source} has no target column {name!r}.{did_you_mean(name, names)}")
    return found


def has_target(name: str, dtype: pl.DataType) -> pl.Expr:
    """Whether a row has a target: neither null, nor a number that is not finite, nor blanks."""
    column = pl.col(name)
    if dtype.is_float():
        return column.is_not_null() & (column.abs() <= LARGEST_NUMBER)  # NaN is larger than all numbers to Polars
    if isinstance(dtype, pl.String | pl.Categorical | pl.Enum):
        return column.is_not_null() & (column.cast(pl.String).str.strip_chars() != "")
    return column.is_not_null()


def infer_task(
    frame: pl.LazyFrame, targets: Sequence[str], profiles: dict[str, Profile], wanted: str | None, source: str
) -> Task:
    """The task that a target's values stand for, or the one that is wanted if they allow it.

    Raises:
        ConfigError: The wanted task is unknown or does not fit the values.
        DataError: The values are nothing that can be predicted.
    """
    check_task(wanted)
    for name in targets:
        _refuse_useless(name, profiles[name], source)
    if len(targets) > 1 or wanted == TaskKind.MULTILABEL:
        if wanted not in (None, TaskKind.MULTILABEL):
            raise ConfigError(f"`data.task` is {wanted!r}, but `data.target` names {len(targets)} columns.")
        for name in targets:
            _refuse_no_flag(name, profiles[name], source)
        return Task(TaskKind.MULTILABEL, tuple(targets), tuple(targets))
    name = targets[0]
    profile = profiles[name]
    kind = TaskKind(wanted) if wanted else _infer_kind(frame, name, profile, source)
    if kind is TaskKind.REGRESSION:
        if not _is_quantity(profile):
            raise ConfigError(
                f"`data.task` is 'regression', but the target {name!r} in {source} holds {profile.dtype} values that "
                "are no numbers."
            )
        return Task(kind, (name,))
    spellings = _spellings(frame, name, profile)
    _tell_merged(spellings, name, source)
    labels = _in_order(spellings, profile)
    if len(labels) < 2:
        raise DataError(f"The target {name!r} in {source} has the same value in every row; there is nothing to learn.")
    if kind is TaskKind.BINARY and len(labels) != 2:
        shown = ", ".join(map(repr, labels[:5])) + (", …" if len(labels) > 5 else "")
        raise ConfigError(
            f"`data.task` is 'binary', but the target {name!r} in {source} has {len(labels)} classes ({shown})."
        )
    return Task(kind, (name,), tuple(labels))


def _infer_kind(frame: pl.LazyFrame, name: str, profile: Profile, source: str) -> TaskKind:
    if profile.distinct <= MOST_NUMBER_CLASSES and len(_spellings(frame, name, profile)) == 2:
        return TaskKind.BINARY
    if _is_quantity(profile):
        return TaskKind.MULTICLASS if _are_class_numbers(profile) else TaskKind.REGRESSION
    if profile.distinct > min(MOST_WORD_CLASSES, profile.present / 2):
        raise DataError(
            f"The target {name!r} in {source} has {profile.distinct:,} different words in {profile.present:,} rows; "
            "these are no classes. Name another column, or say `data.task: multiclass` if they are."
        )
    return TaskKind.MULTICLASS


def _are_class_numbers(profile: Profile) -> bool:
    """Whole numbers, few of them, close together, each seen several times; or few texts of digits."""
    if profile.dtype == pl.String and profile.digits == profile.filled:
        return profile.distinct <= min(MOST_NUMBER_CLASSES, profile.present / 5)
    if not profile.whole or profile.distinct > MOST_NUMBER_CLASSES or profile.distinct > profile.present / 5:
        return False
    return float(profile.high) - float(profile.low) < 2 * profile.distinct


def _is_quantity(profile: Profile) -> bool:
    return profile.is_number or (profile.dtype == pl.String and 0 < profile.filled <= profile.numbers)


def _spellings(frame: pl.LazyFrame, name: str, profile: Profile) -> dict[str, list[Any]]:
    """The values that stand for each class; texts that are the same category, such as `a` and ` a`, are one class."""
    dtype, column = profile.dtype, pl.col(name)
    if dtype == pl.Float32:
        column = column.cast(pl.String).cast(pl.Float64)  # 0.1, and not the float32 that is nearest to it
    of_row = (category(pl.col(name), dtype).alias("text"), column.alias("value"))
    found = frame.filter(has_target(name, dtype)).select(of_row).unique().collect()
    spellings: dict[str, list[Any]] = {}
    for text, value in found.iter_rows():
        spellings.setdefault(text, []).append(value)
    return spellings


def spelling_of(text: str, same: Sequence[Any]) -> Any:
    """The value that stands for a class, of those that are the same: the one that is written as its canonical text.

    Examples:
        >>> spelling_of("1", ["01", "1"]), spelling_of("1", ["1.0", "01"])
        ('1', '01')
    """
    return min(same, key=lambda value: (value != text, value))


def _tell_merged(spellings: dict[str, list[Any]], name: str, source: str) -> None:
    """Warn of a class whose texts differ in more than blanks, such as `1` and `01`, which are the same number."""
    for same in spellings.values():
        texts = sorted({value.strip() for value in same if isinstance(value, str)})
        if len(texts) > 1:
            logger.warning(
                "The target %r in %s: %s and %r are the same number, and so one class; if they are not, "
                "`data.target_map` can give one of them another name.",
                name,
                source,
                ", ".join(map(repr, texts[:-1])),
                texts[-1],
            )


def _in_order(spellings: dict[str, list[Any]], profile: Profile) -> list[Label]:
    """The classes in their order."""
    dtype = profile.dtype
    values = [spelling_of(text, same) for text, same in spellings.items()]
    if (dtype.is_float() and profile.whole) or dtype.is_decimal():
        values = [int(value) if value == int(value) else float(value) for value in values]
    if isinstance(dtype, pl.Enum):
        levels = dtype.categories.to_list()
        return sorted(values, key=levels.index)
    values = sorted(values)
    if len(values) == 2:
        negative, positive = (str(value).strip().lower() for value in values)
        if (positive, negative) in _NEGATIVE_FIRST:
            values.reverse()
    return values


def _refuse_useless(name: str, profile: Profile, source: str) -> None:
    where = f"The target {name!r} in {source}"
    if isinstance(profile.dtype, NESTED):
        raise DataError(f"{where} holds {profile.dtype} values; a target has one value a row.")
    if profile.filled == 0:
        raise DataError(f"{where} has no value in any of its {how_many(profile.rows, 'row')}.")
    if profile.constant:
        raise DataError(f"{where} has the same value in every row; there is nothing to learn.")
    if profile.dtype.is_temporal():
        raise DataError(f"{where} holds {profile.dtype} values; predict a number, such as the days from a fixed date.")


def _refuse_no_flag(name: str, profile: Profile, source: str) -> None:
    if isinstance(profile.dtype, pl.Boolean):
        return
    if profile.is_number and profile.whole and profile.low == 0 and profile.high == 1:
        return
    raise DataError(
        f"The target {name!r} in {source} has to hold 0 and 1, or true and false, in a multilabel task; "
        f"it holds {profile.dtype} values."
    )
