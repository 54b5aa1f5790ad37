"""Connections over a socket: what goes the short way is answered as what goes through ASGI, which is the reference."""

from __future__ import annotations

import asyncio
import re
from collections import Counter
from collections.abc import Awaitable, Callable
from typing import Any, Self, cast

import pytest
import uvicorn
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from uvicorn.server import ServerState

from mlpipe.serving.backpressure import Backpressure
from mlpipe.serving.connection import protocol
from mlpipe.serving.front import Front
from mlpipe.serving.pump import DeadlineError, OverloadedError, Pump, WorkerLostError
from mlpipe.serving.settings import Limits, Settings, Traffic
from mlpipe.serving.turnstile import Turnstile
from mlpipe.serving.wire import Answer, Question


class Asked:
    """Stands for a pump. It echoes bodies, and those that name an error get it; `held` ones wait."""

    ready = True

    def __init__(self) -> None:
        self.full = False
        self.room = 0
        self.hold = False
        self.questions: list[Question] = []
        self.futures: list[asyncio.Future[Answer]] = []

    def put(self, question: Question) -> asyncio.Future[Answer]:
        if self.full:
            raise OverloadedError
        self.questions.append(question)
        future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self.futures.append(future)
        errors = {b"late": DeadlineError(), b"lost": WorkerLostError()}
        if question.body in errors:
            future.set_exception(errors[question.body])
        elif not self.hold:
            future.set_result(Answer(200, question.body))
        return future

    async def reaches(self, count: int) -> None:
        await until(lambda: len(self.futures) >= count)

    async def ask(self, question: Question) -> Answer:
        return await self.put(question)


class Served:
    """A server on a port, on the short way or not."""

    def __init__(self, *, short: bool = True, keep_alive: float = 75, held: float = 0, **options: Any) -> None:
        self.keep_alive = keep_alive
        self.asked, self.counted = Asked(), Counter[tuple[str, int, str]]()
        self.front = Front(
            Settings(**options),
            cast(Pump, self.asked),
            self._rest,
            observe=lambda route, status, _seconds, version: self.counted.update([(route, status, version)]),
        )
        self.front.versions = ("one", "two")
        self.connection = protocol(self.front)
        backpressure = Backpressure(lambda: self.asked.room, seconds=held)
        self.connection.backpressure = backpressure  # type: ignore[attr-defined]  # of `Connection`
        if not short:
            self.connection.routes = {}  # type: ignore[attr-defined]  # of `Connection`
            self.connection.turnstile = Turnstile(self.front, {})  # type: ignore[attr-defined]
        self.connections: set[Any] = set()

    async def __aenter__(self) -> Self:
        config = uvicorn.Config(
            self.front, interface="asgi3", ws="none", access_log=False, server_header=False, date_header=False
        )
        config.load()
        state = ServerState()
        self.connections = state.connections
        loop = asyncio.get_running_loop()
        self.server = await loop.create_server(lambda: self.connection(config, state, {}), "127.0.0.1", 0)
        self.port = self.server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self.server.close()
        for connection in list(self.connections):
            connection.transport.abort()

    async def _rest(self, scope: Any, receive: Any, send: Any) -> None:
        await send({"type": "http.response.start", "status": 404, "headers": [(b"content-length", b"0")]})
        await send({"type": "http.response.body", "body": b""})

    async def say(self, *parts: bytes, pause: float = 0.0) -> bytes:
        """All that is said to some bytes, until the connection ends or nothing comes any more."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in parts:
            writer.write(part)
            await asyncio.sleep(pause)
        heard = b""
        try:
            while data := await asyncio.wait_for(reader.read(65_536), 0.3):
                heard += data
        except TimeoutError:
            pass
        writer.close()
        return heard


def request(body: bytes = b"{}", *headers: bytes, path: bytes = b"/predict", method: bytes = b"POST") -> bytes:
    lines = [b"%s %s HTTP/1.1" % (method, path), b"Host: x", b"Content-Length: %d" % len(body), *headers]
    return b"\r\n".join([*lines, b"", body])


async def until(condition: Callable[[], object]) -> None:
    """Wait; `run` has a limit."""
    while not condition():  # noqa: ASYNC110  # what is waited for sets no event
        await asyncio.sleep(0.01)


def run(test: Callable[[], Awaitable[None]]) -> None:
    asyncio.run(asyncio.wait_for(test(), 60))


ID = b"X-Request-Id: mine"
_TEXT = st.text(st.characters(min_codepoint=33, max_codepoint=126), min_size=1, max_size=300).map(str.encode)
_HEADERS = st.sampled_from(
    [
        b"Authorization: Bearer key",
        b"Authorization: Bearer other",
        b"X-Api-Key: key",
        b"Content-Type: application/json; charset=utf-8",
        b"Content-Type: text/csv",
        b"Connection: close",
        b"Expect: 100-continue",
        b"Accept: */*",
    ]
)
_PATHS = st.sampled_from(
    [b"/predict", b"/invocations", b"/v2/models/model/infer", b"/predict?x=1", b"/health", b"/nothing"]
)
_BODIES = st.sampled_from([b"{}", b"late", b"lost", b"", b"x" * 200])


@settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    _TEXT,
    st.lists(_HEADERS, max_size=3, unique_by=lambda header: header.partition(b":")[0]),
    _PATHS,
    _BODIES,
    st.booleans(),
    st.booleans(),
    st.sampled_from([(), ("key",)]),
    st.sampled_from([b"POST", b"GET", b"PUT"]),
)
def test_the_short_way_says_what_the_long_one_says(
    name: bytes, headers: list[bytes], path: bytes, body: bytes, full: bool, draining: bool, keys: Any, method: bytes
) -> None:
    async def scenario() -> None:
        told = []
        for short in (True, False):
            options: dict[str, Any] = {"keys": keys, "traffic": Traffic((0.5, 0.5)), "limits": Limits(body=100)}
            async with Served(short=short, **options) as served:
                served.asked.full, served.front.draining = full, draining
                last = [header for header in headers if header != b"Connection: close"] + [b"Connection: close"]
                first = request(body, b"X-Request-Id: " + name, *headers, path=path, method=method)
                second = request(body, b"X-Request-Id: " + name, *last, path=path, method=method)
                told.append((await served.say(first + second), served.counted, served.asked.questions))
        assert told[0] == told[1]
        assert told[0][0].startswith(b"HTTP/1.1 ")

    run(scenario)


def without_ids(heard: bytes) -> bytes:
    return re.sub(rb"x-request-id: [0-9a-f]{32}\r\n", b"", heard)


_FLOOD = st.sampled_from(
    [
        b"Host: x",
        b"User-Agent: \xc3\xa9",
        b"Accept:*/*",
        b"Content-Type: application/json",
        b"CONTENT-TYPE: text/csv",
        b"content-length: 2",
        b"Content-Length:2",
        b"Content-Length: 3",
        b"Content-Length: 200",
        b"Content-Length: +2",
        b"Content-Length: 2 ",
        b"Transfer-Encoding: chunked",
        b"Connection: close",
        b"Connection: keep-alive",
        b"Expect: 100-continue",
        b"no colon",
        b" folded: line",
        b"Bad Name: x",
        b"X: a\x00b",
        b"X-Request-Id: mine",
        b"Authorization: Bearer key",
    ]
)


@settings(max_examples=80, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    st.lists(_FLOOD, max_size=4),
    st.sampled_from([b"POST /predict", b"POST /predict/", b"post /predict", b"GET /predict", b"POST /invocations"]),
    st.sampled_from([b"HTTP/1.1", b"HTTP/1.0", b"HTTP/1.1 "]),
    st.sampled_from([b"\r\n", b"\n"]),
    st.sampled_from([b"{}", b"", b"{}\r\n", b"{}GET /health HTTP/1.1\r\nHost: x\r\n\r\n", b"x" * 200]),
    st.sampled_from([(), ("key",)]),
    st.booleans(),
)
def test_what_is_refused_by_its_bytes_is_what_the_parser_takes_for_a_request(
    headers: list[bytes], line: bytes, version: bytes, newline: bytes, body: bytes, keys: Any, length: bool
) -> None:
    async def scenario() -> None:
        told = []
        lines = [line + b" " + version, *headers, *([b"Content-Length: %d" % len(body)] if length else [])]
        for by_bytes in (True, False):
            async with Served(keys=keys, limits=Limits(body=100, body_seconds=0.05)) as served:
                if not by_bytes:
                    served.connection.turnstile = Turnstile(served.front, {})  # type: ignore[attr-defined]  # as above
                served.asked.full = True
                heard = await served.say(newline.join([*lines, b"", body]))
                told.append((without_ids(heard), served.counted))
        assert told[0] == told[1]

    run(scenario)


def test_a_flood_is_refused_by_its_bytes_and_its_connections_stay() -> None:
    async def scenario() -> None:
        async with Served() as served:
            served.asked.full = True
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            ids = set()
            for _ in range(5):
                writer.write(request(b"{}"))
                heard = await reader.readuntil(b'try again later."}')
                assert heard.startswith(b"HTTP/1.1 503 ")
                ids.add(heard.partition(b"x-request-id: ")[2][:32])
            (connection,) = served.connections
            assert connection.parser.get_http_version() == "0.0"  # it has seen nothing
            assert len(ids) == 5
            served.asked.full = False
            writer.write(request(b"{}"))
            assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200 ")
            assert served.counted == {("/predict", 503, "one"): 5, ("/predict", 200, "one"): 1}
            writer.close()

    run(scenario)


def test_a_connection_that_is_idle_for_long_is_closed_though_it_was_refused_by_its_bytes() -> None:
    async def scenario() -> None:
        async with Served(keep_alive=0.2) as served:
            served.asked.full = True
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            for _ in range(4):  # longer than an idle connection is kept, but never idle for so long
                writer.write(request(b"{}"))
                await reader.readuntil(b'try again later."}')
                await asyncio.sleep(0.1)
            assert await asyncio.wait_for(reader.read(), 10) == b""
            writer.close()

    run(scenario)


@pytest.mark.parametrize("keys", [(), ("key",)])
def test_a_client_that_was_refused_is_read_again_once_there_is_room(keys: tuple[str, ...]) -> None:
    async def scenario() -> None:
        async with Served(held=3_600, keys=keys) as served:  # with keys it is the parser that refuses
            served.asked.full = True
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(request(b"{}", b"X-Api-Key: key"))
            await reader.readuntil(b'try again later."}')
            writer.write(request(b"{}", b"X-Api-Key: key"))
            await asyncio.sleep(0.2)
            assert served.counted == {("/predict", 503, "one"): 1}
            served.asked.full, served.asked.room = False, 1
            assert (await reader.readuntil(b"{}")).startswith(b"HTTP/1.1 200 ")
            assert served.counted == {("/predict", 503, "one"): 1, ("/predict", 200, "one"): 1}
            writer.close()

    run(scenario)


def test_what_waits_in_the_socket_of_a_client_that_was_refused_is_answered_when_the_server_ends() -> None:
    async def scenario() -> None:
        async with Served(held=3_600) as served:
            served.asked.full = True
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(request(b"{}"))
            await reader.readuntil(b'try again later."}')
            writer.write(request(b"late"))
            served.asked.full, served.front.draining = False, True
            for connection in list(served.connections):
                connection.shutdown()
            heard = await reader.read()
            assert b" 504 " in heard.splitlines()[0]
            assert b"connection: close" in heard
            writer.close()

    run(scenario)


def test_a_client_that_goes_while_it_is_held_is_noticed_when_it_is_read_again() -> None:
    async def scenario() -> None:
        async with Served(held=0.1) as served:
            served.asked.full = True
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(request(b"{}"))
            await reader.readuntil(b'try again later."}')
            writer.close()
            await until(lambda: not served.connections)

    run(scenario)


def test_each_request_without_an_id_gets_another() -> None:
    async def scenario() -> None:
        async with Served() as served:
            await served.say(request() + request())
            ids = {question.request_id for question in served.asked.questions}
            assert len(ids) == 2
            assert {len(one) for one in ids} == {32}

    run(scenario)


def test_what_is_refused_is_refused_once_its_body_has_gone_by_and_the_connection_goes_on() -> None:
    async def scenario() -> None:
        async with Served() as served:
            served.asked.full = True
            busy = request(b"x" * 50, ID)
            heard = await served.say(busy[:-20], busy[-20:] + request(path=b"/health", method=b"GET"), pause=0.05)
            first, _, second = heard.partition(b'{"detail":"The server is busy; try again later."}')
            assert first.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in first
            assert b"\r\nx-request-id: mine\r\n" in first
            assert second.startswith(b"HTTP/1.1 200 ")
            assert served.counted == {("/predict", 503, "one"): 1, ("/health", 200, ""): 1}
            assert served.asked.questions == []

    run(scenario)


@pytest.mark.parametrize("full", [False, True])
def test_a_body_that_is_late_ends_the_connection(full: bool) -> None:
    async def scenario() -> None:
        async with Served(limits=Limits(body_seconds=0.05)) as served:
            served.asked.full = full
            heard = await served.say(request(b"x" * 50)[:-20], pause=0.01)
            assert heard.startswith(b"HTTP/1.1 408 ")
            assert b"connection: close" in heard
            assert served.counted == {("/predict", 408, "one"): 1}
            assert not served.connections

    run(scenario)


@pytest.mark.parametrize("short", [True, False])
def test_bodies_beyond_what_may_be_held_are_refused_until_there_is_room(short: bool) -> None:
    async def scenario() -> None:
        async with Served(short=short, limits=Limits(bodies=150)) as served:
            served.asked.hold = True
            coming = await asyncio.open_connection("127.0.0.1", served.port)
            coming[1].write(request(b"x" * 60)[:-1])  # not whole yet
            waiting = await asyncio.open_connection("127.0.0.1", served.port)
            waiting[1].write(request(b"y" * 60))
            await served.asked.reaches(1)
            await until(lambda: served.front.bodies.held == 119)
            refused = await served.say(request(b"z" * 60))
            assert refused.startswith(b"HTTP/1.1 503 ")
            assert b"\r\nretry-after: 1\r\n" in refused
            assert served.front.bodies.held == 119
            coming[1].write(b"x")
            await served.asked.reaches(2)
            for future, (reader, _) in zip(served.asked.futures, (waiting, coming), strict=True):
                future.set_result(Answer(200, b"told"))
                assert (await reader.readuntil(b"told")).startswith(b"HTTP/1.1 200 ")
            assert [question.body for question in served.asked.questions] == [b"y" * 60, b"x" * 60]
            await until(lambda: served.front.bodies.held == 0)
            served.asked.hold = False
            assert (await served.say(request(b"z" * 160))).startswith(b"HTTP/1.1 200 ")  # alone
            gone = await asyncio.open_connection("127.0.0.1", served.port)
            gone[1].write(request(b"x" * 60)[:-1])
            await until(lambda: served.front.bodies.held == 59)
            gone[1].close()
            await until(lambda: served.front.bodies.held == 0)
            for _, writer in (coming, waiting):
                writer.close()

    run(scenario)


CHUNKED = b"POST /predict HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"


@pytest.mark.parametrize(
    ("parts", "statuses"),
    [
        ([request(), b"POST /predict HTTP/1.1\r\nHo"], [b"200"]),  # the head of a second request
        ([CHUNKED], [b"408"]),
        ([CHUNKED, b"1\r\nx\r\n"], [b"408"]),
        ([request(b"x" * 50, b"Expect: 100-continue")[:-50]], [b"100", b"408"]),
        ([request(b"x" * 50, path=b"/nothing")[:-20]], [b"404"]),  # answered, and its body goes on
    ],
)
def test_whatever_does_not_come_to_its_end_ends_the_connection(parts: list[bytes], statuses: list[bytes]) -> None:
    async def scenario() -> None:
        async with Served(limits=Limits(body_seconds=0.1, head_seconds=0.1)) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            for part in parts:
                writer.write(part)
                await asyncio.sleep(0.02)
            heard = await asyncio.wait_for(reader.read(), 10)
            assert re.findall(rb"HTTP/1\.1 (\d+)", heard) == statuses
            await until(lambda: not served.connections)
            writer.close()

    run(scenario)


def test_a_slow_second_head_does_not_cost_the_first_its_answer() -> None:
    async def scenario() -> None:
        async with Served(limits=Limits(head_seconds=0.1)) as served:
            served.asked.hold = True
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(request(b"1") + b"POST /pre")
            await served.asked.reaches(1)
            await asyncio.sleep(0.3)
            served.asked.futures[0].set_result(Answer(200, b"first"))
            heard = await asyncio.wait_for(reader.read(), 10)
            assert heard.startswith(b"HTTP/1.1 200 ")
            assert heard.endswith(b"first")
            writer.close()

    run(scenario)


def test_answers_come_in_the_order_of_the_requests() -> None:
    async def scenario() -> None:
        async with Served() as served:
            served.asked.hold = True
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(request(b"1") + request(b"2") + request(path=b"/health", method=b"GET"))
            heard = b""
            for number in range(2):
                await served.asked.reaches(number + 1)
                await asyncio.sleep(0.05)
                assert len(served.asked.futures) == number + 1  # the next waits for this one
                served.asked.futures[number].set_result(Answer(200, b"answer %d" % number))
            while not heard.endswith(b"}"):
                heard += await reader.read(65_536)
            places = [heard.index(text) for text in (b"answer 0", b"answer 1", b'"ready":true')]
            assert places == sorted(places)
            writer.close()

    run(scenario)


def test_what_a_client_asked_for_that_has_gone_is_given_up() -> None:
    async def scenario() -> None:
        async with Served() as served:
            served.asked.hold = True
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(request(b"1"))
            await until(lambda: served.asked.futures)
            writer.close()
            await until(lambda: served.counted)
            assert served.asked.futures[0].cancelled()
            assert served.counted == {("/predict", 499, "one"): 1}
            assert (await served.say(request(path=b"/health", method=b"GET"))).startswith(b"HTTP/1.1 200 ")

    run(scenario)


def test_a_connection_that_ends_within_a_body_is_counted() -> None:
    async def scenario() -> None:
        async with Served() as served:
            _, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(request(b"x" * 50)[:-20])
            await writer.drain()
            await asyncio.sleep(0.05)
            writer.close()
            await until(lambda: served.counted)
            assert served.counted == {("/predict", 400, "one"): 1}

    run(scenario)


def test_a_server_that_ends_answers_what_was_begun_and_closes() -> None:
    async def scenario() -> None:
        async with Served() as served:
            served.asked.hold = True
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            writer.write(request(b"1"))
            await until(lambda: served.asked.futures)
            for connection in list(served.connections):
                connection.shutdown()
            served.asked.futures[0].set_result(Answer(200, b"done"))
            heard = await reader.read()
            assert heard.endswith(b"connection: close\r\n\r\ndone")
            writer.close()

    run(scenario)


@pytest.mark.parametrize("short", [True, False])
def test_a_request_that_is_on_its_way_when_the_server_ends_is_answered(short: bool) -> None:
    async def scenario() -> None:
        async with Served(short=short) as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            await until(lambda: served.connections)
            served.front.draining = True
            for connection in list(served.connections):
                connection.shutdown()
            writer.write(request(b"late"))
            heard = await reader.read()
            assert b" 504 " in heard.splitlines()[0]
            assert b"connection: close" in heard
            await until(lambda: not served.connections)
            writer.close()

    run(scenario)


def test_a_connection_over_which_nothing_comes_is_closed_when_the_server_ends() -> None:
    async def scenario() -> None:
        async with Served() as served:
            reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
            await until(lambda: served.connections)
            for connection in list(served.connections):
                connection.shutdown()
            assert await asyncio.wait_for(reader.read(), 5) == b""
            writer.close()

    run(scenario)
