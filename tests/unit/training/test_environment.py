import hashlib
import json
import shutil
import subprocess
from pathlib import Path

import polars as pl
import pytest

from mlpipe.training.environment import environment, file_fingerprint, git_state


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=A", "-c", "user.email=a@example.org"]
    subprocess.run(["git", "-C", str(folder), *identity, *arguments], check=True, capture_output=True)  # noqa: S607


@pytest.mark.skipif(shutil.which("git") is None, reason="git is not installed")
def test_git_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    assert git_state(tmp_path) is None
    git(tmp_path, "init", "-b", "main")
    assert git_state(tmp_path) is None
    (tmp_path / "file").write_text("1")
    git(tmp_path, "add", "file")
    git(tmp_path, "commit", "-m", "first")
    state = git_state(tmp_path)
    assert state is not None
    assert len(state["commit"]) == 40
    assert (state["branch"], state["dirty"]) == ("main", False)
    (tmp_path / "file").write_text("2")
    assert git_state(tmp_path) == {**state, "dirty": True}


def test_without_git_there_is_no_state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    assert git_state(tmp_path) is None


def test_a_data_file_is_known_by_its_hash(tmp_path: Path) -> None:
    file = tmp_path / "table.csv"
    file.write_bytes(b"a,b\n1,2\n")
    found = file_fingerprint(file)
    assert found["sha256"] == hashlib.sha256(b"a,b\n1,2\n").hexdigest()
    assert found["bytes"] == 8
    assert file_fingerprint(f"{tmp_path}/*.csv") == {"path": f"{tmp_path}/*.csv"}


def test_everything_is_plain_json_without_secrets(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sys.argv", ["mlpipe", "fit", "--tracking.uri", "https://me:secret@host"])
    found = environment([tmp_path / "missing.csv"], tmp_path)
    assert json.loads(json.dumps(found)) == found
    assert found["packages"]["polars"] == pl.__version__
    assert found["hardware"]["usable_cores"] >= 1
    assert found["hardware"]["memory_gib"] > 0
    assert "secret" not in json.dumps(found)
