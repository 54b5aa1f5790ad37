"""The ASGI application of an API process: paths, limits and keys; what needs the model goes through the pump.

It stands before LitServe's FastAPI application, which answers what is not known here (`/info`). The paths that
carry the load are plain ASGI: routing and middleware would cost more than all else that is done for a request.
"""

from __future__ import annotations

import hashlib
import hmac
import logging
import secrets
import time
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Protocol

import orjson

import mlpipe
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

_JSON = b"application/json"
_ID, _LONGEST_ID = b"x-request-id", 256
_RETRY = (b"retry-after", b"1")


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
        self._keys = [hashlib.sha256(key.encode()).digest() for key in settings.keys]
        self._admin_keys = [hashlib.sha256(key.encode()).digest() for key in (settings.admin_key or "",) if key]
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
        request_id = headers[_ID] = headers.get(_ID, b"")[:_LONGEST_ID] or secrets.token_hex(16).encode()
        slot = 0
        extra: Headers = ()
        route = find(path, self.settings.name)
        admin = scope["server"] is not None and scope["server"][1] == self.settings.admin_port
        if (refusal := self._refusal(scope, headers, path, admin=admin)) is not None:
            answer, extra = refusal
        elif route.methods and scope["method"] not in route.methods:
            answer = _sentence(405, f"This address takes {route.methods[0]}.")
            extra = ((b"allow", ", ".join(route.methods).encode()),)
        elif route.version and route.version not in self.versions:
            answer = _sentence(404, f"There is no version {route.version!r}; there are: {', '.join(self.versions)}.")
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
        await self._respond(send, answer.status, answer.body, _JSON, headers, extra)
        seconds = time.perf_counter() - started
        if self.observe is not None:
            version = self.versions[slot] if slot < len(self.versions) and route.kind is not None else ""
            self.observe(route.pattern, answer.status, seconds, version)
        if self.settings.access_log:
            self._log(scope, headers, route.pattern, answer.status, seconds)

    def _refusal(
        self, scope: Scope, headers: dict[bytes, bytes], path: str, *, admin: bool
    ) -> tuple[Answer, Headers] | None:
        """Why a request is not looked at, if it isn't."""
        if path.startswith("/admin") or admin:
            if not admin or not path.startswith("/admin"):
                return _sentence(404, "There is nothing at this address."), ()
            if not _known(headers, self._admin_keys):
                return _sentence(401, "This needs the admin key: Authorization: Bearer KEY."), (_CHALLENGE,)
            return None
        if path in HEALTH or is_page(path):
            return None
        if self._keys and not _known(headers, self._keys):
            return _sentence(401, "This needs an API key: Authorization: Bearer KEY."), (_CHALLENGE,)
        if self._limiter is not None:
            client = headers.get(b"authorization") or headers.get(b"x-api-key") or (scope["client"] or ("",))[0]
            if (seconds := self._limiter.wait(client)) > 0:
                message = f"More than {self.settings.limits.rate:g} requests per second; try again later."
                return _sentence(429, message), ((b"retry-after", b"%d" % max(1, round(seconds))),)
        return None

    def _health(self, path: str, model: str | None = None) -> tuple[Answer, Headers]:
        live = path.endswith("/live")
        ready = live or (self.pump.ready and not self.draining)
        told: dict[str, Any] = {"live" if live else "ready": ready}
        if model is not None:
            told["name"] = model
        return Answer(200 if ready else 503, orjson.dumps(told)), () if ready else (_RETRY,)

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
            if not _is_json(headers.get(b"content-type")):
                return _sentence(415, "The body has to be JSON: Content-Type: application/json."), ()
            try:
                body = await read_body(receive, headers, self.settings.limits)
            except BodyError as error:
                return _sentence(error.status, str(error)), ((b"connection", b"close"),)
        question = Question(kind, body, slot, headers[_ID])
        try:
            return await self.pump.ask(question), ()
        except OverloadedError:
            return _sentence(503, "The server is busy; try again later."), (_RETRY,)
        except DeadlineError:
            return _sentence(504, f"There was no answer within {self.settings.limits.deadline:g} s."), ()
        except WorkerLostError:
            return _sentence(502, "The process that worked on this request died; try again."), (_RETRY,)

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
        headers = [(b"content-type", media), (b"content-length", b"%d" % len(body)), (_ID, asked[_ID]), *extra]
        if self.draining:
            headers.append((b"connection", b"close"))  # the client's next request has to go elsewhere
        await send({"type": "http.response.start", "status": status, "headers": headers})
        await send({"type": "http.response.body", "body": body})

    def _log(self, scope: Scope, headers: dict[bytes, bytes], route: str, status: int, seconds: float) -> None:
        logger.info(
            "%s %s",
            scope["method"],
            route,
            extra={
                "status": status,
                "seconds": round(seconds, 6),
                "request_id": headers[_ID].decode("latin-1"),
                "client": (scope["client"] or ("",))[0],
            },
        )


_CHALLENGE = (b"www-authenticate", b"Bearer")


def _known(headers: dict[bytes, bytes], keys: list[bytes]) -> bool:
    """Whether a request has one of the keys. All are compared, each in constant time."""
    given = headers.get(b"x-api-key", b"")
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        given = token.strip()
    digest = hashlib.sha256(given).digest()
    return sum([hmac.compare_digest(digest, key) for key in keys]) > 0


def _is_json(content_type: bytes | None) -> bool:
    if content_type is None:
        return True
    media = content_type.split(b";")[0].strip().lower()
    return media == b"application/json" or (media.startswith(b"application/") and media.endswith(b"+json"))


def _sentence(status: int, detail: str) -> Answer:
    return Answer(status, orjson.dumps({"detail": detail}))
