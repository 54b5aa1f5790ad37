from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from mlpipe.stores import default_uri, one_at_a_time, prepare_environment, without_credentials


@pytest.mark.parametrize("text", ["a/b@c", "https://host/path@2", "sqlite:////data/mlflow.db", "user@host.org"])
def test_only_credentials_are_left_out(text: str) -> None:
    assert without_credentials(text) == text


def test_a_database_is_held_by_one_at_a_time(tmp_path: Path) -> None:
    uri = default_uri(tmp_path / "runs")
    with one_at_a_time(uri):
        lock = tmp_path / "runs" / "mlflow.db.lock"
        with lock.open("w") as handle, pytest.raises(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    with lock.open("w") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_a_server_needs_no_lock(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with one_at_a_time("https://mlflow.example.com"):
        assert not list(tmp_path.iterdir())


def test_what_the_user_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_TIMEOUT", "99")
    monkeypatch.setenv("MLFLOW_DISABLE_TELEMETRY", "")
    monkeypatch.delenv("MLFLOW_DISABLE_TELEMETRY")
    prepare_environment()
    assert os.environ["MLFLOW_HTTP_REQUEST_TIMEOUT"] == "99"
    assert os.environ["MLFLOW_DISABLE_TELEMETRY"] == "true"
