from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlpipe.bundle.copying import assemble, copy_bundle
from mlpipe.bundle.ensemble import write_ensemble
from mlpipe.bundle.folder import verify
from mlpipe.bundle.format import read_bundle
from mlpipe.bundle.manifest import MANIFEST, _digest
from mlpipe.errors import BundleError
from mlpipe.schema import TaskKind


@pytest.fixture
def bundle(fitted: Callable[..., Any], tmp_path: Path) -> Path:
    path: Path = fitted(TaskKind.BINARY).write(tmp_path / "bundle")
    return path


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_copy_is_the_same_byte_by_byte(bundle: Path, tmp_path: Path) -> None:
    copy_bundle(bundle, tmp_path / "copy", verify(bundle).version)
    assert contents(tmp_path / "copy") == contents(bundle)


def test_an_ensemble_is_copied_with_its_members(fitted: Callable[..., Any], bundle: Path, tmp_path: Path) -> None:
    other = fitted(TaskKind.BINARY, 1).write(tmp_path / "other")
    members = [read_bundle(path) for path in (bundle, other)]
    ensemble = write_ensemble(
        tmp_path / "e", members, statistics=members[-1].statistics, metrics={}, model_card="# E\n"
    )
    copy_bundle(ensemble, tmp_path / "copy", verify(ensemble).version)
    assert contents(tmp_path / "copy") == contents(ensemble)
    assert verify(tmp_path / "copy").version == verify(ensemble).version


def test_another_version_than_expected_is_not_copied(bundle: Path, tmp_path: Path) -> None:
    with pytest.raises(BundleError, match=r"A bundle of version 0123 was expected at '.*copy', and version \w+ came"):
        copy_bundle(bundle, tmp_path / "copy", "0123")
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_a_file_that_is_missing_is_named_and_nothing_is_left(bundle: Path, tmp_path: Path) -> None:
    version = verify(bundle).version
    (bundle / "schema.json").unlink()
    with pytest.raises(BundleError, match=r"bundle/schema\.json' is missing, though the bundle lists it"):
        copy_bundle(bundle, tmp_path / "copy", version)
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("name", ["../evil.json", "/etc/evil.json", "sub/evil.json", "..", "evil.py", MANIFEST])
def test_a_manifest_that_lists_other_places_is_refused_before_anything_else_is_fetched(
    name: str, bundle: Path, tmp_path: Path
) -> None:
    values = json.loads((bundle / MANIFEST).read_text())
    del values["checksum"]
    values["files"][name] = values["files"]["schema.json"]
    (bundle / MANIFEST).write_text(json.dumps({**values, "checksum": _digest(values)}))
    fetched: list[str] = []

    def fetch(wanted: str, target: Path) -> None:
        fetched.append(wanted)
        target.write_bytes((bundle / MANIFEST).read_bytes())

    with pytest.raises(BundleError, match="lists"):
        assemble(tmp_path / "copy", values["version"], fetch)
    assert fetched == [MANIFEST]
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]
