"""The files of docker/ fit together: what is mounted is there, what should be closed is, and no secret is written."""

from __future__ import annotations

import fnmatch
import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from mlpipe import __version__
from mlpipe.commands.arguments import build_parsers

ROOT = Path(__file__).parents[3]
DOCKER = ROOT / "docker"
FILES = sorted(path.relative_to(ROOT).as_posix() for path in DOCKER.rglob("*") if path.is_file())
YAML = [name for name in FILES if name.endswith((".yml", ".yaml"))]
COMPOSE = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]
DOCKERFILE = (DOCKER / "Dockerfile").read_text(encoding="utf-8")
INSTRUCTIONS = [line for line in DOCKERFILE.replace("\\\n", " ").splitlines() if re.match(r"[A-Z]+ ", line)]
STAGES = re.findall(r"^FROM \S+ AS (\S+)$", DOCKERFILE, re.MULTILINE)
# What a secret is called, and what its value may be: where it lies, or a variable.
SECRET = re.compile(r"(?i)password|passwd|secret|token|credential|api[_-]?key")
PLACE = re.compile(r"/run/secrets/[\w/]+|\$\{\w+:\?.+\}|\$\$?\(cat /run/secrets/\w+\).*")


def load(name: str) -> Any:
    return yaml.safe_load((ROOT / name).read_text(encoding="utf-8"))


def instructions(kind: str) -> list[str]:
    return [line.removeprefix(f"{kind} ") for line in INSTRUCTIONS if line.startswith(f"{kind} ")]


def manifest(name: str) -> Any:
    return load(f"docker/kubernetes/{name}.yaml")


@pytest.mark.parametrize("name", YAML)
def test_yaml_is_one_mapping(name: str) -> None:
    assert isinstance(load(name), dict)


def test_json_is_a_dashboard_whose_panels_do_not_overlap() -> None:
    boards = [name for name in FILES if name.endswith(".json")]
    assert boards == ["docker/grafana/dashboards/mlpipe.json"]
    panels = json.loads((ROOT / boards[0]).read_text(encoding="utf-8"))["panels"]
    assert len({panel["id"] for panel in panels}) == len(panels)
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        box = panel["gridPos"]
        cells = {(box["x"] + dx, box["y"] + dy) for dx in range(box["w"]) for dy in range(box["h"])}
        assert box["x"] + box["w"] <= 24
        assert not cells & taken, panel["title"]
        taken |= cells
    assert all(panel["description"] for panel in panels if panel["type"] != "row")


def assignments(node: Any, name: str = "") -> Iterator[tuple[str, str]]:
    """Every name in a document that has a text for its value, `NAME=VALUE` in lists and texts among them."""
    if isinstance(node, dict):
        for key, value in node.items():
            yield from assignments(value, "" if key in ("secrets", "secretName") else str(key))
    elif isinstance(node, list):
        for value in node:
            yield from assignments(value)
    elif isinstance(node, str):
        yield name, node
        yield from re.findall(r"([\w-]+)=((?:\$\$?\()?[^;]+)", node)


def written_secrets(document: Any) -> list[str]:
    return [value for name, value in assignments(document) if SECRET.search(name) and not PLACE.fullmatch(value)]


@pytest.mark.parametrize("name", YAML)
def test_no_secret_is_written_down(name: str) -> None:
    assert written_secrets(load(name)) == []


def test_a_secret_that_is_written_down_would_be_found() -> None:
    document = {
        "environment": {"DB_PASSWORD": "hunter2"},
        "args": ["--api-key=abc", "PGPASSWORD=$$(cat /run/secrets/a)"],
    }
    assert written_secrets(document) == ["hunter2", "abc"]


@pytest.mark.parametrize("name", FILES)
def test_no_address_holds_a_password(name: str) -> None:
    assert re.findall(r"://[^/\s:@]+:[^/\s@]+@", (ROOT / name).read_text(encoding="utf-8")) == []


def test_the_image_holds_no_secret() -> None:
    assert not any(SECRET.search(line) for kind in ("ENV", "ARG") for line in instructions(kind))


@pytest.mark.parametrize("service", SERVICES)
def test_a_service_can_do_no_more_than_it_must(service: str) -> None:
    values = SERVICES[service]
    assert values["read_only"] is True
    assert values["cap_drop"] == ["ALL"]
    assert values["security_opt"] == ["no-new-privileges:true"]
    assert set(values["deploy"]["resources"]["limits"]) == {"cpus", "memory", "pids"}
    assert "healthcheck" in values or "build" in values  # our images bring their own
    assert all(port.startswith("127.0.0.1:") for port in values.get("ports", ()))
    assert set(values["networks"]) <= set(COMPOSE["networks"])
    assert set(values.get("secrets", ())) <= set(COMPOSE["secrets"])
    for dependency in values.get("depends_on", ()):
        assert dependency in SERVICES


def test_the_database_is_published_nowhere() -> None:
    assert "ports" not in SERVICES["postgres"]
    assert SERVICES["postgres"]["networks"] == ["store"]
    assert COMPOSE["networks"]["store"] == {"internal": True}


def test_a_secret_has_no_default_and_says_what_to_set() -> None:
    for secret in COMPOSE["secrets"].values():
        assert re.fullmatch(r"\$\{(\w+):\?set \1 to .+\}", secret["file"])
    assert re.fullmatch(r"\$\{MLPIPE_MODEL:\?set MLPIPE_MODEL to .+\}", SERVICES["server"]["command"][1])


@pytest.mark.parametrize("service", SERVICES)
def test_what_is_mounted_is_there(service: str) -> None:
    for volume in SERVICES[service].get("volumes", ()):
        source, _, target = re.sub(r"\$\{\w+:-(\w+)\}", r"\1", volume).removesuffix(":ro").partition(":")
        assert target.startswith("/")
        assert (DOCKER / source).exists() if source.startswith(".") else source in COMPOSE["volumes"]


@pytest.mark.parametrize("service", [name for name in SERVICES if "build" in SERVICES[name]])
def test_what_is_built_has_a_stage_and_this_version(service: str) -> None:
    build = SERVICES[service]["build"]
    assert (DOCKER / build["context"]).resolve() == ROOT
    assert (ROOT / build["dockerfile"]).samefile(DOCKER / "Dockerfile")
    assert build.get("target", "mlflow") in STAGES
    assert f":{__version__}}}" in SERVICES[service]["image"]


def test_the_image_is_labelled_with_this_version() -> None:
    assert f"VERSION={__version__}" in instructions("ARG")


def test_images_are_pinned() -> None:
    images = [values["image"] for values in SERVICES.values() if "build" not in values]
    images += re.findall(r"^ARG PYTHON_IMAGE=(\S+)$", DOCKERFILE, re.MULTILINE)
    assert len(images) == 4
    assert [image for image in images if not re.fullmatch(r"[\w./-]+:v?\d+\.\d+[\w.-]*", image)] == []
    assert all(
        base == "${PYTHON_IMAGE}" or base in STAGES for base in [line.split()[0] for line in instructions("FROM")]
    )


def test_prometheus_and_grafana_find_what_they_look_for() -> None:
    jobs = {job["job_name"]: job for job in load("docker/prometheus.yml")["scrape_configs"]}
    host, _, port = jobs["mlpipe"]["static_configs"][0]["targets"][0].partition(":")
    assert f"--port={port}" in SERVICES[host]["command"]
    assert set(SERVICES[host]["networks"]) & set(SERVICES["prometheus"]["networks"])
    (source,) = load("docker/grafana/provisioning/datasources/prometheus.yaml")["datasources"]
    assert source["url"] == "http://prometheus:9090"
    assert source["jsonData"]["timeInterval"] == load("docker/prometheus.yml")["global"]["scrape_interval"]
    board = json.loads((DOCKER / "grafana/dashboards/mlpipe.json").read_text(encoding="utf-8"))
    assert board["templating"]["list"][0]["current"]["value"] == source["uid"]
    (provider,) = load("docker/grafana/provisioning/dashboards/mlpipe.yaml")["providers"]
    mounted = [volume.split(":")[1] for volume in SERVICES["grafana"]["volumes"]]
    assert provider["options"]["path"] in mounted


def test_the_image_runs_as_a_number_and_hears_signals() -> None:
    assert set(instructions("USER")) == {"10001:10001"}
    for kind in ("ENTRYPOINT", "CMD"):
        assert all(isinstance(json.loads(line), list) for line in instructions(kind))
    checks = [line.split(" CMD ")[1] for line in instructions("HEALTHCHECK")]
    assert [json.loads(check)[0] for check in checks] == ["python", "python"]
    assert "http://127.0.0.1:8000/v2/health/live" in checks[STAGES.index("server") - STAGES.index("mlflow")]
    assert STAGES[-1] == "server"  # what `docker build` makes when it isn't told


def test_what_the_image_copies_is_there_and_not_ignored() -> None:
    allowed = [
        line[1:] for line in (ROOT / ".dockerignore").read_text(encoding="utf-8").splitlines() if line[:1] == "!"
    ]
    copied = [path for line in instructions("COPY") if "--from" not in line for path in line.split()[:-1]]
    assert copied
    for path in copied:
        assert (ROOT / path).exists()
        assert any(fnmatch.fnmatch(path, pattern) for pattern in allowed)


def option(words: list[str], name: str) -> int:
    (value,) = (word.partition("=")[2] for word in words if word.startswith(f"--{name}="))
    return int(value)


def test_open_requests_have_the_time_that_they_are_promised() -> None:
    server = SERVICES["server"]
    assert option(server["command"], "drain") < int(server["stop_grace_period"].removesuffix("s"))
    pod = manifest("deployment")["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    (pause,) = re.findall(r"sleep\((\d+)\)", container["lifecycle"]["preStop"]["exec"]["command"][-1])
    assert int(pause) + option(container["args"], "drain") < pod["terminationGracePeriodSeconds"]


def test_the_pod_is_closed_and_its_parts_meet() -> None:
    pod = manifest("deployment")["spec"]["template"]
    (container,) = pod["spec"]["containers"]
    assert pod["spec"]["securityContext"]["runAsNonRoot"] is True
    assert f"{pod['spec']['securityContext']['runAsUser']}:" in instructions("USER")[0]
    assert container["securityContext"]["readOnlyRootFilesystem"] is True
    assert container["securityContext"]["allowPrivilegeEscalation"] is False
    assert container["securityContext"]["capabilities"] == {"drop": ["ALL"]}
    assert {mount["name"] for mount in container["volumeMounts"]} == {v["name"] for v in pod["spec"]["volumes"]}
    for part in (manifest("service")["spec"]["selector"], manifest("budget")["spec"]["selector"]["matchLabels"]):
        assert part == pod["metadata"]["labels"]
    assert manifest("network")["spec"]["podSelector"]["matchLabels"] == pod["metadata"]["labels"]
    assert manifest("autoscaler")["spec"]["scaleTargetRef"]["name"] == manifest("deployment")["metadata"]["name"]


def test_the_kustomization_has_every_manifest_and_this_version() -> None:
    kustomization = manifest("kustomization")
    others = {"kustomization.yaml", "adapter.yaml"}
    assert {*kustomization["resources"]} == {path.name for path in (DOCKER / "kubernetes").iterdir()} - others
    assert kustomization["images"] == [{"name": "mlpipe", "newTag": __version__}]


@pytest.mark.parametrize(
    "words",
    [SERVICES["server"]["command"], manifest("deployment")["spec"]["template"]["spec"]["containers"][0]["args"]],
    ids=["compose", "kubernetes"],
)
def test_the_server_understands_the_words_it_is_started_with(words: list[str]) -> None:
    verb, *rest = [re.sub(r"\$\{\w+:-(\w+)\}", r"\1", word) for word in words]
    assert build_parsers()[1][verb].parse_args(rest).host == "0.0.0.0"


def test_the_image_runs_graphs_and_does_not_write_them() -> None:
    line = next(line for line in instructions("RUN") if "optional-dependencies" in line)
    script = re.search(r'^python -c "(.+?)"', line)
    assert script is not None
    listed = subprocess.run(
        [sys.executable, "-c", script[1]],
        cwd=ROOT, capture_output=True, text=True, check=True,
    ).stdout.split("\n")  # fmt: skip
    names = {re.split(r"[^\w-]", one)[0] for one in listed}
    assert {"torch", "litserve", "onnxruntime"} <= names
    assert not {"onnx", "onnxscript"} & names
