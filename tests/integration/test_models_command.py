"""`mlpipe models` as processes of their own, on MLflow with SQLite and with a real server."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import pytest

from mlpipe.bundle.folder import verify
from mlpipe.bundle.format import read_bundle, write_bundle
from mlpipe.features.calibration import Calibration

PATIENCE = 120.0


def another(bundle: Path, out: Path) -> Path:
    """A bundle that answers otherwise."""
    contents = read_bundle(bundle)
    return write_bundle(
        out,
        schema=contents.schema,
        preprocessor=contents.preprocessor,
        model=contents.model,
        config=contents.config,
        calibration=Calibration(2.0),
        statistics=contents.statistics,
        metrics={"test": {"log_loss": 0.4}},
        model_card="# Other houses\n",
        sample_row=contents.sample_request,
    )


def mlpipe(folder: Path, *words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "mlpipe", "models", *words]
    clean = {
        name: value for name, value in os.environ.items() if name not in ("MLPIPE_REGISTRY", "MLFLOW_TRACKING_URI")
    }
    return subprocess.run(
        command,
        cwd=folder,
        env={**clean, "XDG_CACHE_HOME": str(folder / "cache"), **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


@pytest.mark.slow
def test_on_the_store_of_fit_as_a_user_would(served: Any, tmp_path: Path) -> None:
    other = another(served.bundle, tmp_path / "other")
    steps = [
        (["register", str(served.bundle), "houses", "--alias", "champion"], "houses 1, and champion: bundle "),
        (["register", str(other), "houses", "--alias", "challenger"], "houses 2, and challenger: bundle "),
        (["promote", "houses", "--from", "challenger"], "champion of houses: 1 → 2\n"),
        (["rollback", "houses"], "champion of houses: 2 → 1\n"),
    ]
    for words, told in steps:
        done = mlpipe(tmp_path, *words)
        assert (done.returncode, done.stderr) == (0, ""), done.stderr
        assert done.stdout.startswith(told)
    assert (tmp_path / "runs" / "mlflow.db").is_file()
    listed = json.loads(mlpipe(tmp_path, "list", "--json").stdout)
    assert [(version["number"], version["version"], version["aliases"]) for version in listed] == [
        (1, verify(served.bundle).version, ["champion"]),
        (2, verify(other).version, ["challenger"]),
    ]
    done = mlpipe(tmp_path, "diff", "houses", "1", "challenger")
    assert "calibration.temperature" in done.stdout, done.stderr
    done = mlpipe(tmp_path, "register", str(other), "houses")
    assert (done.returncode, done.stdout) == (2, "")
    assert done.stderr == (
        f"error: '{other}' has the content of version 2 of 'houses', {verify(other).version}, so it is not registered "
        "again.\n"
    )
    assert sorted(path.name for path in tmp_path.iterdir()) == ["cache", "other", "runs"]


@pytest.mark.skipif(sys.platform != "linux", reason="the server's processes are found in /proc")
def test_a_real_server_is_told_and_may_refuse(
    served: Any,
    tmp_path: Path,
    serving: Callable[..., AbstractContextManager[Any]],
    free_port: Callable[[], int],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    other = another(served.bundle, tmp_path / "other")
    for words in (
        ["register", str(served.bundle), "houses", "--alias", "champion"],
        ["register", str(other), "houses"],
    ):
        assert mlpipe(tmp_path, *words, MLPIPE_REGISTRY="models").returncode == 0
    live = tmp_path / "live"
    shutil.copytree(served.bundle, live)
    monkeypatch.setenv("MLPIPE_ADMIN_KEY", "secret")
    port = free_port()
    with serving(live, tmp_path, "--admin-port", str(port)) as server:
        server.wait_until_ready()
        for path in other.iterdir():
            shutil.copyfile(path, live / path.name)
        tell = ("--server", f"http://127.0.0.1:{port}", "--registry", "models")
        done = mlpipe(tmp_path, "promote", "houses", "2", *tell, MLPIPE_ADMIN_KEY="secret")
        assert (done.returncode, done.stderr) == (0, "")
        assert done.stdout.endswith(f"http://127.0.0.1:{port} answers with {verify(other).version}\n")

        done = mlpipe(tmp_path, "rollback", "houses", *tell, MLPIPE_ADMIN_KEY="wrong")
        assert done.returncode == 1
        assert done.stdout == "champion of houses: 2 → 1\n"
        assert "answered 401: This needs the admin key" in done.stderr
        assert done.stderr.endswith("In 'models' champion of houses is version 1.\n")

        (live / "schema.json").write_text("{}")
        done = mlpipe(tmp_path, "promote", "houses", "2", *tell, MLPIPE_ADMIN_KEY="secret")
        assert done.returncode == 1
        assert "answered 409: " in done.stderr
        assert "schema.json" in done.stderr
        assert server.post(served.rows[0])[1]["model_version"] == verify(other).version
        assert server.end(signal.SIGTERM) == 0
