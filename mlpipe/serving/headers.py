"""What requests say in their headers, and answers in theirs."""

from __future__ import annotations

import hashlib
import hmac
import random
from collections.abc import Mapping, Sequence

JSON = b"application/json"
REQUEST_ID = b"x-request-id"
#: Of the ids that clients choose.
LONGEST_ID = 256
RETRY = (b"retry-after", b"1")
CLOSE = (b"connection", b"close")
CHALLENGE = (b"www-authenticate", b"Bearer")


def digests(keys: Sequence[str]) -> list[bytes]:
    """What is kept of keys."""
    return [hashlib.sha256(key.encode()).digest() for key in keys]


def known(headers: Mapping[bytes, bytes], keys: Sequence[bytes]) -> bytes | None:
    """The digest of the key that a request has, if it is one of these. All are compared, each in constant time."""
    given = headers.get(b"x-api-key", b"")
    scheme, _, token = headers.get(b"authorization", b"").partition(b" ")
    if scheme.lower() == b"bearer":
        given = token.strip()
    digest = hashlib.sha256(given).digest()
    return digest if sum([hmac.compare_digest(digest, key) for key in keys]) else None


def is_json(content_type: bytes | None) -> bool:
    """Whether a body is JSON, which it is as well if nothing is said of it.

    Examples:
        >>> [is_json(media) for media in (None, b"application/json; charset=utf-8", b"text/csv")]
        [True, True, False]
    """
    if content_type is None or content_type == JSON:
        return True
    media = content_type.split(b";")[0].strip().lower()
    return media == JSON or (media.startswith(b"application/") and media.endswith(b"+json"))


def new_id() -> bytes:
    """An id for a request that has none. It is to be another each time, and is no secret."""
    return b"%032x" % random.getrandbits(128)
