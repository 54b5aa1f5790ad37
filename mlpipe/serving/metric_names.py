"""What `GET /metrics` publishes: each metric's name, type, labels and help, once.

The server makes its metrics from this table, and a test holds the dashboard, the alerts and the autoscaler of `docker/`
to it, so that neither can ask for a series that the other has renamed.

Notable:
- names and units follow Prometheus's own rules: seconds, `_total` for counters, no unit in a label;
- labels whose values are known beforehand list them in `values`: a counter that is exported at 0 from the start shows
  its first increase to `increase()`, one that first appears at 1 doesn't;
- no label holds a value of a request: a column's name is one of a schema, a prediction one of its classes.

Standard library only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: The types of prometheus_client that are used here, in its lower-case words.
MetricType = Literal["counter", "gauge", "histogram"]

_SERIES: dict[MetricType, tuple[str, ...]] = {
    "counter": ("",),
    "gauge": ("",),
    "histogram": ("_bucket", "_count", "_sum"),
}


@dataclass(frozen=True)
class Metric:
    """One metric of the server.

    Attributes:
        name: As queries write it, `_total` included.
        type: Counter, gauge or histogram.
        help: One sentence, the unit included.
        labels: Names of its labels, in the order that `labels()` takes them.
        values: All values of those labels that have a closed set of them.

    Examples:
        >>> Metric("queue_seconds", "histogram", "Wait in seconds.").series
        ('queue_seconds_bucket', 'queue_seconds_count', 'queue_seconds_sum')
    """

    name: str
    type: MetricType
    help: str
    labels: tuple[str, ...] = ()
    values: Mapping[str, tuple[str, ...]] = field(default_factory=dict, hash=False)

    @property
    def series(self) -> tuple[str, ...]:
        """The names under which a scrape finds it."""
        return tuple(self.name + ending for ending in _SERIES[self.type])


REQUESTS = Metric(
    "mlpipe_requests_total",
    "counter",
    "Requests answered, by route, status code and the version that answered.",
    ("route", "code", "version"),
)
REQUEST_SECONDS = Metric(
    "mlpipe_request_seconds",
    "histogram",
    "Seconds from the first byte of a request to its answer.",
    ("route", "version"),
)
STAGE_SECONDS = Metric(
    "mlpipe_stage_seconds",
    "histogram",
    "Seconds that a micro-batch spends in each stage.",
    ("stage",),
    {"stage": ("queue", "parse", "preprocess", "model", "encode")},
)
BATCH_ROWS = Metric("mlpipe_batch_rows", "histogram", "Rows that the model sees at once.")
QUEUED_REQUESTS = Metric("mlpipe_queued_requests", "gauge", "Requests that wait for a worker.")
IN_FLIGHT_REQUESTS = Metric("mlpipe_in_flight_requests", "gauge", "Requests taken and not yet answered.")
QUEUE_LIMIT = Metric("mlpipe_queue_limit", "gauge", "Requests that may wait; one more is rejected.")
BODY_BYTES = Metric("mlpipe_body_bytes", "gauge", "Bytes of the bodies of requests not yet answered.")
REJECTED = Metric(
    "mlpipe_rejected_total",
    "counter",
    "Requests that got no prediction, by reason.",
    ("reason",),
    {
        "reason": (
            "queue_full",
            "deadline",
            "body_size",
            "slow_body",
            "media_type",
            "rate_limit",
            "unauthorized",
            "invalid",
            "worker_lost",
            "failed",
        )
    },
)
MODEL_INFO = Metric(
    "mlpipe_model_info", "gauge", "Always 1; its labels say what is served.", ("version", "alias", "backend", "task")
)
PREDICTIONS = Metric(
    "mlpipe_predictions_total", "counter", "Rows predicted, by class or bin of the target.", ("version", "prediction")
)
FEATURE_VALUES = Metric(
    "mlpipe_feature_values_total",
    "counter",
    "Values received for each feature: known, missing, or of a category that training never saw.",
    ("version", "feature", "state"),
    {"state": ("known", "missing", "unseen")},
)
FEATURE_DRIFT = Metric(
    "mlpipe_feature_drift_psi",
    "gauge",
    "Population stability index of a feature's recent values against training.",
    ("version", "feature"),
)
PREDICTION_DRIFT = Metric(
    "mlpipe_prediction_drift_psi",
    "gauge",
    "Population stability index of recent predictions against those on validation rows.",
    ("version",),
)
WORKERS = Metric(
    "mlpipe_workers", "gauge", "Processes that predict, by state.", ("state",), {"state": ("ready", "starting", "dead")}
)
RESTARTS = Metric(
    "mlpipe_restarts_total",
    "counter",
    "Processes of the server that died and were started anew.",
    ("kind",),
    {"kind": ("worker", "api")},
)
RELOADS = Metric(
    "mlpipe_reloads_total",
    "counter",
    "Times that the server looked for another version to serve, by outcome.",
    ("outcome",),
    {"outcome": ("swapped", "failed", "unchanged")},
)
SHADOW_ROWS = Metric(
    "mlpipe_shadow_rows_total",
    "counter",
    "Rows that a version was given in the shadow, by what became of them.",
    ("version", "outcome"),
    {"outcome": ("answered", "failed", "dropped")},
)
SHADOW_DISAGREEMENTS = Metric(
    "mlpipe_shadow_disagreements_total",
    "counter",
    "Rows to which the shadow gave another answer: another class, or a number that is off by more than a tenth of the "
    "target's standard deviation.",
    ("version",),
)
SHADOW_DIFFERENCE = Metric(
    "mlpipe_shadow_difference",
    "histogram",
    "How far the shadow's answer to a row is off: the largest difference of a probability, or of numbers in standard "
    "deviations of the training target.",
    ("version",),
)
REQUEST_LOG_ROWS = Metric(
    "mlpipe_request_log_rows_total",
    "counter",
    "Rows of the request log, by what became of them.",
    ("outcome",),
    {"outcome": ("written", "lost")},
)
READY = Metric("mlpipe_ready", "gauge", "1 while requests are taken, else 0.")

#: All of them: what the server registers.
METRICS = (
    REQUESTS,
    REQUEST_SECONDS,
    STAGE_SECONDS,
    BATCH_ROWS,
    QUEUED_REQUESTS,
    IN_FLIGHT_REQUESTS,
    BODY_BYTES,
    QUEUE_LIMIT,
    REJECTED,
    MODEL_INFO,
    PREDICTIONS,
    FEATURE_VALUES,
    FEATURE_DRIFT,
    PREDICTION_DRIFT,
    WORKERS,
    RESTARTS,
    RELOADS,
    SHADOW_ROWS,
    SHADOW_DISAGREEMENTS,
    SHADOW_DIFFERENCE,
    REQUEST_LOG_ROWS,
    READY,
)
