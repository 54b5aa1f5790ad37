from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from mlpipe.bundle.folder import verify
from mlpipe.errors import BundleError, ConfigError
from mlpipe.serving.folder_registry import FolderRegistry
from mlpipe.serving.mlflow_registry import MlflowRegistry
from mlpipe.serving.registry import Registry
from mlpipe.serving.versions import Reference, open_registry, resolve

# MLflow's models of its database use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.mark.parametrize(
    ("text", "reference"),
    [
        ("models:/flights", Reference("flights")),
        ("models:/flights/12", Reference("flights", number=12)),
        ("models:/fl.i-g_h1ts@challenger", Reference("fl.i-g_h1ts", alias="challenger")),
        ("runs/first/bundle", None),
        ("./models:/flights", None),
    ],
)
def test_references(text: str, reference: Reference | None) -> None:
    assert Reference.parse(text) == reference
    if reference is not None:
        assert str(reference) == text


@pytest.mark.parametrize(
    "text",
    [
        "models:",
        "models:/",
        "models:flights",
        "models://flights",
        "models:/flights/",
        "models:/flights/0",
        "models:/flights/01",
        "models:/flights/x",
        "models:/flights@",
        "models:/flights@a@b",
        "models:/flights@champion/1",
        "models:/../x",
        "models:/..",
        "models:/flights@3",
        "models:/flights/1\n",
    ],
)
def test_what_begins_like_a_reference_and_is_none_is_refused(text: str) -> None:
    with pytest.raises(ConfigError):
        Reference.parse(text)


def test_references_lead_to_verified_folders(registry: Registry, bundles: list[Path]) -> None:
    for bundle in bundles:
        registry.register(bundle, "flights")
    assert resolve("models:/flights", registry).number == 3  # the newest
    registry.promote("flights", 2)
    for text, number, alias in (
        ("models:/flights", 2, "champion"),
        ("models:/flights@champion", 2, "champion"),
        ("models:/flights/1", 1, None),
    ):
        found = resolve(text, registry)
        assert (found.name, found.number, found.alias) == ("flights", number, alias)
        assert found.version == verify(bundles[number - 1]).version == verify(found.folder).version


def test_one_can_ask_whether_an_alias_has_moved(registry: Registry, bundles: list[Path]) -> None:
    registry.register(bundles[0], "flights")
    newest, fixed = resolve("models:/flights", registry), resolve("models:/flights/1", registry)
    registry.register(bundles[1], "flights")
    assert newest.has_moved()
    registry.promote("flights", 1)
    champion = resolve("models:/flights@champion", registry)
    assert not newest.has_moved()
    assert not champion.has_moved()
    registry.promote("flights", 2)
    assert (newest.has_moved(), champion.has_moved(), fixed.has_moved()) == (True, True, False)


def test_a_path_needs_no_registry(bundles: list[Path], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("MLPIPE_REGISTRY", "http://127.0.0.1:9")
    found = resolve(str(bundles[0]))
    assert (found.folder, found.name, found.number, found.alias) == (bundles[0], None, None, None)
    assert not found.has_moved()
    with pytest.raises(BundleError, match="There is no bundle at 'nowhere'"):
        resolve("nowhere")


@pytest.mark.parametrize(
    ("reference", "sentence"),
    [
        ("models:/flihgts", r"There is no model 'flihgts' in .*\. Did you mean 'flights'\?"),
        ("models:/flights@chalenger", r"'flights' in .* has no alias 'chalenger'\. Did you mean 'challenger'\?"),
        ("models:/flights/4", r"'flights' in .* has no version 4; it has 1\."),
    ],
)
def test_what_is_not_there_is_one_sentence(
    registry: Registry, bundles: list[Path], reference: str, sentence: str
) -> None:
    registry.register(bundles[0], "flights", "challenger")
    with pytest.raises(ConfigError, match=sentence):
        resolve(reference, registry)


def test_the_registry_is_the_one_named_or_of_the_environment_or_that_of_fit(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("MLPIPE_REGISTRY", "MLFLOW_TRACKING_URI"):
        monkeypatch.delenv(name, raising=False)

    def place(where: str | None = None) -> str:
        registry = open_registry(where)
        assert isinstance(registry, FolderRegistry | MlflowRegistry)
        return registry.uri if isinstance(registry, MlflowRegistry) else str(registry.root)

    assert place() == f"sqlite:///{tmp_path}/runs/mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "https://mlflow.example.com")
    assert place() == "https://mlflow.example.com"
    monkeypatch.setenv("MLPIPE_REGISTRY", "shared/models")
    assert place() == "shared/models"
    assert place("postgresql+psycopg2://host/db") == "postgresql+psycopg2://host/db"
    assert isinstance(open_registry("./models"), FolderRegistry)
    with pytest.raises(ConfigError, match="is an address of a folder; name the folder itself"):
        open_registry("file:///models")
    assert list(tmp_path.iterdir()) == []


def test_nothing_heavy_is_loaded_to_find_a_version(run_python: Callable[[str], str]) -> None:
    code = "import sys, mlpipe.serving.versions; print([m for m in ('torch', 'polars', 'mlflow') if m in sys.modules])"
    assert run_python(code) == "[]\n"
