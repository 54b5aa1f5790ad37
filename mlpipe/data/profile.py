"""What can be counted about the columns of a table, in two streaming passes.

Nothing is collected but counts. In a long table the first pass estimates how many different values a column has;
the second counts them where one more or less may decide, and where it is cheap.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import polars as pl

from mlpipe.data.dates import CLOCK, candidate_formats, parse_dates

#: In longer tables distinct values are first estimated (HyperLogLog, off by a few per cent).
EXACT_ROWS = 100_000
#: Up to so many distinct values are counted exactly all the same.
FEW_VALUES = 10_000
#: So many columns are counted in one pass: planning a query takes longer than in proportion to its expressions.
PASS_COLUMNS = 500
#: Rows at the top of the table whose text is looked at for ways of writing dates.
HEAD_ROWS = 10_000

#: Types whose values are several values; no model input can be made of them.
NESTED = (pl.List, pl.Array, pl.Struct, pl.Object, pl.Binary, pl.BaseExtension)


@dataclass(frozen=True)
class Profile:
    """Counts of one column. `present` values are those that are neither null nor NaN.

    Attributes:
        dtype: The Polars type.
        rows: All rows.
        present: Rows with a value.
        distinct: Different values among them.
        exact: Whether `distinct` was counted and not estimated.
        constant: Whether there is at most one different value.
        low: The smallest number; in text, the smallest whole number.
        high: The largest number; in text, the largest whole number.
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
    exact: bool = True
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
    def different(self) -> str:
        """How many different values there are, in figures."""
        return f"{self.distinct:,}" if self.exact else f"about {float(f'{self.distinct:.2g}'):,.0f}"

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
    facts = _collect(frame, {name: _cheap_counts(name, schema[name]) for name in names})
    rows = facts[names[0]]["rows"]
    exact = _collect(frame, {name: _exact_counts(name, schema[name], rows, facts[name], formats) for name in names})
    profiles = {}
    for name in names:
        found = facts[name] | exact[name] | {"exact": bool({"distinct", "values"} & set(exact[name]))}
        if (values := found.pop("values", None)) is not None:
            found |= _of_values(values, formats[name])
        profiles[name] = _profile(schema[name], found, formats.get(name, ()))
    return profiles


def _collect(frame: pl.LazyFrame, counts: dict[str, dict[str, pl.Expr]]) -> dict[str, dict[str, Any]]:
    """All counts of all columns, in one pass unless there are very many columns."""
    found: dict[str, dict[str, Any]] = {}
    names = list(counts)
    for start in range(0, len(names), PASS_COLUMNS):
        chosen = names[start : start + PASS_COLUMNS]
        flat = [e.alias(f"{i}.{key}") for i, name in enumerate(chosen) for key, e in counts[name].items()]
        answers = iter(frame.select(flat).collect(engine="streaming").get_columns() if flat else ())
        found |= {name: {key: next(answers)[0] for key in counts[name]} for name in chosen}
    return found


def _cheap_counts(name: str, dtype: pl.DataType) -> dict[str, pl.Expr]:
    column = _present(name, dtype)
    counts = {"rows": pl.len(), "present": column.count()}
    if isinstance(dtype, (*NESTED, pl.Null)):
        return counts
    counts["distinct"] = column.drop_nulls().approx_n_unique()
    if dtype.is_numeric():
        counts |= {"low": column.min(), "high": column.max()}
        if dtype.is_float() or dtype.is_decimal():
            number = column.cast(pl.Float64)  # the floor of a decimal may not fit its digits
            counts["whole"] = (number == number.floor()).all()
    else:
        physical = column.to_physical()  # years beyond 9999 have no place in Python's datetime
        counts |= {"least": physical.min(), "most": physical.max()}
    return counts


def _exact_counts(
    name: str, dtype: pl.DataType, rows: int, facts: dict[str, Any], formats: dict[str, tuple[str, ...]]
) -> dict[str, pl.Expr]:
    """Counts whose cost depends on how many different values there are."""
    if isinstance(dtype, (*NESTED, pl.Null)):
        return {}
    column = _present(name, dtype)
    few = facts["distinct"] <= FEW_VALUES
    if dtype == pl.String and few:
        # What is true of a word has to be found out once, not once per row.
        return {"values": column.drop_nulls().value_counts(name="count").implode()}
    counts: dict[str, pl.Expr] = {}
    if dtype == pl.String:
        counts |= _text_counts(column, formats[name], pl.lit(1))
    if rows <= EXACT_ROWS or (not dtype.is_float() and (few or facts["distinct"] > 0.4 * facts["present"])):
        counts["distinct"] = column.drop_nulls().n_unique()
    return counts


def _text_counts(column: pl.Expr, formats: tuple[str, ...], times: pl.Expr) -> dict[str, pl.Expr]:
    """Counts of a column of text of which each value stands for so many rows."""
    stripped = column.str.strip_chars()
    length = stripped.str.len_chars()
    counts = {
        "blanks": stripped == "",
        "numbers": stripped.cast(pl.Float64, strict=False).is_finite(),
        "digits": stripped.str.contains(r"^[0-9]+$"),
        "zeros": stripped.str.contains(r"^0[0-9]+$"),
        "length": length,
        "words": stripped.str.count_matches(r"\S+"),
        "booleans": stripped.str.to_lowercase().is_in(["true", "false"]),
        "clocks": stripped.str.contains(CLOCK),
    }
    counts |= {f"date{i}": parse_dates(column, format_).is_not_null() for i, format_ in enumerate(formats)}
    sums = {key: (count.cast(pl.Int64) * times).sum() for key, count in counts.items()}
    whole = stripped.cast(pl.Int64, strict=False)
    return sums | {"shortest": length.min(), "longest": length.max(), "low": whole.min(), "high": whole.max()}


def _of_values(values: pl.Series, formats: tuple[str, ...]) -> dict[str, Any]:
    frame = values.struct.unnest()
    word = pl.col(frame.columns[0])
    counts = _text_counts(word, formats, pl.col("count").cast(pl.Int64))
    return {
        "distinct": frame.height,
        **frame.select(e.alias(key) for key, e in counts.items()).row(0, named=True),
    }


def _present(name: str, dtype: pl.DataType) -> pl.Expr:
    return pl.col(name).fill_nan(None) if dtype.is_float() else pl.col(name)


def _profile(dtype: pl.DataType, facts: dict[str, Any], formats: tuple[str, ...]) -> Profile:
    dates = {format_: facts.pop(f"date{i}", 0) for i, format_ in enumerate(formats)}
    low, high = facts.pop("low", None), facts.pop("high", None)
    least, most = facts.pop("least", low), facts.pop("most", high)
    present = facts["present"]
    for key in ("length", "words"):
        facts[key] = (facts.get(key) or 0) / max(present, 1)
    return Profile(
        dtype=dtype,
        exact=bool(facts.pop("exact")),
        constant=present == 0 or (least is not None and least == most),
        low=low,
        high=high,
        whole=bool(facts.pop("whole", dtype.is_integer())),
        dates=dict(sorted(dates.items(), key=lambda item: -item[1])),
        **{key: value or 0 for key, value in facts.items()},
    )
