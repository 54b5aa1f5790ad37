"""A server's metrics without a server: every metric of the table, with made-up traffic that goes on.

    python tests/integration/docker/traffic.py 9000

publishes them at http://127.0.0.1:9000/metrics until it is stopped.
"""

from __future__ import annotations

import itertools
import random
import sys
import threading
from collections.abc import Iterator

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, start_http_server
from prometheus_client.metrics import MetricWrapperBase

from mlpipe.serving.metric_names import METRICS, Metric

#: Values of the labels that have no closed set of them.
OPEN_LABELS = {
    "route": ("/predict", "/invocations", "/v2/health/live"),
    "code": ("200", "422", "500", "503"),
    "version": ("v1", "v2"),
    "alias": ("champion",),
    "backend": ("torch",),
    "task": ("binary",),
    "prediction": ("yes", "no"),
    "feature": ("age", "city"),
}
CLASSES: dict[str, type[MetricWrapperBase]] = {"counter": Counter, "gauge": Gauge, "histogram": Histogram}
SECONDS_BETWEEN_UPDATES = 0.2


def label_sets(metric: Metric) -> Iterator[dict[str, str]]:
    """Every combination of the values of a metric's labels."""
    values = [metric.values.get(label) or OPEN_LABELS[label] for label in metric.labels]
    for combination in itertools.product(*values):
        yield dict(zip(metric.labels, combination, strict=True))


def children(registry: CollectorRegistry) -> list[MetricWrapperBase]:
    """Every metric of the table with every set of labels, registered."""
    made: list[MetricWrapperBase] = []
    for metric in METRICS:
        parent = CLASSES[metric.type](metric.name, metric.help, metric.labels, registry=registry)
        made += [parent.labels(**labels) if labels else parent for labels in label_sets(metric)]
    return made


def move(child: MetricWrapperBase, rng: random.Random) -> None:
    """One request's worth of change."""
    if isinstance(child, Counter):
        child.inc(rng.randint(1, 9))
    elif isinstance(child, Histogram):
        child.observe(rng.expovariate(10))
    elif isinstance(child, Gauge):
        child.set(rng.randint(1, 3))


def publish(port: int) -> None:
    """Serve changing metrics on a port of the loopback, from threads that end with the process."""
    registry = CollectorRegistry()
    metrics, rng = children(registry), random.Random(0)

    def go_on() -> None:
        while True:
            for child in metrics:
                move(child, rng)
            threading.Event().wait(SECONDS_BETWEEN_UPDATES)

    threading.Thread(target=go_on, daemon=True).start()
    start_http_server(port, "127.0.0.1", registry)


if __name__ == "__main__":
    publish(int(sys.argv[1]))
    threading.Event().wait()
