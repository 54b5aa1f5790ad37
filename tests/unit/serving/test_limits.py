"""Bodies, rates and settings."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mlpipe.serving.limits import Body, BodyError, Budget, RateLimiter, read_body
from mlpipe.serving.settings import Limits


def read(
    messages: list[dict[str, Any]],
    headers: dict[bytes, bytes] | None = None,
    budget: Budget | None = None,
    **limits: Any,
) -> bytes:
    left = list(messages)
    body = Body(budget or Budget(10**6))

    async def receive() -> dict[str, Any]:
        if not left:
            await asyncio.sleep(60)
        return left.pop(0)

    return asyncio.run(read_body(receive, headers or {}, Limits(**limits), body))


def part(body: bytes, *, more: bool = False) -> dict[str, Any]:
    return {"type": "http.request", "body": body, "more_body": more}


@given(st.lists(st.binary(max_size=9), min_size=1, max_size=6))
def test_parts_are_one_body(parts: list[bytes]) -> None:
    messages = [part(one, more=index < len(parts) - 1) for index, one in enumerate(parts)]
    assert read(messages) == b"".join(parts)


@pytest.mark.parametrize(
    ("messages", "headers", "status"),
    [
        ([part(b"x" * 11)], {}, 413),
        ([part(b"x" * 6, more=True), part(b"x" * 6)], {}, 413),
        ([part(b"")], {b"content-length": b"11"}, 413),
        ([part(b"x", more=True)], {}, 408),
        ([part(b"x", more=True), {"type": "http.disconnect"}], {}, 400),
        ([{"type": "http.disconnect"}], {}, 400),
    ],
)
def test_bodies_that_are_not_read_to_their_end(
    messages: list[dict[str, Any]], headers: dict[bytes, bytes], status: int
) -> None:
    with pytest.raises(BodyError) as caught:
        read(messages, headers, body=10, body_seconds=0.05)
    assert caught.value.status == status


def test_a_body_that_finds_no_room_beside_others_is_not_read_on() -> None:
    budget = Budget(10)
    assert read([part(b"x" * 6, more=True), part(b"x" * 6)], budget=budget, body=12) == b"x" * 12  # it is alone
    with pytest.raises(BodyError) as caught:
        read([part(b"x", more=True), part(b"x")], budget=budget)
    assert caught.value.status == 503


@given(st.integers(1, 30), st.lists(st.tuples(st.integers(0, 3), st.one_of(st.none(), st.integers(0, 12)))))
def test_bodies_hold_no_more_than_the_budget_but_for_a_single_one(
    most: int, steps: list[tuple[int, int | None]]
) -> None:
    budget = Budget(most)
    bodies = [Body(budget) for _ in range(4)]
    kept = [b""] * 4
    for who, size in steps:
        if size is None:
            bodies[who].drop()
            kept[who] = b""
        elif bodies[who].add(bytes([who]) * size):
            kept[who] += bytes([who]) * size
        else:
            assert sum(map(len, kept)) + size > most
        assert [body.whole() for body in bodies] == kept
        assert budget.held == sum(map(len, kept))
        assert budget.held <= most or sum(bool(body) for body in kept) == 1
    for body in bodies:
        body.drop()
    assert budget.held == 0


@given(st.floats(0.5, 50), st.lists(st.floats(0, 0.5), min_size=1, max_size=60))
def test_no_client_gets_more_than_its_rate(rate: float, pauses: list[float]) -> None:
    limiter, now, allowed = RateLimiter(rate), 100.0, 0
    for pause in pauses:
        now += pause
        wait = limiter.wait("a", now)
        allowed += wait == 0
        if wait:
            assert limiter.wait("a", now + wait * 0.9) > 0
            now += wait * 0.9
    assert allowed <= max(1.0, rate) + rate * (now - 100.0) + 1e-6


def test_the_rate_limiter_forgets_those_who_stay_away() -> None:
    limiter = RateLimiter(1.0)
    for client in range(20_001):
        assert limiter.wait(client, now=0.0) == 0
    assert limiter.wait(20_000, now=0.0) > 0
    assert limiter.wait(0, now=0.0) == 0
