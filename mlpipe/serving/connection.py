"""One HTTP connection: uvicorn's protocol, with an end for what is slow and a short way for what carries the load.

The way through ASGI costs most of what HTTP costs at all: a task, a cycle with its events, four coroutines and as many
messages, and a system call each for the head and the body of an answer. A server that is asked for more than it can do
feels that most: what it turns away takes from what it answers. So requests for predictions go from the parser's
callbacks to the pump, and from there back to the socket; one that is refused is refused by its head, and its body goes
by unread. `Front` decides in both cases, and counts and logs what was answered.

Whatever is not plain (chunks, HTTP/1.0, `Expect`, a second request before the first is answered, a long body, a client
that is slow to take its answers) goes through `Front`, as does all that is for no prediction.
"""

from __future__ import annotations

import asyncio
import re
from functools import partial
from typing import ClassVar
from urllib.parse import quote

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mlpipe.serving.backpressure import Backpressure
from mlpipe.serving.front import BUSY, Front, Head, Told, sentence
from mlpipe.serving.headers import CLOSE, JSON, LONGEST_ID, REQUEST_ID, RETRY
from mlpipe.serving.limits import Body
from mlpipe.serving.pump import OverloadedError
from mlpipe.serving.routes import Route, find
from mlpipe.serving.turnstile import Turnstile
from mlpipe.serving.wire import Answer, Question

_PLAIN_ID = re.compile(rb"[\x21-\x7e]{1,%d}" % LONGEST_ID).fullmatch
#: The client has gone before it was answered: nginx's number for it.
_CLIENT_GONE = 499
#: What a client that has just connected has to send its request, when the server ends.
_LAST_REQUEST_SECONDS = 0.25


class Plain:
    """A request on the short way. Uvicorn asks it what it would ask a cycle of its own.

    Args:
        head: Of the request.
        route: What its path means.
        slot: The version that answers.
        refusal: What the client is told once the body has gone by; None: the body is read.
        body: What has come of it.
    """

    #: Nobody waits for it.
    message_event: ClassVar = asyncio.Event()
    __slots__ = (
        *("body", "disconnected", "future", "head", "keep_alive", "refusal", "response_complete", "route", "slot"),
    )

    def __init__(self, head: Head, route: Route, slot: int, refusal: Told | None, body: Body) -> None:
        self.head, self.route, self.slot, self.refusal, self.body = head, route, slot, refusal, body
        self.future: asyncio.Future[Answer] | None = None
        self.keep_alive, self.disconnected, self.response_complete = True, False, False


class Connection(HttpToolsProtocol):
    """See the module; `protocol` gives it these.

    Attributes:
        front: The application.
        routes: What may go the short way, by the target of its request.
        turnstile: What is refused by its bytes.
        backpressure: Holds those that were refused.
    """

    front: Front
    routes: dict[bytes, Route]
    turnstile: Turnstile
    backpressure: Backpressure

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's
        """A client is there; it has so long to begin."""
        super().connection_made(transport)
        #: The request whose body is coming, and the one that is not answered yet, on the short way.
        self._reading: Plain | None = None
        self._asked: Plain | None = None
        self._timer = self.loop.call_later(self.front.settings.limits.head_seconds, self._give_up)
        #: Whether a request has come in part, and its head in whole; when one was last refused by its bytes.
        self._begun, self._headed, self._refused = False, False, 0.0
        self._public = self.server is None or self.server[1] != self.front.settings.admin_port

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone; what it asked for need not be worked on."""
        self._timer.cancel()
        if self._reading is not None:
            self._finish(self._reading, 400)
        if self._asked is not None and self._asked.future is not None:
            self._asked.future.cancel()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        if self.front.pump.full and self._is_idle() and (answer := self.turnstile.refuse(data)) is not None:
            self.transport.write(answer)
            self.backpressure.hold(self)
            self._timer.cancel()
            self._refused = self.loop.time()
            if self.timeout_keep_alive_task is None:
                self._wait_for_more(self.timeout_keep_alive)
            return
        super().data_received(data)
        if self._begun and self._timer.cancelled():  # most requests come in one piece
            limits = self.front.settings.limits
            if not self._headed:
                self._timer = self.loop.call_later(limits.head_seconds, self._give_up)
            else:
                self._timer = self.loop.call_later(limits.body_seconds, self._body_is_late)

    def shutdown(self) -> None:
        """The server ends: what was begun is answered, and so is what comes over an idle connection right now.

        A connection that was accepted a moment ago looks idle, though its request is on the way or in the socket;
        closing it at once would reset it.
        """
        self.go_on_reading()
        if self.cycle is None or self.cycle.response_complete:
            self.loop.call_later(_LAST_REQUEST_SECONDS, super().shutdown)
        else:
            super().shutdown()

    def stop_reading(self) -> None:
        """What comes waits in the socket."""
        self.transport.pause_reading()

    def go_on_reading(self) -> None:
        """What waits in the socket is read, unless there is more to answer first."""
        if not self.flow.read_paused and not self.transport.is_closing():
            self.transport.resume_reading()

    def timeout_keep_alive_handler(self) -> None:
        """Nothing has come for long, or what came was refused by its bytes, which sets no timer back."""
        left = self._refused + self.timeout_keep_alive - self.loop.time()
        if left > 0:
            self._wait_for_more(left)
        else:
            super().timeout_keep_alive_handler()

    def on_message_begin(self) -> None:
        """The first byte of a request has come."""
        self._begun, self._headed = True, False
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """A request's head has come."""
        self._headed = True
        self._timer.cancel()
        if self.cycle is not None and self.transport.is_closing():
            return  # the answer before was the last one
        self._reading = self._plain()
        if self._reading is None:
            super().on_headers_complete()
        else:
            self.cycle = self._reading  # type: ignore[assignment]  # stands for one

    def on_body(self, body: bytes) -> None:
        """A part of a body has come."""
        if self._reading is None:
            super().on_body(body)
        elif self._reading.refusal is None and not self._reading.body.add(body):
            self._reading.body.drop()
            self._reading.refusal = BUSY, (RETRY,)

    def on_message_complete(self) -> None:
        """A request has come to its end."""
        self._begun = False
        self._timer.cancel()
        plain, self._reading = self._reading, None
        if plain is None:
            super().on_message_complete()
            return
        if plain.refusal is not None:
            self._respond(plain, *plain.refusal)
            return
        kind = plain.route.kind
        assert kind is not None  # of all `routes`
        try:
            plain.future = self.front.pump.put(Question(kind, plain.body.whole(), plain.slot, plain.head.request_id))
        except OverloadedError as error:  # it has filled while the body came
            self._respond(plain, *self.front.failed(error))
            return
        self._asked = plain
        plain.future.add_done_callback(partial(self._answered, plain))

    def _is_idle(self) -> bool:
        """Whether the next byte begins a request, and its answer is the next one."""
        if self._begun or not self._public or self.flow.write_paused or self.transport.is_closing():
            return False
        return self.cycle is None or self.cycle.response_complete

    def _wait_for_more(self, seconds: float) -> None:
        self.timeout_keep_alive_task = self.loop.call_later(seconds, self.timeout_keep_alive_handler)

    def _plain(self) -> Plain | None:
        """A request that can go the short way."""
        route, parser, cycle = self.routes.get(self.url), self.parser, self.cycle
        if (
            route is None
            or parser.get_method() != b"POST"
            or parser.get_http_version() != "1.1"
            or not parser.should_keep_alive()
            or parser.should_upgrade()
            or self.expect_100_continue
            or self.flow.write_paused
            or (cycle is not None and not cycle.response_complete)
        ):
            return None
        port = None if self.server is None else self.server[1]
        head = Head("POST", self.url.decode(), self.headers, port, self.client[0] if self.client else "")
        length = head.headers.get(b"content-length", b"")
        if not length.isdigit() or int(length) > self.front.settings.limits.body:
            return None
        if b"transfer-encoding" in head.headers or not _PLAIN_ID(head.request_id):
            return None
        slot = 0
        if (refusal := self.front.refusal(head)) is None:
            slot, refusal = self.front.slot(route, head), self.front.unread(head)
        return Plain(head, route, slot, refusal, Body(self.front.bodies))

    def _answered(self, plain: Plain, future: asyncio.Future[Answer]) -> None:
        if future.cancelled():
            self._finish(plain, _CLIENT_GONE)
        elif (error := future.exception()) is not None:
            self._respond(plain, *self.front.failed(error))
        else:
            self._respond(plain, future.result())

    def _respond(self, plain: Plain, answer: Answer, extra: tuple[tuple[bytes, bytes], ...] = ()) -> None:
        """Answer a request, in one piece."""
        if self.front.draining or not plain.keep_alive:
            extra = (*extra, CLOSE)
        length = b"%d" % len(answer.body)
        headers = ((b"content-type", JSON), (b"content-length", length), (REQUEST_ID, plain.head.request_id), *extra)
        lines = b"".join([b"%s: %s\r\n" % header for header in headers])
        if not self.transport.is_closing():
            self.transport.write(b"%s%s\r\n%s" % (STATUS_LINE[answer.status], lines, answer.body))
        self._finish(plain, answer.status)
        if CLOSE in extra:
            self.transport.close()
        elif answer is BUSY:
            self.backpressure.hold(self)
        self.on_response_complete()

    def _finish(self, plain: Plain, status: int) -> None:
        plain.response_complete = True
        plain.body.drop()
        self._reading = self._asked = None
        self.front.note(plain.head, plain.route, status, plain.slot)

    def _body_is_late(self) -> None:
        """On the short way it is told so; `read_body` does the same on the long one, if anyone reads the body there."""
        if self._reading is not None:
            seconds = self.front.settings.limits.body_seconds
            self._respond(self._reading, sentence(408, f"The body did not arrive within {seconds:g} s."), (CLOSE,))
        elif self.cycle is None or self.cycle.response_complete:
            self._give_up()

    def _give_up(self) -> None:
        if self.cycle is not None and not self.cycle.response_complete:  # the answer before comes first
            self._timer = self.loop.call_later(self.front.settings.limits.head_seconds, self._give_up)
        elif not self.transport.is_closing():
            self.transport.close()


def protocol(front: Front) -> type[HttpToolsProtocol]:
    """The class of a server's connections."""
    name = front.settings.name

    class Bound(Connection):
        """`Connection` with the application that it belongs to."""

    paths = ["/predict", "/invocations"]
    if quote(name) == name:  # targets are compared as they come
        paths.append(f"/v2/models/{name}/infer")
    Bound.front, Bound.routes = front, {path.encode(): find(path, name) for path in paths}
    Bound.turnstile = Turnstile(front, Bound.routes)
    Bound.backpressure = Backpressure(lambda: front.pump.room)
    return Bound
