"""What mlpipe uses of LitServe's inner parts, all in one place.

LitServe's `LitServer.run` moves each request alone through a manager process, dies of a lost worker and has no SIGTERM
(seen in 0.2.19, which pyproject.toml pins). What it is made of is sound, and used here one by one: the FastAPI
application and the entry of a worker process, with a `LitAPI` and a `LitLoop` of ours (`mlpipe.serving.worker`).
`tests/unit/serving/test_litserve_parts.py` notices when one of them changes.
"""

from __future__ import annotations

import multiprocessing
from multiprocessing.process import BaseProcess
from typing import cast

from litserve import LitServer
from litserve.callbacks import CallbackRunner
from litserve.loops.loops import inference_worker

from mlpipe.serving.front import App
from mlpipe.serving.worker import BundleAPI


def application(api: BundleAPI) -> App:
    """LitServe's application, which answers what mlpipe's does not: `/info`.

    Its `/docs` would load scripts from the internet; there is `mlpipe.serving.webpage`.
    """
    return cast(App, LitServer(api, accelerator="cpu", disable_openapi_url=True).app)


def start_worker(api: BundleAPI, number: int) -> BaseProcess:
    """A process in LitServe's entry of workers: `setup`, then the loop of the API, without end.

    Args:
        api: What answers.
        number: Of the worker.
    """
    process = multiprocessing.get_context("spawn").Process(
        target=inference_worker,
        args=(api, "cpu", number, None, None, {}, CallbackRunner(), False),
        name=f"mlpipe-worker-{number}",
    )
    process.start()
    return process
