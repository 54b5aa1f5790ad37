"""Counts beside the shares of training: what `DriftMeter` reports."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

import numpy as np

from mlpipe.features.counts import Counts, TableCounter
from mlpipe.features.psi import LARGE, MODERATE, chance_psi, psi
from mlpipe.features.statistics import NumberShares, RawKind

Kind = Literal["feature", "prediction"]

#: Fewer rows than this have no PSI: chance alone would give ten bins one of 0.1 and more.
LEAST_ROWS = 200

MISSING, REST, NEW = "missing", "other values", "new values"


@dataclass(frozen=True)
class DriftRecord:
    """How far one feature, or the prediction, has moved.

    Attributes:
        feature: Its name; the column's for a text, which is judged as a whole.
        kind: Whether it is what the model reads or what it answers.
        rows: Observed ones.
        psi: The population stability index; None of fewer than `LEAST_ROWS` rows. The mean over a text's parts.
        chance: The PSI that chance alone stays below 99 times out of 100; None without rows.
        missing: Share of the rows without a value.
        missing_in_training: The same of the training rows.
        unseen: Share of the rows with a category that training does not know; None of a number.
        unseen_in_training: Share of the training rows with a category too rare for an id of its own.
        bins: What the bins hold, in words; none for a text.
        expected: Their shares in training.
        observed: Their shares now.
    """

    feature: str
    kind: Kind
    rows: int
    psi: float | None
    chance: float | None
    missing: float
    missing_in_training: float
    unseen: float | None
    unseen_in_training: float | None
    bins: tuple[str, ...]
    expected: tuple[float, ...]
    observed: tuple[float, ...]

    @property
    def verdict(self) -> str:
        """The PSI in words."""
        if self.psi is None or self.chance is None:
            return "too few rows"
        if self.psi < MODERATE:
            return "stable"
        if self.psi <= self.chance:
            return "maybe chance"
        return "moderate shift" if self.psi < LARGE else "large shift"

    def to_dict(self) -> dict[str, Any]:
        """As plain JSON values."""
        record = asdict(self)
        return {**record, **{key: list(record[key]) for key in ("bins", "expected", "observed")}}


def compare(
    kind: Kind, counter: TableCounter, counts: Counts, rows: int, without: Collection[str] = ()
) -> Iterator[DriftRecord]:
    """A record for every column.

    Args:
        kind: What the columns are.
        counter: Of the training's statistics.
        counts: (S,) of the observed rows.
        rows: How many these are.
        without: Raw columns that are left out.
    """
    statistics = counter.statistics
    total = max(rows, 1)
    parts: dict[str, list[DriftRecord]] = {}
    for index, number in enumerate(statistics.numeric):
        if number.column in without:
            continue
        bins, missing = counter.of_number(counts, index)
        record = _record(
            (number.name, kind, statistics.rows, rows),
            ((*_number_bins(number), MISSING), (*number.shares, number.missing), (*(bins / total), missing / total)),
            (missing / total, number.missing, None, None),
        )
        parts.setdefault(number.group or number.name, []).append(record)
    for name, records in parts.items():
        yield records[0] if len(records) == 1 else _mean(name, records)
    for index, category in enumerate(statistics.categorical):
        if category.column in without or category.name in parts:  # a number that is given as a category too
            continue
        ids, rest, null, unseen = counter.of_category(counts, index)
        # Of a column with thousands of categories new ones are no news: they count as one of the rare ones.
        others = REST if category.rest else NEW
        yield _record(
            (category.name, kind, statistics.rows, rows),
            (
                (*category.names, others, MISSING),
                (*category.shares, category.rest + category.unseen, category.null),
                (*(ids / total), (rest + unseen) / total, null / total),
            ),
            (null / total, category.null, unseen / total, category.unseen),
        )


def _record(
    about: tuple[str, Kind, int, int],
    shares: tuple[tuple[str, ...], tuple[float, ...], tuple[float, ...]],
    rates: tuple[float, float, float | None, float | None],
) -> DriftRecord:
    name, kind, training_rows, rows = about
    words, expected, observed = shares
    kept = [index for index in range(len(words)) if expected[index] or observed[index]]
    expected, observed = (tuple(float(side[index]) for index in kept) for side in (expected, observed))
    return DriftRecord(
        name,
        kind,
        rows,
        psi(expected, observed) if rows >= LEAST_ROWS else None,
        chance_psi(len(kept), training_rows, rows) if rows else None,
        *rates,
        bins=tuple(words[index] for index in kept),
        expected=expected,
        observed=observed,
    )


def _mean(name: str, records: Sequence[DriftRecord]) -> DriftRecord:
    """One record for the parts of a text, which have no meaning of their own."""
    found = [record.psi for record in records if record.psi is not None]
    chances = [record.chance for record in records if record.chance is not None]
    first = records[0]
    return DriftRecord(
        name,
        first.kind,
        first.rows,
        sum(found) / len(found) if found else None,
        max(chances, default=None),
        first.missing,
        first.missing_in_training,
        unseen=None,
        unseen_in_training=None,
        bins=(),
        expected=(),
        observed=(),
    )


def _number_bins(number: NumberShares) -> list[str]:
    """What the bins hold."""
    edges = number.edges if number.raw_edges is None else number.raw_edges
    if not edges:
        return ["any value"]
    words = _edge_words(edges, number.raw_kind)
    if number.raw_kind != "whole":
        between = [f"{low} to {high}" for low, high in pairwise(words)]
    else:  # from 3 on, if the bin before ends with 2
        firsts = [f"{edge + 1:.0f}" for edge in edges[:-1]]
        ends = zip(firsts, words[1:], strict=True)
        between = [last if first == last else f"{first} to {last}" for first, last in ends]
    return [f"≤ {words[0]}", *between, f"> {words[-1]}"]


def _edge_words(edges: Sequence[float], kind: RawKind) -> list[str]:
    """Edges with as many digits as tell them apart; times in UTC, by the day if that does."""
    if kind == "whole":
        return [f"{edge:.0f}" for edge in edges]
    if kind == "time":
        times = np.array(edges, dtype=np.int64).astype("datetime64[s]")
        days: list[str] = np.datetime_as_string(times, unit="D").tolist()
        if len(set(days)) == len(days):
            return days
        return [word.replace("T", " ") for word in np.datetime_as_string(times, unit="m").tolist()]
    words: list[str] = []
    for digits in range(3, 18):
        words = [f"{edge:.{digits}g}" for edge in edges]
        if len(set(words)) == len(words):
            break
    return words
