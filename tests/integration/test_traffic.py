"""Several versions behind one real server: shares, a shadow, the request log, and what is read from it."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any

import polars as pl
import pytest

from mlpipe.bundle.manifest import MANIFEST, Manifest
from mlpipe.serving.folder_registry import FolderRegistry

REQUESTS = 240


def other_version(bundle: Path, out: Path, temperature: float) -> Path:
    """A bundle with other probabilities, and so of another version."""
    files = {path.name: path.read_bytes() for path in bundle.iterdir()}
    manifest = Manifest.from_json(bundle, files[MANIFEST])
    calibration = {**manifest.calibration, "temperature": temperature}
    files[MANIFEST] = replace(manifest, calibration=calibration).to_json().encode()
    out.mkdir()
    for name, content in files.items():
        (out / name).write_bytes(content)
    return out


@pytest.fixture
def registry(served: Any, tmp_path: Path) -> FolderRegistry:
    registry = FolderRegistry(tmp_path / "registry")
    for alias, temperature in (("champion", 1.0), ("challenger", 0.7), ("candidate", 1.3)):
        registry.register(other_version(served.bundle, tmp_path / alias, temperature), "houses", alias)
    return registry


def post(url: str, row: dict[str, Any], request_id: str | None) -> tuple[str, str]:
    """The version that answered, and the id that the request has now."""
    headers = {"Content-Type": "application/json", **({} if request_id is None else {"X-Request-ID": request_id})}
    request = urllib.request.Request(f"{url}/predict", data=json.dumps(row).encode(), headers=headers)
    with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as response:
        return json.load(response)["model_version"], response.headers["X-Request-ID"]


def total(text: str, name: str, **labels: str) -> float:
    """The sum of a metric's series with these labels."""
    found = 0.0
    for line in text.splitlines():
        match = re.fullmatch(r"(\w+)(?:{(.*)})? (\S+)", line)
        if match and match[1] == name:
            have = dict(re.findall(r'(\w+)="([^"]*)"', match[2] or ""))
            if labels.items() <= have.items():
                found += float(match[3])
    return found


def mlpipe(folder: Path, *words: str) -> str:
    command = [sys.executable, "-m", "mlpipe", *words]
    result = subprocess.run(command, capture_output=True, text=True, cwd=folder, check=False)
    assert result.returncode == 0, result.stderr
    return result.stdout


@pytest.mark.slow
def test_shares_a_shadow_and_a_log_that_says_which_version_is_better(
    served: Any, serving: Any, registry: FolderRegistry, tmp_path: Path
) -> None:
    words = ["--registry", str(registry.root), "--workers", "2", "--ab", "champion=70,challenger=30"]
    words += ["--shadow", "candidate", "--request-log", "log", "--redact", "color"]
    told: dict[str, str] = {}
    with serving("models:/houses", tmp_path, *words) as server:
        server.wait_until_ready()
        for number in range(REQUESTS):
            row = served.rows[number % len(served.rows)]
            told[f"r{number}"], name = post(server.url, row, f"r{number}")
            assert name == f"r{number}"
        again = {f"r{number}": post(server.url, served.rows[number], f"r{number}")[0] for number in range(40)}
        assert all(told[name] == version for name, version in again.items())  # it sticks
        _, made = post(server.url, served.rows[1], None)
        assert len(made) == 32  # a request without an id is given one

        counts = Counter(told.values())
        (champion, most), (challenger, _) = counts.most_common()
        assert 0.55 < most / REQUESTS < 0.85
        rows = REQUESTS + 41
        deadline = time.monotonic() + 60
        while total(text := server.open(f"{server.url}/metrics")[1], "mlpipe_shadow_rows_total") < rows:
            assert time.monotonic() < deadline, text
            time.sleep(0.05)
        candidate = re.search(r'alias="candidate".*version="(\w+)"', text)
        assert candidate
        assert total(text, "mlpipe_shadow_rows_total", version=candidate[1], outcome="answered") == rows
        assert total(text, "mlpipe_shadow_difference_count", version=candidate[1]) == rows
        assert 0 < total(text, "mlpipe_shadow_difference_sum") < rows
        for version in (champion, challenger):
            asked = total(text, "mlpipe_requests_total", route="/predict", code="200", version=version)
            assert asked == total(text, "mlpipe_request_seconds_count", route="/predict", version=version)
            assert asked >= counts[version]
        assert server.end(signal.SIGTERM) == 0  # which writes what is not written yet

    log = pl.read_parquet(tmp_path / "log" / "*.parquet")
    assert log.height == 2 * rows
    assert "color" not in log.columns
    visible = log.filter(~pl.col("shadow")).unique("request_id")
    logged = dict(visible.select("request_id", "model_version").rows())
    assert told.items() <= logged.items()
    assert log.filter("shadow")["model_version"].unique().to_list() == [candidate[1]]

    dear = pl.read_csv(served.table)["dear"]
    outcomes = pl.DataFrame(
        {"request_id": [f"r{n}" for n in range(REQUESTS)], "dear": [dear[n % dear.len()] for n in range(REQUESTS)]}
    )
    outcomes.write_csv(tmp_path / "outcomes.csv")
    shown = mlpipe(tmp_path, "models", "compare", "--requests", "log/*.parquet", "--outcomes", "outcomes.csv", *_ON)
    assert all(version in shown for version in (champion, challenger, candidate[1]))
    drift = mlpipe(tmp_path, "drift", "--bundle", str(served.bundle), "--data", "log/*.parquet", "--without", "color")
    assert "size" in drift
    assert "color" not in drift


_ON = ("--on", "request_id", "--target", "dear", "--json")


def test_a_version_that_is_named_is_asked(served: Any, serving: Any, registry: FolderRegistry, tmp_path: Path) -> None:
    words = ["--registry", str(registry.root), "--ab", "champion=1,challenger=1"]
    with serving("models:/houses", tmp_path, *words) as server:
        server.wait_until_ready()
        row = served.rows[1]
        inputs = [
            {"name": name, "shape": [1], "datatype": "BYTES" if isinstance(value, str) else "FP64", "data": [value]}
            for name, value in row.items()
        ]
        body = json.dumps({"inputs": inputs}).encode()
        versions = server.open(f"{server.url}/v2/models/model")[1]["versions"]
        assert len(versions) == 2
        for version in versions:
            url = f"{server.url}/v2/models/model/versions/{version}/infer"
            told = [server.open(urllib.request.Request(url, body, _JSON)) for _ in range(3)]
            assert [(status, answer["model_version"]) for status, answer in told] == [(200, version)] * 3


_JSON = {"Content-Type": "application/json"}


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("models:/houses --ab champion=90,challenger", "'challenger' has to be ALIAS=WEIGHT, such as champion=90"),
        ("models:/houses --ab champion=90,champion=10", "'champion' stands there twice"),
        ("models:/houses --ab champion=90,chalenger=10", "Did you mean 'challenger'?"),
        ("champion --shadow challenger", "--shadow needs a model in a registry"),
        ("champion --redact color", "--redact needs --request-log FOLDER"),
        ("champion --request-log champion/bundle.json", "is no folder to write to"),
        (
            "champion --request-log log --redact colour",
            "'colour' is no feature of the bundle. Did you mean 'color'",
        ),
        ("champion --request-log log --log-sample 1.5", "'1.5' has to be at most 1"),
    ],
)
def test_mistakes_are_one_sentence(registry: FolderRegistry, tmp_path: Path, words: str, said: str) -> None:
    command = [sys.executable, "-m", "mlpipe", "serve", *words.split(), "--registry", str(registry.root)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 2, result.stderr
    assert said in result.stderr
    assert result.stderr.count("\n") == 1
