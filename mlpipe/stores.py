"""Where MLflow keeps runs and versions: addresses of stores, and what goes before making a client of one.

Standard library only. MLflow itself takes seconds to import; those who need it do so when they need it.
"""

from __future__ import annotations

import fcntl
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Set before MLflow is imported, where the user has not set them. It would try an unreachable server for minutes, load
#: pickled models, report usage to its makers, print a page about a locked database, of which we say one line, draw a
#: bar for every file that it copies, and print addresses among our results.
MLFLOW_ENVIRONMENT = {
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "10",
    "MLFLOW_ALLOW_PICKLE_DESERIALIZATION": "False",
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_LOGGING_LEVEL": "CRITICAL",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
}

_SQLITE = "sqlite:///"


def default_uri(root: str | Path) -> str:
    """The database beside the runs."""
    return f"{_SQLITE}{Path(root).resolve() / 'mlflow.db'}"


def artifact_root(root: str | Path) -> Path:
    """Where the artifacts of that database's runs go."""
    return Path(root).resolve() / "mlartifacts"


def database_file(uri: str) -> Path | None:
    """The file of an SQLite store; None for any other store.

    Examples:
        >>> database_file("sqlite:///runs/mlflow.db").as_posix(), database_file("https://mlflow.example.com")
        ('runs/mlflow.db', None)
    """
    return Path(uri.removeprefix(_SQLITE)) if uri.startswith(_SQLITE) else None


def prepare_environment() -> None:
    """Set what MLflow reads from the environment; before it is imported."""
    for name, value in MLFLOW_ENVIRONMENT.items():
        os.environ.setdefault(name, value)


@contextmanager
def one_at_a_time(uri: str) -> Iterator[None]:
    """Hold the lock of an SQLite store: processes that start together would all make its tables, and one succeed.

    A server sees to it itself: for its address this does nothing. The lock is not reentrant.
    """
    database = database_file(uri)
    if database is None:
        yield
        return
    database.parent.mkdir(parents=True, exist_ok=True)
    with database.with_name(f"{database.name}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # until the file is closed
        yield


def without_credentials(text: str) -> str:
    """A text in which the user and password of every address are left out.

    Examples:
        >>> without_credentials("--tracking.uri=https://me:secret@host/mlflow")
        '--tracking.uri=https://***@host/mlflow'
    """
    return re.sub(r"(?<=://)[^/@\s]+(?=@)", "***", text)
