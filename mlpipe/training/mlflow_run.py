"""One MLflow run: found or made, written to, ended. Every method may raise what MLflow raises.

MLflow is imported when a run is opened, not with this module: it takes seconds.
"""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Self

import mlpipe
from mlpipe.stores import one_at_a_time, prepare_environment, without_credentials
from mlpipe.training.rundir import RunDirectory, write_json

if TYPE_CHECKING:
    from mlflow.entities import Param, Run, RunTag
    from mlflow.tracking import MlflowClient

log = logging.getLogger(__name__)

#: The longest value of a parameter or tag that MLflow takes.
MAX_VALUE = 6000
#: Before the name of a parameter whose value has changed, in a tag.
_CHANGED = "changed."
#: The longest name of a parameter: MLflow takes 250 characters, and as many for that of a tag.
MAX_KEY = 250 - len(_CHANGED)
#: What a server takes at once.
_METRICS_PER_BATCH, _PARAMS_PER_BATCH = 1000, 100


class MlflowRun:
    """A run of an MLflow store, by its client.

    Attributes:
        run_id: MLflow's id of it.
    """

    def __init__(self, client: MlflowClient, run: Run) -> None:
        self._client = client
        self.run_id = str(run.info.run_id)
        self._params = dict(run.data.params)

    @classmethod
    def open(
        cls,
        uri: str,
        experiment: str,
        directory: RunDirectory,
        *,
        run_name: str | None = None,
        tags: Mapping[str, str] | None = None,
        artifacts: Path | None = None,
        resume: bool = False,
    ) -> Self:
        """Go on with the run that a run directory names, or make a new one and note it there.

        Args:
            uri: A server or a database.
            experiment: Its name; it is made if there is none, and restored if it was deleted.
            directory: The new run points to it.
            run_name: Name of a new run; that of the directory by default.
            tags: Further tags of a new run.
            artifacts: Folder for the artifacts of a new experiment; the store's own by default.
            resume: Go on with the old run, if the directory names one of this store that still exists.
        """
        client = _client(uri)
        from mlflow.tracking.context.registry import resolve_tags

        old = _old_run(client, uri, directory) if resume else None
        if old is not None:
            return cls(client, old)
        run = client.create_run(
            _experiment_id(client, experiment, artifacts),
            run_name=run_name or directory.path.name,
            tags=resolve_tags(
                {
                    **(tags or {}),
                    "mlpipe.version": mlpipe.__version__,
                    "mlpipe.run_directory": str(directory.path.resolve()),
                }
            ),
        )
        record = {"uri": without_credentials(uri), "run_id": run.info.run_id, "experiment_id": run.info.experiment_id}
        write_json(directory.tracking, record)
        return cls(client, run)

    @classmethod
    def find(cls, uri: str, run_id: str) -> Self:
        """A run that is there, whatever its status."""
        client = _client(uri)
        return cls(client, client.get_run(run_id))

    def log_params(self, params: Mapping[str, str]) -> None:
        """Log parameters; MLflow refuses another value for an old one, so that becomes the tag `changed.<name>`.

        A parameter that MLflow refuses for what it is would be refused for ever: it is left out, with a warning.
        """
        from mlflow.entities import Param, RunTag

        new = [Param(name, value) for name, value in params.items() if name not in self._params]
        changed = [
            RunTag(f"{_CHANGED}{name}", value)
            for name, value in params.items()
            if self._params.get(name, value) != value
        ]
        for start in range(0, max(len(new), len(changed)), _PARAMS_PER_BATCH):
            batch = slice(start, start + _PARAMS_PER_BATCH)
            self._log_batch(new[batch], changed[batch])
        self._params |= {param.key: param.value for param in new}

    def _log_batch(self, params: Sequence[Param], tags: Sequence[RunTag]) -> None:
        from mlflow.exceptions import MlflowException

        try:
            self._client.log_batch(self.run_id, params=params, tags=tags)
        except MlflowException as error:
            if error.error_code != "INVALID_PARAMETER_VALUE":
                raise
            if len(params) + len(tags) > 1:  # MLflow takes all or none, and its error names one at most
                for param in params:
                    self._log_batch([param], [])
                for tag in tags:
                    self._log_batch([], [tag])
                return
            name = params[0].key if params else tags[0].key
            reason = without_credentials(str(error)).partition("\n")[0][:300]
            log.warning("MLflow refuses the parameter %r, which is left out: %s", name, reason)

    def log_metrics(self, metrics: Sequence[tuple[str, float, int, int]]) -> None:
        """Log values as (name, value, milliseconds since 1970, step)."""
        from mlflow.entities import Metric

        for start in range(0, len(metrics), _METRICS_PER_BATCH):
            batch = metrics[start : start + _METRICS_PER_BATCH]
            self._client.log_batch(self.run_id, metrics=[Metric(*metric) for metric in batch])

    def log_artifacts(self, run: RunDirectory, *, bundle: bool) -> None:
        """Copy what matters of a run directory; the model card also becomes the run's description."""
        for file in (run.config, run.env, run.schema, run.metrics_json, run.metrics_csv, run.calibration, run.folds):
            if file.is_file():
                self._client.log_artifact(self.run_id, str(file))
        for folder in (run.plots, run.bundle) if bundle else (run.plots,):
            if folder.is_dir() and any(folder.iterdir()):
                self._client.log_artifacts(self.run_id, str(folder), folder.name)
        card = run.bundle / "model_card.md"
        if card.is_file():
            self._client.log_artifact(self.run_id, str(card))
            self._client.set_tag(self.run_id, "mlflow.note.content", card.read_text(encoding="utf-8")[:MAX_VALUE])

    def log_file(self, file: Path) -> None:
        """Copy a file to the artifacts."""
        self._client.log_artifact(self.run_id, str(file))

    def terminate(self, status: str) -> None:
        """End the run as FINISHED, FAILED or KILLED; it can still be written to."""
        self._client.set_terminated(self.run_id, status)


def _client(uri: str) -> MlflowClient:
    prepare_environment()
    from mlflow.tracking import MlflowClient

    with one_at_a_time(uri):
        return MlflowClient(uri)


def _old_run(client: MlflowClient, uri: str, directory: RunDirectory) -> Run | None:
    from mlflow.exceptions import MlflowException

    if not directory.tracking.is_file():
        return None
    record = json.loads(directory.tracking.read_text(encoding="utf-8"))
    if record["uri"] != without_credentials(uri):
        return None
    try:
        run = client.get_run(record["run_id"])
    except MlflowException as error:
        if error.error_code == "RESOURCE_DOES_NOT_EXIST":
            return None
        raise
    if run.info.lifecycle_stage != "active":
        return None
    client.update_run(run.info.run_id, status="RUNNING")
    return run


def _experiment_id(client: MlflowClient, name: str, artifacts: Path | None) -> str:
    from mlflow.exceptions import MlflowException

    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        try:
            return str(client.create_experiment(name, None if artifacts is None else artifacts.as_uri()))
        except MlflowException:
            # Another process of a sweep may have been faster.
            experiment = client.get_experiment_by_name(name)
            if experiment is None:
                raise
    if experiment.lifecycle_stage == "deleted":
        client.restore_experiment(experiment.experiment_id)
    return str(experiment.experiment_id)
