"""Telling a running server to read its bundle again."""

from __future__ import annotations

import json
import urllib.error
import urllib.parse
import urllib.request
from http.client import HTTPException, HTTPMessage
from typing import IO, Any

from mlpipe.errors import ConfigError

#: A server reads, checks and tries the bundle in every worker before it answers.
PATIENCE_SECONDS = 300.0

_PATH = "/admin/reload"


class ReloadError(Exception):
    """The server did not swap; the message says why."""


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """The key is for this server and no other."""

    def redirect_request(
        self, req: urllib.request.Request, fp: IO[bytes], code: int, msg: str, headers: HTTPMessage, newurl: str
    ) -> None:
        """Follow nothing: the redirect then is an error like any other status."""


def check_address(url: str) -> str:
    """The address of a server, without a slash at its end.

    Raises:
        ConfigError: It is none.

    Examples:
        >>> check_address("http://127.0.0.1:8001/")
        'http://127.0.0.1:8001'
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.netloc or parts.query or parts.fragment:
        raise ConfigError(f"--server {url!r} is no address of a server, such as http://127.0.0.1:8001.")
    return url.rstrip("/")


def reload_server(url: str, key: str, patience: float = PATIENCE_SECONDS) -> str:
    """Let a server read its bundle again, and wait until it has.

    Args:
        url: Where its `/admin` is.
        key: Its admin key.
        patience: Seconds to wait for an answer.

    Returns:
        The version that it now answers with.

    Raises:
        ReloadError: It cannot be reached, or goes on with what it had.
    """
    address = f"{url}{_PATH}"
    request = urllib.request.Request(  # noqa: S310  # http or https, as `check_address` sees to
        address, data=b"", method="POST", headers={"Authorization": f"Bearer {key}"}
    )
    # No proxy: it would get to see the key.
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}), _NoRedirect())
    try:
        with opener.open(request, timeout=patience) as response:
            status, body = response.status, response.read()
    except urllib.error.HTTPError as error:
        with error:
            status, body = error.code, error.read()
    except (OSError, HTTPException) as error:
        raise ReloadError(f"{address} cannot be reached ({getattr(error, 'reason', None) or error})") from error
    answer = _parse(body)
    if status == 200 and "version" in answer:
        return str(answer["version"])
    raise ReloadError(f"{address} answered {status}: {answer.get('detail', 'it gave no reason')}")


def _parse(body: bytes) -> dict[str, Any]:
    try:
        values = json.loads(body)
    except ValueError:
        return {}
    return values if isinstance(values, dict) else {}
