"""Requests that are refused by one look at their bytes, while as many wait as may.

At five times what a server can do, four of five requests are refused, and what that costs is what the fifth lacks. Even
HTTP's parser costs some ten calls into Python for each request. So one regular expression looks for what nearly all
requests of a flood are: whole, for predictions, with a length and no header that would change what is done. Anything
else is for the parser, which has the last word on what HTTP is.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping

from mlpipe.serving.front import BUSY, Front
from mlpipe.serving.headers import JSON, REQUEST_ID, RETRY, new_id
from mlpipe.serving.routes import Route

#: Headers that say how a request is to be read, or who it is from, or what is to be in its answer.
_MATTERS = rb"content-length|content-type|transfer-encoding|connection|expect|upgrade|x-request-id"
_OTHER = rb"(?!(?:%s):)[!#$%%&'*+.^_`|~0-9a-z-]+:[\t\x20-\x7e]*\r\n" % _MATTERS
_WHOLE = (
    rb"(?i:"
    rb"(?:%(other)s|content-type:[ \t]*application/json\r\n)*"
    rb"content-length:[ \t]*([0-9]{1,8})\r\n"
    rb"(?:%(other)s|content-type:[ \t]*application/json\r\n)*"
    rb")\r\n"
) % {b"other": _OTHER}


class Turnstile:
    """Looks at requests.

    Args:
        front: The application that would refuse them.
        routes: What may be refused, by the target of its request.
    """

    def __init__(self, front: Front, routes: Mapping[bytes, Route]) -> None:
        settings = front.settings
        self._front, self._routes, self._longest = front, routes, settings.limits.body
        # Whose clients are known, counted or told apart have their requests read.
        plain = not settings.keys and settings.limits.rate is None and not settings.access_log
        self._open = plain and not settings.traffic.shares and bool(routes)
        targets = b"|".join(map(re.escape, routes))
        self._whole = re.compile(rb"POST (%s) HTTP/1\.1\r\n" % targets + _WHOLE).match

    def refuse(self, data: bytes) -> bytes | None:
        """The answer to a request that is refused, which is counted, or None.

        Args:
            data: What has come over a connection on which nothing is begun and nothing unanswered.
        """
        front = self._front
        if not self._open or not front.pump.full or front.draining:
            return None
        started = time.perf_counter()
        found = self._whole(data)
        if found is None:
            return None
        length = int(found[2])
        if length > self._longest or found.end() + length != len(data):
            return None
        if front.observe is not None:
            version = front.versions[0] if front.versions else ""
            front.observe(self._routes[found[1]].pattern, 503, time.perf_counter() - started, version)
        return _BEFORE_ID + new_id() + _AFTER_ID


_BEFORE_ID = b"HTTP/1.1 503 Service Unavailable\r\ncontent-type: %s\r\ncontent-length: %d\r\n%s: " % (
    JSON,
    len(BUSY.body),
    REQUEST_ID,
)
_AFTER_ID = b"\r\n%s: %s\r\n\r\n%s" % (*RETRY, BUSY.body)
