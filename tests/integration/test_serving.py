"""A bundle behind a real server process: it answers what the model answers, and leaves nothing behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import safetensors.torch
import torch

from mlpipe.bundle.format import write_bundle
from mlpipe.bundle.manifest import MANIFEST, FileEntry, Manifest
from mlpipe.bundle.predictor import Predictor
from mlpipe.data.infer import infer_schema
from mlpipe.data.read import scan
from mlpipe.features.calibration import Calibration
from mlpipe.features.preprocessor import Preprocessor
from mlpipe.models.config import TransformerConfig
from mlpipe.models.heads import member_average
from mlpipe.models.transformer import Transformer

PATIENCE = 120.0  # seconds; machines that run tests are slow


@dataclass(frozen=True)
class Served:
    """A fitted model, its table, and the folder of its bundle."""

    table: Path
    rows: list[dict[str, Any]]
    bundle: Path
    direct: pl.DataFrame


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Served:
    folder = tmp_path_factory.mktemp("serving")
    random = np.random.default_rng(0)
    size = random.normal(size=200)
    frame = pl.DataFrame(
        {
            "size": [None if i % 11 == 0 else round(float(x), 3) for i, x in enumerate(size)],
            "color": [["red", "blue", None][i] for i in random.integers(0, 3, 200)],
            "rooms": random.integers(1, 9, 200),
            "sold": [date(2024, 1 + month, 15) for month in random.integers(0, 12, 200)],
            "dear": size > 0,
        }
    )
    table = folder / "houses.csv"
    frame.write_csv(table)
    schema = infer_schema(scan(table), "dear")
    assert [column.name for column in schema.features] == ["size", "color", "rooms", "sold"]
    raw = scan(table).collect()
    preprocessor = Preprocessor(schema).fit(raw)
    config = TransformerConfig(width=16, num_layers=2, num_heads=2, readout_tokens=3)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(0)
        model = Transformer(config, preprocessor.input_spec_).eval()
        for parameter in model.parameters():
            parameter.normal_(std=0.3)
        arrays = preprocessor.transform(raw)
        logits = model(*(torch.from_numpy(x) for x in (arrays.numeric, arrays.missing, arrays.categorical)))
    outputs = member_average(logits, schema.task.kind, temperature=1.25).numpy()
    rows = json.loads(raw.select(c.name for c in schema.features).with_columns(pl.col("sold").cast(str)).write_json())
    bundle = write_bundle(
        folder / "a bundle",
        schema=schema,
        preprocessor=preprocessor,
        model=model,
        config=config,
        calibration=Calibration(1.25),
        statistics=preprocessor.statistics_,
        metrics={},
        model_card="# Houses\n",
        sample_row=rows[1],
    )
    return Served(table, rows, bundle, preprocessor.target_.decode(outputs))


@dataclass
class Server:
    """`mlpipe serve` in a session of its own, so that what it leaves behind can be seen."""

    process: subprocess.Popen[bytes]
    url: str
    log: Path

    def wait_until_ready(self) -> None:
        deadline = time.monotonic() + PATIENCE
        while "Serving bundle" not in self.log.read_text():
            assert self.process.poll() is None, self.log.read_text()
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def post(self, payload: Any) -> tuple[int, Any]:
        """Status and body; the payload as JSON, or as the bytes it is."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        return self.open(urllib.request.Request(f"{self.url}/predict", data=body))

    def open(self, request: urllib.request.Request | str) -> tuple[int, Any]:
        opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
        try:
            with opener.open(request, timeout=PATIENCE) as response:
                status, text = response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            status, text = error.code, error.read().decode()
        return status, json.loads(text) if text.startswith(("{", "[")) else text

    def end(self, number: int) -> int:
        """Send a signal to the parent, and see that its children end with it."""
        self.process.send_signal(number)
        return self.end_by_itself()

    def end_by_itself(self) -> int:
        code = self.process.wait(PATIENCE)
        deadline = time.monotonic() + PATIENCE
        while self.group_is_alive():
            assert time.monotonic() < deadline, "a process of the server outlived it"
            time.sleep(0.05)
        return code

    def worker(self) -> int:
        """The process that LitServe has spawned to predict."""
        for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split():
            if b"spawn_main" in Path(f"/proc/{child}/cmdline").read_bytes():
                return int(child)
        raise AssertionError("no worker was spawned")

    def group_is_alive(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@contextlib.contextmanager
def serving(bundle: Path, folder: Path, *words: str) -> Iterator[Server]:
    port = free_port()
    log = folder / "log.txt"
    command = [sys.executable, "-m", "mlpipe", "serve", str(bundle), "--port", str(port), *words]
    with log.open("wb") as handle:
        process = subprocess.Popen(command, stdout=handle, stderr=subprocess.STDOUT, cwd=folder, start_new_session=True)
    server = Server(process, f"http://127.0.0.1:{port}", log)
    try:
        yield server
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


@pytest.fixture(scope="module")
def server(served: Served, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("cwd")
    with serving(served.bundle, folder) as server:
        server.wait_until_ready()
        yield server
        assert server.end(signal.SIGTERM) == 0, server.log.read_text()
        assert [path.name for path in folder.iterdir()] == ["log.txt"]  # LitServe's client.py is not wanted


def probabilities(answers: Sequence[dict[str, Any]]) -> list[float]:
    return [answer["probabilities"]["true"] for answer in answers]


def test_file_rows_and_http_give_what_the_model_gives(served: Served, server: Server, tmp_path: Path) -> None:
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


def test_an_answer_says_all_and_which_model_gave_it(served: Served, server: Server) -> None:
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


def test_values_alone_are_taken_in_the_schemas_order(served: Served, server: Server) -> None:
    row = served.rows[5]
    assert server.post({"features": list(row.values())}) == server.post(row)
    assert server.post([row])[1]["predictions"][0] == {
        key: value for key, value in server.post(row)[1].items() if key != "model_version"
    }
    assert server.post([]) == (200, {"predictions": [], "model_version": server.post(row)[1]["model_version"]})


def test_null_and_unseen_values_are_answered(served: Served, server: Server) -> None:
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
    served: Served, server: Server, change: dict[str, Any], loc: list[str], words: str
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
def test_what_is_no_row_is_a_422_and_never_a_500(server: Server, body: bytes) -> None:
    status, answer = server.post(body)
    assert status == 422
    assert answer["detail"][0]["loc"][0] == "body"


@pytest.mark.parametrize("number", [b"NaN", b"Infinity", b"-Infinity", b"1e999"])
def test_numbers_that_are_not_finite_are_refused(server: Server, number: bytes) -> None:
    status, _ = server.post(b'{"size": ' + number + b', "color": "red", "rooms": 1, "sold": null}')
    assert status == 422


def test_a_wrong_request_fails_alone(served: Served, server: Server) -> None:
    bodies = [{} if i % 3 == 0 else served.rows[i] for i in range(30)]
    with ThreadPoolExecutor(10) as clients:
        statuses = [status for status, _ in clients.map(server.post, bodies)]
    assert statuses == [422 if i % 3 == 0 else 200 for i in range(30)]


def test_health_and_limits(served: Served, server: Server) -> None:
    assert server.open(f"{server.url}/health") == (200, "ok")
    assert server.open(f"{server.url}/predict")[0] == 405


def test_the_line_that_is_printed_works(served: Served, server: Server) -> None:
    command = next(line for line in server.log.read_text().splitlines() if line.startswith("Try: "))
    assert command == f"Try: curl {server.url}/predict -d @'{served.bundle}/sample_request.json'"


def test_ctrl_c_ends_all_workers(served: Served, tmp_path: Path) -> None:
    with serving(served.bundle, tmp_path, "--workers", "2") as server:
        server.wait_until_ready()
        os.killpg(server.process.pid, signal.SIGINT)  # a terminal sends it to the whole group
        assert server.end_by_itself() == 0, server.log.read_text()
        assert "Traceback" not in server.log.read_text()


def test_a_server_ended_while_it_starts_leaves_nothing(served: Served, tmp_path: Path) -> None:
    with serving(served.bundle, tmp_path) as server:
        time.sleep(2)
        server.end(signal.SIGTERM)


@pytest.mark.slow
@pytest.mark.skipif(sys.platform != "linux", reason="finds the worker in /proc")
def test_the_server_does_not_outlive_its_worker(served: Served, tmp_path: Path) -> None:
    with serving(served.bundle, tmp_path) as server:
        server.wait_until_ready()
        os.kill(server.worker(), signal.SIGKILL)
        assert server.end_by_itself() == 1
        assert "A process of the server died" in server.log.read_text()


def test_the_parent_process_stays_light() -> None:
    code = "import sys, mlpipe.serving.server; print([m for m in ('torch', 'polars', 'lightning') if m in sys.modules])"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "[]\n"


def run_serve(*words: str) -> tuple[int, str]:
    result = subprocess.run(
        [sys.executable, "-m", "mlpipe", "serve", *words], capture_output=True, text=True, timeout=PATIENCE, check=False
    )
    return result.returncode, result.stdout + result.stderr


def test_a_port_in_use_is_one_sentence(served: Served) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        code, output = run_serve(str(served.bundle), "--port", str(port))
    assert code == 2
    assert output == f"error: Port {port} on 127.0.0.1 cannot be used (Address already in use); choose another.\n"


def test_a_bundle_that_is_not_there_or_damaged_is_one_sentence(served: Served, tmp_path: Path) -> None:
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


def test_a_bundle_that_only_the_worker_can_refuse_is_one_sentence(served: Served, tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["--host", "example.org"], "--host 'example.org' is not possible"),
        (["--port", "80"], "--port 80 is not possible"),
    ],
)
def test_addresses_that_cannot_be_are_refused(served: Served, words: list[str], said: str) -> None:
    code, output = run_serve(str(served.bundle), *words)
    assert code == 2
    assert said in output
