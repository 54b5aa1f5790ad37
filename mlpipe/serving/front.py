"""The ASGI application of an API process: paths, limits and keys; what needs the model goes through the pump.

It stands before LitServe's FastAPI application, which answers what is not known here (`/info`). The paths that
carry the load are plain ASGI: routing and middleware would cost more than all else that is done for a request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, Iterable, MutableMapping
from typing import Any, Protocol

import orjson

import mlpipe
from mlpipe.serving.headers import (
    CHALLENGE,
    CLOSE,
    JSON,
    LONGEST_ID,
    REQUEST_ID,
    RETRY,
    digests,
    is_json,
    known,
    new_id,
)
from mlpipe.serving.limits import Body, BodyError, Budget, RateLimiter, read_body
from mlpipe.serving.pump import DeadlineError, OverloadedError, Pump, WorkerLostError
from mlpipe.serving.routes import HEALTH, READY, ROWS, Route, find
from mlpipe.serving.settings import Settings
from mlpipe.serving.traffic import Router
from mlpipe.serving.webpage import is_page, webpage
from mlpipe.serving.wire import Answer, Kind, Question

logger = logging.getLogger("mlpipe.serving.access")

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]
#: What a client is told, and headers that say more.
Told = tuple[Answer, Headers]
App = Callable[[Scope, Receive, Send], Awaitable[None]]


class Head:
    """What is known of a request before its body.

    Args:
        method: In capitals.
        path: Without what follows a question mark.
        headers: In order; names in lower case.
        port: To which it came.
        client: The address that it came from, or empty.

    Attributes:
        request_id: The name that the client has for it, or else a new one: it is what leads to its line in the logs,
            and to the version that answers.
        started: When the head had come, by `time.perf_counter`.
    """

    __slots__ = ("client", "headers", "method", "path", "port", "request_id", "started")

    def __init__(
        self, method: str, path: str, headers: Iterable[tuple[bytes, bytes]], port: int | None, client: str
    ) -> None:
        self.started = time.perf_counter()
        self.method, self.path, self.port, self.client = method, path, port, client
        self.headers = dict(headers)
        self.request_id = self.headers.get(REQUEST_ID, b"")[:LONGEST_ID] or new_id()


class Control(Protocol):
    """What an API process asks of the supervisor."""

    async def reload(self) -> tuple[int, dict[str, Any]]:
        """Load what the references name now; a status and what is told."""


class Front:
    """The application.

    Args:
        settings: How bundles are served.
        pump: The way to the workers.
        rest: The application that answers other paths.
        metrics: The text of `/metrics`.
        control: The way to the supervisor.
    """

    def __init__(
        self,
        settings: Settings,
        pump: Pump,
        rest: App,
        *,
        metrics: Callable[[], bytes] | None = None,
        control: Control | None = None,
        observe: Callable[[str, int, float, str], None] | None = None,
    ) -> None:
        self.settings, self.pump, self.rest = settings, pump, rest
        self.metrics, self.control, self.observe = metrics, control, observe
        self.page = webpage()
        self.draining = False
        self.versions: tuple[str, ...] = ()
        self._keys = digests(settings.keys)
        self._admin_keys = digests([key for key in (settings.admin_key or "",) if key])
        #: Of the bodies that this process holds.
        self.bodies = Budget(settings.limits.bodies // settings.api_servers)
        rate = settings.limits.rate
        self._router = Router(settings.traffic.shares)
        self._limiter = None if rate is None else RateLimiter(rate / settings.api_servers)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close"})

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        client, port = scope["client"], None if scope["server"] is None else scope["server"][1]
        head = Head(scope["method"], scope["path"], scope["headers"], port, client[0] if client else "")
        slot = 0
        extra: Headers = ()
        route = find(head.path, self.settings.name)
        if (refusal := self.refusal(head)) is not None:
            answer, extra = refusal
        elif route.methods and head.method not in route.methods:
            answer = sentence(405, f"This address takes {route.methods[0]}.")
            extra = ((b"allow", ", ".join(route.methods).encode()),)
        elif route.version and route.version not in self.versions:
            answer = sentence(404, f"There is no version {route.version!r}; there are: {', '.join(self.versions)}.")
        elif head.path in HEALTH or route.pattern == READY:
            answer, extra = self._health(head.path, self.settings.name if route.pattern == READY else None)
        elif is_page(head.path):
            await self.page(scope, receive, send)
            return
        elif route.kind is not None:
            slot = self.slot(route, head)
            answer, extra = await self._ask(route.kind, slot, head, receive)
        elif route.pattern == "/metrics" and self.metrics is not None:
            text = Answer(200, self.metrics())
            await self._respond(send, text, head, media=b"text/plain; version=1.0.0; charset=utf-8")
            return
        elif route.pattern in ("/version", "/v2", "/admin/reload"):
            answer = await self._small(route.pattern)
        else:
            await self.rest(scope, receive, send)
            return
        await self._respond(send, answer, head, extra)
        self.note(head, route, answer.status, slot)

    def note(self, head: Head, route: Route, status: int, slot: int) -> None:
        """Count a request that was answered, and log it."""
        seconds = time.perf_counter() - head.started
        if self.observe is not None:
            version = self.versions[slot] if slot < len(self.versions) and route.kind is not None else ""
            self.observe(route.pattern, status, seconds, version)
        if self.settings.access_log:
            told = {"status": status, "seconds": round(seconds, 6), "client": head.client}
            told["request_id"] = head.request_id.decode("latin-1")
            logger.info("%s %s", head.method, route.pattern, extra=told)

    def refusal(self, head: Head) -> Told | None:
        """Why a request is not looked at, if it isn't: it has no key, or its client comes too often."""
        headers, path, admin = head.headers, head.path, head.port is not None and head.port == self.settings.admin_port
        if path.startswith("/admin") or admin:
            if not admin or not path.startswith("/admin"):
                return sentence(404, "There is nothing at this address."), ()
            if known(headers, self._admin_keys) is None:
                return sentence(401, "This needs the admin key: Authorization: Bearer KEY."), (CHALLENGE,)
            return None
        if path in HEALTH or is_page(path):
            return None
        # Whoever it is, by what was checked: a header that anybody can make up would give each request a rate.
        client: bytes | str | None = head.client
        if self._keys and (client := known(headers, self._keys)) is None:
            return sentence(401, "This needs an API key: Authorization: Bearer KEY."), (CHALLENGE,)
        if self._limiter is not None and (seconds := self._limiter.wait(client)) > 0:
            message = f"More than {self.settings.limits.rate:g} requests per second; try again later."
            return sentence(429, message), ((b"retry-after", b"%d" % max(1, round(seconds))),)
        return None

    def unread(self, head: Head) -> Told | None:
        """Why a body is not read, if it isn't."""
        if not is_json(head.headers.get(b"content-type")):
            return sentence(415, "The body has to be JSON: Content-Type: application/json."), ()
        return (BUSY, (RETRY,)) if self.pump.full else None

    def slot(self, route: Route, head: Head) -> int:
        """The version that answers."""
        if route.version:
            return self.versions.index(route.version)
        return self._router(head.request_id) if route.kind in ROWS else 0

    def failed(self, error: BaseException) -> Told:
        """What is told of a request that the pump has no answer to.

        Raises:
            BaseException: The error, if the pump has no such.
        """
        match error:
            case OverloadedError():
                return BUSY, (RETRY,)
            case DeadlineError():
                return sentence(504, f"There was no answer within {self.settings.limits.deadline:g} s."), ()
            case WorkerLostError():
                return sentence(502, "The process that worked on this request died; try again."), (RETRY,)
        raise error

    def _health(self, path: str, model: str | None = None) -> tuple[Answer, Headers]:
        live = path.endswith("/live")
        ready = live or (self.pump.ready and not self.draining)
        told: dict[str, Any] = {"live" if live else "ready": ready}
        if model is not None:
            told["name"] = model
        return Answer(200 if ready else 503, orjson.dumps(told)), () if ready else (RETRY,)

    async def _ask(self, kind: Kind, slot: int, head: Head, receive: Receive) -> Told:
        """Pass a request to a worker."""
        if kind not in ROWS:
            return await self._answer(Question(kind, b"", slot, head.request_id))
        if (refusal := self.unread(head)) is not None:
            return refusal
        body = Body(self.bodies)
        try:
            content = await read_body(receive, head.headers, self.settings.limits, body)
            return await self._answer(Question(kind, content, slot, head.request_id))
        except BodyError as error:
            return (BUSY, (RETRY, CLOSE)) if error.status == 503 else (sentence(error.status, str(error)), (CLOSE,))
        finally:
            body.drop()

    async def _answer(self, question: Question) -> Told:
        try:
            return await self.pump.ask(question), ()
        except (OverloadedError, DeadlineError, WorkerLostError) as error:
            return self.failed(error)

    async def _small(self, route: str) -> Answer:
        if route == "/admin/reload":
            assert self.control is not None  # there is an admin port
            status, told = await self.control.reload()
            return Answer(status, orjson.dumps(told))
        if route == "/version":
            return Answer(200, orjson.dumps({"mlpipe": mlpipe.__version__}))
        return Answer(200, orjson.dumps({"name": "mlpipe", "version": mlpipe.__version__, "extensions": []}))

    async def _respond(
        self, send: Send, answer: Answer, head: Head, extra: Headers = (), *, media: bytes = JSON
    ) -> None:
        length = b"%d" % len(answer.body)
        headers = [(b"content-type", media), (b"content-length", length), (REQUEST_ID, head.request_id), *extra]
        if self.draining:
            headers.append(CLOSE)  # the client's next request has to go elsewhere
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})


def sentence(status: int, detail: str) -> Answer:
    """An answer that says one thing."""
    return Answer(status, orjson.dumps({"detail": detail}))


BUSY = sentence(503, "The server is busy; try again later.")
