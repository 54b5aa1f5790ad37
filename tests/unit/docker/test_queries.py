"""Every query of dashboard, rules and autoscaler asks for names and labels that the server has."""

from __future__ import annotations

import re
import runpy
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families

from mlpipe.serving.metric_names import METRICS

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "docker"
SCRIPTS = ROOT / "tests" / "integration" / "docker"
ASKED = runpy.run_path(str(SCRIPTS / "queries.py"))
TRAFFIC = runpy.run_path(str(SCRIPTS / "traffic.py"))
PROMETHEUS_LABELS = {"instance", "job"}
IDENTIFIER = r"[a-zA-Z_:][\w:]*"
KEYWORDS = {"or", "and", "unless", "offset", "bool"}
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")
SELECTOR = re.compile(rf"(?<![\w:.$])({IDENTIFIER})(?:\{{([^}}]*)\}})?(?!\w|\s*\()")
MATCHER = re.compile(rf'({IDENTIFIER})\s*(?:=~|!~|!=|=)\s*"([^"]*)"')


@dataclass(frozen=True)
class Series:
    labels: frozenset[str]
    values: dict[str, tuple[str, ...]]


def load(path: Path) -> Any:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def rule_files() -> list[Path]:
    return [DOCKER / name for name in load(DOCKER / "prometheus.yml")["rule_files"]]


def rules() -> list[dict[str, Any]]:
    return [rule for file in rule_files() for group in load(file)["groups"] for rule in group["rules"]]


def known_series() -> dict[str, Series]:
    """What the server publishes, what Prometheus adds, and what the rules record."""
    known = {
        "up": Series(frozenset(PROMETHEUS_LABELS), {}),
        "ALERTS": Series(frozenset({"alertname", "alertstate"}), {"alertstate": ("pending", "firing")}),
    }
    for metric in METRICS:
        for name in metric.series:
            bucket = {"le"} if name.endswith("_bucket") else set()
            known[name] = Series(frozenset(metric.labels) | PROMETHEUS_LABELS | bucket, dict(metric.values))
    for rule in rules():
        if "record" in rule:
            used = [known[name] for name, _ in selectors(rule["expr"])[0]]
            values = {label: found for series in used for label, found in series.values.items()}
            known[rule["record"]] = Series(frozenset(groupings(rule["expr"])) - {"le"}, values)
    return known


def groupings(query: str) -> list[str]:
    return [label.strip() for labels in GROUPING.findall(query) for label in labels.split(",") if label.strip()]


def selectors(query: str) -> tuple[list[tuple[str, dict[str, str]]], list[str]]:
    """The series that a query names, each with its matchers, and the labels that it groups by."""
    bare = GROUPING.sub(" ", re.sub(r"\[[^\]]*\]", "", query))
    found = [(name, dict(MATCHER.findall(matchers))) for name, matchers in SELECTOR.findall(bare)]
    return [(name, matchers) for name, matchers in found if name not in KEYWORDS], groupings(query)


def fault(query: str) -> str | None:
    """What a query asks for that is not there, or None."""
    known, (named, grouped) = known_series(), selectors(query)
    labels: set[str] = set()
    for name, matchers in named:
        if name not in known:
            return name
        labels |= known[name].labels
        for label, pattern in matchers.items():
            if label not in known[name].labels:
                return f"{name}{{{label}}}"
            allowed = known[name].values.get(label)
            if allowed and not pattern.startswith("$") and not set(pattern.split("|")) <= set(allowed):
                return f'{name}{{{label}="{pattern}"}}'
    return next((label for label in grouped if label not in labels), None if named else "no series")


def queries() -> Iterator[Any]:
    for name, query in ASKED["queries"]().items():
        yield pytest.param(query, id=f"dashboard {name}")
    for rule in rules():
        yield pytest.param(rule["expr"], id=f"rule {rule.get('alert') or rule['record']}")
    for file in sorted((DOCKER / "rules").glob("*_test.yml")):
        for test in load(file)["tests"]:
            for number, series in enumerate(test["input_series"]):
                yield pytest.param(series["series"], id=f"{file.name}: {test['name']} {number}")
            for check in test.get("promql_expr_test", ()):
                query = re.sub(r"^ALERTS\b.*", "ALERTS", check["expr"])
                yield pytest.param(query, id=f"{file.name}: {test['name']} at {check['eval_time']}")


@pytest.mark.parametrize("query", list(queries()))
def test_a_query_asks_for_what_there_is(query: str) -> None:
    assert fault(query) is None


@pytest.mark.parametrize(
    ("query", "wrong"),
    [
        ("sum(rate(mlpipe_request_total[5m]))", "mlpipe_request_total"),
        ("sum by (rout) (rate(mlpipe_requests_total[5m]))", "rout"),
        ('mlpipe_requests_total{status="500"}', "mlpipe_requests_total{status}"),
        ('1 - mlpipe_rejected_total{reason=~"queue_full|full"}', 'mlpipe_rejected_total{reason="queue_full|full"}'),
        ("mlpipe_request_seconds", "mlpipe_request_seconds"),
        ("histogram_quantile(0.9, sum by (le) (mlpipe_request_seconds_count))", "le"),
        ("mlpipe:errors:share1m > 0.1 or vector(0)", "mlpipe:errors:share1m"),
        ("1 + 1", "no series"),
    ],
)
def test_a_query_for_what_is_not_there_is_found_out(query: str, wrong: str) -> None:
    assert fault(query) == wrong


def test_the_choices_of_the_dashboard_come_from_labels_that_there_are() -> None:
    assert set(ASKED["variables"]()) == {"instance", "route", "version"}
    for metric, label in ASKED["variables"]().values():
        assert fault(f"sum by ({label}) ({metric})") is None


def test_every_metric_is_on_the_dashboard() -> None:
    shown = {name for query in ASKED["queries"]().values() for name, _ in selectors(query)[0]}
    assert [metric.name for metric in METRICS if not shown & set(metric.series)] == []


def test_the_autoscaler_asks_for_a_gauge_that_the_adapter_offers() -> None:
    metrics = load(DOCKER / "kubernetes" / "autoscaler.yaml")["spec"]["metrics"]
    asked = {metric["pods"]["metric"]["name"] for metric in metrics}
    assert asked <= {metric.name for metric in METRICS if metric.type == "gauge"}
    offered = load(DOCKER / "kubernetes" / "adapter.yaml")["rules"]["custom"]
    assert asked == {rule["seriesQuery"].partition("{")[0] for rule in offered}


@pytest.mark.parametrize("rule", [r for r in rules() if "alert" in r], ids=lambda rule: rule["alert"])
def test_an_alert_says_what_to_do_and_is_tested(rule: dict[str, Any]) -> None:
    assert rule["labels"]["severity"] in ("page", "ticket")
    assert set(rule["annotations"]) == {"summary", "runbook"}
    assert rule["annotations"]["runbook"].endswith(".")
    tests = "".join(file.read_text(encoding="utf-8") for file in (DOCKER / "rules").glob("*_test.yml"))
    assert f'alertname="{rule["alert"]}", alertstate="firing"' in tests or f"alertname: {rule['alert']}\n" in tests
    assert f"| `{rule['alert']}` |" in (ROOT / "docs" / "deployment.md").read_text(encoding="utf-8")


def test_every_rule_file_is_loaded_and_tested() -> None:
    there = {path.name for path in (DOCKER / "rules").iterdir()}
    loaded = {path.name for path in rule_files()}
    assert there == loaded | {name.replace(".yml", "_test.yml") for name in loaded}


def test_the_made_up_traffic_has_every_metric_of_the_table() -> None:
    registry = CollectorRegistry()
    TRAFFIC["children"](registry)
    families = {family.name: family for family in text_string_to_metric_families(generate_latest(registry).decode())}
    for metric in METRICS:
        samples = families[metric.name.removesuffix("_total")].samples
        assert {sample.name for sample in samples} >= set(metric.series)
        assert {label for sample in samples for label in sample.labels} - {"le"} == set(metric.labels)
