"""Which version answers which request."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpipe.errors import ConfigError
from mlpipe.serving.settings import Traffic
from mlpipe.serving.traffic import Plan, Router, fraction, plan

IDS = [f"request-{number}".encode() for number in range(20_000)]


def test_shares_are_kept() -> None:
    router = Router((0.7, 0.2, 0.1))
    counts = Counter(router(name) for name in IDS)
    # Four standard deviations of a binomial.
    for slot, share in enumerate((0.7, 0.2, 0.1)):
        assert abs(counts[slot] / len(IDS) - share) < 4 * (share * (1 - share) / len(IDS)) ** 0.5


def test_an_id_stays_where_it_is_when_a_share_grows() -> None:
    before, after = Router((0.9, 0.1)), Router((0.95, 0.05))
    assert all(after(name) == 0 for name in IDS if before(name) == 0)


def test_without_shares_the_first_answers() -> None:
    assert {Router(())(name) for name in IDS[:100]} == {0}


def test_draws_of_different_purposes_are_independent() -> None:
    both = sum(fraction(name, b"log") < 0.5 and fraction(name, b"traffic") < 0.5 for name in IDS)
    assert abs(both / len(IDS) - 0.25) < 0.02


@given(st.binary(max_size=256), st.lists(st.floats(0.01, 100), min_size=1, max_size=5))
def test_every_id_has_a_slot_that_stays(name: bytes, weights: list[float]) -> None:
    shares = tuple(weight / sum(weights) for weight in weights)
    slot = Router(shares)(name)
    assert 0 <= slot < len(shares)
    assert Router(shares)(name) == slot
    assert 0 <= fraction(name, b"log") < 1


def test_the_shadow_is_the_last_slot() -> None:
    assert plan("bundle") == Plan(("bundle",), Traffic())
    assert plan("models:/m@champion", shadow="challenger") == Plan(
        ("models:/m@champion", "models:/m@challenger"), Traffic((), 1)
    )
    assert plan("models:/m", {"a": 1, "b": 3}, "c") == Plan(
        ("models:/m@a", "models:/m@b", "models:/m@c"), Traffic((0.25, 0.75), 2)
    )


@pytest.mark.parametrize(
    ("bundle", "ab", "shadow", "said"),
    [
        ("bundle", {"a": 1.0}, None, "--ab needs a model in a registry, models:/NAME, not the bundle 'bundle'."),
        ("bundle", None, "b", "--shadow needs a model in a registry"),
        (
            "models:/m@champion",
            {"a": 1.0},
            None,
            "'models:/m@champion' and --ab both say what is served; write models:/m",
        ),
        ("models:/m/3", {"a": 1.0}, None, "write models:/m."),
        ("models:/m", {"a": 1.0}, "a", "--shadow 'a' is the alias whose answers are returned; name another."),
        ("models:/m@a", None, "a", "name another"),
    ],
)
def test_contradictions_are_one_sentence(
    bundle: str, ab: dict[str, float] | None, shadow: str | None, said: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        plan(bundle, ab, shadow)
    assert said in str(caught.value)
