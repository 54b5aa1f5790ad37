"""A registry in MLflow's: registered models, their versions and aliases, the bundle as artifacts of a run.

- MLflow is imported when it is first asked, not with this module: it takes seconds. Nothing else in `serving` knows it.
- What MLflow cannot hold stands in tags: a version's hash and metrics, and where an alias has stood. Versions without
  these tags were registered by others and are left alone.
- A bundle is downloaded once, into a cache (`mlpipe.serving.download`).
- An SQLite store is changed by one process at a time. A server has no such lock: of two processes that move one alias
  at the same moment the later one wins, and `rollback` may not know of the other.
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from mlpipe.bundle.manifest import MANIFEST, AnyManifest, FileEntry
from mlpipe.errors import BundleError, ConfigError
from mlpipe.serving.download import cached, download_bundle
from mlpipe.serving.registry import History, Registry, Stand, Version, check_alias, check_name, is_name
from mlpipe.stores import artifact_root, database_file, one_at_a_time, prepare_environment, without_credentials

if TYPE_CHECKING:
    from mlflow.entities.model_registry import ModelVersion
    from mlflow.tracking import MlflowClient

#: The experiment whose runs hold the bundles, and the folder of each run's artifacts that does.
EXPERIMENT, BUNDLE = "mlpipe-models", "bundle"

_HISTORY = "mlpipe.history."
_VERSION, _SHA256, _CREATED, _TASK, _METRICS = (
    f"mlpipe.{word}" for word in ("version", "sha256", "created", "task", "metrics")
)
_PAGE = 200
#: What MLflow says of a model, a version or an alias that isn't there.
_ABSENT = ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE")


class MlflowRegistry(Registry):
    """A registry in an MLflow store.

    Args:
        uri: A server or a database, as in `MLFLOW_TRACKING_URI`.
        cache: Where downloaded bundles are kept; by default `mlpipe/bundles` in the user's cache folder, which
            `XDG_CACHE_HOME` names.
    """

    def __init__(self, uri: str, cache: Path | None = None) -> None:
        self.uri = uri
        self.where = f"MLflow at {without_credentials(uri)}"
        self.cache = cache or Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "mlpipe" / "bundles"
        self._connected: MlflowClient | None = None

    def names(self) -> list[str]:
        """The names of all models that mlpipe has registered, sorted."""
        return sorted({name for version in self._find(f"tag.`{_VERSION}` LIKE '%'") if is_name(name := version.name)})

    def aliases(self, name: str) -> dict[str, int]:
        """Where each alias of a model points to."""
        self.numbers(name)
        with self._asking():
            aliases = self._client().get_registered_model(name).aliases
        return {alias: int(number) for alias, number in aliases.items()}

    def alias_number(self, name: str, alias: str) -> int | None:
        """The number that an alias points to, or None: one query."""
        from mlflow.exceptions import MlflowException

        check_name(name)
        check_alias(alias)  # a server has an answer to `latest`, too
        if not self._is_there():
            return None
        with self._asking():
            try:
                return int(self._client().get_model_version_by_alias(name, alias).version)
            except MlflowException as error:
                if error.error_code in _ABSENT:
                    return None
                raise

    def folder(self, name: str, number: int) -> Path:
        """The version's folder in the cache, every file verified; downloaded if it isn't there or is damaged."""
        self.check_number(name, number)
        with self._asking():
            version = self._client().get_model_version(name, str(number))
        digest = version.tags.get(_SHA256, "")
        if not re.fullmatch(r"[0-9a-f]{64}", digest):
            raise BundleError(f"Version {number} of {name!r} in {self.where} has no usable tag {_SHA256!r}.")

        def download(folder: Path) -> None:
            with self._asking():
                download_bundle(self._client(), str(version.run_id), BUNDLE, folder, version.tags[_VERSION])

        return cached(self.cache, digest, download)

    def _numbers(self, name: str) -> list[int]:
        return sorted(int(version.version) for version in self._find(f"name='{check_name(name)}'"))

    def _versions(self, name: str) -> list[Version]:
        found = self._find(f"name='{check_name(name)}'")
        aliases = self.aliases(name) if found else {}
        return sorted((_version(record, aliases) for record in found), key=lambda version: version.number)

    @contextmanager
    def _lock(self, name: str) -> Iterator[None]:
        self._client()  # takes the same lock
        with one_at_a_time(self.uri):
            yield

    def _add(self, bundle: Path, manifest: AnyManifest, name: str) -> int:
        from mlflow.exceptions import MlflowException

        client = self._client()
        tags = {
            _VERSION: manifest.version,
            _SHA256: FileEntry.of((bundle / MANIFEST).read_bytes()).sha256,
            _CREATED: manifest.created,
            _TASK: str(manifest.task["kind"]),
            _METRICS: json.dumps(manifest.metrics),
        }
        with self._asking():
            run = client.create_run(self._experiment(), run_name=f"{name} {manifest.version}")
            try:
                client.log_artifacts(run.info.run_id, str(bundle), BUNDLE)
                client.set_terminated(run.info.run_id, "FINISHED")
                try:
                    client.create_registered_model(name)
                except MlflowException as error:
                    if error.error_code != "RESOURCE_ALREADY_EXISTS":
                        raise
                source = f"{run.info.artifact_uri}/{BUNDLE}"
                return int(client.create_model_version(name, source, run.info.run_id, tags).version)
            except BaseException:
                client.delete_run(run.info.run_id)
                raise

    def _history(self, name: str, alias: str) -> History:
        with self._asking():
            model = self._client().get_registered_model(name)
        if alias not in model.aliases:
            return ()
        number = int(model.aliases[alias])
        try:
            history = tuple(Stand(int(at), str(since)) for at, since in json.loads(model.tags[_HISTORY + alias]))
        except (KeyError, TypeError, ValueError):  # no tag of ours
            history = ()
        # Somebody may have moved the alias in MLflow's own pages.
        return history if history and history[-1].number == number else (*history, Stand(number))

    def _move(self, name: str, alias: str, history: History, *, back: bool) -> None:
        client, stands = self._client(), json.dumps([[stand.number, stand.since] for stand in history])

        def point() -> None:
            client.set_registered_model_alias(name, alias, str(history[-1].number))

        def remember() -> None:
            client.set_registered_model_tag(name, _HISTORY + alias, stands)

        # Two calls: if we are killed between them, `_history` makes of what is left the state after a promotion, and
        # the state before a rollback.
        with self._asking():
            for step in (remember, point) if back else (point, remember):
                step()

    def _find(self, condition: str) -> list[ModelVersion]:
        """MLflow's records of the versions that are ours."""
        found: list[ModelVersion] = []
        if self._is_there():
            with self._asking():
                token = None
                while True:
                    page = self._client().search_model_versions(condition, _PAGE, page_token=token)
                    found += [version for version in page if _VERSION in version.tags]
                    token = page.token
                    if not token:
                        break
        return found

    def _experiment(self) -> str:
        client = self._client()
        experiment = client.get_experiment_by_name(EXPERIMENT)
        if experiment is None:
            # A server knows where artifacts go; for a bare database MLflow would take the working directory.
            database = database_file(self.uri)
            location = None if database is None else (artifact_root(database.parent) / EXPERIMENT).as_uri()
            return str(client.create_experiment(EXPERIMENT, location))
        if experiment.lifecycle_stage == "deleted":
            client.restore_experiment(experiment.experiment_id)
        return str(experiment.experiment_id)

    def _is_there(self) -> bool:
        """Whether there can be anything: a database that isn't there must not come to be by being read."""
        database = database_file(self.uri)
        return database is None or database.is_file()

    def _client(self) -> MlflowClient:
        if self._connected is None:
            prepare_environment()
            from mlflow.tracking import MlflowClient

            try:
                with one_at_a_time(self.uri):
                    self._connected = MlflowClient(self.uri, registry_uri=self.uri)
            except Exception as error:  # whatever the database's driver comes up with
                raise self._failure(error) from error
        return self._connected

    @contextmanager
    def _asking(self) -> Iterator[None]:
        """Turn what MLflow says into one sentence."""
        prepare_environment()
        from mlflow.exceptions import MlflowException

        try:
            yield
        except (MlflowException, OSError) as error:
            raise self._failure(error) from error

    def _failure(self, error: Exception) -> ConfigError:
        # The first line says it; behind it come SQL and links.
        reason = without_credentials(str(error)).partition("\n")[0][:300].rstrip(".")
        return ConfigError(f"{self.where} could not answer ({type(error).__name__}: {reason}).")


def _version(record: ModelVersion, aliases: Mapping[str, int]) -> Version:
    tags, number = record.tags, int(record.version)
    return Version(
        record.name,
        number,
        tags[_VERSION],
        tags.get(_CREATED, ""),
        tags.get(_TASK, ""),
        json.loads(tags.get(_METRICS, "{}")),
        tuple(sorted(alias for alias, at in aliases.items() if at == number)),
    )
