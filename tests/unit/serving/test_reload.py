from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest

from mlpipe.errors import ConfigError
from mlpipe.serving.reload import ReloadError, check_address, reload_server


@contextmanager
def answering(status: int, body: bytes, **headers: str) -> Iterator[tuple[str, list[tuple[str, str, str | None]]]]:
    """A server that gives one answer, and what it was asked."""
    asked: list[tuple[str, str, str | None]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            asked.append((self.command, self.path, self.headers["Authorization"]))
            self.send_response(status)
            for name, value in {**headers, "Content-Length": str(len(body))}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)

        do_GET = do_POST  # a redirect would arrive so

        def log_message(self, *args: object) -> None:
            """Keep still."""

    with HTTPServer(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}", asked
        finally:
            server.shutdown()
            thread.join()


def test_a_server_that_swaps_says_its_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    with answering(200, b'{"version": "9c03"}') as (url, asked):
        assert reload_server(url, "secret") == "9c03"
    assert asked == [("POST", "/admin/reload", "Bearer secret")]


@pytest.mark.parametrize(
    ("status", "body", "reason"),
    [
        (409, b'{"detail": "weights are damaged"}', "answered 409: weights are damaged"),
        (401, b'{"detail": "This needs the admin key."}', "answered 401: This needs the admin key."),
        (500, b"<html>", "answered 500: it gave no reason"),
        (200, b"[1]", "answered 200: it gave no reason"),
        (200, b'{"detail": "odd"}', "answered 200: odd"),
    ],
)
def test_a_server_that_does_not_swap_says_why(status: int, body: bytes, reason: str) -> None:
    with answering(status, body) as (url, _), pytest.raises(ReloadError) as caught:
        reload_server(url, "secret")
    assert str(caught.value) == f"{url}/admin/reload {reason}"


def test_the_key_is_not_carried_on_to_another_server() -> None:
    with (
        answering(200, b'{"version": "evil"}') as (other, asked),
        answering(307, b"", Location=f"{other}/admin/reload") as (url, _),
        pytest.raises(ReloadError, match="answered 307"),
    ):
        reload_server(url, "secret")
    assert asked == []


def test_a_server_that_is_not_there_is_named(free_port: Callable[[], int]) -> None:
    port = free_port()
    with pytest.raises(ReloadError, match=rf"127\.0\.0\.1:{port}/admin/reload cannot be reached \(.*refused"):
        reload_server(f"http://127.0.0.1:{port}", "secret")


def test_a_server_that_does_not_answer_is_left() -> None:
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with pytest.raises(ReloadError, match=r"cannot be reached \(timed out\)"):
            reload_server(url, "secret", patience=0.2)


@pytest.fixture
def free_port() -> Callable[[], int]:
    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port: int = probe.getsockname()[1]
        return port

    return find


@pytest.mark.parametrize("url", ["127.0.0.1:8001", "ftp://host", "http://", "file:///etc", "http://host?x=1", ""])
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(ConfigError, match="is no address of a server"):
        check_address(url)
