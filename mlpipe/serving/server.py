"""`serve`: a bundle behind HTTP, from the command line's words to running processes.

    supervisor ─┬─ API processes   uvicorn, `Front`, `Pump`: HTTP, limits, keys, batches
                └─ workers         LitServe's entry, `BundleAPI`, `SocketLoop`, `engine.work`: rows to answers

The supervisor loads neither torch nor Polars; it checks the bundle's hashes before it starts what does.
"""

from __future__ import annotations

import os
import shlex
import socket
import sys
import tempfile
from collections.abc import Callable, Sequence
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path

from mlpipe.bundle.folder import verify
from mlpipe.bundle.manifest import SAMPLE_REQUEST, SCHEMA, parse_json
from mlpipe.errors import ConfigError, did_you_mean
from mlpipe.schema import Schema
from mlpipe.serving.children import socket_path
from mlpipe.serving.litserve_parts import application, start_worker
from mlpipe.serving.settings import Settings, Slot
from mlpipe.serving.supervisor import Supervisor
from mlpipe.serving.worker import BundleAPI

_REACHABLE_AT = {"127.0.0.1": "127.0.0.1", "0.0.0.0": "127.0.0.1", "::": "[::1]"}  # noqa: S104  # asked for
_BACKLOG = 2_048
#: Linux has a file system in memory there.
_IN_MEMORY = "/dev/shm"  # noqa: S108  # in it a folder of our own


def serve(resolve: Callable[[], Sequence[Slot]], settings: Settings) -> None:
    """Serve bundles until SIGTERM or Ctrl-C, then end every process that was started.

    Args:
        resolve: What is to be served; asked again for each reload.
        settings: How.

    Raises:
        BundleError: A bundle is missing, damaged or cannot be loaded.
        ConfigError: The address is not possible or the port is taken.
        RuntimeError: The processes die before they are ready.
    """
    first = tuple(resolve())
    for slot in first:
        verify(slot.folder)
    if settings.recording is not None:
        check_redacted(settings.recording.redacted, first[0].folder)
    listening = [listen(settings.host, settings.port)]
    port: int = listening[0].getsockname()[1]
    if settings.admin_port is not None:
        listening.append(listen("127.0.0.1", settings.admin_port))
    for variable in ("OMP_NUM_THREADS", "POLARS_MAX_THREADS"):  # read by the workers when they start
        os.environ.setdefault(variable, "1")
    with tempfile.TemporaryDirectory(prefix="mlpipe-", dir=folder_in_memory()) as folder:
        os.environ["PROMETHEUS_MULTIPROC_DIR"] = folder  # read when prometheus_client is first imported
        from mlpipe.serving import metrics
        from mlpipe.serving.apiserver import ApiProcess

        addresses = [socket_path(Path(folder), number) for number in range(settings.workers)]

        def worker(number: int, pipe: Connection, slots: Sequence[Slot]) -> BaseProcess:
            return start_worker(BundleAPI(slots, settings, addresses[number], pipe), number)

        def api(number: int, pipe: Connection, slots: Sequence[Slot]) -> BaseProcess:
            rest = application(BundleAPI(slots, settings, "", pipe))
            return ApiProcess(settings, addresses, rest, pipe).start(listening, number)

        Supervisor(
            settings,
            first,
            resolve,
            worker,
            api,
            listening,
            announce=_announcement(settings, port),
            restarted=lambda kind: metrics.RESTARTS.labels(kind).inc(),
            reloaded=lambda outcome: metrics.RELOADS.labels(outcome).inc(),
            states=metrics.workers,
            died=metrics.gone,
        ).run()


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens.

    Args:
        host: `127.0.0.1`, `0.0.0.0` for all addresses, `::` for all IPv6 ones.
        port: 0 takes one that is free.

    Raises:
        ConfigError: The port is taken, not allowed, or the address isn't ours.
    """
    if host not in _REACHABLE_AT:
        raise ConfigError(f"--host {host!r} is not possible.{did_you_mean(host, _REACHABLE_AT)}")
    listening = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # TIME_WAIT is no obstacle
    try:
        listening.bind((host, port))
    except OSError as error:
        listening.close()
        raise ConfigError(f"Port {port} on {host} cannot be used ({error.strerror}); choose another.") from None
    listening.listen(_BACKLOG)
    return listening


def folder_in_memory() -> str | None:
    """Where the processes keep the numbers of their metrics, and their sockets; None: wherever temporary files go.

    On a disk a number that is counted waits now and then until the page that it is on has been written. Whoever names
    a folder by TMPDIR gets that one.
    """
    named = any(os.environ.get(variable) for variable in ("TMPDIR", "TEMP", "TMP"))
    return None if named or not os.access(_IN_MEMORY, os.W_OK | os.X_OK) else _IN_MEMORY


def check_redacted(names: Sequence[str], folder: Path) -> None:
    """Refuse to redact what is not there: a name that is misspelt would leave the column in the log.

    Args:
        names: Of columns.
        folder: Of a bundle that was verified.

    Raises:
        ConfigError: One is no feature.
    """
    schema = Schema.from_dict(parse_json(folder, SCHEMA, (folder / SCHEMA).read_bytes()))
    features = [column.name for column in schema.features]
    for name in names:
        if name not in features:
            raise ConfigError(f"--redact {name!r} is no feature of the bundle.{did_you_mean(name, features)}")


def _announcement(settings: Settings, port: int) -> Callable[[Sequence[Slot], Sequence[str]], None]:
    def announce(slots: Sequence[Slot], versions: Sequence[str]) -> None:
        url = f"http://{_REACHABLE_AT[settings.host]}:{port}"
        served = ", ".join(f"{version} ({slot.folder})" for version, slot in zip(versions, slots, strict=True))
        sample = shlex.quote(str(slots[0].folder / SAMPLE_REQUEST))
        key = " -H 'Authorization: Bearer KEY'" if settings.keys else ""
        sys.stdout.write(f"Serving bundle {served} at {url}\nTry: curl {url}/predict{key} --json @{sample}\n")
        sys.stdout.flush()

    return announce
