"""Add to a run's MLflow record what was measured after it had ended. A failure is one warning."""

from __future__ import annotations

import json
import logging
import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from mlpipe.stores import without_credentials
from mlpipe.training.mlflow_run import MlflowRun
from mlpipe.training.rundir import RunDirectory
from mlpipe.training.tracking import TrackingConfig

log = logging.getLogger(__name__)


def annotate_run(
    directory: RunDirectory,
    config: TrackingConfig,
    metrics: Mapping[str, float],
    files: Iterable[Path] = (),
) -> bool:
    """Log metrics and files to the MLflow run that a run directory names; its status stays as it is.

    Args:
        directory: What `mlpipe fit` left.
        config: Its `tracking` group.
        metrics: Values by name.
        files: Copied to the run's artifacts.

    Returns:
        Whether they are there now: not if the run is not tracked, or if MLflow failed, of which the log warns.
    """
    if not config.enabled or not directory.tracking.is_file():
        return False
    record = json.loads(directory.tracking.read_text(encoding="utf-8"))
    # The record leaves out user and password, which the config or the environment know.
    known = [uri for uri in (config.uri, os.environ.get("MLFLOW_TRACKING_URI")) if uri]
    uri = next((uri for uri in known if without_credentials(uri) == record["uri"]), record["uri"])
    now = int(time.time() * 1000)
    try:
        run = MlflowRun.find(uri, record["run_id"])
        run.log_metrics([(name, value, now, 0) for name, value in metrics.items()])
        for file in files:
            run.log_file(file)
    except Exception as error:  # noqa: BLE001  # whatever MLflow, its database or the network come up with
        reason = without_credentials(str(error)).partition("\n")[0][:300]
        log.warning(
            "MLflow at %s could not take the results (%s: %s).", without_credentials(uri), type(error).__name__, reason
        )
        return False
    return True
