"""MLflow, such that it neither slows training down nor ends it.

Notable:
- a worker thread does all of it, MLflow's import (seconds) and the database's creation included, so training does not
  wait; metrics are collected and sent in batches every few seconds;
- a failure (server gone, database locked or damaged, disk full) is one warning; what could not be sent is kept and
  tried again, less and less often;
- one parameter that MLflow refuses is a warning, and everything else is sent;
- a resumed run goes on with its MLflow run, also if parameters have changed since, which MLflow refuses: the new value
  becomes a tag;
- Lightning's `MLFlowLogger` is not used: it imports and connects when it is made, writes each metric on its own, cuts
  parameters at 250 characters, and lets every error end the training.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import sys
import time
from argparse import Namespace
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

from lightning.pytorch.loggers.logger import Logger
from lightning.pytorch.utilities import rank_zero_only
from lightning.pytorch.utilities.exceptions import SIGTERMException

from mlpipe.errors import ConfigError
from mlpipe.stores import artifact_root, default_uri, without_credentials
from mlpipe.training.mlflow_run import MAX_KEY, MAX_VALUE, MlflowRun
from mlpipe.training.rundir import RunDirectory

log = logging.getLogger(__name__)

Status = Literal["FINISHED", "FAILED", "KILLED"]

#: Seconds between two batches of metrics, and after a first failure; the latter doubles, up to the maximum.
SEND_INTERVAL = 5.0
FIRST_RETRY, MAX_RETRY = 60.0, 960.0

#: The tag by which MLflow knows a run's parent. (Its own `nested=True` needs a run that is active in this thread.)
PARENT_TAG = "mlflow.parentRunId"

#: An entry that Lightning adds to the parameters.
_NOT_A_PARAMETER = "_instantiator"


@dataclass(frozen=True)
class TrackingConfig:
    """Where a run is tracked: the `tracking` group of the configuration.

    Attributes:
        enabled: Whether to track at all; MLflow is not even imported otherwise.
        uri: A server or a database, as in `MLFLOW_TRACKING_URI`, which is taken if this is null; with neither it is
            `mlflow.db` (SQLite) in the folder of the runs.
        experiment: Name of the MLflow experiment.
        run_name: Name of the MLflow run; null: that of the run directory.
        tags: Further tags.
        log_bundle: Copy the bundle to MLflow's artifacts, with the config and the plots.
    """

    enabled: bool = True
    uri: str | None = None
    experiment: str = "mlpipe"
    run_name: str | None = None
    tags: dict[str, str] = field(default_factory=dict)
    log_bundle: bool = True


class MlflowTracker(Logger):
    """A Lightning logger that sends parameters, metrics and artifacts to MLflow from a thread of its own.

    No method raises because of MLflow. `finalize` (which Lightning calls) and `log_artifacts` wait until everything
    collected is sent or has failed; the other methods return at once.

    Args:
        config: Where to.
        run: The run directory, which the MLflow run points to.
        root: Folder of the runs, for the database if the config names none.
        resume: Go on with the MLflow run that the run directory names, if there is one.
        parent: The run of which this one is a part; MLflow shows it below that one.

    Raises:
        ConfigError: The experiment is `Default`, whose artifacts MLflow keeps in the working directory if its store is
            a database.
    """

    def __init__(
        self,
        config: TrackingConfig,
        run: RunDirectory,
        root: str | Path = "runs",
        *,
        resume: bool = False,
        parent: MlflowTracker | None = None,
    ) -> None:
        super().__init__()
        self.uri = config.uri or os.environ.get("MLFLOW_TRACKING_URI") or default_uri(root)
        self._artifacts: Path | None = None
        if self.uri.startswith("sqlite:"):
            # A server knows where artifacts go; for a bare database MLflow would take the working directory.
            if config.experiment == "Default":
                raise ConfigError("`tracking.experiment` cannot be 'Default', which is MLflow's own: name another.")
            self._artifacts = artifact_root(root) / re.sub(r"[^\w.-]", "_", config.experiment)
        self._config = config
        self._directory = run
        self._resume = resume
        self._parent = parent
        self._worker = ThreadPoolExecutor(max_workers=1, thread_name_prefix="mlflow")
        self._sending: Future[None] | None = None
        self._next_send = 0.0
        self._retry_after = 0.0  # seconds of the present pause; 0 while all is well
        self._warned = False
        # The caller's thread appends, the worker takes from the front; single operations on a list are atomic.
        self._metrics: list[tuple[str, float, int, int]] = []
        self._params: list[tuple[str, str]] = []
        self._run: MlflowRun | None = None

    @property
    def name(self) -> str:
        """The experiment."""
        return self._config.experiment

    @property
    def version(self) -> str | None:
        """Id of the MLflow run; None until there is one."""
        return None if self._run is None else self._run.run_id

    @property
    def save_dir(self) -> str:
        """The run directory."""
        return str(self._directory.path)

    @rank_zero_only
    def log_hyperparams(self, params: dict[str, Any] | Namespace, *args: Any, **kwargs: Any) -> None:
        """Log a configuration; nested keys become dotted ones, as on the command line.

        Args:
            params: Plain values, lists and dicts of them.
            *args: Unused, in Lightning's signature.
            **kwargs: Unused, in Lightning's signature.
        """
        values = vars(params) if isinstance(params, Namespace) else params
        self._params.extend((_key(name), _text(value)[:MAX_VALUE]) for name, value in _flatten(values))
        self._send_in_background()

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float], step: int | None = None) -> None:
        """Collect metrics, and send what is collected if some seconds have passed since the last time."""
        now = int(time.time() * 1000)
        self._metrics.extend((_key(name), float(value), now, step or 0) for name, value in metrics.items())
        self._send_in_background()

    @rank_zero_only
    def log_artifacts(self, run: RunDirectory) -> None:
        """Copy what matters of a run: configuration, environment, metrics, plots, and the bundle with its model card.

        The card is also shown on MLflow's page of the run.
        """
        self._wait("copy the artifacts", lambda to: to.log_artifacts(run, bundle=self._config.log_bundle), force=True)

    @rank_zero_only
    def finalize(self, status: str = "success") -> None:
        """Send the rest and set the run's status; Lightning calls this at the end of fit, validate and test.

        Args:
            status: Lightning's `success` or `failed`, where an interrupt counts as killed, or one of MLflow's words.
        """
        words = {"success": "FINISHED", "failed": "KILLED" if _interrupted() else "FAILED"}
        word = words.get(status, status)
        self._wait("set the status", lambda run: run.terminate(word), force=False)

    @rank_zero_only
    def close(self, status: Status = "FINISHED") -> None:
        """As `finalize`, with one last try also if tracking has failed before."""
        self._wait("set the status", lambda run: run.terminate(status), force=True)

    def _send_in_background(self) -> None:
        idle = self._sending is None or self._sending.done()
        if idle and time.monotonic() >= self._next_send:
            self._next_send = time.monotonic() + SEND_INTERVAL
            self._sending = self._worker.submit(self._attempt, "log", None)

    def _wait(self, what: str, action: Callable[[MlflowRun], None], *, force: bool) -> None:
        if self._sending is not None:
            self._sending.result()
        if force or not self._retry_after or time.monotonic() >= self._next_send:
            self._worker.submit(self._attempt, what, action).result()

    def _attempt(self, what: str, action: Callable[[MlflowRun], None] | None) -> None:
        """In the worker: connect if need be, send what is collected, then do something more."""
        try:
            run = self._send()
            if action is not None:
                action(run)
        except Exception as error:  # noqa: BLE001  # whatever MLflow, its database or the network come up with
            self._retry_after = min(2 * self._retry_after, MAX_RETRY) or FIRST_RETRY
            self._next_send = time.monotonic() + self._retry_after
            level = logging.DEBUG if self._warned else logging.WARNING
            # The first line says it; behind it come the SQL and links.
            reason = without_credentials(str(error)).partition("\n")[0][:300]
            log.log(
                level,
                "MLflow at %s could not %s (%s: %s). Training goes on; what was not sent is tried again later.",
                without_credentials(self.uri),
                what,
                type(error).__name__,
                reason,
            )
            self._warned = True
        else:
            self._retry_after = 0.0

    def _opened(self) -> str | None:
        """Id of the MLflow run, once what is being sent has been; None if there is still none then."""
        if self._sending is not None:
            self._sending.result()
        return self.version

    def _send(self) -> MlflowRun:
        if self._run is None:
            parent = None if self._parent is None else self._parent._opened()
            self._run = MlflowRun.open(
                self.uri,
                self._config.experiment,
                self._directory,
                run_name=self._config.run_name,
                tags=self._config.tags if parent is None else {**self._config.tags, PARENT_TAG: parent},
                artifacts=self._artifacts,
                resume=self._resume,
            )
        params = list(self._params)
        self._run.log_params(dict(params))
        del self._params[: len(params)]
        metrics = list(self._metrics)
        self._run.log_metrics(metrics)
        del self._metrics[: len(metrics)]
        return self._run


def _flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    for name, value in values.items():
        if name == _NOT_A_PARAMETER:
            continue
        if isinstance(value, Mapping) and value:
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _text(value: Any) -> str:
    """As it would stand in the YAML file, more or less: true, null, 0.001, [1, 2], words without quotes."""
    text = value if isinstance(value, str) else json.dumps(value, default=str, ensure_ascii=False)
    return without_credentials(text)


def _key(name: str) -> str:
    """A name that MLflow takes: letters, digits and these signs, a path that is written the shortest way, and short.

    A name that has to be written in another way than the signs alone ask for ends in its hash: two of those that differ
    stay two, and the same name is the same key in a resumed run.
    """
    written = re.sub(r"[^\w\-./ :]", "_", name)
    key = "/".join(part for part in written.split("/") if part not in ("", ".", ".."))
    if key == written and len(key) <= MAX_KEY:
        return key
    digest = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{key[: MAX_KEY - len(digest) - 1]}-{digest}"


def _interrupted() -> bool:
    """Whether the exception that Lightning is handling right now is a wish to stop."""
    return isinstance(sys.exception(), KeyboardInterrupt | SIGTERMException)
