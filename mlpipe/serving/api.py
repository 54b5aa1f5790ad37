"""The LitServe side of a bundle: bytes in, JSON out, one process per worker.

Annotations are objects here, not strings (no `from __future__ import annotations`): LitServe hands those of
`decode_request` and `encode_response` to FastAPI, which could not look the names up. LitServe finds the body by the
parameter's name, `request`.
"""

import logging
import multiprocessing
from typing import Annotated, Any

from fastapi import Depends, HTTPException, Request
from fastapi.responses import JSONResponse
from litserve import LitAPI

from mlpipe.errors import BundleError, InputError
from mlpipe.serving.protocol import Query, RequestError, answer, parse


async def read_body(request: Request) -> bytes:
    """The raw body, whatever its Content-Type says: `curl -d` calls JSON a form."""
    return await request.body()


class BundleAPI(LitAPI):  # type: ignore[misc]  # LitServe has no types
    """Answers `POST /predict` with a bundle; see `mlpipe.serving.protocol` for the bodies.

    Requests are answered one by one, so a wrong one fails alone; LitServe would fail the whole batch.

    Args:
        bundle: The bundle's folder.
    """

    def __init__(self, bundle: str) -> None:
        super().__init__(api_path="/predict")
        self.bundle = bundle
        self.failures: multiprocessing.SimpleQueue[str] = multiprocessing.get_context("spawn").SimpleQueue()

    def setup(self, device: str) -> None:
        """Load the bundle and answer its sample request once, so that the first client doesn't wait for torch.

        Raises:
            BundleError: The bundle cannot be loaded; the sentence is in `failures` too, for the parent process.
        """
        import torch

        from mlpipe.bundle.ensemble import read_contents
        from mlpipe.bundle.predictor import Predictor

        torch.set_num_threads(1)  # workers are the parallelism; more threads would only fight for the cores
        try:
            contents = read_contents(self.bundle)
        except BundleError as error:
            self.failures.put(str(error))
            logging.getLogger("litserve").setLevel(logging.CRITICAL)  # it would print a traceback
            raise
        self.predictor = Predictor.of(contents)
        self.predictor.predict(contents.sample_request)

    def decode_request(self, request: Annotated[bytes, Depends(read_body)]) -> Query:
        """The rows of a body."""
        try:
            return parse(request, self.predictor.schema)
        except RequestError as error:
            raise HTTPException(422, error.detail) from None

    def predict(self, x: Query) -> dict[str, Any]:
        """The answer to a query."""
        try:
            return answer(x, self.predictor.predict(x.rows), self.predictor.version)
        except InputError as error:
            raise HTTPException(422, x.fault(error).detail) from None

    def encode_response(self, output: dict[str, Any]) -> JSONResponse:
        """JSON, rendered in the worker; NaN would raise here and never reach a client."""
        return JSONResponse(output)
