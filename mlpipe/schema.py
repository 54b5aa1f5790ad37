"""What a table's columns are, what is to be predicted, and what the model gets to see of them.

Three frozen records, each of which turns into plain JSON and back without loss:

- `Schema`: the raw table, column by column, with the reason for every decision;
- `Task`: what is to be predicted from it;
- `InputSpec`: the columns of the arrays that preprocessing hands to the model.

Standard library only: the schema is read by every part, the server's start included, and must cost nothing.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, dataclass, fields, replace
from enum import StrEnum
from functools import cached_property
from typing import Any, Self

from mlpipe.errors import DataError, did_you_mean

#: A class label as it stands in the data.
Label = str | int | float | bool

#: Ids of a categorical array that are no category: padding, null, and a value not seen in training.
PAD_ID, NULL_ID, UNSEEN_ID = 0, 1, 2
FIRST_CATEGORY_ID = 3


class Kind(StrEnum):
    """What the values of a column are."""

    NUMERIC = "numeric"
    CATEGORICAL = "categorical"
    BOOLEAN = "boolean"
    DATE = "date"
    DATETIME = "datetime"
    DURATION = "duration"
    TEXT = "text"
    IDENTIFIER = "identifier"
    CONSTANT = "constant"


class Role(StrEnum):
    """What a column is used for."""

    FEATURE = "feature"
    TARGET = "target"
    WEIGHT = "weight"
    GROUP = "group"
    TIME = "time"
    SPLIT = "split"
    IDENTIFIER = "identifier"
    IGNORED = "ignored"


class TaskKind(StrEnum):
    """What is predicted."""

    BINARY = "binary"
    MULTICLASS = "multiclass"
    MULTILABEL = "multilabel"
    REGRESSION = "regression"


@dataclass(frozen=True)
class Column:
    """One column of the raw table.

    Attributes:
        name: As it stands in the file.
        kind: What its values are.
        role: What it is used for; only `Role.FEATURE` reaches the model.
        dtype: The Polars type it was read as, for example `Int64` or `Datetime(time_unit='us', time_zone=None)`.
        reason: Why it has this kind and role, in words a user understands.
        nullable: Whether nulls were seen.
        format: `strptime` format where a date is written in a way of its own.
        categories: The levels, in order, where the file declares them (a Polars Enum).
        time_zone: IANA name of the zone in which calendar parts are read; None for naive times.
    """

    name: str
    kind: Kind
    role: Role = Role.FEATURE
    dtype: str = ""
    reason: str = ""
    nullable: bool = True
    format: str | None = None
    categories: tuple[str, ...] | None = None
    time_zone: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; what is None is left out."""
        return {key: value for key, value in _plain(asdict(self)).items() if value is not None}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        categories = values.get("categories")
        return cls(
            **{
                **values,
                "kind": Kind(values["kind"]),
                "role": Role(values["role"]),
                "categories": None if categories is None else tuple(categories),
            }
        )


@dataclass(frozen=True)
class Task:
    """What is predicted.

    Attributes:
        kind: Binary, multiclass, multilabel or regression.
        target: Name of the target column; several only for multilabel.
        classes: Labels as they stand in the data, in the order of the model's outputs. Binary: the negative
            class first. Multilabel: the names of the target columns. Regression: empty.
    """

    kind: TaskKind
    target: tuple[str, ...]
    classes: tuple[Label, ...] = ()

    @property
    def num_outputs(self) -> int:
        """Width of the model's output: one logit for binary, one value for regression."""
        return len(self.classes) if self.kind in (TaskKind.MULTICLASS, TaskKind.MULTILABEL) else 1

    @property
    def is_classification(self) -> bool:
        """Whether the answer is a label (or several) and not a number."""
        return self.kind is not TaskKind.REGRESSION

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        values: dict[str, Any] = _plain(asdict(self))
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(TaskKind(values["kind"]), tuple(values["target"]), tuple(values["classes"]))


@dataclass(frozen=True)
class Schema:
    """The raw table and the task.

    Examples:
        >>> schema = Schema(
        ...     columns=(
        ...         Column("carat", Kind.NUMERIC, dtype="Float64"),
        ...         Column("price", Kind.NUMERIC, Role.TARGET, dtype="Int64"),
        ...     ),
        ...     task=Task(TaskKind.REGRESSION, ("price",)),
        ... )
        >>> [column.name for column in schema.features]
        ['carat']
        >>> Schema.from_dict(schema.to_dict()) == schema
        True
    """

    columns: tuple[Column, ...]
    task: Task

    @property
    def names(self) -> tuple[str, ...]:
        """Names of all columns, in file order."""
        return tuple(column.name for column in self.columns)

    @property
    def features(self) -> tuple[Column, ...]:
        """The columns that the model sees, in file order."""
        return tuple(column for column in self.columns if column.role is Role.FEATURE)

    @property
    def identifiers(self) -> tuple[Column, ...]:
        """The columns that are carried over to a scored file but never seen by the model."""
        return tuple(column for column in self.columns if column.role is Role.IDENTIFIER)

    def with_role(self, role: Role) -> Column | None:
        """The column with this role, or None; for the roles that at most one column can have."""
        return next((column for column in self.columns if column.role is role), None)

    @cached_property
    def _by_name(self) -> dict[str, Column]:
        """Tables of thousands of columns are looked up column by column."""
        return {column.name: column for column in self.columns}

    def __getitem__(self, name: str) -> Column:
        if name not in self._by_name:
            raise DataError(f"There is no column {name!r}.{did_you_mean(name, self.names)}")
        return self._by_name[name]

    def __contains__(self, name: object) -> bool:
        return name in self._by_name

    def __iter__(self) -> Iterator[Column]:
        return iter(self.columns)

    def replacing(self, name: str, **changes: Any) -> Schema:
        """A copy in which the named column has other attributes.

        Raises:
            DataError: There is no such column.
        """
        changed = replace(self[name], **changes)
        return replace(self, columns=tuple(changed if c.name == name else c for c in self.columns))

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {"task": self.task.to_dict(), "columns": [column.to_dict() for column in self.columns]}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(tuple(Column.from_dict(c) for c in values["columns"]), Task.from_dict(values["task"]))


@dataclass(frozen=True)
class NumericFeature:
    """One column of `Arrays.numeric`.

    Attributes:
        name: For example `fare` or `pickup_time.hour`.
        column: The raw column it is made of.
        group: Features of one group share one token (the parts of a hashed text); None: a token of its own.
        bins: Ascending edges, at least two, of the piecewise-linear encoding of the transformed value.
    """

    name: str
    column: str
    group: str | None = None
    bins: tuple[float, ...] = ()


@dataclass(frozen=True)
class CategoricalFeature:
    """One column of `Arrays.categorical`.

    Attributes:
        name: For example `carrier` or `pickup_time.weekday`.
        column: The raw column it is made of.
        cardinality: Ids run from 0 to `cardinality - 1`: 0 padding, 1 null, 2 unseen, then the vocabulary.
    """

    name: str
    column: str
    cardinality: int


@dataclass(frozen=True)
class InputSpec:
    """The columns of the arrays that the model reads, and how many outputs it has to give.

    Everything that a model needs to know of the data: with it and a model config the weights' shapes are fixed.
    """

    numeric: tuple[NumericFeature, ...]
    categorical: tuple[CategoricalFeature, ...]
    num_outputs: int

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; floats survive `json` bit for bit."""
        values: dict[str, Any] = _plain(asdict(self))
        return values

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> Self:
        """The inverse of `to_dict`."""
        return cls(
            numeric=tuple(NumericFeature(**{**v, "bins": tuple(v["bins"])}) for v in values["numeric"]),
            categorical=tuple(CategoricalFeature(**v) for v in values["categorical"]),
            num_outputs=values["num_outputs"],
        )


def reject_unknown_keys(values: dict[str, Any], record: type[Any], where: str) -> None:
    """Refuse keys that are no field of a dataclass.

    Raises:
        DataError: A key is unknown; the sentence names `where` and the closest field.
    """
    known = [field.name for field in fields(record)]
    for key in values:
        if key not in known:
            raise DataError(f"{where}: unknown key {key!r}.{did_you_mean(key, known)}")


def _plain(value: Any) -> Any:
    """Tuples as lists and enum members as their values, so that `json.loads(json.dumps(x)) == x`."""
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return value
