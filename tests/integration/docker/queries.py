"""Every query of the dashboard and every rule, asked of a real Prometheus that scrapes made-up traffic.

    python tests/integration/docker/queries.py [PROMETHEUS]

PROMETHEUS is the program, `prometheus` by default. It runs with docker/prometheus.yml, only faster and with the targets
replaced by one of ours. Takes half a minute and exits 1 if a query is wrong or finds nothing, or a rule cannot be
evaluated.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import yaml

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "docker"
DASHBOARD = DOCKER / "grafana" / "dashboards" / "mlpipe.json"
#: What Grafana would put in for its variables: everything chosen, and a window of a few scrapes.
VARIABLES = {"$__rate_interval": "10s", "$instance": ".*", "$route": ".*", "$version": ".*"}
SECONDS_OF_TRAFFIC = 15
DEADLINE_SECONDS = 60


def panels() -> list[dict[str, Any]]:
    """The panels of the dashboard, rows left out."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return [panel for panel in board["panels"] if panel["type"] != "row"]


def queries() -> dict[str, str]:
    """The dashboard's queries as they are written there, by panel and letter, and those of its annotations."""
    found = {f"{p['title']} ({p['id']}{t['refId']})": t["expr"] for p in panels() for t in p["targets"]}
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    return found | {f"annotation {note['name']}": note["expr"] for note in board["annotations"]["list"]}


def variables() -> dict[str, tuple[str, str]]:
    """Metric and label from which the choices of each variable of the dashboard come."""
    board = json.loads(DASHBOARD.read_text(encoding="utf-8"))
    asked = {v["name"]: v["query"]["query"] for v in board["templating"]["list"] if v["type"] == "query"}
    parts = {name: re.fullmatch(r"label_values\((\w+), (\w+)\)", query) for name, query in asked.items()}
    return {name: (match[1], match[2]) for name, match in parts.items() if match is not None}


def filled(query: str) -> str:
    """A query with Grafana's variables replaced."""
    for variable, value in VARIABLES.items():
        query = query.replace(variable, value)
    return query


class Prometheus:
    """The HTTP API of a running Prometheus."""

    def __init__(self, port: int) -> None:
        self.url = f"http://127.0.0.1:{port}"
        self.opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))

    def get(self, path: str, **parameters: str) -> Any:
        """The `data` of an answer; what is wrong with a query is in the body of a 400."""
        try:
            with self.opener.open(f"{self.url}{path}?{urllib.parse.urlencode(parameters)}", timeout=10) as answer:
                return json.load(answer)["data"]
        except urllib.error.HTTPError as error:
            raise ValueError(json.load(error)["error"]) from None

    def ready(self) -> bool:
        """Whether it takes queries."""
        with contextlib.suppress(OSError), self.opener.open(f"{self.url}/-/ready", timeout=5):
            return True
        return False

    def fault(self, query: str) -> str | None:
        """Why a query is of no use on a dashboard, or None."""
        try:
            result = self.get("/api/v1/query", query=filled(query))["result"]
        except ValueError as error:
            return str(error)
        if not result:
            return "finds nothing"
        if not any(math.isfinite(float(series["value"][1])) for series in result):
            return "finds nothing but NaN"
        return None

    def rules(self) -> list[dict[str, Any]]:
        """Every rule, with its health."""
        return [rule for group in self.get("/api/v1/rules")["groups"] for rule in group["rules"]]


def free_port() -> int:
    """A port of the loopback that nothing listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def write_config(folder: Path, target: int) -> Path:
    """The project's own config and rules, every second and with one target."""
    config = yaml.safe_load((DOCKER / "prometheus.yml").read_text(encoding="utf-8"))
    config["global"] = {"scrape_interval": "1s", "evaluation_interval": "1s"}
    for job in config["scrape_configs"]:
        job["static_configs"] = [{"targets": [f"127.0.0.1:{target}"]}]
    for rules in config["rule_files"]:
        groups = yaml.safe_load((DOCKER / rules).read_text(encoding="utf-8"))
        for group in groups["groups"]:
            group["interval"] = "1s"
        (folder / rules).parent.mkdir(exist_ok=True)
        (folder / rules).write_text(yaml.safe_dump(groups), encoding="utf-8")
    file = folder / "prometheus.yml"
    file.write_text(yaml.safe_dump(config), encoding="utf-8")
    return file


@contextlib.contextmanager
def running(program: str, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that has scraped traffic for a while; it is ended with the block.

    Raises:
        RuntimeError: It did not get ready.
    """
    target, port = free_port(), free_port()
    words = [program, f"--config.file={write_config(folder, target)}", f"--storage.tsdb.path={folder / 'data'}"]
    words += [f"--web.listen-address=127.0.0.1:{port}", "--log.level=warn"]
    traffic = subprocess.Popen([sys.executable, str(Path(__file__).with_name("traffic.py")), str(target)])
    server = subprocess.Popen(words)
    try:
        prometheus, deadline = Prometheus(port), time.monotonic() + DEADLINE_SECONDS
        while not prometheus.ready():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{program} did not get ready")
            time.sleep(0.2)
        time.sleep(SECONDS_OF_TRAFFIC)
        yield prometheus
    finally:
        for process in (server, traffic):
            process.terminate()
            process.wait(timeout=30)


def main(program: str = "prometheus") -> int:
    """Ask everything; print what failed."""
    faults = {}
    with tempfile.TemporaryDirectory() as folder, running(program, Path(folder)) as prometheus:
        asked = queries()
        faults = {name: fault for name, query in asked.items() if (fault := prometheus.fault(query)) is not None}
        for name, (metric, label) in variables().items():
            if not prometheus.get(f"/api/v1/label/{label}/values", **{"match[]": metric}):
                faults[f"variable {name}"] = "has no values"
        rules = prometheus.rules()
        for rule in rules:
            if rule["health"] != "ok":
                faults[f"rule {rule['name']}"] = rule.get("lastError") or "was not evaluated"
    for name, fault in faults.items():
        sys.stderr.write(f"{name}: {fault}\n")
    sys.stdout.write(
        f"{len(asked)} queries, {len(variables())} variables, {len(rules)} rules; {len(faults)} at fault\n"
    )
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:2]))
