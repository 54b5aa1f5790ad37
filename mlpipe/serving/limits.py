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


class Budget:
    """Bytes that requests hold together: bodies that are coming, that wait, and that are worked on.

    The number of requests says little of it, since bodies may be as long as a file or as short as a row.

    Args:
        most: Of all together. One request may hold more where there is no other.

    Examples:
        >>> budget = Budget(100)
        >>> budget.take(70), budget.take(40), budget.take(30), budget.held
        (True, False, True, 100)
        >>> budget.give(100)
        >>> budget.take(170), budget.take(1)
        (True, False)
    """

    def __init__(self, most: int) -> None:
        self.most = most
        self.held = 0

    def take(self, size: int, own: int = 0) -> bool:
        """Whether there is room for so many bytes more, which are held from now on if there is.

        Args:
            size: The bytes.
            own: What their request holds already.
        """
        if self.held + size > self.most and self.held > own:
            return False
        self.held += size
        return True

    def give(self, size: int) -> None:
        """Let go of bytes that were taken."""
        self.held -= size


class Body:
    """What has come of a request's body, within a budget.

    Args:
        budget: Of all requests.
    """

    __slots__ = ("_budget", "_parts", "size")

    def __init__(self, budget: Budget) -> None:
        self._budget = budget
        self._parts: list[bytes] = []
        self.size = 0

    def add(self, part: bytes) -> bool:
        """Whether there is room for a part, which is kept if there is."""
        if not self._budget.take(len(part), self.size):
            return False
        self._parts.append(part)
        self.size += len(part)
        return True

    def whole(self) -> bytes:
        """All that has come."""
        return self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)

    def drop(self) -> None:
        """Hold nothing any more."""
        self._budget.give(self.size)
        self._parts, self.size = [], 0


async def read_body(receive: Receive, headers: Mapping[bytes, bytes], limits: Limits, body: Body) -> bytes:
    """A request's body.

    Args:
        receive: ASGI's.
        headers: Of the request.
        limits: How long it may be, and how long it may take.
        body: Holds it, until whoever calls drops it.

    Raises:
        BodyError: It is too long (413), too slow (408), or was broken off (400), or there is no room for it (503).
    """
    declared = headers.get(b"content-length", b"0")
    if declared.isdigit() and int(declared) > limits.body:
        raise _too_long(limits)
    try:
        return await asyncio.wait_for(_whole(receive, limits, body), limits.body_seconds)
    except TimeoutError:
        raise BodyError(408, f"The body did not arrive within {limits.body_seconds:g} s.") from None


async def _whole(receive: Receive, limits: Limits, body: Body) -> bytes:
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            raise BodyError(400, "The body was broken off.")
        part = message.get("body", b"")
        if body.size + len(part) > limits.body:
            raise _too_long(limits)
        if not body.add(part):
            raise BodyError(503, "There is no room for the body.")
        if not message.get("more_body", False):
            return body.whole()


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
