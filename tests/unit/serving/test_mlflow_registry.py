"""What MLflow's registry holds beside what we put there, and what can go wrong with it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from mlpipe.errors import BundleError, ConfigError
from mlpipe.serving.mlflow_registry import EXPERIMENT, MlflowRegistry
from mlpipe.serving.registry import Registry

# MLflow's models of its database use what SQLAlchemy 2.1 deprecates.
pytestmark = pytest.mark.filterwarnings("ignore:The ``noload`` loader strategy:DeprecationWarning")


@pytest.fixture
def registry(new_registry: Callable[[str], Registry], bundles: list[Path]) -> MlflowRegistry:
    registry = new_registry("mlflow")
    assert isinstance(registry, MlflowRegistry)
    for bundle in bundles:
        registry.register(bundle, "flights")
    return registry


def test_an_alias_that_somebody_moved_in_mlflow_can_be_rolled_back(registry: MlflowRegistry) -> None:
    registry.promote("flights", 1)
    registry._client().set_registered_model_alias("flights", "champion", "3")
    assert registry.alias_number("flights", "champion") == 3
    assert [(stand.number, bool(stand.since)) for stand in registry.history("flights", "champion")] == [
        (1, True),
        (3, False),
    ]
    assert registry.rollback("flights") == (3, 1)


def test_an_alias_that_somebody_deleted_in_mlflow_is_gone(registry: MlflowRegistry) -> None:
    registry.promote("flights", 1)
    registry._client().delete_registered_model_alias("flights", "champion")
    assert registry.aliases("flights") == {}
    with pytest.raises(ConfigError, match="has no alias 'champion'"):
        registry.rollback("flights")
    registry.promote("flights", 2)
    assert [stand.number for stand in registry.history("flights", "champion")] == [2]


class KilledError(BaseException):
    """Stands for a process that ends between two calls."""


@pytest.mark.parametrize("calls", [1, 2])
def test_a_process_killed_while_it_moves_an_alias_leaves_a_whole_state(
    registry: MlflowRegistry, monkeypatch: pytest.MonkeyPatch, calls: int
) -> None:
    for number in (1, 2):
        registry.promote("flights", number)
    client = registry._client()
    made = 0

    def dying(call: Callable[..., Any]) -> Callable[..., Any]:
        def wrapped(*args: Any) -> Any:
            nonlocal made
            made += 1
            if made == calls:
                raise KilledError
            return call(*args)

        return wrapped

    for name in ("set_registered_model_alias", "set_registered_model_tag"):
        monkeypatch.setattr(client, name, dying(getattr(client, name)))
    before = [1, 2]
    for act, after in (
        (lambda: registry.promote("flights", 3), [1, 2, 3]),
        (lambda: registry.rollback("flights"), [1]),
    ):
        made = 0
        with pytest.raises(KilledError):
            act()
        stands = [stand.number for stand in registry.history("flights", "champion")]
        assert stands in (before, after)
        before = stands


def test_models_of_others_are_neither_shown_nor_touched(registry: MlflowRegistry, bundles: list[Path]) -> None:
    client = registry._client()
    client.create_registered_model("theirs")
    client.create_model_version("theirs", "s3://elsewhere")
    client.create_model_version("flights", "s3://elsewhere")
    assert registry.names() == ["flights"]
    assert registry.numbers("flights") == [1, 2, 3]
    with pytest.raises(ConfigError, match="There is no model 'theirs'"):
        registry.versions("theirs")
    with pytest.raises(ConfigError, match=r"has no version 4; it has 1 to 3"):
        registry.promote("flights", 4)
    assert registry.register(bundles[0], "theirs").number == 2
    assert registry.numbers("theirs") == [2]


def test_an_upload_that_fails_leaves_no_version_and_no_run(
    registry: MlflowRegistry, bundles: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    client = registry._client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    runs = {run.info.run_id for run in client.search_runs([experiment.experiment_id])}

    def fail(*args: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(client, "log_artifacts", fail)
    with pytest.raises(ConfigError, match=r"could not answer \(OSError: .*No space left on device"):
        registry.register(bundles[0], "trains")
    assert registry.names() == ["flights"]
    assert {run.info.run_id for run in client.search_runs([experiment.experiment_id])} == runs


def test_a_store_that_was_changed_is_seen(registry: MlflowRegistry, bundles: list[Path]) -> None:
    run_id = registry._client().get_model_version("flights", "1").run_id
    stored = next(registry.cache.parent.rglob(f"{run_id}/artifacts/bundle"))
    with (stored / "weights.safetensors").open("ab") as weights:
        weights.write(b"x")
    with pytest.raises(BundleError, match=r"weights\.safetensors has \d+ bytes"):
        registry.folder("flights", 1)
    shutil.rmtree(stored)
    shutil.copytree(bundles[1], stored)  # a bundle, but another
    with pytest.raises(BundleError, match="was expected"):
        registry.folder("flights", 1)
    assert [path for path in registry.cache.iterdir() if path.is_dir()] == []


def test_a_deleted_experiment_is_restored(registry: MlflowRegistry, bundles: list[Path]) -> None:
    client = registry._client()
    experiment = client.get_experiment_by_name(EXPERIMENT)
    assert experiment is not None
    client.delete_experiment(experiment.experiment_id)
    assert registry.register(bundles[0], "trains").number == 1


def test_a_server_that_is_not_there_is_one_sentence_without_its_password() -> None:
    registry = MlflowRegistry("http://me:secret@127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"^MLflow at http://\*\*\*@127\.0\.0\.1:9 could not answer \(") as caught:
        registry.names()
    assert "secret" not in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_database_that_is_none_is_one_sentence(tmp_path: Path) -> None:
    (tmp_path / "mlflow.db").write_text("this is no database, and long enough to be seen as none" * 20)
    with pytest.raises(ConfigError, match=r"could not answer \(.*not a database"):
        MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db").names()


def test_a_database_does_not_come_to_be_by_being_read(tmp_path: Path) -> None:
    registry = MlflowRegistry(f"sqlite:///{tmp_path}/mlflow.db")
    assert registry.names() == []
    assert registry.alias_number("flights", "champion") is None
    with pytest.raises(ConfigError, match=r"There is no model 'flights' in MLflow at sqlite:///"):
        registry.versions("flights")
    assert list(tmp_path.iterdir()) == []
