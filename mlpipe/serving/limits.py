"""What a client may send, how long it may take, and how often it may come."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, MutableMapping
from typing import Any

from mlpipe.serving.settings import Limits

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]

#: Clients whose allowance is remembered; it is full again for those that are not.
_MOST_CLIENTS = 10_000


class BodyError(Exception):
    """A body that is not read to its end.

    Attributes:
        status: The HTTP status that says why.
    """

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limits: Limits) -> bytes:
    """A request's body.

    Args:
        receive: ASGI's.
        headers: Of the request.
        limits: How long it may be, and how long it may take.

    Raises:
        BodyError: It is too long (413), too slow (408), or was broken off (400).
    """
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limits.body:
        raise _too_long(limits)
    try:
        return await asyncio.wait_for(_whole(receive, limits), limits.body_seconds)
    except TimeoutError:
        raise BodyError(408, f"The body did not arrive within {limits.body_seconds:g} s.") from None


async def _whole(receive: Receive, limits: Limits) -> bytes:
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyError(400, "The body was broken off.")
        parts.append(message.get("body", b""))
        size += len(parts[-1])
        if size > limits.body:
            raise _too_long(limits)
        if not message.get("more_body", False):
            return b"".join(parts)


def _too_long(limits: Limits) -> BodyError:
    return BodyError(413, f"The body is longer than {limits.body:,} bytes.")


class RateLimiter:
    """A bucket of requests for each client, which fills at a fixed rate and holds those of one second.

    Args:
        rate: Requests per second.

    Examples:
        >>> limiter = RateLimiter(2.0)
        >>> [limiter.wait("a", now=1.0) for _ in range(3)], limiter.wait("b", now=1.0)
        ([0.0, 0.0, 0.5], 0.0)
    """

    def __init__(self, rate: float) -> None:
        self.rate = rate
        self._most = max(1.0, rate)
        self._buckets: dict[object, tuple[float, float]] = {}

    def wait(self, client: object, now: float | None = None) -> float:
        """Seconds until a client's next request is welcome; 0 counts this one."""
        now = time.monotonic() if now is None else now
        left, since = self._buckets.pop(client, (self._most, now))
        left = min(self._most, left + (now - since) * self.rate)
        allowed = left >= 1
        # Behind the others, so that the first are those who have not come for longest.
        self._buckets[client] = (left - 1 if allowed else left, now)
        if len(self._buckets) > _MOST_CLIENTS:
            del self._buckets[next(iter(self._buckets))]
        return 0.0 if allowed else (1 - left) / self.rate
