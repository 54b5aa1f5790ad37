"""What goes wrong around a server: processes that die, clients that misbehave, bundles that are damaged."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import socket
import threading
import time
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import safetensors.torch
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpipe.bundle.manifest import MANIFEST, FileEntry, Manifest
from mlpipe.serving.folder_registry import FolderRegistry

KEY = "the admin's"


@dataclass
class Load:
    """Clients that send one row after the other over connections that they keep, and count what they get."""

    port: int
    body: bytes
    clients: int = 4
    statuses: Counter[int] = field(default_factory=Counter)
    versions: set[str] = field(default_factory=set)
    #: Requests that were sent and got no answer.
    lost: list[str] = field(default_factory=list)
    slowest: float = 0.0
    _stop: threading.Event = field(default_factory=threading.Event)

    @contextlib.contextmanager
    def running(self) -> Iterator[None]:
        threads = [threading.Thread(target=self._run) for _ in range(self.clients)]
        for thread in threads:
            thread.start()
        try:
            yield
        finally:
            self._stop.set()
            for thread in threads:
                thread.join()

    def wait_for(self, count: int) -> None:
        """Until so many more requests were answered."""
        wanted = sum(self.statuses.values()) + count
        deadline = time.monotonic() + 60
        while sum(self.statuses.values()) < wanted:
            assert time.monotonic() < deadline, self.statuses
            time.sleep(0.01)

    def _run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        while not self._stop.is_set():
            started = time.monotonic()
            try:
                if connection.sock is None:
                    connection.connect()
            except OSError:
                time.sleep(0.01)  # nobody took the request
                continue
            try:
                connection.request("POST", "/predict", self.body, {"Content-Type": "application/json"})
                response = connection.getresponse()
                told = json.loads(response.read())
            except (OSError, http.client.HTTPException) as error:
                self.lost.append(repr(error))
                connection.close()
                continue
            self.statuses[response.status] += 1
            if response.status == 200:
                self.versions.add(told["model_version"])
            self.slowest = max(self.slowest, time.monotonic() - started)
            if response.status == 503:
                time.sleep(0.2)  # as the answer asks
        connection.close()


def load(server: Any, served: Any, clients: int = 4, **options: Any) -> Load:
    return Load(port_of(server), json.dumps(served.rows[1]).encode(), clients, **options)


def wait_until(condition: Callable[[], bool], server: Any) -> None:
    deadline = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline, server.log.read_text()
        time.sleep(0.05)


def port_of(server: Any) -> int:
    return int(server.url.rsplit(":", 1)[1])


def test_a_worker_that_is_killed_takes_its_own_requests_only(served: Any, serving: Any, tmp_path: Path) -> None:
    with serving(served.bundle, tmp_path, "--workers", "2", "--deadline", "30") as server:
        server.wait_until_ready()
        clients = load(server, served)
        with clients.running():
            clients.wait_for(100)
            os.kill(server.workers()[0], signal.SIGKILL)
            clients.wait_for(100)
        assert clients.lost == []
        assert set(clients.statuses) <= {200, 502}
        assert clients.statuses[502] <= 2 * clients.clients  # the batch at hand and the next
        assert clients.slowest < 30
        wait_until(lambda: len(server.workers()) == 2, server)
        assert server.end(signal.SIGTERM) == 0
        assert "A process died and is replaced" in server.log.read_text()


@pytest.mark.slow
def test_the_last_worker_is_replaced_while_requests_wait(served: Any, serving: Any, tmp_path: Path) -> None:
    with serving(served.bundle, tmp_path, "--deadline", "60") as server:
        server.wait_until_ready()
        os.kill(server.workers()[0], signal.SIGKILL)
        server.wait_for("/v2/health/ready", 503)
        assert server.status("/v2/health/live") == 200
        assert server.post(served.rows[1])[0] == 200
        assert server.status("/v2/health/ready") == 200


@pytest.mark.slow
def test_a_worker_that_hangs_is_replaced(served: Any, serving: Any, tmp_path: Path) -> None:
    with serving(served.bundle, tmp_path, "--deadline", "0.5") as server:
        server.wait_until_ready()
        worker = server.workers()[0]
        os.kill(worker, signal.SIGSTOP)
        assert server.post(served.rows[1])[0] == 504
        wait_until(lambda: server.workers() not in ([], [worker]), server)
        server.wait_for("/v2/health/ready", 200)
        assert server.post(served.rows[1])[0] == 200
        assert "has not answered for too long" in server.log.read_text()


def test_an_api_server_that_is_killed_is_replaced(served: Any, serving: Any, tmp_path: Path) -> None:
    with serving(served.bundle, tmp_path, "--api-servers", "2") as server:
        server.wait_until_ready()
        clients = load(server, served)
        with clients.running():
            clients.wait_for(50)
            os.kill(server.api_servers()[0], signal.SIGKILL)
            clients.wait_for(50)
        assert len(clients.lost) <= clients.clients
        assert set(clients.statuses) == {200}
        wait_until(lambda: len(server.api_servers()) == 2, server)
        assert server.post(served.rows[1])[0] == 200


def test_sigterm_under_load_loses_no_request(served: Any, serving: Any, tmp_path: Path) -> None:
    with serving(served.bundle, tmp_path, "--drain", "0.5") as server:
        server.wait_until_ready()
        clients = load(server, served, clients=8)
        with clients.running():
            clients.wait_for(100)
            server.process.send_signal(signal.SIGTERM)
            server.wait_for("/v2/health/ready", 503)
            assert server.end_by_itself() == 0, server.log.read_text()
        assert clients.lost == []
        assert set(clients.statuses) <= {200, 503}
        assert "Traceback" not in server.log.read_text()


def other_version(bundle: Path, temperature: float) -> dict[str, bytes]:
    """The files of a bundle that differs in its temperature, and so in its version."""
    files = {path.name: path.read_bytes() for path in bundle.iterdir()}
    manifest = Manifest.from_json(bundle, files[MANIFEST])
    calibration = {**manifest.calibration, "temperature": temperature}
    files[MANIFEST] = replace(manifest, calibration=calibration).to_json().encode()
    return files


def write(files: dict[str, bytes], folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    return folder


def reload(port: int, key: str = KEY) -> tuple[int, Any]:
    request = urllib.request.Request(f"http://127.0.0.1:{port}/admin/reload", b"", method="POST")
    request.add_header("Authorization", f"Bearer {key}")
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with opener.open(request, timeout=60) as response:
            return response.status, json.load(response)
    except urllib.error.HTTPError as error:
        return error.code, json.load(error)


@pytest.mark.parametrize("times", [3, pytest.param(50, marks=pytest.mark.slow)])
def test_reloads_under_load_lose_nothing(
    served: Any, serving: Any, free_port: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, times: int
) -> None:
    monkeypatch.setenv("MLPIPE_ADMIN_KEY", KEY)
    bundle = write(other_version(served.bundle, 1.0), tmp_path / "bundle")
    admin = free_port()
    with serving(bundle, tmp_path, "--workers", "2", "--admin-port", str(admin)) as server:
        server.wait_until_ready()
        assert reload(admin, "wrong")[0] == 401
        # The folder is written over below, file by file: no worker may be reading it as it starts.
        ready = 'mlpipe_workers{state="ready"} 2.0'
        wait_until(lambda: ready in server.open(f"{server.url}/metrics")[1], server)
        clients = load(server, served)
        seen = []
        with clients.running():
            for index in range(times):
                write(other_version(served.bundle, 1.1 + index / 100), bundle)
                status, told = reload(admin)
                assert status == 200, told
                clients.wait_for(20)
                seen.append(told["version"])
                assert server.post(served.rows[1])[1]["model_version"] == told["version"]
        assert len(set(seen)) == times
        assert set(seen) <= clients.versions
        assert (clients.lost, set(clients.statuses)) == ([], {200})


def test_a_promoted_version_is_served_after_a_reload(
    served: Any, serving: Any, free_port: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPIPE_ADMIN_KEY", KEY)
    registry = FolderRegistry(tmp_path / "registry")
    for number, alias in enumerate(("champion", "challenger")):
        bundle = write(other_version(served.bundle, 1.5 + number), tmp_path / alias)
        registry.register(bundle, "houses", alias)
    options = ["--registry", str(tmp_path / "registry"), "--admin-port", str(admin := free_port())]
    with serving("models:/houses@champion", tmp_path, *options) as server:
        server.wait_until_ready()
        before = server.post(served.rows[1])[1]["model_version"]
        registry.promote("houses", 2)
        status, told = reload(admin)
        assert status == 200
        assert server.post(served.rows[1])[1]["model_version"] == told["version"] != before
        text = server.open(f"{server.url}/metrics")[1]
        assert f'alias="champion",backend="torch",task="binary",version="{told["version"]}"}} 1.0' in text


@pytest.mark.slow
def test_a_reload_waits_for_workers_that_are_starting(
    served: Any, serving: Any, free_port: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPIPE_ADMIN_KEY", KEY)
    registry = FolderRegistry(tmp_path / "registry")
    for number, alias in enumerate(("champion", "challenger")):
        registry.register(write(other_version(served.bundle, 1.5 + number), tmp_path / alias), "houses", alias)
    options = ["--workers", "2", "--registry", str(registry.root), "--admin-port", str(admin := free_port())]
    with serving("models:/houses@champion", tmp_path, *options) as server:
        server.wait_until_ready()
        os.kill(server.workers()[0], signal.SIGKILL)  # the next one starts with the version of now
        wait_until(lambda: len(server.workers()) == 2, server)
        registry.promote("houses", 2)
        status, told = reload(admin)
        assert status == 200
        clients = load(server, served, clients=8)
        with clients.running():
            clients.wait_for(300)
        assert clients.versions == {told["version"]}


def test_a_reload_that_fails_leaves_the_old_version_serving(
    served: Any, serving: Any, free_port: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLPIPE_ADMIN_KEY", KEY)
    good = other_version(served.bundle, 1.0)
    bundle = write(good, tmp_path / "bundle")
    admin = free_port()
    with serving(bundle, tmp_path, "--admin-port", str(admin)) as server:
        server.wait_until_ready()
        before = server.post(served.rows[1])
        write({**good, "weights.safetensors": good["weights.safetensors"][:-1] + b"x"}, bundle)
        status, told = reload(admin)
        assert status == 409
        assert "weights.safetensors" in told["detail"]
        assert server.post(served.rows[1]) == before
        server.process.send_signal(signal.SIGHUP)
        write(other_version(served.bundle, 2.0), bundle)
        status, told = reload(admin)
        assert status == 200
        assert server.post(served.rows[1])[1]["model_version"] == told["version"] != before[1]["model_version"]


def relisted(files: dict[str, bytes], **changed: bytes) -> dict[str, bytes]:
    """Files whose manifest has their hashes, as somebody would write it who can."""
    files = {**files, **{name.replace("__", "."): content for name, content in changed.items()}}
    manifest = Manifest.from_json(Path("bundle"), files[MANIFEST])
    entries = {name: FileEntry.of(content) for name, content in files.items() if name != MANIFEST}
    return {**files, MANIFEST: replace(manifest, files=entries).to_json().encode()}


def nan_weights(files: dict[str, bytes]) -> dict[str, bytes]:
    weights = safetensors.torch.load(files["weights.safetensors"])
    name = next(iter(weights))
    weights[name] = torch.full_like(weights[name], torch.nan)
    return relisted(files, weights__safetensors=safetensors.torch.save(weights))


def flipped(content: bytes) -> bytes:
    return content[:200] + bytes([content[200] ^ 1]) + content[201:]


@pytest.mark.parametrize(
    ("damage", "said"),
    [
        (lambda files: {**files, "weights.safetensors": flipped(files["weights.safetensors"])}, "weights.safetensors"),
        (lambda files: {**files, "preprocess.json": files["preprocess.json"][:-9]}, "preprocess.json"),
        (lambda files: {**files, MANIFEST: files[MANIFEST].replace(b'"sha256": "', b'"sha256": "0', 1)}, MANIFEST),
        (lambda files: {**files, "model.pkl": b"\x80\x04N."}, "model.pkl"),
        (lambda files: {**files, MANIFEST: files[MANIFEST].replace(b'"schema.json"', b'"../schema.json"')}, MANIFEST),
        (nan_weights, "weights.safetensors has NaN or infinite values"),
    ],
    ids=["bit flip", "truncation", "hash", "pickle", "path traversal", "NaN"],
)
def test_a_damaged_bundle_is_refused_at_start_by_name(
    served: Any, serving: Any, tmp_path: Path, damage: Any, said: str
) -> None:
    files = {path.name: path.read_bytes() for path in served.bundle.iterdir()}
    with serving(write(damage(files), tmp_path / "bundle"), tmp_path) as server:
        assert server.end_by_itself() == 2
        told = server.log.read_text()
    assert said in told
    assert told.startswith("error: ")
    assert told.count("\n") == 1, told


def test_more_than_the_queue_holds_is_refused_and_health_answers(served: Any, serving: Any, tmp_path: Path) -> None:
    with serving(served.bundle, tmp_path, "--queue", "2") as server:
        server.wait_until_ready()
        clients = load(server, served, clients=16)
        with clients.running():
            for _ in range(20):
                assert server.status("/v2/health/ready") == 200
            clients.wait_for(200)
        assert set(clients.statuses) == {200, 503}
        assert clients.lost == []
        response = raw(port_of(server), b"GET /v2/health/ready HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        assert response.startswith(b"HTTP/1.1 200")


def raw(port: int, *parts: bytes, pause: float = 0.0) -> bytes:
    """All that a server says to some bytes."""
    with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
        for part in parts:
            connection.sendall(part)
            time.sleep(pause)
        received = b""
        with contextlib.suppress(ConnectionResetError):
            while data := connection.recv(65_536):
                received += data
        return received


HEAD = b"POST /predict HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"


@pytest.fixture(scope="module")
def limited(served: Any, serving: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("limited")
    keys = folder / "keys.txt"
    keys.write_text("# who may ask\nfirst key\n\nsecond\n")
    with serving(served.bundle, folder, "--body-timeout", "1", "--max-body", "0.01", "--api-keys", str(keys)) as server:
        server.wait_until_ready()
        yield server
        assert server.end(signal.SIGTERM) == 0


AUTH = b"Authorization: Bearer second\r\n"


def test_clients_that_are_slow_are_not_waited_for(limited: Any) -> None:
    port = port_of(limited)
    assert raw(port, b"POST /predict HTT").startswith(b"")  # the connection ends; the test would hang otherwise
    slow = raw(port, HEAD + AUTH + b"Content-Length: 100\r\n\r\n", b'{"size"', pause=0.1)
    assert slow.startswith(b"HTTP/1.1 408")
    assert b"did not arrive within 1 s" in slow


def test_bodies_that_are_too_long_are_refused_however_they_come(limited: Any) -> None:
    port = port_of(limited)
    long = b"x" * 20_000
    declared = raw(port, HEAD + AUTH + b"Content-Length: 20000\r\n\r\n" + long)
    assert declared.startswith(b"HTTP/1.1 413")
    chunks = b"".join(b"1388\r\n" + long[:5000] + b"\r\n" for _ in range(4)) + b"0\r\n\r\n"
    chunked = raw(port, HEAD + AUTH + b"Transfer-Encoding: chunked\r\n\r\n" + chunks)
    assert chunked.startswith(b"HTTP/1.1 413")


def test_a_chunked_body_that_is_short_is_answered(limited: Any, served: Any) -> None:
    body = json.dumps(served.rows[1]).encode()
    chunks = b"".join(b"%x\r\n%s\r\n" % (len(part), part) for part in (body[:9], body[9:])) + b"0\r\n\r\n"
    request = HEAD + AUTH + b"Connection: close\r\nTransfer-Encoding: chunked\r\n\r\n" + chunks
    assert raw(port_of(limited), request).startswith(b"HTTP/1.1 200")


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({}, 401),
        ({"Authorization": "Bearer third"}, 401),
        ({"Authorization": "Basic second"}, 401),
        ({"Authorization": "Bearer first key"}, 200),
        ({"X-API-Key": "second"}, 200),
    ],
)
def test_everything_but_health_needs_a_key(limited: Any, served: Any, headers: dict[str, str], status: int) -> None:
    body = json.dumps(served.rows[1]).encode()
    json_headers = {"Content-Type": "application/json", **headers}
    assert limited.open(urllib.request.Request(f"{limited.url}/predict", body, json_headers))[0] == status
    for path in ("/metrics", "/openapi.json", "/version", "/v2", "/info"):
        assert limited.open(urllib.request.Request(f"{limited.url}{path}", headers=headers))[0] == status, path
    for path in ("/v2/health/live", "/v2/health/ready", "/ping", "/health"):
        assert limited.status(path) == 200


def test_bodies_have_to_be_json(limited: Any, served: Any) -> None:
    request = urllib.request.Request(f"{limited.url}/predict", b"size=1", {"X-API-Key": "second"})
    status, told = limited.open(request)
    assert (status, told) == (415, {"detail": "The body has to be JSON: Content-Type: application/json."})


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(st.sampled_from(["size", "color", "rooms", "sold", "features", "inputs", "instances"]), inner)
    ),
    max_leaves=12,
)
PATHS = ["/predict", "/invocations", "/v2/models/model/infer"]


def fuzz(server: Any, examples: int) -> None:
    connection = http.client.HTTPConnection("127.0.0.1", port_of(server), timeout=60)
    row = {"size": 1.0, "color": "red", "rooms": 2, "sold": "2024-01-15"}

    @settings(max_examples=examples, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(
        st.binary()
        | JSON.map(lambda value: json.dumps(value).encode())
        | st.sampled_from(sorted(row)).flatmap(
            lambda name: JSON.map(lambda value: json.dumps({**row, name: value}).encode())
        ),
        st.sampled_from(PATHS),
    )
    def send(body: bytes, path: str) -> None:
        connection.request("POST", path, body, {"Content-Type": "application/json"})
        response = connection.getresponse()
        told = json.loads(response.read())
        assert response.status in (200, 422), (response.status, body, told)
        assert ("detail" in told) is (response.status == 422)

    send()
    connection.close()


@pytest.mark.parametrize("examples", [200, pytest.param(2_000, marks=pytest.mark.slow)])
def test_no_body_is_answered_by_a_5xx(served: Any, serving: Any, tmp_path: Path, examples: int) -> None:
    with serving(served.bundle, tmp_path) as server:
        server.wait_until_ready()
        fuzz(server, examples)
        assert "Traceback" not in server.log.read_text()
        assert server.post(served.rows[1])[0] == 200


def counted(server: Any) -> Counter[int]:
    """What the metrics say of the requests for predictions, by status."""
    found: Counter[int] = Counter()
    for line in server.open(f"{server.url}/metrics")[1].splitlines():
        if line.startswith("mlpipe_requests_total{") and 'route="/predict"' in line:
            found[int(line.split('code="')[1][:3])] += int(float(line.rsplit(" ", 1)[1]))
    return found


def test_metrics_count_what_clients_counted_through_deaths_and_restarts(
    served: Any, serving: Any, tmp_path: Path
) -> None:
    with serving(served.bundle, tmp_path, "--api-servers", "2", "--workers", "2") as server:
        server.wait_until_ready()
        clients = Counter[int]()
        for part in range(3):
            for index in range(40):
                clients[server.post({} if index % 4 == 0 else served.rows[index])[0]] += 1
            assert counted(server) == clients
            assert sum(clients.values()) == 40 * (part + 1)
            assert clients[502] <= part  # one for each worker whose death was not noticed yet
            os.kill((server.api_servers(), server.workers())[part % 2][0], signal.SIGKILL)
            wait_until(lambda: "is replaced" in server.log.read_text() and len(server.api_servers()) == 2, server)
        text = server.open(f"{server.url}/metrics")[1]
        assert 'mlpipe_restarts_total{kind="api"}' in text
        assert f'mlpipe_rejected_total{{reason="invalid"}} {clients[422]}.0' in text
