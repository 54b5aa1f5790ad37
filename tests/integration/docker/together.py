"""The services of docker/compose.yaml on this machine, without containers: what one sends reaches the other.

    python tests/integration/docker/together.py BUNDLE OTHER_BUNDLE

PostgreSQL, MLflow on it, the server with a model of MLflow's registry, and Prometheus run with the words of
compose.yaml and the config of docker/; names of hosts and paths are replaced by those of this machine. A bundle is
registered, served and scraped, and the other one is promoted in its place. Needs `initdb`, `postgres`, `prometheus` and
psycopg, and of root that there is a user `postgres`. Prints what holds and exits 1 if something does not.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from queries import DOCKER, Prometheus, free_port, write_config

DEADLINE_SECONDS = 120
REQUESTS = 300
KEY, ADMIN_KEY, PASSWORD = "a client's", "the admin's", "the database's"
OPENER = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def compose_words(service: str, replaced: dict[str, str]) -> list[str]:
    """The command of a service; variables and names of hosts replaced."""
    words = yaml.safe_load((DOCKER / "compose.yaml").read_text(encoding="utf-8"))["services"][service]["command"]
    for old, new in replaced.items():
        words = [re.sub(old, new, word) for word in words]
    return [str(word) for word in words]


@contextlib.contextmanager
def running(words: list[str], log: Path, ready: Callable[[], bool], **options: Any) -> Iterator[None]:
    """A process that is ready; it is ended with the block.

    Raises:
        RuntimeError: It ended, or did not get ready.
    """
    with log.open("wb") as handle:
        process = subprocess.Popen(words, stdout=handle, stderr=subprocess.STDOUT, **options)
    deadline = time.monotonic() + DEADLINE_SECONDS
    try:
        while not ready():
            if process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"{words[0]} did not get ready:\n{log.read_text()[-2_000:]}")
            time.sleep(0.2)
        yield
    finally:
        process.terminate()
        process.wait(timeout=60)


def answers(url: str) -> bool:
    """Whether there is an answer with status 200."""
    with contextlib.suppress(OSError), OPENER.open(url, timeout=5):
        return True
    return False


def psql(port: int, database: str, statement: str) -> str:
    """What the database says.

    Raises:
        subprocess.CalledProcessError: It does not answer, or refuses.
    """
    words = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", "mlflow", "-d", database, "-Atc", statement]
    environment = {**os.environ, "PGPASSWORD": PASSWORD}
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=True).stdout.strip()


@contextlib.contextmanager
def postgres(folder: Path) -> Iterator[int]:
    """A database `mlflow` of the user `mlflow`, with a password; its port."""
    port, data = free_port(), folder / "postgres"
    data.mkdir()
    owner: dict[str, Any] = {}
    if os.geteuid() == 0:  # it refuses to be root
        owner = {"user": "postgres", "group": "postgres", "extra_groups": []}
        folder.chmod(0o755)
        shutil.chown(data, "postgres", "postgres")
    password = folder / "postgres_password"
    password.write_text(PASSWORD, encoding="utf-8")
    password.chmod(0o644)
    words = [
        "initdb",
        "-D",
        str(data),
        "-U",
        "mlflow",
        f"--pwfile={password}",
        "--auth=scram-sha-256",
        "--data-checksums",
    ]
    subprocess.run(words, check=True, stdout=subprocess.DEVNULL, cwd=data, **owner)
    program = shutil.which("postgres") or "postgres"
    words = [program, "-D", str(data), "-p", str(port), "-h", "127.0.0.1", "-k", str(data)]

    def ready() -> bool:
        try:
            psql(port, "postgres", "create database mlflow")
        except subprocess.CalledProcessError:
            return False
        return True

    with running(words, folder / "postgres.log", ready, cwd=data, **owner):
        yield port


def mlpipe(folder: Path, *words: str) -> str:
    """What a command prints."""
    command = [sys.executable, "-m", "mlpipe", *words]
    environment = {**os.environ, "MLPIPE_ADMIN_KEY": ADMIN_KEY}
    done = subprocess.run(command, cwd=folder, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"mlpipe {' '.join(words)}: {done.stderr}")
    return done.stdout


def predict(port: int, row: Any) -> str:
    """The version that answers."""
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {KEY}"}
    request = urllib.request.Request(f"http://127.0.0.1:{port}/predict", json.dumps(row).encode(), headers)
    with OPENER.open(request, timeout=60) as answer:
        version: str = json.load(answer)["model_version"]
    return version


def wait_for(what: str, found: Callable[[], Any], wanted: Any) -> None:
    """Until it is so.

    Raises:
        RuntimeError: It never was.
    """
    deadline = time.monotonic() + DEADLINE_SECONDS
    while (now := found()) != wanted:
        if time.monotonic() > deadline:
            raise RuntimeError(f"{what}: {now!r} instead of {wanted!r}")
        time.sleep(0.5)
    sys.stdout.write(f"ok  {what}: {wanted}\n")


def together(folder: Path, bundles: tuple[Path, Path]) -> None:
    """Start everything and follow a request, a scrape and a promotion.

    Raises:
        RuntimeError: Something did not reach the other.
    """
    tracking, serving, admin, watching = (free_port() for _ in range(4))
    keys = folder / "api_keys"
    keys.write_text(KEY, encoding="utf-8")
    registry = f"http://127.0.0.1:{tracking}"
    with contextlib.ExitStack() as stack:
        database = stack.enter_context(postgres(folder))
        replaced = {
            "0.0.0.0": "127.0.0.1",
            "=5000": f"={tracking}",
            "@postgres/": f"@127.0.0.1:{database}/",
            "=/artifacts": f"={folder}/artifacts",
        }
        words = [str(Path(sys.executable).with_name("mlflow")), *compose_words("mlflow", replaced)]
        environment = {**os.environ, "PGPASSWORD": PASSWORD}
        stack.enter_context(
            running(words, folder / "mlflow.log", lambda: answers(f"{registry}/health"), env=environment, cwd=folder)
        )
        for bundle, alias in zip(bundles, ("champion", "challenger"), strict=True):
            mlpipe(folder, "models", "register", str(bundle), "check", "--alias", alias, "--registry", registry)
        replaced = {
            r"\$\{MLPIPE_MODEL.*": "models:/check@champion",
            r"\$\{MLPIPE_WORKERS.*": "1",
            "0.0.0.0": "127.0.0.1",
            "=8000": f"={serving}",
            "/run/secrets": str(folder),
        }
        words = [sys.executable, "-m", "mlpipe", *compose_words("server", replaced), "--admin-port", str(admin)]
        environment = {**os.environ, "MLPIPE_REGISTRY": registry, "MLPIPE_ADMIN_KEY": ADMIN_KEY}
        health = f"http://127.0.0.1:{serving}/v2/health/ready"
        stack.enter_context(running(words, folder / "server.log", lambda: answers(health), env=environment, cwd=folder))
        config = write_config(folder, serving)
        config.write_text(config.read_text(encoding="utf-8").replace("/run/secrets", str(folder)), encoding="utf-8")
        words = ["prometheus", f"--config.file={config}", f"--storage.tsdb.path={folder / 'data'}"]
        prometheus = Prometheus(watching)
        words += [f"--web.listen-address=127.0.0.1:{watching}", "--log.level=warn"]
        stack.enter_context(running(words, folder / "prometheus.log", prometheus.ready))

        row = json.loads((bundles[0] / "sample_request.json").read_text(encoding="utf-8"))
        versions = {predict(serving, row) for _ in range(REQUESTS)}
        wait_for("versions that answered", lambda: len(versions), 1)

        def asked(query: str) -> list[dict[str, Any]]:
            result: list[dict[str, Any]] = prometheus.get("/api/v1/query", query=query)["result"]
            return result

        def counted() -> float:
            result = asked('sum(mlpipe_requests_total{route="/predict", code="200"})')
            return float(result[0]["value"][1]) if result else 0.0

        def champions() -> set[str]:
            return {one["metric"]["version"] for one in asked('mlpipe_model_info{alias="champion"} == 1')}

        wait_for("requests that Prometheus has counted", counted, float(REQUESTS))
        wait_for("version that Prometheus sees", champions, versions)
        wait_for("rules at fault", lambda: [rule["name"] for rule in prometheus.rules() if rule["health"] == "err"], [])
        server = ["--server", f"http://127.0.0.1:{admin}"]
        mlpipe(folder, "models", "promote", "check", "--from", "challenger", "--registry", registry, *server)
        promoted = predict(serving, row)
        if promoted in versions:
            raise RuntimeError("the old version answers after the promotion")
        wait_for("version after the promotion", champions, {promoted})
        count = partial(psql, database, "mlflow", "select count(*) from model_versions")
        wait_for("versions in PostgreSQL", count, "2")


def main(*bundles: str) -> int:
    """Follow it through; say what went wrong."""
    first, second = (Path(bundle).resolve() for bundle in bundles)
    with tempfile.TemporaryDirectory() as folder:
        try:
            together(Path(folder), (first, second))
        except (RuntimeError, OSError, subprocess.CalledProcessError) as error:
            sys.stderr.write(f"FAILED  {error}\n")
            for log in sorted(Path(folder).glob("*.log")):
                sys.stderr.write(f"--- {log.name}\n{log.read_text()[-2_000:]}\n")
            return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:3]))
