"""What can be counted about the columns of a table, in one streaming pass.

What is notable here:
- Nothing is collected but counts: a table of any size costs one pass. A second one counts distinct values exactly,
  for the few columns where nearly every row has its own.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from mlpipe.data.dates import CLOCK, candidate_formats, parse_dates

#: Up to so many rows distinct values are counted exactly, beyond by HyperLogLog (its error is about 1 %).
EXACT_ROWS = 100_000
#: Rows at the top of the table whose text is looked at for ways of writing dates.
HEAD_ROWS = 10_000

#: Types whose values are several values; no model input can be made of them.
NESTED = (pl.List, pl.Array, pl.Struct, pl.Object, pl.Binary)


@dataclass(frozen=True)
class Profile:
    """Counts of one column. `present` values are those that are neither null nor NaN.

    Attributes:
        dtype: The Polars type.
        rows: All rows.
        present: Rows with a value.
        distinct: Different values among them.
        constant: Whether there is at most one different value.
        low: The smallest number.
        high: The largest number.
        whole: Whether all numbers are whole.
        blanks: Texts of nothing but blanks; the counts below are of texts, too.
        numbers: Texts that read as a number.
        digits: Texts of nothing but digits.
        zeros: Texts of digits that start with a zero and go on.
        shortest: Length of the shortest text.
        longest: Length of the longest text.
        length: Mean length of a text.
        words: Mean number of words of a text.
        booleans: Texts `true` and `false`.
        clocks: Texts such as 12:30 or 1:30:00.
        dates: Count of texts by date format, the most frequent first.
    """

    dtype: pl.DataType
    rows: int
    present: int
    distinct: int = 0
    constant: bool = False
    low: Any = None
    high: Any = None
    whole: bool = False
    blanks: int = 0
    numbers: int = 0
    digits: int = 0
    zeros: int = 0
    shortest: int = 0
    longest: int = 0
    length: float = 0.0
    words: float = 0.0
    booleans: int = 0
    clocks: int = 0
    dates: Mapping[str, int] | None = None

    @property
    def is_text(self) -> bool:
        """Whether values are words: text, or categories."""
        return isinstance(self.dtype, pl.String | pl.Categorical | pl.Enum)

    @property
    def is_number(self) -> bool:
        """Whether values are numbers already."""
        return self.dtype.is_numeric()

    @property
    def filled(self) -> int:
        """Rows with a value that is more than blanks."""
        return self.present - self.blanks

    @property
    def share_distinct(self) -> float:
        """Different values per value."""
        return self.distinct / self.present if self.present else 0.0


def profile_table(frame: pl.LazyFrame) -> dict[str, Profile]:
    """Count everything about every column, in the order of the columns."""
    schema = frame.collect_schema()
    names = schema.names()
    if not names:
        return {}
    text = [name for name in names if schema[name] == pl.String]
    formats = dict.fromkeys(text, tuple[str, ...]())
    if text:
        for column in frame.select(text).head(HEAD_ROWS).collect():
            formats[column.name] = tuple(candidate_formats(column.drop_nulls().head(1_000).to_list()))
    rows = frame.select(pl.len()).collect(engine="streaming").item()
    counts = [
        expression.alias(f"{i}.{key}")
        for i, name in enumerate(names)
        for key, expression in _counts(name, schema[name], formats.get(name, ()), exact=rows <= EXACT_ROWS).items()
    ]
    values = frame.select(counts).collect(engine="streaming").row(0, named=True)
    facts: list[dict[str, Any]] = [{} for _ in names]
    for key, value in values.items():
        i, _, fact = key.partition(".")
        facts[int(i)][fact] = value
    profiles = {name: _profile(schema[name], rows, facts[i], formats.get(name, ())) for i, name in enumerate(names)}
    return profiles if rows <= EXACT_ROWS else _count_exactly(frame, profiles)


def _counts(name: str, dtype: pl.DataType, formats: tuple[str, ...], *, exact: bool) -> dict[str, pl.Expr]:
    column = pl.col(name)
    if isinstance(dtype, NESTED):
        return {"present": column.count()}
    if dtype.is_float():
        column = column.fill_nan(None)
    counts = {
        "present": column.count(),
        "distinct": column.drop_nulls().n_unique() if exact else column.drop_nulls().approx_n_unique(),
    }
    if dtype.is_numeric():
        counts |= {"low": column.min(), "high": column.max()}
        if dtype.is_float() or dtype.is_decimal():
            counts["whole"] = (column == column.floor()).all()
    elif not isinstance(dtype, pl.Null):
        physical = column.to_physical()  # years beyond 9999 have no place in Python's datetime
        counts |= {"low": physical.min(), "high": physical.max()}
    if dtype == pl.String:
        stripped = column.str.strip_chars()
        counts |= {
            "blanks": (stripped == "").sum(),
            "numbers": stripped.cast(pl.Float64, strict=False).is_finite().sum(),
            "digits": stripped.str.contains(r"^\d+$").sum(),
            "zeros": stripped.str.contains(r"^0\d+$").sum(),
            "shortest": stripped.str.len_chars().min(),
            "longest": stripped.str.len_chars().max(),
            "length": stripped.str.len_chars().mean(),
            "words": stripped.str.count_matches(r"\S+").mean(),
            "booleans": stripped.str.to_lowercase().is_in(["true", "false"]).sum(),
            "clocks": stripped.str.contains(CLOCK).sum(),
        }
        counts |= {f"date{i}": parse_dates(column, format_).count() for i, format_ in enumerate(formats)}
    return counts


def _profile(dtype: pl.DataType, rows: int, facts: dict[str, Any], formats: tuple[str, ...]) -> Profile:
    dates = {format_: facts.pop(f"date{i}") for i, format_ in enumerate(formats)}
    low, high = facts.get("low"), facts.get("high")
    whole = facts.pop("whole", dtype.is_integer())
    if not dtype.is_numeric():
        facts = {key: value for key, value in facts.items() if key not in ("low", "high")}
    return Profile(
        dtype=dtype,
        rows=rows,
        constant=facts["present"] == 0 or (low is not None and low == high),
        whole=bool(whole),
        dates=dict(sorted(dates.items(), key=lambda item: -item[1])),
        **{key: value or 0 if key not in ("low", "high") else value for key, value in facts.items()},
    )


def _count_exactly(frame: pl.LazyFrame, profiles: dict[str, Profile]) -> dict[str, Profile]:
    """Distinct values of columns that may be identifiers, where one value more or less decides."""
    from dataclasses import replace

    close = [
        name
        for name, profile in profiles.items()
        if (profile.dtype.is_integer() or profile.dtype == pl.String) and profile.share_distinct > 0.4
    ]
    if not close:
        return profiles
    exact = frame.select(pl.col(name).drop_nulls().n_unique() for name in close).collect(engine="streaming")
    return profiles | {name: replace(profiles[name], distinct=exact[name].item()) for name in close}
