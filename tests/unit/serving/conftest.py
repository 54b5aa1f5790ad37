"""Both kinds of registry, empty, and bundles to put into them."""

from __future__ import annotations

import itertools
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlpipe.serving.folder_registry import FolderRegistry
from mlpipe.serving.mlflow_registry import MlflowRegistry
from mlpipe.serving.registry import Registry
from mlpipe.stores import default_uri


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory, binary_bundle: Any) -> list[Path]:
    """Three bundles of one table and task, of different content."""
    folder = tmp_path_factory.mktemp("bundles")
    return [binary_bundle(folder / str(index), index) for index in range(3)]


@pytest.fixture(scope="session")
def binary_bundle(fitted: Callable[..., Any]) -> Callable[..., Path]:
    """Writes a bundle whose metrics, and so whose version, differ by a number."""
    from mlpipe.schema import TaskKind

    def write(out: Path, index: int) -> Path:
        path: Path = fitted(TaskKind.BINARY).write(out, metrics={"test": {"log_loss": 0.5 - index / 100}})
        return path

    return write


@pytest.fixture(scope="session")
def new_registry(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Registry]:
    """Makes an empty registry of a kind; those of MLflow share a database's file that was made once, being slow."""
    root = tmp_path_factory.mktemp("registries")
    numbers = itertools.count()
    template = root / "template.db"

    def make(kind: str) -> Registry:
        folder = root / str(next(numbers))
        if kind == "folder":
            return FolderRegistry(folder / "models")
        if not template.exists():
            MlflowRegistry(default_uri(root / "first"))._client()
            template.write_bytes((root / "first" / "mlflow.db").read_bytes())
        folder.mkdir()
        (folder / "mlflow.db").write_bytes(template.read_bytes())
        return MlflowRegistry(default_uri(folder), folder / "cache")

    return make


@pytest.fixture(params=["folder", "mlflow"])
def registry(request: pytest.FixtureRequest, new_registry: Callable[[str], Registry]) -> Registry:
    return new_registry(request.param)


@pytest.fixture
def run_python() -> Callable[[str], str]:
    """Runs code in a process of its own; gives what it printed."""

    def run(code: str) -> str:
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    return run
