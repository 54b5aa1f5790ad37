"""What the training rows looked like once they were read and encoded: what new rows are compared with.

Notable:
- counted from `Arrays`, which training and serving make anyway, so that both count the same things;
- bins are cut at the deciles, but never through a value that many rows share;
- bounded in size, independent of the order of the rows, plain JSON.

Legend of the shapes: T rows.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import pairwise
from typing import Any, Literal, Self, get_args

import numpy as np
import numpy.typing as npt

from mlpipe.arrays import Arrays
from mlpipe.schema import FIRST_CATEGORY_ID, NULL_ID, UNSEEN_ID, InputSpec

#: Bins of a number, and ids of a category with a share of their own.
MOST_BINS, MOST_IDS = 10, 20
#: Characters of a category's name that are kept.
LONGEST_NAME = 60

RawKind = Literal["real", "whole", "time"]


@dataclass(frozen=True)
class NumberShares:
    """The values of one numeric feature.

    Attributes:
        name: The feature.
        column: The raw column it is made of.
        group: Features of one group (the parts of a hashed text) are judged together; None: by itself.
        edges: Ascending, of the transformed value: bin i holds what is above edge i - 1 and at most edge i.
        shares: Of the bins, one more than there are edges, among all rows.
        missing: Share of the rows without a value; `shares` and `missing` sum to 1.
        raw_edges: The edges in the raw column's units, as far as there are such.
        raw_kind: What these are: numbers, whole numbers, or times, in seconds since 1970 (UTC).

    Raises:
        ValueError: Their numbers do not fit together.
    """

    name: str
    column: str
    group: str | None
    edges: tuple[float, ...]
    shares: tuple[float, ...]
    missing: float
    raw_edges: tuple[float, ...] | None = None
    raw_kind: RawKind = "real"

    def __post_init__(self) -> None:
        if len(self.shares) != len(self.edges) + 1 or len(self.shares) > MOST_BINS:
            raise ValueError(f"{self.name!r} has {len(self.edges)} edges and {len(self.shares)} shares")
        if any(low >= high for low, high in pairwise(self.edges)):
            raise ValueError(f"the edges of {self.name!r} do not ascend")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        raw = values["raw_edges"]
        if values["raw_kind"] not in get_args(RawKind):
            raise ValueError(f"{values['name']!r} has edges of the kind {values['raw_kind']!r}")
        tuples = {"edges": tuple(values["edges"]), "shares": tuple(values["shares"])}
        return cls(**{**values, **tuples, "raw_edges": None if raw is None else tuple(raw)})


@dataclass(frozen=True)
class CategoryShares:
    """The values of one categorical feature.

    Attributes:
        name: The feature.
        column: The raw column it is made of.
        ids: Of the most frequent categories, at most `MOST_IDS`, the most frequent first.
        names: What the data calls them, cut off after `LONGEST_NAME` characters.
        shares: Of these, among all rows.
        rest: Share of the other categories that training knows.
        null: Share of the rows without a value.
        unseen: Share of the values that were too rare for an id of their own.

    Raises:
        ValueError: Their numbers do not fit together.
    """

    name: str
    column: str
    ids: tuple[int, ...]
    names: tuple[str, ...]
    shares: tuple[float, ...]
    rest: float
    null: float
    unseen: float

    def __post_init__(self) -> None:
        if not len(self.ids) == len(self.names) == len(self.shares) <= MOST_IDS:
            raise ValueError(f"{self.name!r} has {len(self.ids)} ids and {len(self.shares)} shares")
        if any(not isinstance(id_, int) or id_ < FIRST_CATEGORY_ID for id_ in self.ids):
            raise ValueError(f"an id of {self.name!r} is none of a category's")

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        return cls(**{**values, **{key: tuple(values[key]) for key in ("ids", "names", "shares")}})


@dataclass(frozen=True)
class TableStatistics:
    """The values of every column of some `Arrays`.

    Attributes:
        rows: How many rows there were.
        numeric: Of the leading columns of `Arrays.numeric`.
        categorical: Of the columns of `Arrays.categorical`.
    """

    rows: int
    numeric: tuple[NumberShares, ...]
    categorical: tuple[CategoryShares, ...]

    @classmethod
    def of(
        cls,
        arrays: Arrays,
        spec: InputSpec,
        names: Mapping[str, Sequence[str]] | None = None,
        raw: Mapping[str, npt.NDArray[np.float64]] | None = None,
        times: Collection[str] = (),
    ) -> Self:
        """Count some rows.

        Args:
            arrays: At least one row.
            spec: Names the columns of the arrays.
            names: By categorical feature, what its ids from 3 on stand for; the number of the id if it is not there.
            raw: (T,) by numeric feature, the same rows in raw units, NaN where there is no number; only of those whose
                transformed value never falls while the raw one rises.
            times: Those of `raw` that are seconds since 1970.
        """
        names, raw = names or {}, raw or {}
        return cls(
            len(arrays),
            tuple(
                _number_shares(
                    arrays.numeric[:, index],
                    arrays.missing[:, index],
                    raw.get(feature.name),
                    (feature.name, feature.column, feature.group),
                    time=feature.name in times,
                )
                for index, feature in enumerate(spec.numeric)
            ),
            tuple(
                _category_shares(arrays.categorical[:, index], names.get(feature.name), (feature.name, feature.column))
                for index, feature in enumerate(spec.categorical)
            ),
        )

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `dataclasses.asdict`."""
        numeric = tuple(NumberShares.from_dict(record) for record in values["numeric"])
        categorical = tuple(CategoryShares.from_dict(record) for record in values["categorical"])
        return cls(values["rows"], numeric, categorical)


@dataclass(frozen=True)
class Statistics:
    """What a bundle knows of its training: `statistics.json`.

    Attributes:
        features: Of the training rows, or of the sample of them from which bins are computed.
        ranges: The least and the greatest value of each numeric raw column among all training rows, in its own units; a
            duration's in seconds.
        predictions: Of what the model answers on the validation rows; None: it was not asked.

    Examples:
        >>> Statistics(TableStatistics(1, (), ()), {"age": (17.0, 90.0)}).range("age")
        (17.0, 90.0)
    """

    features: TableStatistics
    ranges: Mapping[str, tuple[float, float]]
    predictions: TableStatistics | None = None

    def range(self, column: str) -> tuple[float, float] | None:
        """The least and the greatest training value of a raw column; None if it has no numbers."""
        return self.ranges.get(column)

    def with_predictions(self, predictions: TableStatistics) -> Statistics:
        """A copy that knows what the model answers."""
        return replace(self, predictions=predictions)

    def fits(self, spec: InputSpec) -> bool:
        """Whether these are statistics of the arrays of an `InputSpec`, whose last numbers may be of no column."""
        numeric = [feature.name for feature in spec.numeric][: len(self.features.numeric)]
        return numeric == [record.name for record in self.features.numeric] and [
            feature.name for feature in spec.categorical
        ] == [record.name for record in self.features.categorical]

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values; floats survive `json` bit for bit."""
        return {
            "features": asdict(self.features),
            "ranges": {column: list(ends) for column, ends in self.ranges.items()},
            "predictions": None if self.predictions is None else asdict(self.predictions),
        }

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`.

        Raises:
            ValueError, KeyError, TypeError: The values are not as `to_dict` gives them.
        """
        predictions = values["predictions"]
        return cls(
            TableStatistics.from_dict(values["features"]),
            {column: (low, high) for column, (low, high) in values["ranges"].items()},
            None if predictions is None else TableStatistics.from_dict(predictions),
        )


def _number_shares(
    values_T: npt.NDArray[np.float32],
    missing_T: npt.NDArray[np.bool_],
    raw_T: npt.NDArray[np.float64] | None,
    names: tuple[str, str, str | None],
    *,
    time: bool,
) -> NumberShares:
    rows, present_T = len(values_T), ~missing_T
    ordered = np.sort(values_T[present_T] + np.float32(0))  # without the sign of zero, which sorting does not see
    cuts = _cuts(ordered)
    edges = ordered[cuts - 1]
    shares = np.diff(np.concatenate(([0], cuts, [len(ordered)]))) / rows
    raw_edges: tuple[float, ...] | None = None
    kind: RawKind = "time" if time else "real"
    if raw_T is not None:
        raw = raw_T[present_T]
        if np.isfinite(raw).all():  # not so for whole numbers beyond float64
            raw_edges = tuple((np.sort(raw)[cuts - 1] + 0.0).tolist())
            kind = "whole" if not time and (raw == np.floor(raw)).all() else kind
    missing = float(missing_T.sum() / rows)
    return NumberShares(*names, tuple(map(float, edges)), tuple(shares.tolist()), missing, raw_edges, kind)


def _cuts(ordered: npt.NDArray[np.float32]) -> npt.NDArray[np.int64]:
    """How many of the ordered values lie in the first bin, in the first two, ...: near the deciles, between values.

    A decile that falls among equal values moves to the nearer end of them, so that one which many rows share gets a bin
    of its own, with neither its smaller nor its larger neighbours in it.
    """
    last = np.flatnonzero(ordered[1:] != ordered[:-1]) + 1
    ends = np.concatenate((last, [len(ordered)]))
    starts = np.concatenate(([0], last))
    deciles = np.arange(1, MOST_BINS) * (len(ordered) / MOST_BINS)
    among = np.searchsorted(ends, deciles)
    nearer = np.where(deciles - starts[among] <= ends[among] - deciles, starts[among], ends[among])
    return np.unique(nearer[(nearer > 0) & (nearer < len(ordered))])


def _category_shares(
    ids_T: npt.NDArray[np.int32], names: Sequence[str] | None, feature: tuple[str, str]
) -> CategoryShares:
    counts = np.bincount(ids_T, minlength=FIRST_CATEGORY_ID)
    known = counts[FIRST_CATEGORY_ID:]
    # Ties go to the smaller id.
    top = np.argsort(-known, kind="stable")[:MOST_IDS]
    top = top[known[top] > 0]
    rows = len(ids_T)
    return CategoryShares(
        *feature,
        ids=tuple((top + FIRST_CATEGORY_ID).tolist()),
        names=tuple((f"#{place}" if names is None else names[place])[:LONGEST_NAME] for place in top.tolist()),
        shares=tuple((known[top] / rows).tolist()),
        rest=float((known.sum() - known[top].sum()) / rows),
        null=float(counts[NULL_ID] / rows),
        unseen=float(counts[UNSEEN_ID] / rows),
    )
