from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from mlpipe.errors import BundleError, ConfigError
from mlpipe.serving.folder_registry import FolderRegistry


@pytest.fixture
def registry(tmp_path: Path, bundles: list[Path]) -> FolderRegistry:
    registry = FolderRegistry(tmp_path / "models")
    registry.register(bundles[0], "flights", "champion")
    registry.register(bundles[1], "flights", "challenger")
    return registry


KILLED = """
import os, signal, sys
from pathlib import Path
from mlpipe.serving.folder_registry import FolderRegistry

def die(self, target):
    os.kill(os.getpid(), signal.SIGKILL)

registry = FolderRegistry(sys.argv[1])
setattr(Path, sys.argv[2], die)
if sys.argv[2] == "replace":
    registry.promote("flights", 2)
else:
    registry.register(Path(sys.argv[3]), "flights", "champion")
"""


@pytest.mark.parametrize("step", ["replace", "rename"])  # of aliases.json, of a version
def test_a_process_killed_between_writing_and_renaming_leaves_the_old_state(
    step: str, registry: FolderRegistry, bundles: list[Path]
) -> None:
    before = registry.versions("flights"), registry.aliases("flights")
    command = [sys.executable, "-c", KILLED, str(registry.root), step, str(bundles[2])]
    done = subprocess.run(command, check=False, capture_output=True, text=True)
    assert done.returncode == -signal.SIGKILL, done.stderr
    folder = registry.root / "flights"
    assert len(list(folder.glob(".*.new"))) == 1  # it was killed where it was meant to be
    assert (registry.versions("flights"), registry.aliases("flights")) == before
    assert registry.names() == ["flights"]

    version = registry.register(bundles[2], "flights", "champion")  # the lock is free, and the leftovers go
    assert (version.number, registry.alias_number("flights", "champion")) == (3, 3)
    assert sorted(path.name for path in folder.iterdir()) == [".lock", "1", "2", "3", "aliases.json"]


def test_a_damaged_version_is_no_obstacle_to_a_rollback(registry: FolderRegistry, bundles: list[Path]) -> None:
    registry.promote("flights", 2)
    (registry.root / "flights" / "2" / "bundle.json").write_text("{")
    with pytest.raises(BundleError, match=r"flights/2.*bundle\.json is not JSON"):
        registry.folder("flights", 2)
    first, second = registry.versions("flights")
    assert first.fault is None
    assert second.fault is not None
    assert "bundle.json is not JSON" in second.fault
    assert second.aliases == ("challenger", "champion")
    assert registry.rollback("flights") == (2, 1)
    assert registry.register(bundles[2], "flights").number == 3  # and its number is never given again
    assert (registry.root / "flights" / "2" / "bundle.json").read_text() == "{"


def test_a_version_that_is_gone_is_left_out_of_a_rollback(registry: FolderRegistry, bundles: list[Path]) -> None:
    registry.register(bundles[2], "flights")
    registry.promote("flights", 2)
    registry.promote("flights", 3)
    (registry.root / "flights" / "2").rename(registry.root.parent / "elsewhere")
    assert registry.rollback("flights") == (3, 1)


def test_aliases_json_is_as_documented(registry: FolderRegistry) -> None:
    registry.promote("flights", 2)
    record = json.loads((registry.root / "flights" / "aliases.json").read_text())
    assert record["format_version"] == 1
    assert [stand["number"] for stand in record["aliases"]["champion"]] == [1, 2]
    assert [stand["number"] for stand in record["aliases"]["challenger"]] == [2]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"format_version": 9, "aliases": {}}',
        '{"format_version": 1, "aliases": {"champion": [{"number": "x"}]}}',
    ],
)
def test_aliases_that_were_damaged_by_hand_are_one_sentence(registry: FolderRegistry, text: str) -> None:
    path = registry.root / "flights" / "aliases.json"
    path.write_text(text)
    for act in (registry.aliases, registry.rollback, lambda name: registry.alias_number(name, "champion")):
        with pytest.raises(BundleError, match=r"flights/aliases\.json' (cannot be read|is not as mlpipe writes it) \("):
            act("flights")
    assert path.read_text() == text


def test_what_is_no_version_is_left_alone(registry: FolderRegistry, bundles: list[Path]) -> None:
    (registry.root / "notes.txt").write_text("mine")
    (registry.root / "empty").mkdir()
    (registry.root / "flights" / "README").mkdir()
    (registry.root / "flights" / "7").write_text("no folder")
    (registry.root / "a name with blanks" / "1").mkdir(parents=True)
    assert registry.names() == ["flights"]
    assert registry.numbers("flights") == [1, 2]


def test_a_place_that_cannot_be_one_is_named(tmp_path: Path, bundles: list[Path]) -> None:
    file = tmp_path / "file"
    file.write_text("")
    with pytest.raises(ConfigError, match=r"file' is a file and not the folder of a registry\.$"):
        FolderRegistry(file).names()
    with pytest.raises(ConfigError, match=r"file' cannot be written to \(Not a directory\)\.$"):
        FolderRegistry(file).register(bundles[0], "flights")


def test_a_folder_without_permission_is_named(
    registry: FolderRegistry, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    (registry.root / "flights").chmod(0o555)
    (registry.root / "flights" / ".lock").chmod(0o444)
    if os.access(registry.root / "flights" / ".lock", os.W_OK):  # root may do everything

        def refuse(self: Path, *args: object) -> None:
            raise PermissionError(13, "Permission denied")

        monkeypatch.setattr(Path, "open", refuse)
    with pytest.raises(ConfigError, match=r"cannot be written to \(Permission denied\)"):
        registry.promote("flights", 2)
    monkeypatch.undo()
    (registry.root / "flights").chmod(0o755)
    assert registry.alias_number("flights", "champion") == 1
