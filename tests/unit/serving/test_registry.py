"""What both kinds of registry promise, by one set of tests."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from mlpipe.bundle.folder import verify
from mlpipe.errors import BundleError, ConfigError
from mlpipe.serving.folder_registry import FolderRegistry
from mlpipe.serving.registry import MAX_HISTORY, Registry, check_alias, check_name

# MLflow's models of its database use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


def contents(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


def test_a_version_is_the_bundle_byte_by_byte(registry: Registry, bundles: list[Path]) -> None:
    version = registry.register(bundles[0], "flights", "champion")
    assert (version.name, version.number, version.aliases) == ("flights", 1, ("champion",))
    assert version.version == verify(bundles[0]).version
    folder = registry.folder("flights", 1)
    assert folder != bundles[0]
    assert contents(folder) == contents(bundles[0])


def test_versions_have_numbers_metrics_and_aliases(registry: Registry, bundles: list[Path]) -> None:
    for bundle, alias in zip(bundles, (None, "champion", "challenger"), strict=True):
        registry.register(bundle, "flights", alias)
    registry.promote("flights", 2, "best-one")
    found = registry.versions("flights")
    assert [version.number for version in found] == registry.numbers("flights") == [1, 2, 3]
    assert [version.metrics["test"]["log_loss"] for version in found] == [0.5, 0.49, 0.48]
    assert [version.aliases for version in found] == [(), ("best-one", "champion"), ("challenger",)]
    assert {version.task for version in found} == {"binary"}
    assert [version.created for version in found] == [verify(bundle).created for bundle in bundles]
    assert registry.aliases("flights") == {"best-one": 2, "champion": 2, "challenger": 3}
    assert registry.names() == ["flights"]


def test_nothing_is_made_by_reading(registry: Registry) -> None:
    assert registry.names() == []
    assert registry.alias_number("flights", "champion") is None
    if isinstance(registry, FolderRegistry):
        assert not registry.root.exists()


def test_the_same_content_is_registered_once(registry: Registry, bundles: list[Path]) -> None:
    registry.register(bundles[0], "flights")
    registry.register(bundles[1], "flights")
    with pytest.raises(ConfigError, match=r"has the content of version 1 of 'flights', [0-9a-f]{12}, so it is not"):
        registry.register(bundles[0], "flights", "champion")
    assert registry.numbers("flights") == [1, 2]
    assert registry.aliases("flights") == {}
    assert registry.register(bundles[0], "trains").number == 1  # another model may have it


def test_a_rollback_goes_back_one_stand_at_a_time(registry: Registry, bundles: list[Path]) -> None:
    for bundle in bundles:
        registry.register(bundle, "flights")
    assert [registry.promote("flights", number) for number in (1, 3, 2)] == [None, 1, 3]
    assert registry.promote("flights", 2) == 2  # no move, so nothing to go back to
    assert [stand.number for stand in registry.history("flights", "champion")] == [1, 3, 2]
    assert all(stand.since for stand in registry.history("flights", "champion"))
    assert registry.rollback("flights") == (2, 3)
    assert registry.rollback("flights") == (3, 1)
    with pytest.raises(ConfigError, match="'champion' of 'flights' has pointed to version 1 alone"):
        registry.rollback("flights")
    assert registry.alias_number("flights", "champion") == 1


@pytest.mark.parametrize(
    ("act", "sentence"),
    [
        (lambda r: r.promote("flihgts", 1), r"There is no model 'flihgts' in .*\. Did you mean 'flights'\?$"),
        (lambda r: r.rollback("flihgts"), r"There is no model 'flihgts' in .*\. Did you mean 'flights'\?$"),
        (lambda r: r.versions("flihgts"), r"There is no model 'flihgts' in .*\. Did you mean 'flights'\?$"),
        (lambda r: r.promote("flights", 7), r"'flights' in .* has no version 7; it has 1\.$"),
        (lambda r: r.folder("flights", 7), r"'flights' in .* has no version 7; it has 1\.$"),
        (lambda r: r.rollback("flights", "chamipon"), r"has no alias 'chamipon'\. Did you mean 'champion'\?$"),
        (lambda r: r.promote("flights", 1, "latest"), r"^'latest' is no alias;"),
        (lambda r: r.alias_number("flights", "latest"), r"^'latest' is no alias;"),
        (lambda r: r.promote("flights", 1, "3"), r"^'3' is no alias;"),
        (lambda r: r.versions("../x"), r"^'\.\./x' is no name of a model;"),
    ],
)
def test_what_is_not_there_is_one_sentence(
    registry: Registry, bundles: list[Path], act: Callable[[Registry], Any], sentence: str
) -> None:
    registry.register(bundles[0], "flights", "champion")
    with pytest.raises(ConfigError, match=sentence):
        act(registry)
    assert registry.names() == ["flights"]
    assert registry.aliases("flights") == {"champion": 1}


def test_a_damaged_bundle_is_not_registered(registry: Registry, bundles: list[Path], tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for name, content in contents(bundles[0]).items():
        (damaged / name).write_bytes(content[:-1] if name == "weights.safetensors" else content)
    with pytest.raises(BundleError, match=r"weights\.safetensors has \d+ bytes"):
        registry.register(damaged, "flights")
    assert registry.names() == []


def test_a_bundle_that_changes_while_it_is_copied_is_not_registered(
    registry: Registry, bundles: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    changing = tmp_path / "changing"
    changing.mkdir()
    for name, content in contents(bundles[0]).items():
        (changing / name).write_bytes(content)
    found = verify(changing)

    def verify_and_swap(folder: Path) -> Any:
        for name, content in contents(bundles[1]).items():
            (changing / name).write_bytes(content)
        return found

    monkeypatch.setattr("mlpipe.serving.registry.verify", verify_and_swap)
    if isinstance(registry, FolderRegistry):
        with pytest.raises(BundleError, match=f"version {found.version} was expected"):
            registry.register(changing, "flights")
        assert registry.names() == []
    else:  # what was uploaded is seen when it comes down
        registry.register(changing, "flights")
        with pytest.raises(BundleError, match="was expected"):
            registry.folder("flights", 1)


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "a\\b", ".hidden", "a b", "a:b", "x" * 101, "ü", "a\n", "'"])
def test_names_that_are_none(name: str) -> None:
    with pytest.raises(ConfigError):
        check_name(name)
    with pytest.raises(ConfigError):
        check_alias(name)


Step = tuple[str, int, str]
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["register", "promote", "promote", "rollback"]),
        st.integers(0, 3),
        st.sampled_from(["champion", "challenger"]),
    ),
    max_size=12,
)


class Model:
    """What a registry does, as simply as it can be said."""

    def __init__(self) -> None:
        self.bundles: list[int] = []
        self.stands: dict[str, list[int]] = {}

    def do(self, step: Step) -> Any:
        """What comes of it; None: it is refused."""
        what, index, alias = step
        stands = self.stands.setdefault(alias, [])
        if what == "register":
            if index > 2 or index in self.bundles:
                return None
            self.bundles.append(index)
            number = len(self.bundles)
        elif what == "promote":
            number = index
            if not 1 <= number <= len(self.bundles):
                return None
        else:
            if len(stands) < 2:
                return None
            left = stands.pop()
            return left, stands[-1]
        before = stands[-1] if stands else None
        if before != number:
            stands.append(number)
        return number if what == "register" else (before,)


def do(registry: Registry, step: Step, bundles: list[Path]) -> Any:
    what, index, alias = step
    try:
        if what == "register":
            return None if index > 2 else registry.register(bundles[index], "m", alias).number
        if what == "promote":
            return (registry.promote("m", index, alias),)
        return registry.rollback("m", alias)
    except ConfigError:
        return None


def check_sequence(registry: Registry, bundles: list[Path], steps: list[Step]) -> None:
    model = Model()
    for step in steps:
        assert do(registry, step, bundles) == model.do(step), step
        for alias in ("champion", "challenger"):
            stands = model.stands.get(alias, [])
            assert registry.alias_number("m", alias) == (stands[-1] if stands else None)
            if stands:
                assert [stand.number for stand in registry.history("m", alias)] == stands
    if model.bundles:
        assert [version.version for version in registry.versions("m")] == [
            verify(bundles[index]).version for index in model.bundles
        ]


@given(STEPS)
@settings(deadline=None, max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_in_a_folder_is_as_in_a_simple_model(
    new_registry: Callable[[str], Registry], bundles: list[Path], steps: list[Step]
) -> None:
    check_sequence(new_registry("folder"), bundles, steps)


@given(STEPS)
@settings(deadline=None, max_examples=8, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_any_sequence_in_mlflow_is_as_in_a_simple_model(
    new_registry: Callable[[str], Registry], bundles: list[Path], steps: list[Step]
) -> None:
    check_sequence(new_registry("mlflow"), bundles, steps)


def test_only_so_many_stands_are_remembered(new_registry: Callable[[str], Registry], bundles: list[Path]) -> None:
    registry = new_registry("folder")
    registry.register(bundles[0], "m")
    registry.register(bundles[1], "m")
    for index in range(MAX_HISTORY + 5):
        registry.promote("m", 1 + index % 2)
    assert len(registry.history("m", "champion")) == MAX_HISTORY


PROMOTE = """
import sys
from mlpipe.serving.versions import open_registry
registry = open_registry(sys.argv[1])
for number in range(int(sys.argv[2])):
    registry.promote("flights", 1 + number % 2, sys.argv[3])
"""


@pytest.mark.parametrize("kind", ["folder", pytest.param("mlflow", marks=pytest.mark.slow)])
def test_processes_that_promote_at_the_same_time_lose_nothing(
    kind: str, new_registry: Callable[[str], Registry], bundles: list[Path]
) -> None:
    registry = new_registry(kind)
    registry.register(bundles[0], "flights")
    registry.register(bundles[1], "flights")
    where = str(registry.root) if isinstance(registry, FolderRegistry) else registry.where.removeprefix("MLflow at ")
    moves = 40 if kind == "folder" else 6

    def promote(alias: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-c", PROMOTE, where, str(moves), alias]
        return subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)

    with ThreadPoolExecutor(2) as processes:
        done = list(processes.map(promote, ["left", "right"]))
    assert [process.returncode for process in done] == [0, 0], done[0].stderr + done[1].stderr
    for alias in ("left", "right"):  # of one file and one model, so a lost update would show
        assert [stand.number for stand in registry.history("flights", alias)] == [1 + n % 2 for n in range(moves)]
