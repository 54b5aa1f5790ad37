"""A bundle behind a real server process: it answers what the model answers, and leaves nothing behind."""

from __future__ import annotations

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import safetensors.torch
import torch

from mlpipe.bundle.ensemble import write_ensemble
from mlpipe.bundle.format import read_bundle
from mlpipe.bundle.manifest import MANIFEST, FileEntry, Manifest
from mlpipe.bundle.onnx_export import to_onnx
from mlpipe.bundle.predictor import Predictor


@pytest.fixture(scope="module")
def server(served: Any, serving: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Any]:
    folder = tmp_path_factory.mktemp("cwd")
    with serving(served.bundle, folder) as server:
        server.wait_until_ready()
        yield server
        assert server.end(signal.SIGTERM) == 0, server.log.read_text()
        assert [path.name for path in folder.iterdir()] == ["log.txt"]  # LitServe's client.py is not wanted


def probabilities(answers: Sequence[dict[str, Any]]) -> list[float]:
    return [answer["probabilities"]["true"] for answer in answers]


def test_file_rows_and_http_give_what_the_model_gives(served: Any, server: Any, tmp_path: Path) -> None:
    expected = served.direct["probability_true"].to_list()
    assert np.std(expected) > 0.01

    predictor = Predictor.load(served.bundle)
    predictor.predict_file(served.table, tmp_path / "out.parquet")
    scored = pl.read_parquet(tmp_path / "out.parquet")
    status, several = server.post(served.rows)
    assert status == 200
    first = served.rows[:12]
    ones = [server.post(row)[1] for row in first]
    names = [column.name for column in predictor.schema.features]
    values = server.post({"features": [[row[name] for name in names] for row in first]})[1]

    np.testing.assert_allclose(scored["probability_true"], expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(probabilities(several["predictions"]), expected, rtol=0, atol=1e-5)
    np.testing.assert_allclose(probabilities(ones), expected[:12], rtol=0, atol=1e-5)
    np.testing.assert_allclose(probabilities(values["predictions"]), expected[:12], rtol=0, atol=1e-5)
    assert [answer["prediction"] for answer in several["predictions"]] == served.direct["prediction"].to_list()


def test_an_answer_says_all_and_which_model_gave_it(served: Any, server: Any) -> None:
    version = Predictor.load(served.bundle).version
    status, answer = server.post((served.bundle / "sample_request.json").read_bytes())
    assert status == 200
    assert list(answer) == ["prediction", "probabilities", "confidence", "model_version"]
    assert isinstance(answer["prediction"], bool)
    assert list(answer["probabilities"]) == ["false", "true"]
    assert sum(answer["probabilities"].values()) == pytest.approx(1, abs=1e-6)
    assert answer["confidence"] == max(answer["probabilities"].values())
    assert answer["model_version"] == version
    assert version in server.log.read_text()


def test_values_alone_are_taken_in_the_schemas_order(served: Any, server: Any) -> None:
    row = served.rows[5]
    assert server.post({"features": list(row.values())}) == server.post(row)
    assert server.post([row])[1]["predictions"][0] == {
        key: value for key, value in server.post(row)[1].items() if key != "model_version"
    }
    assert server.post([]) == (200, {"predictions": [], "model_version": server.post(row)[1]["model_version"]})


def test_null_and_unseen_values_are_answered(served: Any, server: Any) -> None:
    status, answer = server.post({"size": None, "color": "never seen", "rooms": None, "sold": "2031-05-05"})
    assert status == 200
    assert 0 < answer["confidence"] <= 1


@pytest.mark.parametrize(
    ("change", "loc", "words"),
    [
        ({"rooms": "many"}, ["body", "rooms"], "expected a number, got 'many'"),
        ({"rooms": True}, ["body", "rooms"], "expected a number"),
        ({"sold": "yesterday"}, ["body", "sold"], "expected a date"),
        ({"rooms": [1]}, ["body", "rooms"], "a plain value is needed"),
        ({"colour": "red"}, ["body", "colour"], "unknown field 'colour'. Did you mean 'color'?"),
    ],
)
def test_a_wrong_value_is_a_422_that_names_the_field(
    served: Any, server: Any, change: dict[str, Any], loc: list[str], words: str
) -> None:
    status, body = server.post({**served.rows[1], **change})
    assert status == 422
    assert body["detail"][0]["loc"] == loc
    assert words in body["detail"][0]["msg"]
    status, body = server.post([served.rows[1], {**served.rows[1], **change}])
    assert (status, body["detail"][0]["loc"]) == (422, ["body", 1, loc[1]])


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"[1,", b'{"size": NaN}', b"\xff\xfe", b"[" * 10_000, b"null", b"3", b'"x"', b"{}", b"[3]", b"size=3"],
)
def test_what_is_no_row_is_a_422_and_never_a_500(server: Any, body: bytes) -> None:
    status, answer = server.post(body)
    assert status == 422
    assert answer["detail"][0]["loc"][0] == "body"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_are_not_finite_are_refused(server: Any, number: bytes) -> None:
    status, _ = server.post(b'{"size": ' + number + b', "color": "red", "rooms": 1, "sold": null}')
    assert status == 422


def test_a_wrong_request_fails_alone(served: Any, server: Any) -> None:
    bodies = [{} if i % 3 == 0 else served.rows[i] for i in range(30)]
    with ThreadPoolExecutor(10) as clients:
        statuses = [status for status, _ in clients.map(server.post, bodies)]
    assert statuses == [422 if i % 3 == 0 else 200 for i in range(30)]


def test_health_and_limits(served: Any, server: Any) -> None:
    assert server.open(f"{server.url}/v2/health/live") == (200, {"live": True})
    for path in ("/v2/health/ready", "/health", "/ping"):
        assert server.open(f"{server.url}{path}") == (200, {"ready": True})
    version = Predictor.load(served.bundle).version
    for path in ("/v2/models/model", f"/v2/models/model/versions/{version}"):
        assert server.open(f"{server.url}{path}/ready") == (200, {"ready": True, "name": "model"})
        told = server.open(f"{server.url}{path}")[1]
        assert (told["name"], told["versions"]) == ("model", [version])
        assert [given["name"] for given in told["inputs"]] == ["size", "color", "rooms", "sold"]
    assert server.open(f"{server.url}/v2/models/model/versions/other")[0] == 404
    assert server.open(f"{server.url}/predict")[0] == 405
    assert server.open(f"{server.url}/nothing")[0] == 404


def test_the_examples_of_the_openapi_document_work_when_pasted(served: Any, server: Any) -> None:
    status, document = server.open(f"{server.url}/openapi.json")
    assert status == 200
    assert document["openapi"].startswith("3.1")
    version = Predictor.load(served.bundle).version
    assert document["info"]["x-model-version"] == version
    tried = 0
    for path, operations in document["paths"].items():
        if "post" not in operations:
            continue
        url = server.url + path.replace("{name}", "model").replace("{version}", version)
        for example in operations["post"]["requestBody"]["content"]["application/json"]["examples"].values():
            body = json.dumps(example["value"]).encode()
            request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
            assert server.open(request)[0] == 200, (path, example)
            tried += 1
    assert tried == 3 + 4 + 1 + 1
    row = document["components"]["schemas"]["Row"]["properties"]
    assert list(row)[:4] == ["size", "color", "rooms", "sold"]


def test_the_line_that_is_printed_works(served: Any, server: Any) -> None:
    command = next(line for line in server.log.read_text().splitlines() if line.startswith("Try: "))
    assert command == f"Try: curl {server.url}/predict --json @'{served.bundle}/sample_request.json'"


@pytest.mark.slow
def test_ctrl_c_ends_all_workers(served: Any, serving: Any, tmp_path: Path) -> None:
    with serving(served.bundle, tmp_path, "--workers", "2") as server:
        server.wait_until_ready()
        os.killpg(server.process.pid, signal.SIGINT)  # a terminal sends it to the whole group
        assert server.end_by_itself() == 0, server.log.read_text()
        assert "Traceback" not in server.log.read_text()


def test_a_server_ended_while_it_starts_leaves_nothing(served: Any, serving: Any, tmp_path: Path) -> None:
    with serving(served.bundle, tmp_path) as server:
        time.sleep(2)
        server.end(signal.SIGTERM)


def test_the_parent_process_stays_light() -> None:
    code = "import sys, mlpipe.serving.server; print([m for m in ('torch', 'polars', 'lightning') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def run_serve(*words: str) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-m", "mlpipe", "serve", *words], capture_output=True, text=True, timeout=120, check=False
    )
    return result.returncode, result.stdout + result.stderr


def test_a_port_in_use_is_one_sentence(served: Any) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = run_serve(str(served.bundle), "--port", str(port))
    assert code == 2
    assert output == f"error: Port {port} on 127.0.0.1 cannot be used (Address already in use); choose another.\n"


def test_a_bundle_that_is_not_there_or_damaged_is_one_sentence(served: Any, tmp_path: Path) -> None:
    code, output = run_serve(str(tmp_path / "nothing"))
    assert (code, output) == (2, f"error: There is no bundle at '{tmp_path}/nothing'.\n")
    damaged = tmp_path / "damaged"
    damaged.mkdir()
    for path in served.bundle.iterdir():
        (damaged / path.name).write_bytes(path.read_bytes()[: -1 if path.name == "schema.json" else None])
    code, output = run_serve(str(damaged))
    assert code == 2
    assert output.count("\n") == 1
    assert "schema.json has" in output


def test_a_bundle_that_only_the_worker_can_refuse_is_one_sentence(served: Any, free_port: Any, tmp_path: Path) -> None:
    bundle = tmp_path / "bundle"
    bundle.mkdir()
    files = {path.name: path.read_bytes() for path in served.bundle.iterdir()}
    weights = safetensors.torch.load(files["weights.safetensors"])
    files["weights.safetensors"] = safetensors.torch.save({**weights, "extra": torch.zeros(1)})
    manifest = Manifest.from_json(bundle, files[MANIFEST])
    entries = {name: FileEntry.of(content) for name, content in files.items() if name != MANIFEST}
    files[MANIFEST] = replace(manifest, files=entries).to_json().encode()
    for name, content in files.items():
        (bundle / name).write_bytes(content)
    code, output = run_serve(str(bundle), "--port", str(free_port()))
    assert code == 2, output
    assert output.count("\n") == 1, output
    assert "weights.safetensors has 'extra', which the model" in output


@pytest.mark.slow
def test_a_backend_is_measured_and_named(served: Any, serving: Any, free_port: Any, tmp_path: Path) -> None:
    read = read_bundle(served.bundle)
    member = write_ensemble(
        tmp_path / "bundle",
        [read],
        statistics=read.statistics,
        metrics={},
        model_card="# One\n",
        graphs=[{"onnx": to_onnx(read.model)}],
    )
    with serving(member, tmp_path) as server:
        server.wait_until_ready()
        told = re.search(r"^.*Worker 0: Backend (\S+); measured: 1 row: torch", server.log.read_text(), re.MULTILINE)
        assert told is not None, server.log.read_text()
        status, answered = server.post(served.rows)
        assert status == 200
        expected = served.direct["probability_true"].to_list()
        np.testing.assert_allclose(probabilities(answered["predictions"]), expected, rtol=0, atol=1e-5)
        assert f'backend="{told[1]}"' in server.open(f"{server.url}/metrics")[1]
        assert server.end(signal.SIGTERM) == 0
    code, output = run_serve(str(served.bundle), "--port", str(free_port()), "--backend", "onnx")
    assert code == 2, output
    assert output.count("\n") == 1, output
    assert "has no model.onnx; `mlpipe export --onnx` writes a bundle that has." in output


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "example.org"], "--host 'example.org' is not possible"),
        (["--deadline", "0"], "'0' has to be a number above 0"),
        (["--api-keys", "nowhere"], "--api-keys 'nowhere' cannot be read"),
        (["--admin-port", "9999"], "--admin-port needs a key in the environment variable MLPIPE_ADMIN_KEY"),
    ],
)
def test_options_that_cannot_be_are_refused(served: Any, words: list[str], said: str) -> None:
    code, output = run_serve(str(served.bundle), *words)
    assert code == 2
    assert output.count("\n") == 1
    assert said in output
