"""The ASGI application of an API process: paths, limits and keys; what needs the model goes through the pump.

It stands before LitServe's FastAPI application, which answers what is not known here (`/info`). The paths that
carry the load are plain ASGI: routing and middleware would cost more than all else that is done for a request.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import orjson

import mlpipe
from mlpipe.serving.headers import CHALLENGE, JSON, LONGEST_ID, REQUEST_ID, RETRY, digests, is_json, known, new_id
from mlpipe.serving.limits import BodyError, RateLimiter, read_body
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
App = Callable[[Scope, Receive, Send], Awaitable[None]]


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
        self.keys = digests(settings.keys)
        self._admin_keys = digests([key for key in (settings.admin_key or "",) if key])
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
        started = time.perf_counter()
        path = scope["path"]
        headers = dict(scope["headers"])
        # Every request has an id: it is what leads to its line in the logs, and to the version that answers.
        request_id = headers[REQUEST_ID] = headers.get(REQUEST_ID, b"")[:LONGEST_ID] or new_id()
        slot = 0
        extra: Headers = ()
        route = find(path, self.settings.name)
        admin = scope["server"] is not None and scope["server"][1] == self.settings.admin_port
        if (refusal := self._refusal(scope, headers, path, admin=admin)) is not None:
            answer, extra = refusal
        elif route.methods and scope["method"] not in route.methods:
            answer = sentence(405, f"This address takes {route.methods[0]}.")
            extra = ((b"allow", ", ".join(route.methods).encode()),)
        elif route.version and route.version not in self.versions:
            answer = sentence(404, f"There is no version {route.version!r}; there are: {', '.join(self.versions)}.")
        elif path in HEALTH or route.pattern == READY:
            answer, extra = self._health(path, self.settings.name if route.pattern == READY else None)
        elif is_page(path):
            await self.page(scope, receive, send)
            return
        elif route.kind is not None:
            slot = self._slot(route, request_id)
            answer, extra = await self._ask(route.kind, slot, headers, receive)
        elif route.pattern == "/metrics" and self.metrics is not None:
            await self._respond(send, 200, self.metrics(), b"text/plain; version=1.0.0; charset=utf-8", headers)
            return
        elif route.pattern in ("/version", "/v2", "/admin/reload"):
            answer = await self._small(route.pattern)
        else:
            await self.rest(scope, receive, send)
            return
        await self._respond(send, answer.status, answer.body, JSON, headers, extra)
        version = self.versions[slot] if slot < len(self.versions) and route.kind is not None else ""
        client = (scope["client"] or ("",))[0]
        self.note(scope["method"], route.pattern, answer.status, started, request_id, client, version)

    @property
    def full(self) -> bool:
        """Whether as many requests wait as may."""
        return self.pump.held >= self.pump.queue

    def note(
        self, method: str, route: str, status: int, started: float, request_id: bytes, client: str, version: str = ""
    ) -> None:
        """Count a request that was answered, and log it."""
        seconds = time.perf_counter() - started
        if self.observe is not None:
            self.observe(route, status, seconds, version)
        if self.settings.access_log:
            told = {
                "status": status,
                "seconds": round(seconds, 6),
                "request_id": request_id.decode("latin-1"),
                "client": client,
            }
            logger.info("%s %s", method, route, extra=told)

    def _refusal(
        self, scope: Scope, headers: dict[bytes, bytes], path: str, *, admin: bool
    ) -> tuple[Answer, Headers] | None:
        """Why a request is not looked at, if it isn't."""
        if path.startswith("/admin") or admin:
            if not admin or not path.startswith("/admin"):
                return sentence(404, "There is nothing at this address."), ()
            if not known(headers, self._admin_keys):
                return sentence(401, "This needs the admin key: Authorization: Bearer KEY."), (CHALLENGE,)
            return None
        if path in HEALTH or is_page(path):
            return None
        if self.keys and not known(headers, self.keys):
            return sentence(401, "This needs an API key: Authorization: Bearer KEY."), (CHALLENGE,)
        if self._limiter is not None:
            client = headers.get(b"authorization") or headers.get(b"x-api-key") or (scope["client"] or ("",))[0]
            if (seconds := self._limiter.wait(client)) > 0:
                message = f"More than {self.settings.limits.rate:g} requests per second; try again later."
                return sentence(429, message), ((b"retry-after", b"%d" % max(1, round(seconds))),)
        return None

    def _health(self, path: str, model: str | None = None) -> tuple[Answer, Headers]:
        live = path.endswith("/live")
        ready = live or (self.pump.ready and not self.draining)
        told: dict[str, Any] = {"live" if live else "ready": ready}
        if model is not None:
            told["name"] = model
        return Answer(200 if ready else 503, orjson.dumps(told)), () if ready else (RETRY,)

    def _slot(self, route: Route, request_id: bytes) -> int:
        """The version that answers."""
        if route.version:
            return self.versions.index(route.version)
        return self._router(request_id) if route.kind in ROWS else 0

    async def _ask(
        self, kind: Kind, slot: int, headers: dict[bytes, bytes], receive: Receive
    ) -> tuple[Answer, Headers]:
        """Pass a request to a worker."""
        body = b""
        if kind in ROWS:
            if not is_json(headers.get(b"content-type")):
                return sentence(415, "The body has to be JSON: Content-Type: application/json."), ()
            try:
                body = await read_body(receive, headers, self.settings.limits)
            except BodyError as error:
                return sentence(error.status, str(error)), ((b"connection", b"close"),)
        question = Question(kind, body, slot, headers[REQUEST_ID])
        try:
            return await self.pump.ask(question), ()
        except OverloadedError:
            return BUSY, (RETRY,)
        except DeadlineError:
            return sentence(504, f"There was no answer within {self.settings.limits.deadline:g} s."), ()
        except WorkerLostError:
            return sentence(502, "The process that worked on this request died; try again."), (RETRY,)

    async def _small(self, route: str) -> Answer:
        if route == "/admin/reload":
            assert self.control is not None  # there is an admin port
            status, told = await self.control.reload()
            return Answer(status, orjson.dumps(told))
        if route == "/version":
            return Answer(200, orjson.dumps({"mlpipe": mlpipe.__version__}))
        return Answer(200, orjson.dumps({"name": "mlpipe", "version": mlpipe.__version__, "extensions": []}))

    async def _respond(
        self,
        send: Send,
        status: int,
        body: bytes,
        media: bytes,
        asked: dict[bytes, bytes],
        extra: Headers = (),
    ) -> None:
        headers = [
            (b"content-type", media),
            (b"content-length", b"%d" % len(body)),
            (REQUEST_ID, asked[REQUEST_ID]),
            *extra,
        ]
        if self.draining:
            headers.append((b"connection", b"close"))  # the client's next request has to go elsewhere
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})


def sentence(status: int, detail: str) -> Answer:
    """An answer that says one thing."""
    return Answer(status, orjson.dumps({"detail": detail}))


BUSY = sentence(503, "The server is busy; try again later.")
