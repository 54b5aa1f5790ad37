from __future__ import annotations

import re

import pytest

from mlpipe.serving.metric_names import METRICS, Metric

# As Prometheus wants them: the prefix of the program, small letters, words joined by one underscore.
NAME = re.compile(r"mlpipe(_[a-z]+)+")


def test_no_name_twice() -> None:
    series = [name for metric in METRICS for name in metric.series]
    assert len(set(series)) == len(series)


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_follows_the_naming_rules(metric: Metric) -> None:
    assert NAME.fullmatch(metric.name)
    assert metric.name.endswith("_total") == (metric.type == "counter")
    assert not metric.name.endswith(("_bucket", "_count", "_sum", "_info_total"))
    assert "_seconds" not in metric.name or "econds" in metric.help
    assert metric.help.endswith(".")


@pytest.mark.parametrize("metric", METRICS, ids=lambda metric: metric.name)
def test_labels_are_names_and_none_is_one_of_prometheus(metric: Metric) -> None:
    assert all(re.fullmatch(r"[a-z]+", label) for label in metric.labels)
    assert not {"le", "job", "instance", "quantile", "pid"} & set(metric.labels)
    assert set(metric.values) <= set(metric.labels)
    for values in metric.values.values():
        assert len(set(values)) == len(values) > 1


def test_a_metric_can_be_a_key() -> None:
    assert len(dict.fromkeys(METRICS, 1)) == len(METRICS)
