"""The web page at `/`: the files of `mlpipe/serving/page`, and the headers that keep a browser to them.

The files are the same for every bundle and need no key. What is shown comes from `/openapi.json`, which does: the
form from the schema of a row, the card from the description, the API from the paths. So the page says nothing that
other clients are not told, and no name of a column or class is ever put into HTML on the way.
"""

from __future__ import annotations

from pathlib import Path

from starlette.applications import Starlette
from starlette.datastructures import MutableHeaders
from starlette.requests import Request
from starlette.responses import RedirectResponse, Response
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Message, Receive, Scope, Send

FILES = Path(__file__).with_name("page")
_FILES = StaticFiles(directory=FILES)
#: Nothing but the server's own files and answers, no script in markup, no frame; and in browsers that know Trusted
#: Types, no text that becomes markup.
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'; require-trusted-types-for 'script'"
)
HEADERS = {
    "content-security-policy": POLICY,
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    # Kept, but asked for anew each time: another version of mlpipe may answer by now.
    "cache-control": "no-cache",
}


def is_page(path: str) -> bool:
    """Whether a path belongs to the page; such paths are answered without a key.

    Examples:
        >>> [is_page(path) for path in ("/", "/docs", "/page/app.js", "/predict", "/page")]
        [True, True, True, False, False]
    """
    return path in ("/", "/docs") or path.startswith("/page/")


def webpage() -> Starlette:
    """The application that answers them."""
    routes = [Route("/", _index), Route("/docs", _docs), Mount("/page", _FILES)]
    application = Starlette(routes=routes)
    application.add_middleware(_Headers)
    return application


async def _index(request: Request) -> Response:
    return await _FILES.get_response("index.html", request.scope)


async def _docs(_: Request) -> Response:
    # Relative, so that it holds behind a proxy that puts something before the path.
    return RedirectResponse("./#api")


class _Headers:
    """Adds `HEADERS` to every response."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        await self.app(scope, receive, send_with_headers)
