"""Connections that were refused are held, and read again in order."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

import pytest

from mlpipe.serving.backpressure import Backpressure


class Line:
    """Stands for a connection; the order in which they are read again is kept."""

    def __init__(self, name: int, order: list[int]) -> None:
        self.name, self.order, self.held = name, order, False

    def stop_reading(self) -> None:
        self.held = True

    def go_on_reading(self) -> None:
        self.held = False
        self.order.append(self.name)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


async def until(condition: Callable[[], object]) -> None:
    """Wait; `run` has a limit."""
    while not condition():  # noqa: ASYNC110  # what is waited for sets no event
        await asyncio.sleep(0.01)


def test_without_room_they_are_read_when_their_time_is_over() -> None:
    async def scenario() -> None:
        order: list[int] = []
        loop = asyncio.get_running_loop()
        backpressure = Backpressure(lambda: 0, seconds=0.2)
        lines = [Line(name, order) for name in range(3)]
        started = loop.time()
        for line in lines:
            backpressure.hold(line)
        assert all(line.held for line in lines)
        await until(lambda: len(order) == 3)
        assert loop.time() - started >= 0.2
        assert order == [0, 1, 2]

    run(scenario)


@pytest.mark.parametrize("room", [-1, 0, 1, 2])
def test_no_more_are_read_than_there_is_room_for(room: int) -> None:
    async def scenario() -> None:
        order: list[int] = []
        left = [room]
        backpressure = Backpressure(lambda: left.pop() if left else 0, seconds=3_600)
        for name in range(5):
            backpressure.hold(Line(name, order))
        await until(lambda: not left)
        await asyncio.sleep(0.2)  # some more looks
        assert order == list(range(max(room, 0)))

    run(scenario)


def test_the_first_is_read_when_one_more_is_held_than_may() -> None:
    async def scenario() -> None:
        order: list[int] = []
        backpressure = Backpressure(lambda: 0, seconds=3_600, most=2)
        lines = [Line(name, order) for name in range(4)]
        for line in lines:
            backpressure.hold(line)
        assert order == [0, 1]
        assert [line.held for line in lines] == [False, False, True, True]

    run(scenario)


def test_one_may_be_held_again() -> None:
    async def scenario() -> None:
        order: list[int] = []
        backpressure = Backpressure(lambda: 0, seconds=0)
        line = Line(7, order)
        for _ in range(3):
            order.clear()
            backpressure.hold(line)
            await until(lambda: order == [7])

    run(scenario)


def test_one_that_is_held_is_not_held_twice() -> None:
    async def scenario() -> None:
        order: list[int] = []
        backpressure = Backpressure(lambda: 0, seconds=3_600, most=2)
        others = [Line(1, order), Line(2, order)]
        for line in (*others, others[1], others[1]):
            backpressure.hold(line)
        assert order == []

    run(scenario)
