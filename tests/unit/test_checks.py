"""Values and the types that their annotations say."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pytest

from mlpipe.checks import check_type, check_types
from mlpipe.errors import ConfigError


@dataclass(frozen=True)
class Inner:
    count: int = 0


@dataclass(frozen=True)
class Record:
    """A field of each kind that configs have."""

    word: str = "a"
    count: int = 1
    rate: float = 0.5
    wanted: bool = False
    limit: int | None = None
    choice: Literal["a", "b"] = "a"
    words: list[str] = field(default_factory=list)
    weights: str | dict[Any, float] | None = None
    inner: Inner = field(default_factory=Inner)

    def __post_init__(self) -> None:
        check_types(self, "group")


@pytest.mark.parametrize(
    "values",
    [
        {},
        {"rate": 1, "limit": 3, "words": ["a", "b"], "weights": {"a": 1}},
        {"words": ("a", "b"), "weights": "balanced", "wanted": True, "choice": "b"},
    ],
)
def test_what_fits_passes(values: dict[str, Any]) -> None:
    Record(**values)


@pytest.mark.parametrize(
    ("values", "sentence"),
    [
        ({"word": 1}, "`group.word` is 1; it has to be a text."),
        ({"word": Path("a")}, f"`group.word` is {Path('a')!r}; it has to be a text."),
        ({"count": "48"}, "`group.count` is '48'; it has to be a whole number."),
        ({"count": 48.0}, "`group.count` is 48.0; it has to be a whole number."),
        ({"count": True}, "`group.count` is True; it has to be a whole number."),
        ({"rate": "0.1"}, "`group.rate` is '0.1'; it has to be a number."),
        ({"rate": False}, "`group.rate` is False; it has to be a number."),
        ({"wanted": "no"}, "`group.wanted` is 'no'; it has to be True or False."),
        ({"wanted": 1}, "`group.wanted` is 1; it has to be True or False."),
        ({"wanted": None}, "`group.wanted` is None; it has to be True or False."),
        ({"limit": "3"}, "`group.limit` is '3'; it has to be a whole number or None."),
        ({"choice": "c"}, "`group.choice` is 'c'; it has to be 'a' or 'b'."),
        ({"words": "a"}, "`group.words` is 'a'; it has to be a list of texts."),
        ({"words": [1]}, "`group.words` is [1]; it has to be a list of texts."),
        ({"weights": 3}, "`group.weights` is 3; it has to be a text, a mapping or None."),
        ({"inner": {"count": 1}}, "`group.inner` is {'count': 1}; it has to be an Inner."),
    ],
)
def test_a_value_of_another_type_is_named(values: dict[str, Any], sentence: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Record(**values)
    assert str(caught.value) == sentence


def test_one_is_no_yes_and_yes_is_no_one() -> None:
    check_type("a", 1, Literal[1, 2])
    check_type("a", "warn", bool | Literal["warn"])
    with pytest.raises(ConfigError, match="`a` is True"):
        check_type("a", True, Literal[1, 2])
    with pytest.raises(ConfigError, match=r"`a` is 'no'; it has to be True or False or 'warn'\."):
        check_type("a", "no", bool | Literal["warn"])


def test_a_mapping_is_no_text() -> None:
    check_type("a", {}, Mapping[str, Any] | None)
    check_type("a", None, Mapping[str, Any] | None)
    with pytest.raises(ConfigError, match=r"^`a` is 'x'; it has to be a mapping or None\.$"):
        check_type("a", "x", Mapping[str, Any] | None)
