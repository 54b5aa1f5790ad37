"""A bundle behind HTTP: LitServe, its traps avoided.

- LitServe 0.2.19 has no SIGTERM handler: the parent would die and its children go on answering.
- Left alone it writes a `client.py` into the working directory.
- When its start is interrupted it leaves its workers running.
- It accepts three addresses and no port below 1024, and leaves a port in use to a traceback.

The parent loads neither torch nor Polars; it checks the bundle's hashes and starts the processes that do.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import shlex
import signal
import socket
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from types import FrameType

from litserve import LitServer

from mlpipe.bundle.folder import verify
from mlpipe.bundle.manifest import SAMPLE_REQUEST, AnyManifest
from mlpipe.errors import BundleError, ConfigError, did_you_mean
from mlpipe.serving.api import BundleAPI

MAX_PAYLOAD_BYTES = 64 * 2**20  # an int: LitServe takes the string "64MB" and then refuses every request
_REACHABLE_AT = {"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # all of LitServe's
_SMALLEST_PORT = 1024


def serve(bundle: str | Path, *, host: str = "127.0.0.1", port: int = 8000, workers: int = 1) -> None:
    """Serve a bundle until SIGTERM or Ctrl-C, then end every process that was started.

    Args:
        bundle: The bundle's folder.
        host: `127.0.0.1` (or `localhost`), `0.0.0.0` for all addresses, `::` for all IPv6 ones.
        port: From 1024; 0 takes one that is free.
        workers: Processes that predict, with one thread each.

    Raises:
        BundleError: The bundle is missing, damaged or cannot be loaded.
        ConfigError: The address is not possible or the port is taken.
        RuntimeError: One of the server's processes died.
    """
    folder = Path(bundle)
    manifest = verify(folder)
    host = "127.0.0.1" if host == "localhost" else host
    port = free_port(host, port)
    for variable in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):  # read by the workers when they start
        os.environ.setdefault(variable, "1")
    api = BundleAPI(str(folder))
    server = create_server(api, workers=workers)
    announcer = threading.Thread(target=_announce, args=(folder, manifest, host, port), daemon=True)
    with _ended_by_sigterm(), _no_child_left():
        announcer.start()
        try:
            server.run(host=host, port=port, num_api_servers=1, log_level="warning", generate_client_file=False)
        except RuntimeError:
            if api.failures.empty():
                raise
            raise BundleError(api.failures.get()) from None
        except (EOFError, ConnectionError) as error:  # LitServe has ended its manager, with which it talks to us
            raise RuntimeError("A process of the server died, so the others were ended too.") from error


def create_server(api: BundleAPI, *, workers: int = 1) -> LitServer:
    """The LitServer, not yet running.

    Args:
        api: What answers.
        workers: Processes that predict.
    """
    return LitServer(api, accelerator="cpu", workers_per_device=workers, max_payload_size=MAX_PAYLOAD_BYTES)


def free_port(host: str, port: int) -> int:
    """The port, once it is seen to be free; one that is free for 0.

    Raises:
        ConfigError: It is taken, not allowed, or the address isn't ours.
    """
    if host not in _REACHABLE_AT:
        raise ConfigError(f"--host {host!r} is not possible.{did_you_mean(host, _REACHABLE_AT)}")
    if port != 0 and port < _SMALLEST_PORT:
        raise ConfigError(f"--port {port} is not possible; it has to be from {_SMALLEST_PORT} to 65535.")
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.socket(family, socket.SOCK_STREAM) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # as the server will; TIME_WAIT is no obstacle
        try:
            probe.bind((host, port))
        except OSError as error:
            raise ConfigError(f"Port {port} on {host} cannot be used ({error.strerror}); choose another.") from None
        bound: int = probe.getsockname()[1]
    return bound


def _announce(folder: Path, manifest: AnyManifest, host: str, port: int) -> None:
    """Say where the server is, as soon as its health check says that every worker is ready."""
    url = f"http://{_REACHABLE_AT[host]}:{port}"
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    while True:
        with contextlib.suppress(OSError), opener.open(f"{url}/health", timeout=5):
            break
        time.sleep(0.1)
    sample = shlex.quote(str(folder / SAMPLE_REQUEST))
    sys.stdout.write(f"Serving bundle {manifest.version} ({folder}) at {url}\nTry: curl {url}/predict -d @{sample}\n")
    sys.stdout.flush()


@contextlib.contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """Treat SIGTERM, which is what a container is stopped with, as Ctrl-C, which LitServe knows how to obey."""
    parent = os.getpid()

    def interrupt(number: int, _frame: FrameType | None) -> None:
        if os.getpid() == parent:
            raise KeyboardInterrupt
        signal.signal(number, signal.SIG_DFL)  # a forked child of LitServe's: it ends as if it had no handler
        os.kill(os.getpid(), number)

    before = signal.signal(signal.SIGTERM, interrupt)
    try:
        yield
    except KeyboardInterrupt:
        pass
    finally:
        signal.signal(signal.SIGTERM, before)


@contextlib.contextmanager
def _no_child_left() -> Iterator[None]:
    """End the processes that LitServe leaves behind when it is stopped before it is ready."""
    try:
        yield
    finally:
        for child in multiprocessing.active_children():
            child.terminate()
            child.join(timeout=5)
            if child.is_alive():
                child.kill()
                child.join()
