"""A fitted bundle and a real server process, for the tests that talk to one."""

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
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import torch

from mlpipe.bundle.format import write_bundle
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

    def wait_for(self, path: str, status: int) -> None:
        """Until a path is answered by a status."""
        deadline = time.monotonic() + PATIENCE
        while self.status(path) != status:
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.05)

    def status(self, path: str) -> int:
        """The status of a path; 0 if there is no answer."""
        try:
            return self.open(f"{self.url}{path}")[0]
        except OSError:
            return 0

    def post(self, payload: Any) -> tuple[int, Any]:
        """Status and body; the payload as JSON, or as the bytes it is."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        headers = {"Content-Type": "application/json"}
        return self.open(urllib.request.Request(f"{self.url}/predict", data=body, headers=headers))

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

    def workers(self) -> list[int]:
        """The processes that predict, which are spawned."""
        return [child for child in self._children() if b"spawn_main" in _command(child)]

    def api_servers(self) -> list[int]:
        """The processes that speak HTTP, which are forked."""
        return [child for child in self._children() if b"multiprocessing" not in _command(child)]

    def _children(self) -> list[int]:
        return [
            int(child)
            for child in Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        ]

    def group_is_alive(self) -> bool:
        try:
            os.killpg(self.process.pid, 0)
        except ProcessLookupError:
            return False
        return True


@contextlib.contextmanager
def _serving(bundle: Path, folder: Path, *words: str) -> Iterator[Server]:
    port = _free_port()
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


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
    return port


def _command(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except FileNotFoundError:  # it has just ended
        return b"multiprocessing"


#: Starts a server on a bundle, in a folder, with further words of the command line, and ends it.
Serving = Callable[..., AbstractContextManager[Server]]


@pytest.fixture(scope="session")
def serving() -> Serving:
    return _serving


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    return _free_port


@pytest.fixture(scope="session")
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
