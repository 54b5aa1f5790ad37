"""One HTTP connection: uvicorn's protocol, with an end for what is slow to begin and a short way for what is refused.

A server that is asked for more than it can do should go on doing what it can. So whatever it turns away has to cost
next to nothing, and the way through ASGI costs most of what HTTP costs at all: a task, a cycle with its events, two
coroutines and four messages. A request for predictions that comes while as many wait as may is therefore answered by
the parser's callbacks, as soon as its body has gone by. It is answered, counted and logged as `Front` would have done
it; whatever is not plain (a second request behind one that is not answered, chunks, a key that is wrong, a server that
drains) takes the way through `Front`.
"""

from __future__ import annotations

import asyncio
import re
import time
from dataclasses import dataclass

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from mlpipe.serving.front import BUSY, Front, sentence
from mlpipe.serving.headers import JSON, LONGEST_ID, REQUEST_ID, RETRY, is_json, known, new_id
from mlpipe.serving.routes import find
from mlpipe.serving.wire import Answer

_PLAIN_ID = re.compile(rb"[\x21-\x7e]{1,%d}" % LONGEST_ID).fullmatch


@dataclass(frozen=True, slots=True)
class Refused:
    """A request that is turned away by its head alone.

    Attributes:
        route: The pattern of its path.
        request_id: Its name.
        started: When its head had come, by `time.perf_counter`.
    """

    route: str
    request_id: bytes
    started: float


class Connection(HttpToolsProtocol):
    """See the module; `protocol` gives it these.

    Attributes:
        front: The application.
        targets: Of requests that may be turned away by their head, and the patterns of their paths.
    """

    front: Front
    targets: dict[bytes, str]

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # uvicorn's
        """A client is there; it has so long to begin."""
        super().connection_made(transport)
        #: The request that is turned away as soon as its body has gone by.
        self._refused: Refused | None = None
        self._timer = self.loop.call_later(self.front.settings.limits.head_seconds, self._give_up)

    def connection_lost(self, exc: Exception | None) -> None:
        """The client is gone."""
        self._timer.cancel()
        if self._refused is not None:
            self._note(self._refused, 400)
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Bytes have come."""
        super().data_received(data)
        if self._refused is not None and self._timer.cancelled():  # most bodies come with their head
            self._timer = self.loop.call_later(self.front.settings.limits.body_seconds, self._body_is_late)

    def on_headers_complete(self) -> None:
        """A request's head has come."""
        self._timer.cancel()
        if self.front.full and self._is_plain():
            self._refused = self._refuse()
        if self._refused is None:
            super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        """A part of a body has come."""
        if self._refused is None:
            super().on_body(body)

    def on_message_complete(self) -> None:
        """A request has come to its end."""
        if self._refused is None:
            super().on_message_complete()
        else:
            self._timer.cancel()
            self._turn_away(self._refused, BUSY)

    def shutdown(self) -> None:
        """The server ends."""
        if self._refused is not None:
            self._turn_away(self._refused, BUSY, last=True)
        super().shutdown()

    def _is_plain(self) -> bool:
        """Whether nothing but an answer is expected, and nothing has to be answered before."""
        parser, cycle = self.parser, self.cycle
        return (
            (cycle is None or cycle.response_complete)
            and parser.get_method() == b"POST"
            and parser.get_http_version() == "1.1"
            and parser.should_keep_alive()
            and not parser.should_upgrade()
            and not self.expect_100_continue
        )

    def _refuse(self) -> Refused | None:
        """Look at a head while the server is full. None: the application has to, and may refuse it for more."""
        front, settings = self.front, self.front.settings
        route = self.targets.get(self.url)
        if route is None or front.draining or settings.limits.rate is not None:
            return None
        if self.server is not None and self.server[1] == settings.admin_port:
            return None
        headers = dict(self.headers)
        length, request_id = headers.get(b"content-length", b""), headers.get(REQUEST_ID, b"")
        if not length.isdigit() or int(length) > settings.limits.body or b"transfer-encoding" in headers:
            return None
        if not is_json(headers.get(b"content-type")) or (request_id and not _PLAIN_ID(request_id)):
            return None
        if front.keys and not known(headers, front.keys):
            return None
        return Refused(route, request_id or new_id(), time.perf_counter())

    def _turn_away(self, refused: Refused, answer: Answer, *, last: bool = False) -> None:
        self._refused = None
        name, value = RETRY
        head = (
            b"%scontent-type: %s\r\ncontent-length: %d\r\n%s: %s\r\n%s: %s\r\n%s\r\n"
            % (STATUS_LINE[answer.status], JSON, len(answer.body), REQUEST_ID, refused.request_id, name, value,
               b"connection: close\r\n" if last else b"")
        )  # fmt: skip
        self.transport.write(head + answer.body)
        self._note(refused, answer.status)
        if last:
            self.transport.close()
        else:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )

    def _note(self, refused: Refused, status: int) -> None:
        client = self.client[0] if self.client else ""
        self.front.note("POST", refused.route, status, refused.started, refused.request_id, client)

    def _body_is_late(self) -> None:
        if self._refused is not None:
            seconds = self.front.settings.limits.body_seconds
            late = sentence(408, f"The body did not arrive within {seconds:g} s.")
            self._turn_away(self._refused, late, last=True)

    def _give_up(self) -> None:
        if not self.transport.is_closing():
            self.transport.close()


def protocol(front: Front) -> type[HttpToolsProtocol]:
    """The class of a server's connections."""

    class Bound(Connection):
        """`Connection` with the application that it belongs to."""

    paths = ("/predict", "/invocations", f"/v2/models/{front.settings.name}/infer")
    Bound.front, Bound.targets = front, {path.encode(): find(path, front.settings.name).pattern for path in paths}
    return Bound
