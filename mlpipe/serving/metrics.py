"""What the server tells Prometheus, summed over all its processes.

prometheus_client keeps the numbers of every process in files of one folder, which the environment variable
PROMETHEUS_MULTIPROC_DIR names; it has to be set before this module is first imported. LitServe's own logger for
Prometheus is left out: it goes through a queue, and falls over when a process ends.

Labels have few values: routes are patterns, predictions are classes up to a number, features are columns.
"""

from __future__ import annotations

import time
from collections import Counter as Tally
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from mlpipe.schema import NULL_ID, UNSEEN_ID, Label

if TYPE_CHECKING:
    from mlpipe.serving.engine import Served, Worked

_REGISTRY = CollectorRegistry()
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STAGE_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)

REQUESTS = Counter("mlpipe_requests", "Requests answered", ("route", "code", "version"), registry=_REGISTRY)
REQUEST_SECONDS = Histogram(
    "mlpipe_request_seconds", "From a request's headers to its answer", ("route",), buckets=_SECONDS, registry=_REGISTRY
)
STAGE_SECONDS = Histogram(
    "mlpipe_stage_seconds",
    "Where the time goes: queue of each request; parse, preprocess, model and encode of each batch",
    ("stage",),
    buckets=_STAGE_SECONDS,
    registry=_REGISTRY,
)
BATCH_ROWS = Histogram("mlpipe_batch_rows", "Rows predicted together", buckets=_ROWS, registry=_REGISTRY)
REJECTED = Counter(
    "mlpipe_rejected", "Requests that were not answered with a prediction", ("reason",), registry=_REGISTRY
)
QUEUED = Gauge(
    "mlpipe_queued_requests", "Requests that wait for a worker", multiprocess_mode="livesum", registry=_REGISTRY
)
IN_FLIGHT = Gauge(
    "mlpipe_in_flight_requests", "Requests that are not answered yet", multiprocess_mode="livesum", registry=_REGISTRY
)
QUEUE_LIMIT = Gauge(
    "mlpipe_queue_limit", "Requests that may be in flight", multiprocess_mode="livesum", registry=_REGISTRY
)
READY = Gauge("mlpipe_ready", "Whether the server is ready", multiprocess_mode="livemax", registry=_REGISTRY)
WORKERS = Gauge(
    "mlpipe_workers", "Workers by their state", ("state",), multiprocess_mode="livemostrecent", registry=_REGISTRY
)
RESTARTS = Counter("mlpipe_restarts", "Processes that died and were replaced", ("kind",), registry=_REGISTRY)
RELOADS = Counter("mlpipe_reloads", "Reloads by their outcome", ("outcome",), registry=_REGISTRY)
MODEL = Gauge(
    "mlpipe_model_info",
    "1 for each version that is served",
    ("version", "alias", "backend", "task"),
    multiprocess_mode="livemax",
    registry=_REGISTRY,
)
PREDICTIONS = Counter("mlpipe_predictions", "Rows answered, by class", ("version", "prediction"), registry=_REGISTRY)
FEATURE_VALUES = Counter(
    "mlpipe_feature_values",
    "Values of each feature that were known, missing, or not seen in training",
    ("version", "feature", "state"),
    registry=_REGISTRY,
)

#: Why a request was not answered with a prediction, by the status that says so.
REASONS = {
    401: "unauthorized",
    408: "slow_body",
    413: "body_size",
    415: "media_type",
    422: "invalid",
    429: "rate_limit",
    500: "failed",
    502: "worker_lost",
    503: "queue_full",
    504: "deadline",
}

_OTHER = "other"
_MOST_CLASSES = 50
_FLUSH_SECONDS = 0.5


def exposition() -> bytes:
    """The text of `/metrics`: the numbers of all processes, also of those that ended."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
    return generate_latest(registry)


def answered(route: str, status: int, seconds: float, version: str) -> None:
    """Count a request."""
    REQUESTS.labels(route, str(status), version).inc()
    REQUEST_SECONDS.labels(route).observe(seconds)
    if status in REASONS and not route.endswith(("health/ready", "health/live", "/ping", "/health")):
        REJECTED.labels(REASONS[status]).inc()


def waited(seconds: Sequence[float]) -> None:
    """Count the time that requests were in no worker's hands."""
    stage = STAGE_SECONDS.labels("queue")
    for one in seconds:
        stage.observe(one)


def workers(states: Mapping[str, int]) -> None:
    """Say how many workers are in each state."""
    for state, count in states.items():
        WORKERS.labels(state).set(count)


def gone(pid: int) -> None:
    """Forget the gauges of a process that ended."""
    mark_process_dead(pid)  # type: ignore[no-untyped-call]


class WorkerMetrics:
    """Counts what a worker does; what there is one of for each feature and class is written now and then only."""

    def __init__(self) -> None:
        self._predictions: Tally[tuple[str, str]] = Tally()
        self._features: dict[str, tuple[Served, np.ndarray, int]] = {}
        self._served: set[tuple[str, str, str, str]] = set()
        self._flushed = time.monotonic()

    def serve(self, served: Sequence[Served], labels: Sequence[str]) -> None:
        """Say which versions are served from now on."""
        now = {
            (one.version, label, one.backend, one.rules.schema.task.kind.value)
            for one, label in zip(served, labels, strict=True)
        }
        for info in self._served - now:
            MODEL.labels(*info).set(0)
        for info in now:
            MODEL.labels(*info).set(1)
        self._served = now

    def count(self, worked: Worked) -> None:
        """Count a batch."""
        for stage, seconds in worked.stages.items():
            STAGE_SECONDS.labels(stage).observe(seconds)
        if worked.rows:
            BATCH_ROWS.observe(worked.rows)
        for served, part in worked.answered:
            for row, record in enumerate(part.records):
                if row not in part.faults:
                    self._predictions[served.version, _told(record["prediction"], served)] += 1
            missing = part.arrays.missing.sum(axis=0)
            ids = part.arrays.categorical
            states = np.concatenate((missing, (ids == NULL_ID).sum(axis=0), (ids == UNSEEN_ID).sum(axis=0)))
            _, before, rows = self._features.get(served.version, (served, np.zeros(len(states), dtype=np.int64), 0))
            self._features[served.version] = served, before + states, rows + len(ids)
        if time.monotonic() - self._flushed > _FLUSH_SECONDS:
            self.flush()

    def flush(self) -> None:
        """Write what was counted."""
        self._flushed = time.monotonic()
        for (version, prediction), count in self._predictions.items():
            PREDICTIONS.labels(version, prediction).inc(count)
        for version, (served, states, rows) in self._features.items():
            spec = served.online.spec
            numbers, categories = len(spec.numeric), len(spec.categorical)
            nulls, unseen = states[numbers : numbers + categories], states[numbers + categories :]
            for feature, missing in zip(spec.numeric, states, strict=False):
                _count(version, feature.name, rows, int(missing), 0)
            for category, null, new in zip(spec.categorical, nulls, unseen, strict=True):
                _count(version, category.name, rows, int(null), int(new))
        self._predictions.clear()
        self._features.clear()


def _count(version: str, feature: str, rows: int, missing: int, unseen: int) -> None:
    for state, count in (("known", rows - missing - unseen), ("missing", missing), ("unseen", unseen)):
        if count:
            FEATURE_VALUES.labels(version, feature, state).inc(count)


def _told(prediction: Label | list[str], served: Served) -> str:
    from mlpipe.features.target import label_text  # needs Polars, which the API processes do without

    classes = served.rules.schema.task.classes
    if isinstance(prediction, list):
        return ",".join(prediction) if len(classes) <= 4 else _OTHER
    if not classes:
        return "number"
    return label_text(prediction) if prediction in classes[:_MOST_CLASSES] else _OTHER
