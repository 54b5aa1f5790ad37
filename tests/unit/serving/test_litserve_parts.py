"""Notices when a part of LitServe that is used from within changes."""

from __future__ import annotations

import importlib.metadata
import inspect

from litserve import LitAPI, LitServer
from litserve.loops.base import LitLoop
from litserve.loops.loops import inference_worker

from mlpipe.serving.worker import SocketLoop


def parameters(function: object) -> list[str]:
    return list(inspect.signature(function).parameters)  # type: ignore[arg-type]


def test_the_pinned_version_is_the_one_that_was_read() -> None:
    assert importlib.metadata.version("litserve") == "0.2.19"


def test_the_entry_of_a_worker() -> None:
    assert parameters(inference_worker) == [
        "lit_api",
        "device",
        "worker_id",
        "request_queue",
        "transport",
        "workers_setup_status",
        "callback_runner",
        "restart_workers",
    ]
    source = inspect.getsource(inference_worker)
    assert source.index("lit_api.setup(device)") < source.index("loop(\n")


def test_a_loop_is_called_with_the_api_first_and_runs_without_end() -> None:
    assert parameters(LitLoop.__call__)[:2] == ["self", "lit_api"]
    assert "while True" in inspect.getsource(LitLoop.__call__)
    assert isinstance(SocketLoop(), LitLoop)


def test_an_api_takes_a_path_and_a_loop() -> None:
    assert {"api_path", "loop"} <= set(parameters(LitAPI.__init__))
    assert {"accelerator"} <= set(parameters(LitServer.__init__))
