from __future__ import annotations

import argparse
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipe.commands import ui
from mlpipe.errors import ConfigError


def test_a_store_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"^No runs are tracked in .*none\.db"):
        ui.check_store(f"sqlite:///{tmp_path}/none.db")


def test_a_server_has_a_user_interface_of_its_own() -> None:
    with pytest.raises(ConfigError, match="open it in a browser"):
        ui.check_store("http://127.0.0.1:5000")


def test_other_stores_are_left_to_mlflow(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").touch()
    ui.check_store(f"sqlite:///{tmp_path}/mlflow.db")
    ui.check_store("postgresql://host/database")


def test_a_taken_port_is_named() -> None:
    with socket.socket() as taken:
        taken.bind((ui.HOST, 0))
        taken.listen()
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=rf"^Port {port} can't be used .*--port"):
            ui.check_port_is_free(port)
    ui.check_port_is_free(port)


def test_mlflow_gets_the_store_and_listens_to_this_machine_only(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "mlflow.db").touch()
    store = f"sqlite:///{tmp_path}/mlflow.db"
    commands: list[list[str]] = []

    def record(command: list[str]) -> int:
        commands.append(command)
        return 0

    monkeypatch.setattr(ui, "check_port_is_free", lambda port: None)
    monkeypatch.setattr(ui, "run_until_interrupted", record)
    assert ui.run(argparse.Namespace(store=store, port=5001)) == 0
    (command,) = commands
    assert command[:4] == [sys.executable, "-m", "mlflow", "ui"]
    options = dict(zip(command[4::2], command[5::2], strict=True))
    assert options["--backend-store-uri"] == store
    assert (options["--host"], options["--port"]) == ("127.0.0.1", "5001")
    assert "http://127.0.0.1:5001" in capsys.readouterr().out


@pytest.mark.parametrize(("code", "expected"), [(0, 0), (3, 1)])
def test_the_exit_code_tells_whether_mlflow_failed(code: int, expected: int) -> None:
    assert ui.run_until_interrupted([sys.executable, "-c", f"raise SystemExit({code})"]) == expected


@pytest.mark.parametrize("name", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_ends_the_server_and_its_workers(name: signal.Signals) -> None:
    worker = "import time; print('up', flush=True); time.sleep(60)"
    server = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {worker!r}])"
    command = f"[sys.executable, '-c', {server!r}]"
    code = f"import sys; from mlpipe.commands import ui; sys.exit(ui.run_until_interrupted({command}))"
    with subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True) as ours:
        assert ours.stdout is not None
        assert ours.stdout.readline() == "up\n"
        ours.send_signal(name)
        assert ours.wait(30) == 0
        assert ours.stdout.read() == ""  # the end of the pipe: nobody holds it open any more
