"""The web page as it is served, and what an address answers to other methods than its own; no worker is there."""

from __future__ import annotations

import asyncio
import re
from typing import Any

import pytest

from mlpipe.serving.front import Front, Message, Receive, Scope, Send
from mlpipe.serving.pump import Pump
from mlpipe.serving.settings import Settings
from mlpipe.serving.webpage import FILES, POLICY

PAGE = ["/", *(f"/page/{path.name}" for path in sorted(FILES.iterdir()))]


async def rest(scope: Scope, receive: Receive, send: Send) -> None:
    await send({"type": "http.response.start", "status": 404, "headers": []})
    await send({"type": "http.response.body", "body": b"rest"})


def ask(
    path: str, method: str = "GET", *, port: int = 8000, settings: Settings | None = None, **headers: str
) -> tuple[int, dict[str, str], bytes]:
    """Status, headers and body of one request to a server whose workers are not there."""
    settings = settings or Settings(keys=("secret",), admin_key="admin", admin_port=8001)
    front = Front(settings, Pump([], batch=1, queue=1, deadline=1.0), rest)
    sent: list[Message] = []

    async def receive() -> Message:  # there is no body, and the client waits for its answer
        return await asyncio.Future()

    async def send(message: Message) -> None:
        sent.append(message)

    scope: dict[str, Any] = {
        "type": "http",
        "method": method,
        "path": path,
        "root_path": "",
        "query_string": b"",
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", port),
    }
    asyncio.run(front(scope, receive, send))
    told = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], told, b"".join(message.get("body", b"") for message in sent[1:])


@pytest.mark.parametrize("path", PAGE)
def test_the_page_is_open_and_keeps_browsers_to_the_server(path: str) -> None:
    status, headers, body = ask(path)
    name = "index.html" if path == "/" else path.removeprefix("/page/")
    assert (status, body) == (200, (FILES / name).read_bytes())
    assert headers["content-security-policy"] == POLICY
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    kinds = {"html": "text/html", "css": "text/css", "js": "javascript", "svg": "image/svg+xml"}
    assert kinds[name.rsplit(".")[-1]] in headers["content-type"]


def test_what_the_page_shows_is_not_open() -> None:
    assert ask("/openapi.json")[0] == 401
    assert ask("/metrics")[0] == 401


@pytest.mark.parametrize("path", PAGE)
def test_a_browser_keeps_the_page_and_asks_whether_it_is_still_right(path: str) -> None:
    _, headers, _ = ask(path)
    assert headers["cache-control"] == "no-cache"
    status, _, body = ask(path, if_none_match=headers["etag"])
    assert (status, body) == (304, b"")
    assert ask(path, if_none_match='"other"')[0] == 200


def test_the_page_is_to_be_read_alone() -> None:
    status, headers, body = ask("/", "HEAD")
    assert (status, body) == (200, b"")
    assert int(headers["content-length"]) == (FILES / "index.html").stat().st_size
    for path in PAGE:
        status, headers, _ = ask(path, "POST")
        assert status == 405
        assert headers["content-security-policy"] == POLICY


@pytest.mark.parametrize("path", ["/page/", "/page/none.js", "/page/../webpage.py", "/page//etc/passwd"])
def test_there_are_no_other_files(path: str) -> None:
    assert ask(path)[0] == 404


def test_docs_are_on_the_page() -> None:
    status, headers, _ = ask("/docs")
    assert (status, headers["location"]) == (307, "./#api")


def test_the_admin_address_has_no_page() -> None:
    assert ask("/", port=8001)[0] == 404
    assert ask("/docs", port=8001)[0] == 404


def test_no_file_of_the_page_names_another_host() -> None:
    namespaces = {"http://www.w3.org/2000/svg"}
    found = {address for path in FILES.iterdir() for address in re.findall(r"\w+://[^\s\"'<`)]+", path.read_text())}
    assert found <= namespaces


def test_no_file_of_the_page_makes_markup_of_text() -> None:
    sinks = r"innerHTML|outerHTML|insertAdjacentHTML|document\.write|DOMParser|\beval\b|new Function|srcdoc|Storage\b"
    assert {path.name: re.findall(sinks, path.read_text()) for path in FILES.glob("*.js")} == {
        path.name: [] for path in FILES.glob("*.js")
    }


@pytest.mark.parametrize(
    ("path", "allowed"),
    [
        ("/predict", "POST"),
        ("/invocations", "POST"),
        ("/v2/models/model/infer", "POST"),
        ("/admin/reload", "POST"),
        *(
            (path, "GET, HEAD")
            for path in ("/openapi.json", "/metrics", "/version", "/v2", "/ping", "/health", "/v2/models/model/ready")
        ),
    ],
)
def test_an_address_says_which_methods_it_takes(path: str, allowed: str) -> None:
    admin = path.startswith("/admin")
    key, port = ("admin", 8001) if admin else ("secret", 8000)
    for method in ("DELETE", "TRACE", "GET" if allowed == "POST" else "POST"):
        status, headers, _ = ask(path, method, port=port, authorization=f"Bearer {key}")
        assert (status, headers["allow"]) == (405, allowed)


def test_other_addresses_are_left_to_the_rest() -> None:
    assert ask("/info", "DELETE", x_api_key="secret")[2] == b"rest"
    assert ask("/info")[0] == 401
