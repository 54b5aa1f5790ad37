"""Requests through the pump, with workers played by the test: batches, limits, deadlines, deaths."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path

import pytest

from mlpipe.serving.pump import DeadlineError, OverloadedError, Pump, Timing, WorkerLostError
from mlpipe.serving.wire import HELLO, Answer, Frames, Kind, Question, pack_answers, unpack_questions

Batches = list[list[bytes]]
Handler = Callable[[asyncio.StreamWriter, int, list[Question]], Awaitable[None]]


async def echo(writer: asyncio.StreamWriter, number: int, questions: list[Question]) -> None:
    writer.write(pack_answers(number, [Answer(200, question.body) for question in questions], 0.0))


@contextlib.asynccontextmanager
async def worker(address: str, handle: Handler = echo) -> AsyncIterator[Batches]:
    """A worker that notes the bodies of every batch."""
    batches: Batches = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        frames = Frames()
        writer.write(HELLO)
        try:
            while data := await reader.read(2**16):
                for frame in frames.feed(data):
                    number, questions = unpack_questions(frame)
                    batches.append([question.body for question in questions])
                    await handle(writer, number, questions)
        except ConnectionError:
            assert handle is not echo  # only those that die on purpose
        finally:
            writer.transport.abort()

    server = await asyncio.start_unix_server(serve, address)
    try:
        yield batches
    finally:
        server.close()


@contextlib.asynccontextmanager
async def pumping(*addresses: str, **options: object) -> AsyncIterator[Pump]:
    settings: dict[str, object] = {"batch": 4, "queue": 100, "deadline": 5.0, **options}
    pump = Pump(addresses, **settings)  # type: ignore[arg-type]
    pump.start()
    try:
        yield pump
    finally:
        await pump.stop()


def question(number: int) -> Question:
    return Question(Kind.PREDICT, b"%d" % number)


async def ready(pump: Pump) -> None:
    for _ in range(1_000):
        if pump.ready:
            return
        await asyncio.sleep(0.01)
    raise AssertionError("no worker was found")


def run(test: Callable[[Path], Awaitable[None]], folder: Path) -> None:
    asyncio.run(asyncio.wait_for(test(folder), 30))


def test_answers_find_their_questions_and_batches_are_bounded(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        address = str(folder / "w")
        timings: list[Timing] = []
        async with worker(address) as batches, pumping(address, observe=timings.append) as pump:
            answers = await asyncio.gather(*(pump.ask(question(i)) for i in range(50)))
            assert [answer.body for answer in answers] == [b"%d" % i for i in range(50)]
            assert max(map(len, batches)) == 4
            assert sum(map(len, batches)) == 50
            assert sum(len(timing.waited) for timing in timings) == 50
            assert (pump.held, pump.queued) == (0, 0)
            await pump.ask(question(50))
            assert batches[-1] == [b"50"]  # it went out alone, at once

    run(scenario, tmp_path)


def test_large_bodies_go_alone(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        address = str(folder / "w")
        async with worker(address) as batches, pumping(address) as pump:
            bodies = [b"x" * 60_000, b"y" * 60_000, b"z"]
            answers = await asyncio.gather(*(pump.ask(Question(Kind.PREDICT, body)) for body in bodies))
            assert [answer.body for answer in answers] == bodies
            assert [b"x" * 60_000] in batches

    run(scenario, tmp_path)


def test_what_is_too_much_is_refused_and_what_is_too_late_is_told(tmp_path: Path) -> None:
    async def hang(writer: asyncio.StreamWriter, number: int, questions: list[Question]) -> None:
        await asyncio.sleep(60)

    async def scenario(folder: Path) -> None:
        address = str(folder / "w")
        async with worker(address, hang), pumping(address, queue=3, deadline=0.2) as pump:
            asked = [asyncio.ensure_future(pump.ask(question(i))) for i in range(3)]
            await asyncio.sleep(0.05)
            with pytest.raises(OverloadedError):
                await pump.ask(question(3))
            results = await asyncio.gather(*asked, return_exceptions=True)
            assert [type(result) for result in results] == [DeadlineError] * 3
            assert pump.held == 0

    run(scenario, tmp_path)


def test_a_worker_that_hangs_is_told_of_once(tmp_path: Path) -> None:
    async def hang(writer: asyncio.StreamWriter, number: int, questions: list[Question]) -> None:
        await asyncio.sleep(60)

    async def scenario(folder: Path) -> None:
        hanging, fine = str(folder / "hanging"), str(folder / "fine")
        told: list[int] = []
        async with worker(hanging, hang), worker(fine), pumping(fine, hanging, deadline=0.1, hung=told.append) as pump:
            await ready(pump)
            await asyncio.gather(*(pump.ask(question(i)) for i in range(20)), return_exceptions=True)
            assert told == []
            await asyncio.sleep(0.5)
            assert told == [1]

    run(scenario, tmp_path)


def test_requests_wait_for_a_worker_that_is_to_come(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        address = str(folder / "w")
        async with pumping(address) as pump:
            asked = asyncio.ensure_future(pump.ask(question(1)))
            await asyncio.sleep(0.1)
            assert not pump.ready
            assert not asked.done()
            async with worker(address):
                assert (await asked).body == b"1"

    run(scenario, tmp_path)


def test_a_worker_that_dies_takes_its_batches_and_no_more(tmp_path: Path) -> None:
    async def die(writer: asyncio.StreamWriter, number: int, questions: list[Question]) -> None:
        writer.transport.abort()

    async def scenario(folder: Path) -> None:
        bad, good = str(folder / "bad"), str(folder / "good")
        async with worker(bad, die), worker(good), pumping(bad, good) as pump:
            await ready(pump)
            results = await asyncio.gather(*(pump.ask(question(i)) for i in range(40)), return_exceptions=True)
            kinds = {type(result) for result in results}
            assert kinds == {Answer, WorkerLostError}
            assert pump.held == 0

    run(scenario, tmp_path)


def test_a_request_whose_client_left_is_not_sent(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        address = str(folder / "w")
        async with pumping(address) as pump:
            left = asyncio.ensure_future(pump.ask(question(1)))
            await asyncio.sleep(0.01)
            left.cancel()
            await asyncio.gather(left, return_exceptions=True)
            assert pump.held == 0
            async with worker(address) as batches:
                assert (await pump.ask(question(2))).body == b"2"
                assert batches == [[b"2"]]

    run(scenario, tmp_path)


def test_late_answers_are_thrown_away(tmp_path: Path) -> None:
    async def slow(writer: asyncio.StreamWriter, number: int, questions: list[Question]) -> None:
        await asyncio.sleep(0.3 if questions[0].body == b"1" else 0)
        await echo(writer, number, questions)

    async def scenario(folder: Path) -> None:
        address = str(folder / "w")
        async with worker(address, slow), pumping(address, deadline=0.2) as pump:
            await ready(pump)
            with pytest.raises(DeadlineError):
                await pump.ask(question(1))
            await asyncio.sleep(0.2)
            assert (await pump.ask(question(2))).body == b"2"

    run(scenario, tmp_path)


def test_nothing_is_kept_of_requests_that_nobody_waits_for(tmp_path: Path) -> None:
    async def scenario(folder: Path) -> None:
        async with pumping(str(folder / "w"), deadline=0.1) as pump:  # no worker is there
            kept = asyncio.ensure_future(pump.ask(question(0)))
            gone = [asyncio.ensure_future(pump.ask(question(i))) for i in range(1, 20)]
            await asyncio.sleep(0.01)
            for one in gone:
                one.cancel()
            await asyncio.gather(kept, return_exceptions=True)
            await asyncio.sleep(0.1)
            assert (pump.held, pump.queued, len(pump._all)) == (0, 0, 0)

    run(scenario, tmp_path)
