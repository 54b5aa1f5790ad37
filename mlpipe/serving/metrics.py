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
from functools import cache
from http import HTTPStatus
from itertools import product
from typing import TYPE_CHECKING, Literal

import numpy as np
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead

from mlpipe.schema import NULL_ID, UNSEEN_ID, Label
from mlpipe.serving import metric_names as names
from mlpipe.serving.metric_names import Metric

if TYPE_CHECKING:
    from mlpipe.features.drift import DriftMeter
    from mlpipe.serving.engine import Served, Worked
    from mlpipe.serving.shadow import Compared

_REGISTRY = CollectorRegistry()
_SECONDS = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0)
_STAGE_SECONDS = (0.0001, 0.00025, 0.0005, *_SECONDS)
_DIFFERENCES = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0)
_ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 1_024)


def _counter(metric: Metric) -> Counter:
    """A counter; where all values of its labels are known, it stands at 0 from the start."""
    made = Counter(metric.name, metric.help, metric.labels, registry=_REGISTRY)
    if set(metric.values) == set(metric.labels):
        for values in product(*(metric.values[label] for label in metric.labels)) if metric.labels else ():
            made.labels(*values)
    return made


def _gauge(metric: Metric, over_processes: Literal["livesum", "livemax", "livemostrecent"]) -> Gauge:
    return Gauge(metric.name, metric.help, metric.labels, multiprocess_mode=over_processes, registry=_REGISTRY)


def _histogram(metric: Metric, buckets: Sequence[float]) -> Histogram:
    return Histogram(metric.name, metric.help, metric.labels, buckets=buckets, registry=_REGISTRY)


REQUESTS = _counter(names.REQUESTS)
REQUEST_SECONDS = _histogram(names.REQUEST_SECONDS, _SECONDS)
STAGE_SECONDS = _histogram(names.STAGE_SECONDS, _STAGE_SECONDS)
BATCH_ROWS = _histogram(names.BATCH_ROWS, _ROWS)
REJECTED = _counter(names.REJECTED)
QUEUED = _gauge(names.QUEUED_REQUESTS, "livesum")
IN_FLIGHT = _gauge(names.IN_FLIGHT_REQUESTS, "livesum")
BODY_BYTES = _gauge(names.BODY_BYTES, "livesum")
QUEUE_LIMIT = _gauge(names.QUEUE_LIMIT, "livesum")
READY = _gauge(names.READY, "livemax")
WORKERS = _gauge(names.WORKERS, "livemostrecent")
RESTARTS = _counter(names.RESTARTS)
RELOADS = _counter(names.RELOADS)
MODEL = _gauge(names.MODEL_INFO, "livemax")
PREDICTIONS = _counter(names.PREDICTIONS)
FEATURE_VALUES = _counter(names.FEATURE_VALUES)
#: Each worker sees a part of the traffic; the one that has moved farthest is told.
FEATURE_DRIFT = _gauge(names.FEATURE_DRIFT, "livemax")
PREDICTION_DRIFT = _gauge(names.PREDICTION_DRIFT, "livemax")

SHADOW_ROWS = _counter(names.SHADOW_ROWS)
SHADOW_DISAGREEMENTS = _counter(names.SHADOW_DISAGREEMENTS)
SHADOW_DIFFERENCE = _histogram(names.SHADOW_DIFFERENCE, _DIFFERENCES)
REQUEST_LOG_ROWS = _counter(names.REQUEST_LOG_ROWS)

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
#: How often drift is computed.
_DRIFT_SECONDS = 5.0


def exposition() -> bytes:
    """The text of `/metrics`: the numbers of all processes, also of those that ended."""
    registry = CollectorRegistry()
    MultiProcessCollector(registry)  # type: ignore[no-untyped-call]  # it has no types
    return generate_latest(registry)


def answered(route: str, status: int, seconds: float, version: str) -> None:
    """Count a request. What is turned away takes no time, and would only hide how long the others take."""
    requests, durations, rejections = _answer_series(route, status, version)
    requests.inc()
    if status != HTTPStatus.SERVICE_UNAVAILABLE:
        durations.observe(seconds)
    if rejections is not None:
        rejections.inc()


@cache  # looking them up by their labels takes longer than counting
def _answer_series(route: str, status: int, version: str) -> tuple[Counter, Histogram, Counter | None]:
    rejected = status in REASONS and not route.endswith(("/ready", "/live", "/ping", "/health"))
    return (
        REQUESTS.labels(route, str(status), version),
        REQUEST_SECONDS.labels(route, version),
        REJECTED.labels(REASONS[status]) if rejected else None,
    )


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
    mark_process_dead(pid)  # type: ignore[no-untyped-call]  # it has no types


class WorkerMetrics:
    """Counts what a worker does; what there is one of for each feature and class is written now and then only."""

    def __init__(self) -> None:
        self._predictions: Tally[tuple[str, str]] = Tally()
        self._features: dict[str, tuple[Served, np.ndarray, int]] = {}
        self._served: set[tuple[str, str, str, str]] = set()
        self._meters: dict[str, DriftMeter] = {}
        #: Versions and their gauges that were set.
        self._drifted: set[tuple[str, Gauge]] = set()
        self._flushed = self._compared = time.monotonic()

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
        self._meters = {one.version: self._meters.get(one.version) or one.meter() for one in served}
        # A gauge stays; that of a version which answers no more would keep an alert up.
        for gauge in [gauge for version, gauge in self._drifted if version not in self._meters]:
            gauge.set(0)
        self._drifted = {(version, gauge) for version, gauge in self._drifted if version in self._meters}

    def count(self, worked: Worked) -> None:
        """Count a batch."""
        for stage, seconds in worked.stages.items():
            STAGE_SECONDS.labels(stage).observe(seconds)
        if worked.rows:
            BATCH_ROWS.observe(worked.rows)
        self._count_answers(worked)

    def count_shadow(self, compared: Compared) -> None:
        """Count a batch in the shadow. Its time and size are no client's, and so in no histogram of theirs."""
        version, differences = compared.served.version, compared.differences
        for outcome, rows in (("answered", len(differences)), ("failed", compared.failed)):
            if rows:
                SHADOW_ROWS.labels(version, outcome).inc(rows)
        SHADOW_DISAGREEMENTS.labels(version).inc(compared.disagreements)
        histogram = SHADOW_DIFFERENCE.labels(version)
        for difference in differences:
            histogram.observe(difference)
        self._count_answers(compared.worked)

    def drop_shadow(self, version: str, rows: int) -> None:
        """Count rows for which the shadow had no time."""
        if rows:
            SHADOW_ROWS.labels(version, "dropped").inc(rows)

    def count_log(self, written: int, lost: int) -> None:
        """Count rows of the request log."""
        REQUEST_LOG_ROWS.labels("written").inc(written)
        REQUEST_LOG_ROWS.labels("lost").inc(lost)

    def _count_answers(self, worked: Worked) -> None:
        """Count what was predicted, of what features."""
        for served, part in worked.answered:
            for row, record in enumerate(part.records):
                if row not in part.faults:
                    self._predictions[served.version, _told(record["prediction"], served)] += 1
            arrays, values = part.arrays, part.values
            if part.faults:
                right = np.array([row for row in range(len(arrays)) if row not in part.faults], dtype=np.int64)
                arrays, values = arrays.take(right), values[right]
            if served.version in self._meters:
                self._meters[served.version].observe(arrays)
                self._meters[served.version].observe_predictions(values)
            missing = arrays.missing.sum(axis=0)
            ids = arrays.categorical
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
        if self._flushed - self._compared > _DRIFT_SECONDS:
            self._compared = self._flushed
            self._compare()

    def _compare(self) -> None:
        """Tell how far the recent rows are from those of training."""
        for version, meter in self._meters.items():
            for record in meter.report():
                if record.psi is None:
                    continue
                if record.kind == "prediction":
                    gauge = PREDICTION_DRIFT.labels(version)
                else:
                    gauge = FEATURE_DRIFT.labels(version, record.feature)
                gauge.set(record.psi)
                self._drifted.add((version, gauge))


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
