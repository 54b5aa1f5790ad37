"""`infer_schema`: what every column of a table is, what it is used for, and what is to be predicted.

What is notable here:
- Decisions are made from counts over the whole table, never from its first rows alone.
- Each has its reason, and each can be overruled: `data.columns` by kind or use, `data.task` for the target.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import polars as pl

from mlpipe.data.kinds import as_kind, decide
from mlpipe.data.profile import NESTED, Profile, profile_table
from mlpipe.data.sources import refuse_patterns
from mlpipe.data.target import find_targets, has_target, infer_task
from mlpipe.errors import ConfigError, DataError, did_you_mean
from mlpipe.schema import Column, Kind, Role, Schema

#: What `data.columns` may say of a column.
CHOICES = (*(kind.value for kind in Kind if kind is not Kind.CONSTANT), "ignore")


def infer_schema(
    frame: pl.LazyFrame | pl.DataFrame,
    target: str | Sequence[str],
    *,
    task: str | None = None,
    columns: Mapping[str, str] | None = None,
    time: str | None = None,
    group: str | None = None,
    weight: str | None = None,
    split: str | None = None,
    source: str = "the table",
) -> Schema:
    """The schema of a table: all of its columns, in order, and the task.

    Args:
        frame: The raw table.
        target: The column to predict, or several of 0 and 1; `first` and `last` if no column has that name.
        task: binary, multiclass, multilabel or regression; None: inferred from the target.
        columns: Kind by column name, or `identifier`, or `ignore`.
        time: The column that orders the rows.
        group: The column that names an entity.
        weight: The column of sample weights.
        split: The column that says which rows are for training, validation and test.
        source: What messages call the table.

    Raises:
        DataError: A column is not there, or the target is nothing that can be predicted.
        ConfigError: `task` or `columns` ask for what the values do not allow.

    Examples:
        >>> frame = pl.DataFrame({"size": [1.5, 2.0, 0.5], "sold": ["yes", "no", "no"]})
        >>> schema = infer_schema(frame, "sold")
        >>> schema.task.kind.value, schema.task.classes
        ('binary', ('no', 'yes'))
        >>> schema["size"].reason
        'numbers from 0.5 to 2'
    """
    frame = frame.lazy()
    names = frame.collect_schema().names()
    if not names:
        raise DataError(f"{source} has no columns.")
    refuse_patterns(source, names)
    targets = find_targets(target, names, source)
    roles = _roles({"time": time, "group": group, "weight": weight, "split.column": split}, targets, names, source)
    overrides = dict(columns or {})
    _check_overrides(overrides, targets, names)
    profiles = profile_table(frame)
    if next(iter(profiles.values())).rows == 0:
        raise DataError(f"{source} has no rows.")
    predicted = set(targets)
    found = tuple(
        _column(name, profiles[name], overrides.get(name), roles.get(name), name in predicted, source) for name in names
    )
    schema = Schema(found, infer_task(frame, targets, profiles, task, source))
    if not schema.features:
        raise DataError(f"{source} has no column left as a feature; see `data.columns` for what may be used.")
    return schema


def drop_null_targets(frame: pl.DataFrame, schema: Schema) -> tuple[pl.DataFrame, int]:
    """The rows that have a target (all of them, for several), and how many had none.

    Nothing can be learned from a row without a target. NaN, infinite numbers and, in a target of text, blanks count
    as none.
    """
    types = frame.schema
    kept = frame.filter([has_target(name, types[name]) for name in schema.task.target])
    return kept, frame.height - kept.height


def _roles(
    wanted: Mapping[str, str | None], targets: Sequence[str], names: Sequence[str], source: str
) -> dict[str, Role]:
    """The columns that a config gives a use of their own."""
    roles: dict[str, Role] = {}
    for key, name in wanted.items():
        if name is None:
            continue
        if name not in names:
            raise DataError(f"{source} has no column {name!r}, as `data.{key}` says.{did_you_mean(name, names)}")
        if name in targets:
            raise ConfigError(f"`data.{key}` and `data.target` both name {name!r}.")
        if name in roles and key != "split.column":
            raise ConfigError(f"`data.{key}` and `data.{roles[name]}` both name {name!r}.")
        roles.setdefault(name, Role(key.partition(".")[0]))
    return roles


def _check_overrides(overrides: Mapping[str, str], targets: Sequence[str], names: Sequence[str]) -> None:
    there, predicted = set(names), set(targets)
    for name, choice in overrides.items():
        if name not in there:
            raise ConfigError(f"`data.columns` names {name!r}, which is no column.{did_you_mean(name, names)}")
        if choice not in CHOICES:
            raise ConfigError(f"`data.columns`: {name!r} is {choice!r}.{did_you_mean(choice, CHOICES)}")
        if name in predicted:
            raise ConfigError(f"`data.columns` names the target {name!r}; what it is, `data.task` says.")


def _column(
    name: str, profile: Profile, override: str | None, role: Role | None, is_target: bool, source: str
) -> Column:
    if override == "ignore":
        column = replace(decide(name, profile), role=Role.IGNORED, reason="as `data.columns` says")
    elif override == "identifier":
        column = replace(as_kind(name, profile, Kind.IDENTIFIER), role=Role.IDENTIFIER)
    elif override is not None:
        _refuse_override(name, profile, Kind(override), source)
        column = as_kind(name, profile, Kind(override))
    else:
        column = decide(name, profile)
    if is_target:
        return replace(column, role=Role.TARGET, reason="what is to be predicted")
    if role is None:
        return column
    _refuse_role(column, profile, role, source)
    return replace(column, role=role, reason=f"{column.reason}; not a feature, as `data.{_KEYS.get(role, role)}` says")


_KEYS = {Role.SPLIT: "split.column"}
_DATES = (Kind.DATE, Kind.DATETIME)


def _refuse_override(name: str, profile: Profile, kind: Kind, source: str) -> None:
    """Refuse a kind that no value of the column allows."""
    wrong = isinstance(profile.dtype, NESTED)
    if profile.dtype == pl.String and profile.filled:
        wrong |= kind is Kind.NUMERIC and profile.numbers == 0
        wrong |= kind is Kind.DURATION and profile.numbers == profile.clocks == 0
        wrong |= kind in _DATES and not any((profile.dates or {}).values())
    if profile.is_number or isinstance(profile.dtype, pl.Boolean | pl.Time):
        wrong |= kind in _DATES
    if isinstance(profile.dtype, pl.Date | pl.Datetime):
        wrong |= kind is Kind.DURATION
    wrong |= profile.dtype.is_temporal() and kind is Kind.NUMERIC
    wrong |= isinstance(profile.dtype, pl.Duration) and kind is not Kind.DURATION
    if wrong:
        raise ConfigError(
            f"`data.columns`: {name!r} cannot be {kind.value}; in {source} it holds {profile.dtype} values"
            f"{' none of which can be read so' if profile.dtype == pl.String else ''}."
        )


def _refuse_role(column: Column, profile: Profile, role: Role, source: str) -> None:
    ordered = (Kind.NUMERIC, Kind.DATE, Kind.DATETIME, Kind.DURATION)
    if role is Role.WEIGHT and (not profile.is_number or profile.low is None or float(profile.low) < 0):
        raise DataError(f"`data.weight` names {column.name!r}, but in {source} it does not hold numbers of 0 or more.")
    if role is Role.WEIGHT and not float(profile.high) > 0:
        raise DataError(f"`data.weight` names {column.name!r}, but in {source} all weights are 0.")
    if role in (Role.GROUP, Role.SPLIT) and isinstance(profile.dtype, (*NESTED, pl.Duration)):
        key, what = f"data.{_KEYS.get(role, role)}", f"{profile.dtype} values, by which no rows can be told apart"
        raise DataError(f"`{key}` names {column.name!r}, but in {source} it holds {what}; use text or whole numbers.")
    numbers = profile.dtype.is_integer() or 0 < profile.filled == profile.numbers
    if role is Role.TIME and column.kind not in ordered and not numbers:
        raise DataError(
            f"`data.time` names {column.name!r}, but in {source} it is {column.kind.value} ({column.reason}); "
            "rows can be ordered by a date, a time or a number."
        )
