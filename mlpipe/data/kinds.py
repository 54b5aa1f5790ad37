"""What kind a column is of, what it is used for, and why: the rules, one after the other.

What is notable here:
- Every answer comes with its reason, in words and figures that a user can check and overrule.
- An identifier is only what has nothing else to say: each row its own whole number without gaps, each row its own
  word, or a name such as `customer_id` over values that hardly repeat. A price or a weight that happens to be
  different in every row stays a number.
"""

from __future__ import annotations

import re

import polars as pl

from mlpipe.data.dates import has_clock, has_zone
from mlpipe.data.profile import NESTED, Profile
from mlpipe.errors import how_many
from mlpipe.schema import Column, Kind, Role

#: Below so many rows, values that are all different prove nothing.
FEW_ROWS = 20
#: The share of values that have to fit a reading of text; the others count as missing.
MOST = 0.99

_ID_WORDS = {"id", "ids", "uid", "uuid", "guid", "identifier"}
_CODE_WORDS = {"zip", "zipcode", "postcode", "postal", "fips", "naics", "sic", "code"}


def decide(name: str, profile: Profile) -> Column:
    """The kind and role of a column that nobody has said anything about."""
    kind, role, reason, extra = _decide(name, profile)
    missing = profile.rows - profile.present
    if missing and profile.present and role is not Role.IGNORED:
        reason += f"; {missing:,} of {profile.rows:,} rows {'has' if missing == 1 else 'have'} none"
    return Column(
        name=name,
        kind=kind,
        role=role,
        dtype=str(profile.dtype),
        reason=reason,
        nullable=missing > 0 or profile.blanks > 0,
        **extra,  # type: ignore[arg-type]
    )


def as_kind(name: str, profile: Profile, kind: Kind) -> Column:
    """A column of the kind that the user asked for, with the details that go with it."""
    column = decide(name, profile)
    dated = kind in (Kind.DATE, Kind.DATETIME)
    best = next(iter(profile.dates or {}), None) if dated else None
    return Column(
        name=name,
        kind=kind,
        role=Role.FEATURE,
        dtype=column.dtype,
        reason="as `data.columns` says",
        nullable=column.nullable,
        format=best,
        categories=column.categories if kind is Kind.CATEGORICAL else None,
        time_zone=(column.time_zone or _zone(profile, best)) if dated else None,
    )


def name_words(name: str) -> list[str]:
    """The words of a column name.

    Examples:
        >>> name_words("CustomerId"), name_words("customerID"), name_words("zip_code"), name_words("paid")
        (['customer', 'id'], ['customer', 'id'], ['zip', 'code'], ['paid'])
    """
    return [word.lower() for word in re.findall(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+", name)]


def is_named_identifier(name: str) -> bool:
    """Whether a name says that the column identifies things."""
    return bool(_ID_WORDS & set(name_words(name)))


def identifier_reason(name: str, profile: Profile) -> str | None:
    """Why a column identifies rows and says nothing about them; None if it may say something."""
    rows, distinct = profile.present, profile.distinct
    if rows < FEW_ROWS or not (profile.dtype.is_integer() or profile.dtype == pl.String) or _is_time(profile):
        return None
    unique = distinct == rows == profile.rows
    if unique and (profile.dtype.is_integer() or (profile.digits == rows and profile.longest < 19)):
        span = int(profile.high) - int(profile.low) + 1
        if span == rows:
            return f"whole numbers without a gap, each in one row ({profile.low} to {profile.high}): row numbers"
        if rows >= 5 * FEW_ROWS and span <= 1.1 * rows:
            return f"whole numbers, almost without a gap, each in one row ({profile.low} to {profile.high})"
    if is_named_identifier(name) and distinct > 0.5 * rows:
        often = "stand in one row each" if unique else "hardly repeat"
        return f"its name says so, and its {distinct:,} different values {often}"
    if profile.dtype == pl.String and profile.words < 3 and not _is_number(profile):
        if unique:
            return f"{distinct:,} different words, each in one row"
        if rows >= 5 * FEW_ROWS and distinct > 0.95 * rows:
            return f"{distinct:,} different words in {rows:,} rows: next to none is seen twice"
    if profile.dtype == pl.String and unique and _is_code(profile):
        return f"{distinct:,} different codes of {profile.longest} digits, each in one row"
    return None


_Decision = tuple[Kind, Role, str, dict[str, object]]


def _decide(name: str, profile: Profile) -> _Decision:
    dtype = profile.dtype
    if isinstance(dtype, NESTED):
        reason = f"{dtype} holds several values a row, or none that can be read; unnest it to use it"
        return Kind.TEXT, Role.IGNORED, reason, {}
    if profile.present == 0:
        return Kind.CONSTANT, Role.IGNORED, "all values are missing", {}
    if profile.constant and profile.present == profile.rows:
        return Kind.CONSTANT, Role.IGNORED, "the same value in every row", {}
    if isinstance(dtype, pl.Boolean):
        return Kind.BOOLEAN, Role.FEATURE, "true or false", {}
    if isinstance(dtype, pl.Date):
        return Kind.DATE, Role.FEATURE, "a date", {}
    if isinstance(dtype, pl.Datetime):
        return Kind.DATETIME, Role.FEATURE, "a date and time", {"time_zone": dtype.time_zone}
    if isinstance(dtype, pl.Duration):
        return Kind.DURATION, Role.FEATURE, "a span of time", {}
    if isinstance(dtype, pl.Time):
        return Kind.DURATION, Role.FEATURE, "a time of day, read as the time since midnight", {}
    if isinstance(dtype, pl.Enum):
        levels = tuple(dtype.categories.to_list())
        return Kind.CATEGORICAL, Role.FEATURE, f"an Enum of {len(levels)} levels, in its order", {"categories": levels}
    if isinstance(dtype, pl.Categorical):
        return Kind.CATEGORICAL, Role.FEATURE, f"{profile.different} categories", {}
    if identified := identifier_reason(name, profile):
        return Kind.IDENTIFIER, Role.IDENTIFIER, identified, {}
    return _decide_text(profile) if dtype == pl.String else _decide_number(name, profile)


def _decide_number(name: str, profile: Profile) -> _Decision:
    words = set(name_words(name))
    if profile.dtype.is_integer():
        if words & (_ID_WORDS | _CODE_WORDS) and profile.distinct <= 0.5 * profile.present:
            reason = f"{profile.different} whole numbers that its name calls a code, not a quantity"
            return Kind.CATEGORICAL, Role.FEATURE, reason, {}
        reason = f"whole numbers from {profile.low} to {profile.high}, {profile.different} of them different"
        return Kind.NUMERIC, Role.FEATURE, reason, {}
    return Kind.NUMERIC, Role.FEATURE, f"numbers from {float(profile.low):.6g} to {float(profile.high):.6g}", {}


def _decide_text(profile: Profile) -> _Decision:
    filled = profile.filled
    if filled == 0:
        return Kind.CONSTANT, Role.IGNORED, "nothing but blanks", {}
    if profile.booleans == filled:
        return Kind.BOOLEAN, Role.FEATURE, "the words true and false", {}
    for format_, count in (profile.dates or {}).items():
        if count >= MOST * filled:
            return _decide_date(profile, format_, count)
    if _is_number(profile):
        if _is_code(profile):
            reason = f"{profile.different} different texts of digits: codes, not quantities"
            return Kind.CATEGORICAL, Role.FEATURE, reason, {}
        others = profile.present - profile.numbers
        reason = "text that holds numbers" + (f"; {_missing(others)}" if others else "")
        return Kind.NUMERIC, Role.FEATURE, reason, {}
    if profile.clocks >= MOST * filled:
        return Kind.DURATION, Role.FEATURE, "text that holds times such as 12:30, read as seconds", {}
    many = profile.share_distinct > 0.5 or (profile.words >= 5 and profile.distinct > 1_000)
    if many and profile.words >= 3 and profile.rows >= FEW_ROWS:
        reason = f"{profile.different} different texts of {profile.words:.1f} words on average"
        return Kind.TEXT, Role.FEATURE, reason, {}
    if profile.length >= 100 and profile.share_distinct > 0.5:
        reason = f"{profile.different} different texts of {profile.length:.0f} letters on average"
        return Kind.TEXT, Role.FEATURE, reason, {}
    return Kind.CATEGORICAL, Role.FEATURE, f"{profile.different} different words", {}


def _decide_date(profile: Profile, format_: str, count: int) -> _Decision:
    reason = f"text that holds dates written as {format_}"
    rivals = [other for other, others in (profile.dates or {}).items() if other != format_ and others == count]
    if rivals:
        reason += f" ({rivals[0]} would fit as well)"
    if others := profile.filled - count:
        reason += f"; {_missing(others)}"
    kind = Kind.DATETIME if has_clock(format_) else Kind.DATE
    return kind, Role.FEATURE, reason, {"format": format_, "time_zone": _zone(profile, format_)}


def _missing(others: int) -> str:
    return how_many(others, "that is none counts as missing", "that are none count as missing")


def _zone(profile: Profile, format_: str | None) -> str | None:
    if isinstance(profile.dtype, pl.Datetime):
        return profile.dtype.time_zone
    return "UTC" if format_ and has_zone(format_) else None


def _is_time(profile: Profile) -> bool:
    fitting = max([profile.clocks, *(profile.dates or {}).values()])
    return profile.filled > 0 and fitting >= MOST * profile.filled


def _is_number(profile: Profile) -> bool:
    return profile.filled > 0 and profile.numbers >= MOST * profile.filled


def _is_code(profile: Profile) -> bool:
    """Digits that are no quantity: with leading zeros, or all of one length (but years)."""
    if profile.digits < profile.filled:
        return False
    if profile.zeros:
        return True
    return profile.shortest == profile.longest >= 5
