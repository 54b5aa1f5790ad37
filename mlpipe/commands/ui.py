"""`mlpipe ui`: MLflow's own user interface on the store that `mlpipe fit` writes to, for this machine only."""

from __future__ import annotations

import argparse
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

from mlpipe.errors import ConfigError

#: MLflow's server has no login and has had holes, so it listens to this machine and to no other.
HOST = "127.0.0.1"


def run(args: argparse.Namespace) -> int:
    """Run `mlflow ui` until it is interrupted; its exit code is ours.

    Raises:
        ConfigError: There is no store, or the port is taken.
    """
    check_store(args.store)
    check_port_is_free(args.port)
    command = [sys.executable, "-m", "mlflow", "ui", "--backend-store-uri", args.store]
    command += ["--host", HOST, "--port", str(args.port), "--workers", "1"]
    sys.stdout.write(f"http://{HOST}:{args.port} shows the runs in {args.store} (Ctrl-C ends it)\n")
    sys.stdout.flush()
    return run_until_interrupted(command)


def check_store(uri: str) -> None:
    """Refuse a store that isn't there, or that is a server itself.

    Raises:
        ConfigError: One of the two.
    """
    if uri.startswith(("http://", "https://")):
        raise ConfigError(f"{uri} is an MLflow server with a user interface of its own: open it in a browser.")
    if uri.startswith("sqlite:///"):
        path = Path(uri.removeprefix("sqlite:///"))
        if not path.is_file():
            raise ConfigError(
                f"No runs are tracked in {path}: `mlpipe fit` writes them there, `--store URI` names another place."
            )


def check_port_is_free(port: int) -> None:
    """Refuse a port that another program listens on.

    Raises:
        ConfigError: It is taken, or reserved for the system.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just left counts as free
        try:
            probe.bind((HOST, port))
        except OSError as error:
            raise ConfigError(f"Port {port} can't be used ({error.strerror}); give another with `--port`.") from error


def run_until_interrupted(command: list[str]) -> int:
    """Run a server until it ends or until SIGINT or SIGTERM reaches us, which ends it and its workers.

    Returns:
        0 if it ended well or by that signal, otherwise 1.
    """
    environment = {
        **os.environ,
        "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "False",
        # Seven workers of 230 MB each for background jobs, which nobody here starts.
        "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "False",
    }
    # A session of its own: a signal reaches the server and its workers once, from here, wherever it came from.
    with subprocess.Popen(command, env=environment, start_new_session=True) as child:

        def stop(_signal: int, _frame: object) -> None:
            os.killpg(child.pid, signal.SIGTERM)

        previous = {name: signal.signal(name, stop) for name in (signal.SIGINT, signal.SIGTERM)}
        try:
            code = child.wait()
        finally:
            for name, handler in previous.items():
                signal.signal(name, handler)
    # Ended by the signal that was passed on: as asked.
    return 0 if code in (0, -signal.SIGTERM) else 1
